//! The change that takes another back, for changes by the server's own methods, which keep no retired table: the
//! clauses that make of a table's definition after a change what it was before.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::connection::session::rows;
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "reading the table's definition";

/// What a run by one of the server's own methods keeps in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NativeRecord {
    /// What was left of the table's definition.
    pub after: Definition,
    /// The clauses, or the statement, that take it back; or why there are none. They are read, checked and shown as
    /// those of a user before they are run.
    pub opposite: std::result::Result<String, String>,
    /// What was said of an undo beforehand.
    pub verdict: Vec<String>,
}

/// A table's definition, as far as these methods change it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Its constraints: the name, and what follows it.
    pub constraints: Vec<(Ident, String)>,
    /// Its indexes that no constraint has: the name, and the statement that makes it.
    pub indexes: Vec<(Ident, String)>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    /// Its number, which it keeps when it is renamed.
    pub number: i32,
    /// Its name.
    pub name: Ident,
    /// Its type with its modifier, and its collation where that is not the type's.
    pub kind: String,
    /// It takes no NULL.
    pub not_null: bool,
    /// Its default, or what it is generated from.
    pub default: Option<String>,
    /// `pg_attribute.attgenerated`, `attidentity`: one of them, or nothing.
    pub made: String,
}

impl Definition {
    /// Reads it.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn read(client: &Client, table: &TableName) -> Result<Self> {
        let oid = format!(
            "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {})",
            Text(table.schema.as_str()),
            Text(table.table.as_str())
        );
        let columns = format!(
            "SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) || CASE \
             WHEN a.attcollation <> t.typcollation THEN pg_catalog.format(' COLLATE %I.%I', s.nspname, l.collname) \
             ELSE '' END, a.attnotnull, pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
             a.attgenerated::text || a.attidentity::text \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
             LEFT JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace \
             WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        // A constraint of NOT NULL (18 and later) goes with its column.
        let constraints = format!(
            "SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint \
             WHERE conrelid = {oid} AND contype IN ('c', 'f', 'p', 'u', 'x') ORDER BY conname"
        );
        let indexes = format!(
            "SELECT q.relname, pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class q ON q.oid = i.indexrelid WHERE i.indrelid = {oid} AND i.indisvalid \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid \
             AND k.contype IN ('p', 'u', 'x')) ORDER BY q.relname"
        );
        let pairs = async |sql: &str| -> Result<Vec<(Ident, String)>> {
            let found = rows(client, ACTION, sql).await?;
            let text = |at: usize, row: &tokio_postgres::SimpleQueryRow| {
                row.get(at).unwrap_or_default().to_owned()
            };
            Ok(found.iter().map(|row| (Ident::new(text(0, row)), text(1, row))).collect())
        };
        let found = rows(client, ACTION, &columns).await?;
        let columns = found.iter().map(|row| {
            let text = |at: usize| row.get(at).unwrap_or_default();
            Column {
                number: text(0).parse().unwrap_or_default(),
                name: Ident::new(text(1)),
                kind: text(2).to_owned(),
                not_null: text(3) == "t",
                default: row.get(4).map(str::to_owned),
                made: text(5).to_owned(),
            }
        });
        Ok(Self {
            columns: columns.collect(),
            constraints: pairs(&constraints).await?,
            indexes: pairs(&indexes).await?,
        })
    }
}

