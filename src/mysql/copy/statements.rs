//! All SQL that reads and writes rows of the original and the shadow.

use std::fmt::Write as _;

use super::projection::{Projection, Side};
use crate::error::Result;
use crate::key::{Key, KeyRange, Rows};
use crate::mysql::catalog::key::{KeyColumns, KeyValue};
use crate::mysql::catalog::table::Index;
use crate::mysql::name::{Ident, TableName};
use crate::testing::mutation::{self, Rule};

/// What the statements are made from.
#[derive(Debug, Clone)]
pub struct Statements {
    /// The original.
    pub original: TableName,
    /// The shadow.
    pub shadow: TableName,
    /// The copy key's columns in the original.
    pub key: KeyColumns,
    /// The original's index that orders the copy.
    pub index: Ident,
    /// The names of the copy key's columns in the shadow.
    pub shadow_key: Vec<Ident>,
    /// The shadow's index on them.
    pub shadow_index: Ident,
    /// The projection.
    pub projection: Projection,
}

impl Statements {
    fn names(&self, side: Side) -> Vec<String> {
        match side {
            Side::Original => self.key.0.iter().map(|column| column.name.to_string()).collect(),
            Side::Shadow => self.shadow_key.iter().map(ToString::to_string).collect(),
        }
    }

    fn table(&self, side: Side) -> String {
        match side {
            Side::Original => format!("{} FORCE INDEX ({})", self.original, self.index),
            Side::Shadow => format!("{} FORCE INDEX ({})", self.shadow, self.shadow_index),
        }
    }

    fn literals(&self, key: &Key) -> Result<Vec<String>> {
        let values = self.key.decode(key)?;
        Ok(self.key.0.iter().zip(&values).map(|(column, value)| column.literal(value)).collect())
    }

    /// `names` after (or up to) `key` in the index's order, in a form whose ranges the server uses.
    fn bound_predicate(&self, names: &[String], key: &Key, after: bool) -> Result<String> {
        let literals = self.literals(key)?;
        let mut predicate = String::new();
        for (at, column) in self.key.0.iter().enumerate().rev() {
            let (name, literal) = (&names[at], &literals[at]);
            let strict = if after ^ column.descending { ">" } else { "<" };
            if predicate.is_empty() {
                let inclusive = if after { "" } else { "=" };
                predicate = format!("{name} {strict}{inclusive} {literal}");
            } else {
                predicate = format!(
                    "{name} {strict}= {literal} AND ({name} {strict} {literal} OR ({predicate}))"
                );
            }
        }
        Ok(format!("({predicate})"))
    }

    /// The range as a predicate over one side's key columns.
    pub fn range(&self, side: Side, range: &KeyRange) -> Result<String> {
        let names = self.names(side);
        let mut parts = Vec::new();
        if let Some(after) = &range.after {
            parts.push(self.bound_predicate(&names, after, true)?);
        }
        if let Some(upto) = &range.upto {
            parts.push(self.bound_predicate(&names, upto, false)?);
        }
        Ok(if parts.is_empty() { "TRUE".into() } else { parts.join(" AND ") })
    }

    /// "Is one of these keys", over one side's key columns. MariaDB finds no ranges in a row
    /// constructor, so a composite key becomes a disjunction.
    pub fn one_of(&self, side: Side, keys: &[Key]) -> Result<String> {
        let names = self.names(side);
        if keys.is_empty() {
            return Ok("FALSE".into());
        }
        let mut text = String::new();
        if let [name] = names.as_slice() {
            for key in keys {
                let separator = if text.is_empty() { "" } else { ", " };
                let _ = write!(text, "{separator}{}", self.literals(key)?.concat());
            }
            return Ok(format!("{name} IN ({text})"));
        }
        for key in keys {
            let separator = if text.is_empty() { "" } else { " OR " };
            let equal: Vec<String> = names
                .iter()
                .zip(self.literals(key)?)
                .map(|(name, literal)| format!("{name} = {literal}"))
                .collect();
            let _ = write!(text, "{separator}({})", equal.join(" AND "));
        }
        Ok(format!("({text})"))
    }

    /// The SELECT list that gives a key of one side; see `KeyColumn::select`.
    pub fn key_list(&self, side: Side) -> String {
        let columns = self.key.0.iter().zip(self.names(side));
        columns.map(|(column, name)| column.select_as(&name)).collect::<Vec<_>>().join(", ")
    }

    fn order(&self, side: Side) -> String {
        self.ordered(side, false)
    }

    fn ordered(&self, side: Side, backwards: bool) -> String {
        let columns = self.key.0.iter().zip(self.names(side));
        columns
            .map(
                |(column, name)| {
                    if column.descending ^ backwards { format!("{name} DESC") } else { name }
                },
            )
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Selects the original's last key.
    pub fn last(&self) -> String {
        format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1",
            self.key_list(Side::Original),
            self.table(Side::Original),
            self.ordered(Side::Original, true)
        )
    }

