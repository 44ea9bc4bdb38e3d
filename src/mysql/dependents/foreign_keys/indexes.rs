//! The indexes that the server makes for foreign keys by itself.
//!
//! It takes them for its own, in a copy of the table too: as soon as another key is added on the
//! same columns it gives them up for an index of that key's name, which MySQL builds by reading the
//! whole table. One that has been renamed, to its own name even, is the table's owner's for good; no
//! row is read for that (seen on MySQL 9.7 and MariaDB 10.11).

use mysql_async::Conn;

use super::ForeignKey;
use crate::error::Result;
use crate::mysql::connection::texts::text_rows;
use crate::mysql::name::{Ident, TableName, Text};

/// Clauses that keep the indexes of `table` on exactly the columns of one of `keys` as they are,
/// whatever keys are added and dropped in the same statement.
pub(crate) async fn kept_indexes(
    conn: &mut Conn,
    table: &TableName,
    keys: &[&ForeignKey],
) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND INDEX_NAME <> 'PRIMARY' \
         ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        Text(table.schema.as_str()),
        Text(table.table.as_str())
    );
    let mut indexes: Vec<(Ident, Vec<Ident>)> = Vec::new();
    for [name, column] in text_rows(conn, "reading a table's indexes", &sql).await? {
        match indexes.last_mut() {
            Some((last, columns)) if last.as_str() == name => columns.push(Ident::new(column)),
            _ => indexes.push((Ident::new(name), vec![Ident::new(column)])),
        }
    }
    let serves = |columns: &[Ident]| {
        keys.iter().any(|key| {
            key.columns.len() == columns.len()
                && key.columns.iter().zip(columns).all(|(one, other)| one.same(other))
        })
    };
    Ok(indexes
        .into_iter()
        .filter(|(_, columns)| serves(columns))
        .map(|(name, _)| format!("RENAME INDEX {name} TO {name}"))
        .collect())
}