/// The clauses that make `before` of `after`, or a statement about an index; empty: there is nothing to take back.
///
/// # Errors
/// Why there are none, for a human.
pub(crate) fn opposite(
    table: &TableName,
    before: &Definition,
    after: &Definition,
) -> std::result::Result<String, String> {
    let mut renames = Vec::new();
    let mut clauses = Vec::new();
    columns(before, after, &mut renames, &mut clauses)?;
    // It stands alone in its statement, and every text that names the column is another by it.
    if let ([rename], []) = (renames.as_slice(), clauses.as_slice()) {
        return Ok(rename.clone());
    }
    constraints(before, after, &mut renames, &mut clauses);
    let comes = missing(&before.constraints, &after.constraints);
    let comes = comes.filter(|(_, rest)| !after.constraints.iter().any(|(_, then)| then == rest));
    clauses.extend(comes.map(|(name, rest)| format!("ADD CONSTRAINT {name} {rest}")));
    let gone = missing(&after.indexes, &before.indexes);
    let mut statements: Vec<String> =
        gone.map(|(name, _)| format!("DROP INDEX {}.{name}", table.schema)).collect();
    statements.extend(missing(&before.indexes, &after.indexes).map(|(_, made)| made.clone()));
    match (renames.as_slice(), clauses.as_slice(), statements.as_slice()) {
        ([], clauses, []) => Ok(clauses.join(", ")),
        ([rename], [], []) => Ok(rename.clone()),
        ([], [], [statement]) => Ok(statement.clone()),
        (renames, clauses, statements) => {
            let all = renames.iter().chain(clauses).chain(statements);
            let all: Vec<&str> = all.map(String::as_str).collect();
            Err(format!("its opposite takes several statements: {}", all.join("; ")))
        }
    }
}

/// Those of `one` that are not in `other`.
fn missing<'a>(
    one: &'a [(Ident, String)],
    other: &'a [(Ident, String)],
) -> impl Iterator<Item = &'a (Ident, String)> {
    one.iter().filter(|entry| !other.contains(entry))
}

fn constraints(
    before: &Definition,
    after: &Definition,
    renames: &mut Vec<String>,
    clauses: &mut Vec<String>,
) {
    for (name, rest) in missing(&after.constraints, &before.constraints) {
        let mut was = missing(&before.constraints, &after.constraints);
        match was.find(|(_, then)| then == rest) {
            Some((old, _)) => renames.push(format!("RENAME CONSTRAINT {name} TO {old}")),
            None => clauses.push(format!("DROP CONSTRAINT {name}")),
        }
    }
}

fn columns(
    before: &Definition,
    after: &Definition,
    renames: &mut Vec<String>,
    clauses: &mut Vec<String>,
) -> std::result::Result<(), String> {
    let by_number = |of: &'_ Definition, number: i32| {
        of.columns.iter().find(|column| column.number == number).cloned()
    };
    for column in after.columns.iter().filter(|it| by_number(before, it.number).is_none()) {
        clauses.push(format!("DROP COLUMN {}", column.name));
    }
    for was in &before.columns {
        match by_number(after, was.number) {
            Some(is) => changed(was, &is, renames, clauses)?,
            None => clauses.push(format!("ADD COLUMN {}", declared(was)?)),
        }
    }
    Ok(())
}

/// A column as ADD COLUMN declares it.
fn declared(column: &Column) -> std::result::Result<String, String> {
    let Column { name, kind, not_null, default, made, .. } = column;
    let null = if *not_null { " NOT NULL" } else { "" };
    match (made.as_str(), default) {
        ("s", Some(from)) => Ok(format!("{name} {kind} GENERATED ALWAYS AS ({from}) STORED{null}")),
        ("v", Some(from)) => {
            Ok(format!("{name} {kind} GENERATED ALWAYS AS ({from}) VIRTUAL{null}"))
        }
        ("a", _) => Ok(format!("{name} {kind} GENERATED ALWAYS AS IDENTITY")),
        ("d", _) => Ok(format!("{name} {kind} GENERATED BY DEFAULT AS IDENTITY")),
        (_, Some(default)) => Ok(format!("{name} {kind} DEFAULT {default}{null}")),
        (_, None) if *not_null => {
            Err(format!("column {name} took no NULL and had no default: its values are gone"))
        }
        (_, None) => Ok(format!("{name} {kind}")),
    }
}

