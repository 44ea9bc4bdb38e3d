//! All SQL that reads and writes rows of the original and the shadow.

use std::fmt::Write as _;

use super::projection::{Projection, Side};
use super::put::Put;
use crate::error::Result;
use crate::key::{Key, KeyRange, Rows};
use crate::mysql::catalog::key::{KeyColumn, KeyColumns, KeyValue};
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
    /// In an undo: what rows of the shadow keep of their own, where they do.
    pub put: Option<Put>,
}

impl Statements {
    fn names(&self, side: Side) -> Vec<String> {
        match side {
            Side::Original => self.key.0.iter().map(|column| column.name.to_string()).collect(),
            Side::Shadow => self.shadow_key.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn table(&self, side: Side) -> String {
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
            format!(
                "SELECT {why}, {} FROM {} WHERE {predicate} AND {condition} LIMIT 10",
                self.shown_key(),
                self.table(Side::Original),
            )
        });
        Insert { misfits, statement }
    }

    /// The original's key for a human.
    pub(super) fn shown_key(&self) -> String {
        let shown = |column: &KeyColumn| {
            format!("CONVERT({} USING utf8mb4)", column.shown(&column.name.to_string()))
        };
        let shown: Vec<String> = self.key.0.iter().map(shown).collect();
        format!("CONCAT_WS(', ', {})", shown.join(", "))
    }

    /// Copies a range, but for some keys.
    pub fn copy(&self, range: &KeyRange, except: &[Key]) -> Result<Insert> {
        let verb = if mutation::active(Rule::PlainInsert) { "INSERT IGNORE" } else { "INSERT" };
        Ok(self.insert(verb, &self.scope(range, except)?))
    }

    pub(super) fn scope(&self, range: &KeyRange, except: &[Key]) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::catalog::key::KeyKind;

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
            put: None,
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
}
