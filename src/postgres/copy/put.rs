//! The statement that puts rows of the live table into a retired one ([`lens`](super::lens)).
//!
//! One statement does all of it, so that it sees the live rows of one moment, and compares what it has written
//! with just these. Rows that differ are deleted, with what they were in hand, and written again: an UPDATE
//! would meet unique values that move between rows one row after the other. All parts see the table as it
//! was before the statement; so what is deleted is counted before the first row is written, which makes the
//! server delete all of it first.

use super::lens::{Lens, PutValue};
use super::projection::Side;
use super::statements::{Scope, Statements};
use crate::engine::undo::Direction;
use crate::error::{Error, Result};
use crate::testing::mutation::{self, Rule};

/// Whether two expressions have the same value, as the verification tells values apart: by the text of them,
/// NULL included.
fn same(one: &str, other: &str) -> String {
    format!("ROW({one})::text COLLATE \"C\" = ROW({other})::text COLLATE \"C\"")
}

impl Statements {
    /// How rows go back, where this is an undo.
    pub(crate) fn lens(&self) -> Result<&Lens> {
        self.lens.as_ref().ok_or_else(|| Error::Internal("no rows go back in this run".into()))
    }

    /// Which side of the projection a table is, and the columns that name its rows there.
    pub(super) fn hashed(&self, side: Side) -> String {
        let back = self.lens.as_ref().is_some_and(|lens| lens.direction == Direction::Back);
        if !back {
            return self.projection.hash(side, &self.shadow_key);
        }
        let key: Vec<_> = self.key.0.iter().map(|column| column.name.clone()).collect();
        self.projection.hash(side.other(), &key)
    }

    /// The condition that a row of the written table, called `alias`, is in the live one, too.
    pub(crate) fn there_in_live(&self, alias: &str) -> String {
        let pairs = self.names(Side::Original).into_iter().zip(self.names(Side::Shadow));
        let same = pairs.enumerate();
        let same: Vec<String> = same
            .map(|(at, (live, own))| format!("osc_n.{live} {} {alias}.{own}", self.equal(at)))
            .collect();
        format!("EXISTS (SELECT FROM ONLY {} osc_n WHERE {})", self.original, same.join(" AND "))
    }

    fn keys_as(&self, side: Side, prefix: &str) -> String {
        let names = self.names(side).into_iter().enumerate();
        names.map(|(at, name)| format!("{name} AS {prefix}k{at}")).collect::<Vec<_>>().join(", ")
    }

    /// Live rows: their keys, the values that go back, and their hash.
    fn live(&self, lens: &Lens, scope: Scope<'_>, hashed: bool) -> Result<String> {
        let p = &lens.prefix;
        let mut list = vec![self.keys_as(Side::Original, p)];
        for (at, column) in lens.columns.iter().enumerate() {
            match &column.value {
                PutValue::Live(value) => list.push(format!("{value} AS {p}v{at}")),
                // The cast is made where the value is needed: it may fail.
                PutValue::KeptWhereSame { image, otherwise, .. } => {
                    let value = otherwise.as_deref().unwrap_or("NULL");
                    list.push(format!("{image} AS {p}b{at}, {value} AS {p}v{at}"));
                }
                PutValue::Kept(Some(fill)) => list.push(format!("({fill}) AS {p}v{at}")),
                PutValue::Kept(None) => {}
            }
        }
        if hashed {
            list.push(format!("{} AS {p}h", self.hashed(Side::Original)));
        }
        Ok(format!(
            "SELECT {} FROM {} WHERE {}",
            list.join(", "),
            self.source(Side::Original),
            self.predicate(Side::Original, scope)?
        ))
    }

    /// What is kept of rows of the written table.
    fn own(&self, lens: &Lens) -> String {
        let p = &lens.prefix;
        let mut list = vec![self.keys_as(Side::Shadow, p)];
        for (at, column) in lens.columns.iter().enumerate() {
            let target = &column.target;
            match &column.value {
                PutValue::Live(_) => {}
                PutValue::KeptWhereSame { projected, .. } => {
                    list.push(format!("{target} AS {p}o{at}, {projected} AS {p}p{at}"));
                }
                PutValue::Kept(_) => list.push(format!("{target} AS {p}o{at}")),
            }
        }
        list.join(", ")
    }