fn changed(
    was: &Column,
    is: &Column,
    renames: &mut Vec<String>,
    clauses: &mut Vec<String>,
) -> std::result::Result<(), String> {
    let name = &is.name;
    if was.name != is.name {
        renames.push(format!("RENAME COLUMN {name} TO {}", was.name));
    }
    if was.made != is.made {
        let what = "whether it is generated or counts by itself";
        return Err(format!("of column {name} it changed {what}: osc does not take that back"));
    }
    if was.kind != is.kind {
        clauses.push(format!("ALTER COLUMN {name} TYPE {}", was.kind));
    }
    if was.default != is.default {
        match &was.default {
            _ if !was.made.is_empty() => {
                return Err(format!("of column {name} it changed what it is generated from"));
            }
            Some(default) => clauses.push(format!("ALTER COLUMN {name} SET DEFAULT {default}")),
            None => clauses.push(format!("ALTER COLUMN {name} DROP DEFAULT")),
        }
    }
    if was.not_null != is.not_null {
        let word = if was.not_null { "SET" } else { "DROP" };
        clauses.push(format!("ALTER COLUMN {name} {word} NOT NULL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(number: i32, name: &str, kind: &str) -> Column {
        let (name, kind) = (Ident::new(name), kind.to_owned());
        Column { number, name, kind, not_null: false, default: None, made: String::new() }
    }

    fn before() -> Definition {
        let pair = |name: &str, text: &str| (Ident::new(name), text.to_owned());
        Definition {
            columns: vec![column(1, "id", "integer"), column(3, "v", "character varying(40)")],
            constraints: vec![pair("c", "CHECK ((id > 0))")],
            indexes: vec![pair("i", "CREATE INDEX i ON public.t USING btree (v)")],
        }
    }

    fn back(change: impl FnOnce(&mut Definition)) -> std::result::Result<String, String> {
        let mut after = before();
        change(&mut after);
        opposite(&TableName::new("public", "t"), &before(), &after)
    }

    #[test]
    fn columns_go_come_and_are_as_they_were() {
        assert_eq!(back(|_| {}).unwrap(), "");
        let added = back(|now| now.columns.push(column(4, "x", "text")));
        assert_eq!(added.unwrap(), "DROP COLUMN \"x\"");
        let dropped = back(|now| drop(now.columns.pop()));
        assert_eq!(dropped.unwrap(), "ADD COLUMN \"v\" character varying(40)");
        let renamed = back(|now| now.columns[1].name = Ident::new("w"));
        assert_eq!(renamed.unwrap(), "RENAME COLUMN \"w\" TO \"v\"");
        let wider = back(|now| now.columns[1].kind = "text".into());
        assert_eq!(wider.unwrap(), "ALTER COLUMN \"v\" TYPE character varying(40)");
        let set = back(|now| {
            now.columns[1].default = Some("'x'::text".into());
            now.columns[1].not_null = true;
        });
        assert_eq!(
            set.unwrap(),
            "ALTER COLUMN \"v\" DROP DEFAULT, ALTER COLUMN \"v\" DROP NOT NULL"
        );
        let identity = back(|now| now.columns[0].made = "a".into());
        assert!(identity.unwrap_err().contains("counts by itself"));
    }

    #[test]
    fn constraints_and_indexes_are_as_they_were() {
        let gone = back(|now| now.constraints.clear());
        assert_eq!(gone.unwrap(), "ADD CONSTRAINT \"c\" CHECK ((id > 0))");
        let named = back(|now| now.constraints[0].0 = Ident::new("d"));
        assert_eq!(named.unwrap(), "RENAME CONSTRAINT \"d\" TO \"c\"");
        let index = back(|now| now.indexes.clear());
        assert_eq!(index.unwrap(), "CREATE INDEX i ON public.t USING btree (v)");
        let more = back(|now| now.indexes.push((Ident::new("j"), "CREATE INDEX j".into())));
        assert_eq!(more.unwrap(), "DROP INDEX \"public\".\"j\"");
        let both = back(|now| {
            now.indexes.clear();
            now.columns.pop();
        });
        assert!(both.unwrap_err().contains("several statements"));
    }

    #[test]
    fn what_cannot_be_declared_again_is_refused() {
        let mut must = before();
        must.columns[1].not_null = true;
        let after = Definition { columns: vec![column(1, "id", "integer")], ..must.clone() };
        let none = opposite(&TableName::new("public", "t"), &must, &after).unwrap_err();
        assert!(none.contains("its values are gone"), "{none}");
    }
}
