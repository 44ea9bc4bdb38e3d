//! All SQL that reads and writes rows of the original and the shadow.

use super::lens::Lens;
use super::projection::{Projection, Side};
use crate::error::Result;
use crate::fnv::fnv1a;
use crate::key::{Key, KeyRange, Rows};
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::catalog::table::Operators;
use crate::postgres::name::{Ident, TableName};
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
    /// The names of the copy key's columns in the shadow.
    pub shadow_key: Vec<Ident>,
    /// The operators of the copy key's columns, where they are none of pg_catalog's.
    pub operators: Vec<Option<Operators>>,
    /// The projection; where rows go back ([`Lens`]) it is that of the change which the run takes back.
    pub projection: Projection,
    /// How rows go back, in an undo.
    pub lens: Option<Lens>,
    /// What serialises the refreshes: a number for an advisory lock.
    pub lock: i64,
}

/// Which rows a statement is about.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Those of a range.
    Range(&'a KeyRange),
    /// These.
    Keys(&'a [Key]),
}

impl Statements {
    pub(super) fn names(&self, side: Side) -> Vec<String> {
        match side {
            Side::Original => self.key.0.iter().map(|column| column.name.to_string()).collect(),
            Side::Shadow => self.shadow_key.iter().map(ToString::to_string).collect(),
        }
    }

    /// What follows FROM. The shadow's rows may be in partitions.
    pub(super) fn source(&self, side: Side) -> String {
        match side {
            Side::Original => format!("ONLY {}", self.original),
            Side::Shadow => self.shadow.to_string(),
        }
    }

    /// The operators of the key's column at this place; `None`: those that every search path finds.
    fn operators(&self, at: usize) -> Option<&Operators> {
        if mutation::active(Rule::PgOperatorsNamed) {
            return None;
        }
        self.operators.get(at).and_then(Option::as_ref)
    }

    fn has_operators(&self) -> bool {
        (0..self.key.0.len()).any(|at| self.operators(at).is_some())
    }

    pub(super) fn equal(&self, at: usize) -> &str {
        self.operators(at).map_or("=", |operators| &operators.equal)
    }

    /// Keys beyond `key`, or up to it.
    fn bound_predicate(&self, side: Side, beyond: bool, key: &Key) -> Result<String> {
        let (names, literals) = (self.names(side), self.key.literals(key)?);
        if !self.has_operators() {
            let operator = if beyond { ">" } else { "<=" };
            return Ok(format!("({}) {operator} ({})", names.join(", "), literals.join(", ")));
        }
        // A row of values has one operator for all: column by column then. What stands first is what the
        // index is searched by.
        let mut predicate = String::new();
        for (at, (name, literal)) in names.iter().zip(&literals).enumerate().rev() {
            let own = self.operators(at);
            let or = |own: Option<&String>, plain: &str| {
                own.map_or_else(|| plain.to_owned(), String::clone)
            };
            let (strict, loose) = if beyond {
                (or(own.map(|o| &o.greater), ">"), or(own.map(|o| &o.at_least), ">="))
            } else {
                (or(own.map(|o| &o.less), "<"), or(own.map(|o| &o.at_most), "<="))
            };
            let last = at + 1 == names.len();
            predicate = match (last, beyond) {
                (true, true) => format!("{name} {strict} {literal}"),
                (true, false) => format!("{name} {loose} {literal}"),
                (false, _) => {
                    format!(
                        "{name} {loose} {literal} AND ({name} {strict} {literal} OR {predicate})"
                    )
                }
            };
        }
        Ok(format!("({predicate})"))
    }

    /// The rows of a scope as a predicate over one side's key columns.
    pub fn predicate(&self, side: Side, scope: Scope<'_>) -> Result<String> {
        match scope {
            Scope::Range(range) => {
                let mut parts = Vec::new();
                if let Some(after) = &range.after {
                    parts.push(self.bound_predicate(side, true, after)?);
                }
                if let Some(upto) = &range.upto {
                    parts.push(self.bound_predicate(side, false, upto)?);
                }
                Ok(if parts.is_empty() { "TRUE".into() } else { parts.join(" AND ") })
            }
            Scope::Keys(keys) => self.one_of(side, keys),
        }
    }

    fn one_of(&self, side: Side, keys: &[Key]) -> Result<String> {
        let names = self.names(side);
        if keys.is_empty() {
            return Ok("FALSE".into());
        }
        let literals = keys
            .iter()
            .map(|key| Ok(self.key.literals(key)?.join(", ")))
            .collect::<Result<Vec<_>>>()?;
        if self.has_operators() {
            return Ok(self.one_of_named(&names, &literals));
        }
        Ok(match names.as_slice() {
            [name] => format!("{name} IN ({})", literals.join(", ")),
            // A join on VALUES is looked up row by row; a list of rows would be one long OR.
            _ => format!("({}) IN (VALUES ({}))", names.join(", "), literals.join("), (")),
        })
    }

    /// The same, where IN would not find the operators.
    fn one_of_named(&self, names: &[String], literals: &[String]) -> String {
        if let [name] = names {
            let array = format!("ARRAY[{}]", literals.join(", "));
            return format!("{name} {} ANY ({array})", self.equal(0));
        }
        let given: Vec<String> = (0..names.len()).map(|at| format!("osc_given_{at}")).collect();
        let same = names.iter().zip(&given).enumerate();
        let same: Vec<String> =
            same.map(|(at, (name, given))| format!("{name} {} {given}", self.equal(at))).collect();
        format!(
            "EXISTS (SELECT FROM (VALUES ({})) osc_given({}) WHERE {})",
            literals.join("), ("),
            given.join(", "),
            same.join(" AND ")
        )
    }

    fn key_list(&self, side: Side) -> String {
        self.names(side).join(", ")
    }

    /// Selects the original's last key.
    pub fn last(&self) -> String {
        let keys = self.key_list(Side::Original);
        let order = self.names(Side::Original).join(" DESC, ");
        format!("SELECT {keys} FROM ONLY {} ORDER BY {order} DESC LIMIT 1", self.original)
    }

    /// Selects the key that ends a chunk of `rows` rows after `after`.
    pub fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<String> {
        let range = KeyRange { after: after.cloned(), upto: None };
        let keys = self.key_list(Side::Original);
        Ok(format!(
            "SELECT {keys} FROM ONLY {} WHERE {} ORDER BY {keys} OFFSET {} LIMIT 1",
            self.original,
            self.predicate(Side::Original, Scope::Range(&range))?,
            rows.0.saturating_sub(1)
        ))
    }

    /// Writes rows of the original into the shadow, but the `except`ed ones.
    pub fn insert(&self, scope: Scope<'_>, except: &[Key]) -> Result<String> {
        let columns = &self.projection.columns;
        let targets: Vec<String> = columns.iter().map(|c| c.target.to_string()).collect();
        let sources: Vec<&str> = columns.iter().map(|c| c.source.as_str()).collect();
        let except = match except {
            [] => String::new(),
            keys => format!(" AND NOT ({})", self.one_of(Side::Original, keys)?),
        };
        Ok(format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ONLY {} WHERE {}{except}",
            self.shadow,
            targets.join(", "),
            sources.join(", "),
            self.original,
            self.predicate(Side::Original, scope)?
        ))
    }

    /// Deletes rows of the shadow.
    pub fn delete(&self, scope: Scope<'_>) -> Result<String> {
        Ok(format!("DELETE FROM {} WHERE {}", self.shadow, self.predicate(Side::Shadow, scope)?))
    }

    /// One chunk, to be written in one transaction. `clear`: the shadow may hold rows of it already.
    pub fn copy(&self, range: &KeyRange, clear: bool, except: &[Key]) -> Result<String> {
        let insert = self.insert(Scope::Range(range), except)?;
        let ignore =
            if mutation::active(Rule::PlainInsert) { " ON CONFLICT DO NOTHING" } else { "" };
        let insert = insert + ignore;
        if !clear {
            return Ok(insert);
        }
        Ok(format!("{}; {insert}", self.delete(Scope::Range(range))?))
    }

    /// Before a chunk, in its transaction: an attempt waits for an earlier one at the same range, whose
    /// connection was lost while the server went on with it. A unique copy key in the shadow does the
    /// same.
    pub fn turn(&self, range: &KeyRange) -> String {
        let ends = [&range.after, &range.upto].map(|key| key.as_ref().map(|key| &key.0));
        let number = fnv1a(format!("{} {ends:?}", self.shadow.plain()).as_bytes());
        // Apart from the locks of tables, which are held for a whole run.
        format!("SELECT pg_advisory_xact_lock({})", 0x6f73_6363_i64 << 32 | i64::from(number))
    }

    /// Before a refresh, in its transaction. Two of them never overlap: the lock is taken before the snapshots,
    /// so the later one reads what the earlier one has read, or newer.
    pub fn in_order(&self) -> String {
        let alone = if mutation::active(Rule::RefreshesInOrder) { "_shared" } else { "" };
        format!("SELECT pg_advisory_xact_lock{alone}({})", self.lock)
    }

    /// Writes rows again, to be done in one transaction.
    pub fn refresh(&self, keys: &[Key]) -> Result<String> {
        Ok(format!("{}; {}", self.delete(Scope::Keys(keys))?, self.insert(Scope::Keys(keys), &[])?))
    }

    /// Compares one range of both tables, in one snapshot: the original's rows, and whether both
    /// sides have the same rows with the same content.
    pub fn compare(&self, range: &KeyRange) -> Result<String> {
        let half = |side| {
            Ok::<_, crate::error::Error>(format!(
                "(SELECT count(*) AS n, coalesce(sum({}), 0) AS h FROM {} WHERE {})",
                self.hashed(side),
                self.source(side),
                self.predicate(side, Scope::Range(range))?
            ))
        };
        Ok(format!(
            "SELECT o.n, o.n = s.n AND o.h = s.h FROM {} o CROSS JOIN {} s",
            half(Side::Original)?,
            half(Side::Shadow)?
        ))
    }

    /// Selects the keys whose rows differ, in one snapshot: the original's, then the shadow's; one of them
    /// is NULL where a row is on one side only.
    pub fn differing(&self, scope: Scope<'_>, limit: usize) -> Result<String> {
        let half = |side| {
            let keys: Vec<String> = self
                .names(side)
                .iter()
                .enumerate()
                .map(|(at, name)| format!("{name} AS osc_k{at}"))
                .collect();
            Ok::<_, crate::error::Error>(format!(
                "(SELECT {}, {} AS osc_h FROM {} WHERE {})",
                keys.join(", "),
                self.hashed(side),
                self.source(side),
                self.predicate(side, scope)?
            ))
        };
        let keys = self.aliases("osc_k");
        let both =
            ["o", "s"].iter().flat_map(|side| keys.iter().map(move |key| format!("{side}.{key}")));
        let both: Vec<String> =
            both.enumerate().map(|(at, key)| format!("{key} AS osc_{at}")).collect();
        let same: Vec<String> = self.same_keys("osc_k", "o", "s");
        Ok(format!(
            "SELECT {} FROM {} o FULL JOIN {} s ON {} WHERE o.osc_h IS DISTINCT FROM s.osc_h \
             LIMIT {limit}",
            both.join(", "),
            half(Side::Original)?,
            half(Side::Shadow)?,
            same.join(" AND ")
        ))
    }

    /// Where two sides have the same key, column by column.
    pub(super) fn same_keys(&self, prefix: &str, one: &str, other: &str) -> Vec<String> {
        let keys = self.aliases(prefix).into_iter().enumerate();
        keys.map(|(at, key)| format!("{one}.{key} {} {other}.{key}", self.equal(at))).collect()
    }

    pub(super) fn aliases(&self, prefix: &str) -> Vec<String> {
        (0..self.key.0.len()).map(|at| format!("{prefix}{at}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::catalog::key::{KeyColumn, KeyKind};

    fn statements() -> Statements {
        let column = |name: &str, type_sql: &str| KeyColumn {
            name: Ident::new(name),
            type_sql: type_sql.into(),
            type_oid: 0,
            kind: KeyKind::Text,
        };
        let named = |operator: &str| format!("OPERATOR(ext.{operator})");
        let operators = Operators {
            less: named("<"),
            at_most: named("<="),
            equal: named("="),
            at_least: named(">="),
            greater: named(">"),
        };
        Statements {
            original: TableName::new("app", "t"),
            shadow: TableName::new("app", "t_osc_new"),
            key: KeyColumns(vec![column("a", "text"), column("b", "ext.citext")]),
            shadow_key: vec![Ident::new("a"), Ident::new("b")],
            operators: vec![None, Some(operators)],
            projection: Projection::default(),
            lens: None,
            lock: 1,
        }
    }

    #[test]
    fn a_key_is_compared_by_the_operators_of_its_type() {
        let statements = statements();
        let key = |a, b| statements.key.encode(&[Some(a), Some(b)]).unwrap();
        let range = KeyRange { after: Some(key("1", "2")), upto: None };
        let predicate = |scope| statements.predicate(Side::Original, scope).unwrap();
        assert_eq!(
            predicate(Scope::Range(&range)),
            "(\"a\" >= '1'::text AND (\"a\" > '1'::text OR \"b\" OPERATOR(ext.>) '2'::ext.citext))"
        );
        assert_eq!(
            predicate(Scope::Keys(&[key("1", "2")])),
            "EXISTS (SELECT FROM (VALUES ('1'::text, '2'::ext.citext)) osc_given(osc_given_0, osc_given_1) \
             WHERE \"a\" = osc_given_0 AND \"b\" OPERATOR(ext.=) osc_given_1)"
        );
        let differing = statements.differing(Scope::Range(&KeyRange::all()), 1).unwrap();
        assert!(differing.contains("o.osc_k1 OPERATOR(ext.=) s.osc_k1"), "{differing}");
    }
}