    /// The columns to write and their values: of rows that the table has (`kept`), or has not.
    fn values(lens: &Lens, kept: bool) -> (String, String) {
        let p = &lens.prefix;
        let kept = kept && !mutation::active(Rule::RowsKeepTheirOwn);
        let (mut targets, mut values) = (Vec::new(), Vec::new());
        for (at, column) in lens.columns.iter().enumerate() {
            let value = match &column.value {
                PutValue::Live(_) => format!("n.{p}v{at}"),
                PutValue::KeptWhereSame { cast, .. } => {
                    let live = format!("(n.{p}v{at})::{cast}");
                    let unchanged = same(&format!("o.{p}p{at}"), &format!("n.{p}b{at}"));
                    match kept && !mutation::active(Rule::ColumnsKeepTheirOwn) {
                        true => format!("CASE WHEN {unchanged} THEN o.{p}o{at} ELSE {live} END"),
                        false => live,
                    }
                }
                PutValue::Kept(_) if kept => {
                    format!("o.{p}o{at}")
                }
                PutValue::Kept(Some(_)) => format!("n.{p}v{at}"),
                // The server's default.
                PutValue::Kept(None) => continue,
            };
            targets.push(column.target.to_string());
            values.push(value);
        }
        (targets.join(", "), values.join(", "))
    }

    /// Puts rows: those that the live table does not have go, those that differ and those that are missing are
    /// written. Gives the keys of written rows that do not compare equal: such a row cannot go back, and the
    /// caller takes everything back.
    pub fn put(&self, scope: Scope<'_>) -> Result<String> {
        let lens = self.lens()?;
        let (p, shadow) = (&lens.prefix, &self.shadow);
        let joined = |one: &str, other: &str| {
            let keys = (0..self.key.0.len())
                .map(|at| format!("{one}.{p}k{at} {} {other}.{p}k{at}", self.equal(at)));
            keys.collect::<Vec<_>>().join(" AND ")
        };
        let to_shadow = self.names(Side::Shadow).into_iter().enumerate();
        let to_shadow: Vec<String> =
            to_shadow.map(|(at, name)| format!("t.{name} {} s.{p}k{at}", self.equal(at))).collect();
        let within = self.predicate(Side::Shadow, scope)?;
        let written =
            format!("{}, {} AS {p}h", self.keys_as(Side::Shadow, p), self.hashed(Side::Shadow));
        let (kept_targets, kept_values) = Self::values(lens, true);
        let (born_targets, born_values) = Self::values(lens, false);
        // Where this is not said, rows may be written between those that are deleted.
        let after_all = format!("(SELECT pg_catalog.count(*) FROM {p}gone) >= 0");
        let keys = (0..self.key.0.len()).map(|at| format!("n.{p}k{at}")).collect::<Vec<_>>();
        Ok(format!(
            "WITH {p}live AS MATERIALIZED ({live}), \
             {p}there AS MATERIALIZED (SELECT {keys_there}, {hash} AS {p}h FROM {source} WHERE {within}), \
             {p}stale AS MATERIALIZED (SELECT s.* FROM {p}there s LEFT JOIN {p}live n ON {n_s} \
             WHERE s.{p}h IS DISTINCT FROM n.{p}h), \
             {p}gone AS (DELETE FROM {shadow} t USING {p}stale s WHERE {t_s} AND {within} \
             RETURNING {own}), \
             {p}put AS (INSERT INTO {shadow} ({kept_targets}) OVERRIDING SYSTEM VALUE \
             SELECT {kept_values} FROM {p}live n JOIN {p}gone o ON {n_o} WHERE {after_all} \
             RETURNING {written}), \
             {p}born AS (INSERT INTO {shadow} ({born_targets}) OVERRIDING SYSTEM VALUE \
             SELECT {born_values} FROM {p}live n WHERE {after_all} \
             AND NOT EXISTS (SELECT FROM {p}there s WHERE {n_s}) RETURNING {written}) \
             SELECT {keys} FROM {p}live n JOIN (SELECT * FROM {p}put UNION ALL SELECT * FROM {p}born) w \
             ON {n_w} WHERE w.{p}h IS DISTINCT FROM n.{p}h",
            live = self.live(lens, scope, true)?,
            keys_there = self.keys_as(Side::Shadow, p),
            hash = self.hashed(Side::Shadow),
            source = self.source(Side::Shadow),
            n_s = joined("n", "s"),
            n_o = joined("n", "o"),
            n_w = joined("n", "w"),
            t_s = to_shadow.join(" AND "),
            own = self.own(lens),
            keys = keys.join(", "),
        ))
    }

