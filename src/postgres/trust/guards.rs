//! The two guards that the swap installs: against writers bound to the retired table's OID, and
//! against transactions whose snapshot is older than the swap. Their functions are in the schema of
//! osc's own (`own_schema`), where no other role can make or replace one.

use tokio_postgres::Client;

use super::own_schema::Function;
use crate::error::Result;
use crate::postgres::connection::errors::LOCK_NOT_AVAILABLE;
use crate::postgres::connection::errors::{server_error, sqlstate};
use crate::postgres::name::{Ident, TableName, Text};
use crate::testing::mutation::{self, Rule};

/// What both triggers fire on. `ENABLE ALWAYS` makes them fire for replicated writes too.
const EVENTS: &str = "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE";

/// Makes every write to the retired table fail with 40001, in the swap's transaction: whoever comes
/// there was bound to its OID. `own`: the schema of osc's own.
pub fn retired(own: &Ident, retired: &TableName) -> Vec<String> {
    if mutation::active(Rule::RetiredGuarded) {
        return Vec::new();
    }
    let (guard, function) = (Function::Retired.trigger(), Function::Retired.of(own));
    vec![
        format!(
            "CREATE TRIGGER {guard} {EVENTS} ON {retired} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        ),
        format!("ALTER TABLE {retired} ENABLE ALWAYS TRIGGER {guard}"),
    ]
}

/// Lets the retired table be written again.
pub fn release_retired(retired: &TableName) -> String {
    format!("DROP TRIGGER IF EXISTS {} ON {retired}", Function::Retired.trigger())
}

/// Lets anyone write the retired table, for tests of the tests.
pub(crate) fn disable_retired(retired: &TableName) -> String {
    format!("ALTER TABLE {retired} DISABLE TRIGGER {}", Function::Retired.trigger())
}

/// Makes writes to the new table fail with 40001 in REPEATABLE READ and SERIALIZABLE transactions
/// whose snapshot does not see the swap: to them, rows that were copied after the snapshot are not
/// there, and an UPDATE would change nothing without an error. To be run in the swap's transaction,
/// whose id becomes the trigger's argument. `own`: the schema of osc's own.
pub fn snapshot(own: &Ident, table: &TableName) -> Vec<String> {
    if mutation::active(Rule::SnapshotGuarded) {
        return Vec::new();
    }
    let (guard, function) = (Function::Snapshot.trigger(), Function::Snapshot.of(own));
    let create = format!(
        "CREATE TRIGGER {guard} {EVENTS} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}("
    );
    let install = format!(
        "BEGIN EXECUTE {} || pg_catalog.quote_literal(pg_catalog.pg_current_xact_id()::text) || ')'; \
         END",
        Text(&create)
    );
    vec![
        // A guard of an earlier swap is over or is covered by this one.
        format!("DROP TRIGGER IF EXISTS {guard} ON {table}"),
        format!("DO {}", Text(&install)),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}"),
    ]
}

/// Drops the snapshot guard of `table` when no session has a snapshot from before the swap.
/// `false`: it is still needed, or its lock was not granted within the session's `lock_timeout`.
/// Where there is none, that is `true`.
///
/// # Errors
/// Those of [`server_error`].
pub async fn drop_if_over(client: &Client, table: &TableName) -> Result<bool> {
    let failed = |error| server_error("dropping the snapshot guard", &error);
    let guard = Function::Snapshot.trigger();
    // Standbys report snapshots through their WAL senders, but they write nothing.
    let query = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity s \
         WHERE s.backend_type <> 'walsender' AND s.pid <> pg_catalog.pg_backend_pid() \
         AND pg_catalog.age(s.backend_xmin) >= pg_catalog.age(pg_catalog.substring(\
         pg_catalog.encode(t.tgargs, 'escape'), '^[0-9]+')::xid8::xid)) \
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgname = $1 AND n.nspname = $2 AND c.relname = $3";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&guard, &table.schema.as_str(), &table.table.as_str()];
    let found = client.query_opt(query, &parameters).await.map_err(failed)?;
    if let Some(row) = found {
        if !row.try_get::<_, bool>(0).map_err(failed)? {
            return Ok(false);
        }
        let drop = format!("DROP TRIGGER IF EXISTS {guard} ON {table}");
        match client.batch_execute(&drop).await {
            Err(error) if sqlstate(&error) == Some(LOCK_NOT_AVAILABLE) => return Ok(false),
            other => other.map_err(failed)?,
        }
    }
    Ok(true)
}
