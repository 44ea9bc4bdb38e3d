//! Building one index.

use tokio_postgres::Client;

use super::probe;
use super::step::{Look, Step, Undo};
use crate::error::{Error, Finding, Result};
use crate::postgres::connection::session::{rows, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{Ident, TableName, Text};

pub(super) const ACTION: &str = "looking for the index";

/// The refusal of an index.
pub(super) fn refused(problem: impl Into<String>, help: &str) -> Error {
    Error::Refused(vec![Finding::new("index", problem, help)])
}

/// Whether the table has an index of this name, done or half-done.
pub(crate) async fn is_there(client: &Client, table: &TableName, name: &Ident) -> Result<bool> {
    let sql = format!(
        "SELECT to_regclass({}) IS NOT NULL",
        Text(&table.sibling(name.clone()).to_string())
    );
    Ok(value(client, ACTION, &sql).await?.as_deref() == Some("t"))
}

pub(crate) async fn valid(client: &Client, table: &TableName, name: &Ident) -> Result<bool> {
    let sql = format!(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({})",
        Text(&table.sibling(name.clone()).to_string())
    );
    let found = rows(client, ACTION, &sql).await?;
    Ok(found.first().is_some_and(|row| row.get(0) == Some("t")))
}

/// The step that builds one index. An index of that name is taken for its work, done or half-done,
/// if it is defined just so.
///
/// # Errors
/// `Refused` as [`create`](super::indexes::create).
pub(crate) async fn build(
    client: &Client,
    role: &RoleSettings,
    table: &TableName,
    unique: &str,
    name: &Ident,
    definition: &str,
) -> Result<Step> {
    let index = table.sibling(name.clone());
    let sql = format!(
        "SELECT i.indrelid = {}::regclass, pg_get_indexdef(i.indexrelid), \
         (SELECT string_agg(p.pid::text, ', ') FROM pg_stat_progress_create_index p \
          WHERE p.index_relid = i.indexrelid OR (p.relid = i.indrelid AND NOT i.indisvalid)), \
         i.indisunique \
         FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE c.oid = to_regclass({})",
        Text(&table.to_string()),
        Text(&index.to_string())
    );
    if let Some(row) = rows(client, ACTION, &sql).await?.first() {
        if row.get(0) != Some("t") {
            return Err(refused(
                format!("{} is the name of something else already", index.plain()),
                "give the index another name",
            ));
        }
        if let Some(pid) = row.get(2) {
            return Err(refused(
                format!("session {pid} is building an index on {} now", table.plain()),
                "wait for it, or end it",
            ));
        }
        let wanted = probe::index_definition(client, role, table, unique, definition).await?;
        let there = row.get(1).unwrap_or_default();
        let same_kind = (row.get(3) == Some("t")) != unique.is_empty();
        if !same_kind || Some(probe::tail(there)) != wanted.as_deref() {
            return Err(refused(
                format!("there is another index of this name: {there}"),
                "give the new one another name, or drop that one",
            ));
        }
    }
    Ok(build_new(table, unique, name, definition))
}

/// The step that builds one index.
pub(crate) fn build_new(table: &TableName, unique: &str, name: &Ident, definition: &str) -> Step {
    let index = table.sibling(name.clone());
    let sql = format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {definition}");
    let undo = Undo::index(&index);
    Step::long(sql.trim()).unless(Look::Index(index)).or(undo)
}