    /// Selects the key that lies `rows` rows after `after`.
    pub fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<String> {
        let range = KeyRange { after: after.cloned(), upto: None };
        Ok(format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1 OFFSET {}",
            self.key_list(Side::Original),
            self.table(Side::Original),
            self.range(Side::Original, &range)?,
            self.order(Side::Original),
            rows.0.saturating_sub(1)
        ))
    }

    /// Selects the key of the `row`th row (from 1) that a copy or a rewrite reads.
    pub fn nth_key(
        &self,
        range: Option<&KeyRange>,
        keys: &[Key],
        except: &[Key],
        row: u64,
    ) -> Result<String> {
        let all = self.keys(range, keys, except)?;
        Ok(format!("{all} LIMIT 1 OFFSET {}", row.saturating_sub(1)))
    }

    /// Selects the keys that a copy or a rewrite reads.
    pub fn keys(&self, range: Option<&KeyRange>, keys: &[Key], except: &[Key]) -> Result<String> {
        let scope = match range {
            Some(range) => self.scope(range, except)?,
            None => self.one_of(Side::Original, keys)?,
        };
        Ok(format!(
            "SELECT {} FROM {} WHERE {scope} ORDER BY {}",
            self.key_list(Side::Original),
            self.table(Side::Original),
            self.order(Side::Original),
        ))
    }

    /// Deletes a range from the shadow.
    pub fn clear(&self, range: &KeyRange) -> Result<String> {
        Ok(format!(
            "DELETE FROM {0} USING {1} WHERE {2}",
            self.shadow,
            self.table(Side::Shadow),
            self.range(Side::Shadow, range)?
        ))
    }

    fn insert(&self, verb: &str, predicate: &str) -> Insert {
        let statement = format!(
            "{verb} INTO {} ({}) SELECT {} FROM {} WHERE {predicate}",
            self.shadow,
            self.projection.targets(),
            self.projection.sources(),
            self.table(Side::Original),
        );
        let misfits = self.projection.misfits().map(|(condition, why)| {
            let shown: Vec<String> = (self.key.0.iter())
                .map(|column| {
                    format!("CONVERT({} USING utf8mb4)", column.shown(&column.name.to_string()))
                })
                .collect();
            format!(
                "SELECT {why}, CONCAT_WS(', ', {}) FROM {} WHERE {predicate} AND {condition} LIMIT 10",
                shown.join(", "),
                self.table(Side::Original),
            )
        });
        Insert { misfits, statement }
    }

    /// Copies a range, but for some keys.
    pub fn copy(&self, range: &KeyRange, except: &[Key]) -> Result<Insert> {
        let verb = if mutation::active(Rule::PlainInsert) { "INSERT IGNORE" } else { "INSERT" };
        Ok(self.insert(verb, &self.scope(range, except)?))
    }

    fn scope(&self, range: &KeyRange, except: &[Key]) -> Result<String> {
        let mut predicate = self.range(Side::Original, range)?;
        if !except.is_empty() {
            let _ = write!(predicate, " AND NOT {}", self.one_of(Side::Original, except)?);
        }
        Ok(predicate)
    }

    /// Deletes keys from the shadow.
    pub fn delete(&self, keys: &[Key]) -> Result<String> {
        Ok(format!(
            "DELETE FROM {} USING {} WHERE {}",
            self.shadow,
            self.table(Side::Shadow),
            self.one_of(Side::Shadow, keys)?
        ))
    }

    /// Writes keys to the shadow, as they are in the original.
    pub fn rewrite(&self, keys: &[Key]) -> Result<Insert> {
        let verb = if mutation::active(Rule::NoReplace) { "REPLACE" } else { "INSERT" };
        Ok(self.insert(verb, &self.one_of(Side::Original, keys)?))
    }

    /// Compares a range of both sides, in one statement and so in one snapshot: rows and digest of
    /// the original, rows and digest of the shadow.
    pub fn compare(&self, range: &KeyRange) -> Result<String> {
        let side = |side, name| {
            Ok::<_, crate::error::Error>(format!(
                "(SELECT COUNT(*) AS n, {} AS h FROM {} WHERE {}) {name}",
                self.projection.aggregate(side),
                self.table(side),
                self.range(side, range)?
            ))
        };
        Ok(format!(
            "SELECT o.n, o.h, s.n, s.h FROM {}, {}",
            side(Side::Original, "o")?,
            side(Side::Shadow, "s")?
        ))
    }

    /// One side's keys and row digests, for finding which rows of a range or of `keys` differ.
    pub fn digests(&self, side: Side, scope: Scope<'_>) -> Result<String> {
        Ok(format!(
            "SELECT {}, {} FROM {} WHERE {}",
            self.projection.digest(side),
            self.key_list(side),
            self.table(side),
            match scope {
                Scope::Range(range) => self.range(side, range)?,
                Scope::Keys(keys) => self.one_of(side, keys)?,
            }
        ))
    }

    /// Rows of the original, in a range or among keys, whose value of the shadow's unique `index`
    /// is held by another row of the shadow: both keys.
    pub fn clashes(
        &self,
        index: &Index,
        range: Option<&KeyRange>,
        keys: &[Key],
        except: &[Key],
    ) -> Result<String> {
        let scope = match range {
            Some(range) => self.scope(range, except)?,
            None => self.one_of(Side::Original, keys)?,
        };
        let held = Self::unique_parts(index, "s", false);
        let wanted = Self::unique_parts(index, "p", true);
        let equal: Vec<String> =
            held.iter().zip(&wanted).map(|(held, wanted)| format!("{held} = {wanted}")).collect();
        let aliases = self.key_aliases();
        let same: Vec<String> = (self.shadow_key.iter().zip(&aliases))
            .map(|(name, alias)| format!("s.{name} = p.{alias}"))
            .collect();
        let own: Vec<String> = (self.key.0.iter().zip(&aliases))
            .map(|(column, alias)| column.select_as(&format!("p.{alias}")))
            .collect();
        let holder: Vec<String> = (0..self.key.0.len())
            .map(|at| self.key.0[at].select_as(&format!("s.{}", self.shadow_key[at])))
            .collect();
        Ok(format!(
            "SELECT {}, {} FROM {} p JOIN {} s ON {} WHERE NOT ({}) LIMIT 1000",
            own.join(", "),
            holder.join(", "),
            self.projected(&scope),
            self.shadow,
            equal.join(" AND "),
            same.join(" AND ")
        ))
    }

    /// Rows of the original that have the same value of the shadow's unique `index`.
    pub fn duplicates(
        &self,
        index: &Index,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<String> {
        let mut scope = self.one_of(Side::Original, keys)?;
        if let Some(range) = range {
            scope = format!("({scope} OR ({}))", self.range(Side::Original, range)?);
        }
        let parts = Self::unique_parts(index, "p", true);
        let keys: Vec<String> = (self.key.0.iter().zip(self.key_aliases()))
            .map(|(column, alias)| {
                format!("CONVERT({} USING utf8mb4)", column.shown(&format!("p.{alias}")))
            })
            .collect();
        let shown: Vec<String> =
            parts.iter().map(|part| format!("CONVERT({part} USING utf8mb4)")).collect();
        let known: Vec<String> = parts.iter().map(|part| format!("{part} IS NOT NULL")).collect();
        Ok(format!(
            "SELECT CONCAT_WS('-', {}), GROUP_CONCAT(CONCAT_WS(', ', {}) SEPARATOR ' and ') FROM {} p \
             WHERE {} GROUP BY {} HAVING COUNT(*) > 1 LIMIT 10",
            shown.join(", "),
            keys.join(", "),
            self.projected(&scope),
            known.join(" AND "),
            parts.join(", ")
        ))
    }

    /// The projection of some rows of the original under the shadow's column names, and their keys.
    fn projected(&self, scope: &str) -> String {
        let columns = self
            .projection
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.typed, column.target));
        let keys = (self.key.0.iter().zip(self.key_aliases()))
            .map(|(column, alias)| format!("{} AS {alias}", column.name));
        format!(
            "(SELECT {} FROM {} WHERE {scope})",
            columns.chain(keys).collect::<Vec<_>>().join(", "),
            self.table(Side::Original)
        )
    }

    /// Names for the key's columns beside the projection's, none of which they share.
    fn key_aliases(&self) -> Vec<Ident> {
        let taken = |name: &Ident| self.projection.columns.iter().any(|c| c.target.same(name));
        let mut names = (0..).map(|number| Ident::new(format!("osc_key_{number}")));
        names.by_ref().filter(|name| !taken(name)).take(self.key.0.len()).collect()
    }

    /// Whether the index's values can be computed from the projection: not where it is on a column
    /// that the server generates from another such column.
    pub fn tells_apart(&self, index: &Index) -> bool {
        let known =
            |name: &Ident| self.projection.columns.iter().any(|column| column.target.same(name));
        index.parts.iter().all(|part| match (&part.column, &part.expression) {
            (Some(column), None) => known(column),
            (Some(_), Some(expression)) => {
                expression.split('`').skip(1).step_by(2).all(|name| known(&Ident::new(name)))
            }
            (None, _) => true,
        })
    }

    /// The index's parts over a table alias, as the index sees them. `computed`: the alias has no
    /// generated columns.
    fn unique_parts(index: &Index, alias: &str, computed: bool) -> Vec<String> {
        index
            .parts
            .iter()
            .map(|part| {
                let value = match (&part.column, &part.expression) {
                    (Some(column), expression) if !computed || expression.is_none() => {
                        format!("{alias}.{column}")
                    }
                    (_, Some(expression)) => qualify(expression, alias),
                    (_, None) => "NULL".into(),
                };
                match part.prefix {
                    Some(prefix) => format!("LEFT({value}, {prefix})"),
                    None => value,
                }
            })
            .collect()
    }

    /// A key from a row of [`Statements::key_list`]'s texts.
    pub fn key_of(&self, texts: &[String]) -> Result<Key> {
        let values: Vec<KeyValue> = self
            .key
            .0
            .iter()
            .zip(texts)
            .map(|(column, text)| column.value(text))
            .collect::<Result<_>>()?;
        self.key.encode(&values)
    }
}

