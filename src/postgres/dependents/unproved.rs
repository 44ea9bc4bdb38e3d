//! Checks that old rows need not keep: NOT VALID ones, and from 18 on columns that are NOT NULL NOT
//! VALID. The server enforces them for every row that is written, and so would the copy.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::sql;
use crate::error::Result;
use crate::postgres::name::{Ident, TableName};

/// Such a check of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unproved {
    /// Its name.
    pub name: Ident,
    /// The column, where it is about NULL.
    pub not_null: Option<Ident>,
    /// `CHECK (…) NOT VALID` as the server writes it.
    pub definition: String,
}

/// The condition that the constraint `k` is one. What is not enforced (18 and later) is not valid
/// either, and stops no row.
pub const IS_UNPROVED: &str = "k.contype IN ('c', 'n') AND NOT k.convalidated \
     AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)";

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Unproved>> {
    let query = format!(
        "SELECT k.conname AS name, pg_catalog.pg_get_constraintdef(k.oid) AS definition, \
         CASE WHEN k.contype = 'n' THEN a.attname END AS not_null \
         FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] \
         WHERE k.conrelid = $1 AND {IS_UNPROVED} ORDER BY k.conname"
    );
    sql::rows(client, "checks that are not valid", &query, oid).await
}

/// Puts it on the empty shadow in the place of the valid one that LIKE has made, for the clauses to
/// find it.
pub(super) fn on_shadow(check: &Unproved, shadow: &TableName) -> Vec<String> {
    let name = &check.name;
    let nullable = check
        .not_null
        .as_ref()
        .map(|c| format!("ALTER TABLE {shadow} ALTER COLUMN {c} DROP NOT NULL"));
    let gone = format!("ALTER TABLE {shadow} DROP CONSTRAINT IF EXISTS {name}");
    nullable.into_iter().chain([gone, add(check, shadow)]).collect()
}

/// Puts it on a table, without a look at the rows.
pub(super) fn add(check: &Unproved, table: &TableName) -> String {
    format!("ALTER TABLE {table} ADD CONSTRAINT {} {}", check.name, check.definition)
}
