//! Indexes, built and dropped concurrently.

use tokio_postgres::Client;

use super::build_index::{ACTION, build, refused, valid};
use super::facts::Facts;
use super::step::{Look, Step};
use super::{naming, partitions, probe};
use crate::error::Result;
use crate::postgres::clauses::CreateIndex;
use crate::postgres::connection::session::{rows, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{Ident, TableName, Text};

/// What a `CREATE INDEX` needs: its steps, none when the index is there; and its name.
///
/// # Errors
/// `Refused` when the name is another index's, or another session is building this one.
pub(crate) async fn create(
    client: &Client,
    role: &RoleSettings,
    create: &CreateIndex,
    table: &TableName,
    facts: &Facts,
) -> Result<(Vec<Step>, Ident)> {
    let unique = if create.unique { "UNIQUE " } else { "" };
    // Under osc's path the build finds what the user's words found under his.
    let definition =
        &probe::told_definition(client, role, table, unique, &create.definition).await?;
    let name = match &create.name {
        Some(name) => name.clone(),
        None => naming::index(client, table, unique, definition).await?,
    };
    if facts.partitioned && !create.only {
        return Ok((
            partitions::steps(client, role, table, unique, &name, definition).await?,
            name,
        ));
    }
    if create.if_not_exists && valid(client, table, &name).await? {
        return Ok((Vec::new(), name));
    }
    if create.only && facts.partitioned {
        let sql = format!("CREATE {unique}INDEX {name} ON ONLY {table} {definition}");
        return Ok((vec![Step::short(sql)], name));
    }
    Ok((vec![build(client, role, table, unique, &name, definition).await?], name))
}

/// The table of an index; `None`: there is no such index.
///
/// # Errors
/// The server's.
pub async fn table_of(
    client: &Client,
    role: &RoleSettings,
    schema: Option<&str>,
    index: &str,
) -> Result<Option<TableName>> {
    let named = match schema {
        Some(schema) => TableName::new(schema, index).to_string(),
        None => Ident::new(index).to_string(),
    };
    let sql = format!("SELECT pg_catalog.to_regclass({})::pg_catalog.oid", Text(&named));
    let oid = value(client, ACTION, &role.in_words(&sql)).await?;
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indexrelid = {}",
        oid.as_deref().unwrap_or("NULL")
    );
    let found = rows(client, ACTION, &sql).await?;
    let name = found.first().and_then(|row| Some((row.get(0)?, row.get(1)?)));
    Ok(name.map(|(schema, table)| TableName::new(schema, table)))
}

/// `DROP INDEX`, concurrently.
///
/// # Errors
/// `Refused` for an index of another table, for one that backs a constraint, and for one of a
/// partitioned table.
pub(crate) async fn drop(
    client: &Client,
    indexes: &[(Option<String>, String)],
    if_exists: bool,
    table: &TableName,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (schema, name) in indexes {
        let schema = schema.as_deref().unwrap_or(table.schema.as_str());
        let index = TableName::new(schema, name.clone());
        let sql = format!(
            "SELECT i.indrelid = {}::regclass, EXISTS (SELECT FROM pg_constraint k \
             WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid), c.relkind = 'I' \
             OR c.relispartition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indexrelid = to_regclass({})",
            Text(&table.to_string()),
            Text(&index.to_string())
        );
        let found = rows(client, ACTION, &sql).await?;
        let refuse =
            |problem: &str, help: &str| Err(refused(format!("{} {problem}", index.plain()), help));
        match found.first() {
            None if if_exists => continue,
            None => return refuse("is not an index", "check the name"),
            Some(row) if row.get(0) != Some("t") => {
                return refuse(
                    &format!("is not an index of {}", table.plain()),
                    "name the table that it belongs to",
                );
            }
            Some(row) if row.get(1) == Some("t") => {
                return refuse("backs a constraint", "ALTER TABLE … DROP CONSTRAINT it");
            }
            Some(row) if row.get(2) == Some("t") => {
                return refuse(
                    "is one of a partitioned table's, which the server drops under a lock only",
                    "DROP INDEX it yourself, with a short lock_timeout",
                );
            }
            Some(_) => {}
        }
        let gone = format!("SELECT to_regclass({}) IS NULL", Text(&index.to_string()));
        let step = Step::long(format!("DROP INDEX CONCURRENTLY IF EXISTS {index}"));
        steps.push(step.unless(Look::Query(gone)));
    }
    Ok(steps)
}
