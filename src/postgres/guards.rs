//! The two guards that the swap installs: against writers bound to the retired table's OID, and
//! against transactions whose snapshot is older than the swap.

use tokio_postgres::Client;

use super::connect::{server_error, sqlstate};
use super::name::{TableName, Text};
use crate::broken::{self, Rule};
use crate::engine::error::Result;

/// Names of the guards' triggers. Names that begin with `osc_` are osc's own everywhere.
const RETIRED: &str = "osc_guard";
const SNAPSHOT: &str = "osc_snapshot";

/// SQLSTATE of a lock that was not granted in time.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What both triggers fire on. `ENABLE ALWAYS` makes them fire for replicated writes too.
const EVENTS: &str = "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE";

fn retired_function(retired: &TableName) -> TableName {
    retired.sibling(retired.table.with_suffix("_guard"))
}

fn snapshot_function(table: &TableName) -> TableName {
    table.sibling(table.table.with_suffix("_osc_snapshot"))
}

fn function(name: &TableName, body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS {}",
        Text(body)
    )
}

fn serialization_failure(message: &str) -> String {
    format!(
        "RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = {}, HINT = 'Retry the transaction.';",
        Text(message)
    )
}

/// Makes every write to the retired table fail with 40001, in the swap's transaction: whoever comes
/// there was bound to its OID.
pub fn retired(retired: &TableName) -> Vec<String> {
    if broken::is(Rule::RetiredGuarded) {
        return Vec::new();
    }
    let name = retired_function(retired);
    let message =
        format!("the table was replaced; {} keeps its rows as they were", retired.plain());
    let body = format!("BEGIN {} END", serialization_failure(&message));
    vec![
        function(&name, &body),
        format!(
            "CREATE TRIGGER {RETIRED} {EVENTS} ON {retired} \
             FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        ),
        format!("ALTER TABLE {retired} ENABLE ALWAYS TRIGGER {RETIRED}"),
    ]
}

/// Lets the retired table be written again.
pub fn release_retired(retired: &TableName) -> Vec<String> {
    vec![format!("DROP TRIGGER IF EXISTS {RETIRED} ON {retired}"), forget_retired(retired)]
}

/// Drops what the guard of a retired table leaves when that is dropped: its function.
pub fn forget_retired(retired: &TableName) -> String {
    format!("DROP FUNCTION IF EXISTS {}()", retired_function(retired))
}

/// Makes writes to the new table fail with 40001 in REPEATABLE READ and SERIALIZABLE transactions
/// whose snapshot does not see the swap: to them, rows that were copied after the snapshot are not
/// there, and an UPDATE would change nothing without an error. To be run in the swap's transaction,
/// whose id becomes the trigger's argument.
pub fn snapshot(table: &TableName) -> Vec<String> {
    if broken::is(Rule::SnapshotGuarded) {
        return Vec::new();
    }
    let name = snapshot_function(table);
    let message = format!("{} was replaced after this transaction's snapshot", table.plain());
    let body = format!(
        "BEGIN IF pg_catalog.current_setting('transaction_isolation') \
         IN ('repeatable read', 'serializable') AND NOT pg_catalog.pg_visible_in_snapshot(\
         TG_ARGV[0]::pg_catalog.xid8, pg_catalog.pg_current_snapshot()) THEN {} END IF; \
         RETURN NULL; END",
        serialization_failure(&message)
    );
    let create = format!(
        "CREATE TRIGGER {SNAPSHOT} {EVENTS} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}("
    );
    let install = format!(
        "BEGIN EXECUTE {} || pg_catalog.quote_literal(pg_catalog.pg_current_xact_id()::text) || ')'; \
         END",
        Text(&create)
    );
    vec![
        function(&name, &body),
        // A guard of an earlier swap is over or is covered by this one.
        format!("DROP TRIGGER IF EXISTS {SNAPSHOT} ON {table}"),
        format!("DO {}", Text(&install)),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {SNAPSHOT}"),
    ]
}

/// Drops the snapshot guard of `table` when no session has a snapshot from before the swap.
/// `false`: it is still needed, or its lock was not to be had within the session's `lock_timeout`.
/// Where there is none, that is `true`.
///
/// # Errors
/// Those of [`server_error`].
pub async fn drop_if_over(client: &Client, table: &TableName) -> Result<bool> {
    let failed = |error| server_error("dropping the snapshot guard", &error);
    // Standbys report snapshots through their WAL senders, but they write nothing.
    let query = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity s \
         WHERE s.backend_type <> 'walsender' AND s.pid <> pg_catalog.pg_backend_pid() \
         AND pg_catalog.age(s.backend_xmin) >= pg_catalog.age(pg_catalog.substring(\
         pg_catalog.encode(t.tgargs, 'escape'), '^[0-9]+')::xid8::xid)) \
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgname = $1 AND n.nspname = $2 AND c.relname = $3";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&SNAPSHOT, &table.schema.as_str(), &table.table.as_str()];
    let found = client.query_opt(query, &parameters).await.map_err(failed)?;
    if let Some(row) = found {
        if !row.try_get::<_, bool>(0).map_err(failed)? {
            return Ok(false);
        }
        let drop = format!("DROP TRIGGER IF EXISTS {SNAPSHOT} ON {table}");
        match client.batch_execute(&drop).await {
            Err(error) if sqlstate(&error) == Some(LOCK_NOT_AVAILABLE) => return Ok(false),
            other => other.map_err(failed)?,
        }
    }
    let drop = format!("DROP FUNCTION IF EXISTS {}()", snapshot_function(table));
    client.batch_execute(&drop).await.map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_have_names_of_their_own_for_each_table() {
        let (a, b) = (TableName::new("s", "a_osc_old"), TableName::new("s", "b_osc_old"));
        assert!(retired(&a)[0].contains("\"s\".\"a_osc_old_guard\""));
        assert_ne!(retired(&a)[0], retired(&b)[0]);
        assert_ne!(snapshot(&a)[0], snapshot(&b)[0]);
    }
}
