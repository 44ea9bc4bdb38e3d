//! Names that the server would avoid. It names indexes, sequences and constraints that were given no
//! name after their table, and counts on where a name is taken in the table's schema. osc applies
//! clauses in another schema: there, placeholders stand for what is in the table's.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::connection::session::{rows, run};
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "reserving names";

/// The table whose checks have the names of other tables' constraints.
const CONSTRAINTS: &str = "osc names";

/// What was reserved in a schema.
#[derive(Debug, Default)]
pub(crate) struct Reserved(Vec<TableName>);

/// Reserves in `schema` the names of the original's schema that the server could come to, those apart
/// that the original's own indexes and sequences have. To be run in a transaction.
///
/// # Errors
/// The server's.
pub(crate) async fn reserve(
    client: &Client,
    original: &TableName,
    schema: &Ident,
) -> Result<Reserved> {
    let (oid, table) = (Text(&original.to_string()).to_string(), Text(original.table.as_str()));
    // A generated name begins with the table's, which is cut where both its parts are long: to 25
    // bytes at least.
    let like = format!(
        "CASE WHEN octet_length({table}) <= 20 THEN {table} || '_' \
         WHEN octet_length({table}) = length({table}) THEN left({table}, 20) ELSE left({table}, 5) END"
    );
    // A sequence that is only owned by a column stays, and so does its name.
    let sql = format!(
        "SELECT DISTINCT c.relname FROM pg_class c WHERE c.relnamespace = (SELECT relnamespace \
         FROM pg_class WHERE oid = {oid}::regclass) AND starts_with(c.relname::text, {like}) \
         AND c.relname !~ '_osc_(new|old|old_[0-9]+)$' \
         AND c.oid <> {oid}::regclass \
         AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = {oid}::regclass \
         AND i.indexrelid = c.oid) AND NOT EXISTS (SELECT FROM pg_depend d \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i' \
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {oid}::regclass)"
    );
    let mut reserved = Reserved::default();
    let mut statements = Vec::new();
    for row in rows(client, ACTION, &sql).await? {
        let Some(name) = row.get(0) else { continue };
        let name = TableName { schema: schema.clone(), table: Ident::new(name) };
        // A composite type takes a relation's name, and no file.
        statements.push(format!("CREATE TYPE {name} AS ()"));
        reserved.0.push(name);
    }
    // The copy has no foreign keys.
    let sql = format!(
        "SELECT DISTINCT k.conname FROM pg_constraint k WHERE k.connamespace = (SELECT relnamespace \
         FROM pg_class WHERE oid = {oid}::regclass) AND starts_with(k.conname::text, {like}) \
         AND (k.conrelid <> {oid}::regclass OR k.contype = 'f')"
    );
    let names = rows(client, ACTION, &sql).await?;
    let checks: Vec<String> = names
        .iter()
        .filter_map(|row| row.get(0))
        .map(|name| format!("CONSTRAINT {} CHECK (true)", Ident::new(name)))
        .collect();
    if !checks.is_empty() {
        let name = TableName { schema: schema.clone(), table: Ident::new(CONSTRAINTS) };
        statements.push(format!("CREATE TABLE {name} ({})", checks.join(", ")));
    }
    if !statements.is_empty() {
        run(client, ACTION, &statements.join("; ")).await?;
    }
    Ok(reserved)
}

impl Reserved {
    /// Drops the placeholders.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn release(self, client: &Client, schema: &Ident) -> Result<()> {
        let name = TableName { schema: schema.clone(), table: Ident::new(CONSTRAINTS) };
        let mut statements = vec![format!("DROP TABLE IF EXISTS {name}")];
        statements.extend(self.0.iter().map(|name| format!("DROP TYPE {name}")));
        run(client, ACTION, &statements.join("; ")).await
    }
}
