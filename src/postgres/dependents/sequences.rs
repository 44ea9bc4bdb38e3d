//! Sequences of the table's columns: `serial` ones, which the new table shares, and those of
//! identity columns, of which it has its own.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Names;
use super::grants::{self, Grant, On};
use super::sql;
use crate::engine::error::Result;
use crate::postgres::fate::Fate;
use crate::postgres::name::{Ident, TableName, Text};

/// A sequence that belongs to a column of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    /// Its name.
    pub name: TableName,
    /// Its column.
    pub column: Ident,
    /// Whether the column is an identity column; else the sequence is merely owned by it.
    pub identity: bool,
    /// Type of its values, such as `integer`.
    pub data_type: String,
    /// Rights on it.
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Sequence>> {
    let (name, grants) = (sql::table_name("c", "n"), grants::of("c", On::Sequence));
    let query = format!(
        "SELECT {name} AS name, a.attname AS \"column\", d.deptype = 'i' AS identity, \
         pg_catalog.format_type(s.seqtypid, NULL) AS data_type, {grants} AS grants, \
         pg_catalog.obj_description(c.oid, 'pg_class') AS comment \
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid \
         JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0 \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1 \
         AND d.deptype IN ('a', 'i') ORDER BY a.attnum, c.relname"
    );
    sql::rows(client, "sequences", &query, oid).await
}

fn of_column(table: &TableName, column: &Ident) -> String {
    let table = table.to_string();
    format!("pg_catalog.pg_get_serial_sequence({}, {})", Text(&table), Text(column.as_str()))
}

/// Carries an identity sequence's place over, before the renames: nothing draws from it, since the
/// original is locked. Where the column is no identity column any more, there is nothing to carry.
pub(super) fn before(sequence: &Sequence, names: &Names, fate: &Fate) -> Option<String> {
    let column = fate.of(&sequence.column).filter(|_| sequence.identity)?;
    Some(format!(
        "SELECT pg_catalog.setval({}::regclass, s.last_value, s.is_called) FROM {} s",
        of_column(&names.shadow, column),
        sequence.name
    ))
}

/// Gives the sequence to the new table, or the new sequence its rights and comment, after the
/// renames. A sequence whose column is dropped stays with the retired table.
pub(super) fn after(sequence: &Sequence, names: &Names, fate: &Fate) -> Vec<String> {
    let (Some(column), name) = (fate.of(&sequence.column), &sequence.name) else {
        return Vec::new();
    };
    if !sequence.identity {
        return vec![format!("ALTER SEQUENCE {name} OWNED BY {}.{column}", names.original)];
    }
    let mut statements = vec![grants::clear(On::Sequence, name)];
    statements.extend(grants::give(&sequence.grants, On::Sequence, name, Some));
    statements.extend(sql::comment(&format!("SEQUENCE {name}"), sequence.comment.as_ref()));
    let text = name.to_string();
    let there = format!(
        "{}::regclass = pg_catalog.to_regclass({})",
        of_column(&names.original, column),
        Text(&text)
    );
    statements.iter().map(|statement| sql::when(&there, statement)).collect()
}

/// A sequence that is left narrower than its column becomes.
pub(super) fn note(sequence: &Sequence, fate: &Fate) -> Option<String> {
    let narrow = !sequence.identity
        && sequence.data_type != "bigint"
        && fate.retyped.contains(&sequence.column);
    narrow.then(|| {
        format!(
            "the sequence {} stays of type {}: ALTER SEQUENCE … AS bigint widens it",
            sequence.name.plain(),
            sequence.data_type
        )
    })
}