    /// Selects the keys of live rows that cannot go back since one of these columns has another value by now,
    /// and nothing says what it was made of.
    pub fn without_inverse(&self, scope: Scope<'_>) -> Result<Option<String>> {
        let lens = self.lens()?;
        let p = &lens.prefix;
        let changed: Vec<String> = lens
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| {
                matches!(column.value, PutValue::KeptWhereSame { otherwise: None, .. })
            })
            .map(|(at, _)| {
                format!("NOT ({})", same(&format!("o.{p}p{at}"), &format!("n.{p}b{at}")))
            })
            .collect();
        if changed.is_empty() {
            return Ok(None);
        }
        let keys = (0..self.key.0.len()).map(|at| format!("n.{p}k{at}")).collect::<Vec<_>>();
        let same_keys = (0..self.key.0.len())
            .map(|at| format!("n.{p}k{at} {} o.{p}k{at}", self.equal(at)))
            .collect::<Vec<_>>();
        Ok(Some(format!(
            "SELECT {} FROM ({}) n LEFT JOIN (SELECT {} FROM {} WHERE {}) o ON {} \
             WHERE o.{p}k0 IS NULL OR {}",
            keys.join(", "),
            self.live(lens, scope, false)?,
            self.own(lens),
            self.source(Side::Shadow),
            self.predicate(Side::Shadow, scope)?,
            same_keys.join(" AND "),
            changed.join(" OR ")
        )))
    }

    /// Live rows as the written table would have them, with their keys under `prefix`.
    pub(super) fn put_rows(&self, lens: &Lens, scope: Scope<'_>, prefix: &str) -> Result<String> {
        let p = &lens.prefix;
        let mut list = Vec::new();
        for (at, column) in lens.columns.iter().enumerate() {
            let value = match &column.value {
                PutValue::Live(_) => format!("n.{p}v{at}"),
                PutValue::KeptWhereSame { cast, .. } => format!(
                    "CASE WHEN {} THEN o.{p}o{at} ELSE (n.{p}v{at})::{cast} END",
                    same(&format!("o.{p}p{at}"), &format!("n.{p}b{at}"))
                ),
                PutValue::Kept(Some(_)) => {
                    format!("CASE WHEN o.{p}k0 IS NULL THEN n.{p}v{at} ELSE o.{p}o{at} END")
                }
                PutValue::Kept(None) => {
                    let default = lens.made.iter().find(|(name, _)| *name == column.target);
                    let default = default.map_or("NULL", |(_, default)| default);
                    format!("CASE WHEN o.{p}k0 IS NULL THEN {default} ELSE o.{p}o{at} END")
                }
            };
            list.push(format!("{value} AS {}", column.target));
        }
        let keys = 0..self.key.0.len();
        list.extend(keys.clone().map(|at| format!("n.{p}k{at} AS {prefix}{at}")));
        let same_keys: Vec<String> =
            keys.map(|at| format!("n.{p}k{at} {} o.{p}k{at}", self.equal(at))).collect();
        let rows = format!(
            "(SELECT {} FROM ({}) n LEFT JOIN (SELECT {} FROM {} WHERE {}) o ON {}) p",
            list.join(", "),
            self.live(lens, scope, false)?,
            self.own(lens),
            self.source(Side::Shadow),
            self.predicate(Side::Shadow, scope)?,
            same_keys.join(" AND ")
        );
        let generated = lens.made.iter().filter(|(name, _)| !lens.defaults(name));
        let generated: String =
            generated.map(|(name, expression)| format!(", ({expression}) AS {name}")).collect();
        Ok(format!("(SELECT p.*{generated} FROM {rows}) q"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, KeyRange};
    use crate::postgres::catalog::key::{KeyColumn, KeyColumns, KeyKind};
    use crate::postgres::copy::lens::PutColumn;
    use crate::postgres::copy::projection::{Projected, Projection};
    use crate::postgres::name::{Ident, TableName};

    fn projected(target: &str, source: &str, typed: &str) -> Projected {
        Projected {
            target: Ident::new(target),
            source: source.into(),
            typed: typed.into(),
            integer: target == "id",
            hashed: true,
            scale_free: false,
        }
    }

    fn column(target: &str, value: PutValue) -> PutColumn {
        PutColumn { target: Ident::new(target), value }
    }

    /// `t (id int, n varchar(9), d int DEFAULT 3)`, of which the change has made `(id bigint, m text)`.
    fn statements(direction: Direction) -> Statements {
        let key = KeyColumn {
            name: Ident::new("id"),
            type_sql: "bigint".into(),
            type_oid: 20,
            kind: KeyKind::Int8,
        };
        let kept = |image: &str, own: &str, cast: &str| PutValue::KeptWhereSame {
            image: image.into(),
            projected: own.into(),
            otherwise: Some(image.into()),
            cast: cast.into(),
        };
        let columns = match direction {
            Direction::Back => vec![
                column("id", kept("\"id\"", "(\"id\")::bigint", "integer")),
                column("n", kept("\"m\"", "(\"n\")::text", "character varying")),
                column("d", PutValue::Kept(None)),
            ],
            Direction::Again => vec![
                column("id", PutValue::Live("\"id\"".into())),
                column("m", PutValue::Live("\"n\"".into())),
                column("added", PutValue::Kept(Some("\"d\" + 1".into()))),
            ],
        };
        Statements {
            original: TableName::new("s", "t"),
            shadow: TableName::new("s", "t_osc_old"),
            key: KeyColumns(vec![key]),
            shadow_key: vec![Ident::new("id")],
            operators: vec![None],
            projection: Projection {
                columns: vec![
                    projected("id", "\"id\"", "(\"id\")::bigint"),
                    projected("m", "\"n\"", "(\"n\")::text"),
                ],
                made: Vec::new(),
            },
            lens: Some(Lens { direction, columns, made: Vec::new(), prefix: "osc_".into() }),
            lock: 1,
        }
    }

    fn put(direction: Direction) -> String {
        let statements = statements(direction);
        let key: Key = statements.key.encode(&[Some("5")]).unwrap();
        statements.put(Scope::Keys(&[key])).unwrap()
    }

    #[test]
    fn an_undo_keeps_what_the_new_row_still_says_and_what_only_the_old_row_knows() {
        let sql = put(Direction::Back);
        let kept = "CASE WHEN ROW(o.osc_p1)::text COLLATE \"C\" = ROW(n.osc_b1)::text COLLATE \"C\" \
                    THEN o.osc_o1 ELSE (n.osc_v1)::character varying END, o.osc_o2 FROM osc_live n \
                    JOIN osc_gone o ON n.osc_k0 = o.osc_k0";
        assert!(sql.contains(kept), "{sql}");
        // A row that the table does not have gets the default of what was dropped.
        let born = "INSERT INTO \"s\".\"t_osc_old\" (\"id\", \"n\") OVERRIDING SYSTEM VALUE \
                    SELECT (n.osc_v0)::integer, (n.osc_v1)::character varying FROM osc_live n";
        assert!(sql.contains(born), "{sql}");
    }

    #[test]
    fn both_sides_are_hashed_as_the_forward_run_did() {
        let new = "hash_record_extended(ROW(\"id\", \"m\"), hashint8extended(\"id\", 0)) AS osc_h \
                   FROM ONLY \"s\".\"t\"";
        let old = "hash_record_extended(ROW((\"id\")::bigint, (\"n\")::text), \
                   hashint8extended((\"id\")::bigint, 0)) AS osc_h FROM \"s\".\"t_osc_old\"";
        let sql = put(Direction::Back);
        assert!(sql.contains(new) && sql.contains(old), "{sql}");
        let sql = put(Direction::Again);
        assert!(sql.contains("(\"n\")::text), hashint8extended((\"id\")::bigint, 0)) AS osc_h FROM ONLY \"s\".\"t\""), "{sql}");
    }

    #[test]
    fn a_redo_goes_by_the_projection_and_keeps_what_the_change_has_added() {
        let sql = put(Direction::Again);
        let kept = "(\"id\", \"m\", \"added\") OVERRIDING SYSTEM VALUE SELECT n.osc_v0, n.osc_v1, o.osc_o2";
        let born = "(\"id\", \"m\", \"added\") OVERRIDING SYSTEM VALUE SELECT n.osc_v0, n.osc_v1, n.osc_v2";
        assert!(sql.contains(kept) && sql.contains(born), "{sql}");
    }

    #[test]
    fn nothing_is_written_before_everything_stale_is_deleted() {
        let sql = put(Direction::Back);
        assert_eq!(sql.matches("(SELECT pg_catalog.count(*) FROM osc_gone) >= 0").count(), 2);
    }

    #[test]
    fn a_column_without_inverse_is_looked_for_before_it_is_put() {
        let mut statements = statements(Direction::Back);
        let all = KeyRange::all();
        assert_eq!(statements.without_inverse(Scope::Range(&all)).unwrap(), None);
        if let Some(PutValue::KeptWhereSame { otherwise, .. }) =
            statements.lens.as_mut().map(|lens| &mut lens.columns[1].value)
        {
            *otherwise = None;
        }
        let sql = statements.without_inverse(Scope::Range(&all)).unwrap().unwrap();
        assert!(sql.contains("WHERE o.osc_k0 IS NULL OR NOT (ROW(o.osc_p1)::text"), "{sql}");
    }
}