/// How rows are written to the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// Selects why rows that would lose something do not fit, and which they are.
    pub misfits: Option<String>,
    /// Writes the rows.
    pub statement: String,
}

/// Rows of which range, or which keys.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// A range.
    Range(&'a KeyRange),
    /// Keys.
    Keys(&'a [Key]),
}

/// Qualifies the backquoted names of a functional index part, which the server tells unqualified.
fn qualify(expression: &str, alias: &str) -> String {
    let expression = expression.replace("\\'", "'");
    let mut text = String::with_capacity(expression.len() + 8);
    let mut inside = false;
    for c in expression.chars() {
        if c == '`' {
            if !inside {
                text.push_str(alias);
                text.push('.');
            }
            inside = !inside;
        }
        text.push(c);
    }
    format!("({text})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::catalog::key::{KeyColumn, KeyKind};

    fn column(name: &str, descending: bool) -> KeyColumn {
        let kind = KeyKind::Int { bytes: 4, unsigned: false };
        KeyColumn { name: Ident::new(name), ordinal: 0, kind, descending }
    }

    fn statements(columns: Vec<KeyColumn>) -> Statements {
        Statements {
            original: TableName::new("d", "t"),
            shadow: TableName::new("d", "t_osc_new"),
            shadow_key: columns.iter().map(|column| column.name.clone()).collect(),
            key: KeyColumns(columns),
            index: Ident::new("PRIMARY"),
            shadow_index: Ident::new("PRIMARY"),
            projection: Projection::default(),
        }
    }

    fn key(statements: &Statements, values: &[i64]) -> Key {
        let values: Vec<KeyValue> = values.iter().map(|value| KeyValue::Int(*value)).collect();
        statements.key.encode(&values).unwrap()
    }

    #[test]
    fn a_range_of_a_single_key_is_half_open() {
        let statements = statements(vec![column("id", false)]);
        let range =
            KeyRange { after: Some(key(&statements, &[1])), upto: Some(key(&statements, &[9])) };
        assert_eq!(statements.range(Side::Original, &range).unwrap(), "(`id` > 1) AND (`id` <= 9)");
        assert_eq!(statements.range(Side::Original, &KeyRange::all()).unwrap(), "TRUE");
    }

    #[test]
    fn a_range_of_a_composite_key_compares_part_by_part_in_the_parts_direction() {
        let statements = statements(vec![column("a", false), column("b", true)]);
        let range = KeyRange { after: Some(key(&statements, &[1, 2])), upto: None };
        assert_eq!(
            statements.range(Side::Original, &range).unwrap(),
            "(`a` >= 1 AND (`a` > 1 OR (`b` < 2)))"
        );
        let range = KeyRange { after: None, upto: Some(key(&statements, &[1, 2])) };
        assert_eq!(
            statements.range(Side::Original, &range).unwrap(),
            "(`a` <= 1 AND (`a` < 1 OR (`b` >= 2)))"
        );
    }

    #[test]
    fn keys_are_named_by_in_or_by_a_disjunction() {
        let single = statements(vec![column("id", false)]);
        let keys = [key(&single, &[1]), key(&single, &[-2])];
        assert_eq!(single.one_of(Side::Shadow, &keys).unwrap(), "`id` IN (1, -2)");
        let composite = statements(vec![column("a", false), column("b", false)]);
        let keys = [key(&composite, &[1, 2]), key(&composite, &[3, 4])];
        assert_eq!(
            composite.one_of(Side::Shadow, &keys).unwrap(),
            "((`a` = 1 AND `b` = 2) OR (`a` = 3 AND `b` = 4))"
        );
    }

    #[test]
    fn a_functional_part_is_qualified() {
        assert_eq!(qualify("lower(`name`)", "p"), "(lower(p.`name`))");
    }
}
