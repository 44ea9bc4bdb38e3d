//! The shadow that an earlier attempt or run left: waiting for its last transactions, and dropping it.

use tokio_postgres::Client;

use crate::error::{Error, Finding, Result};
use crate::postgres::catalog::table::oid_of;
use crate::postgres::connection::errors::{NOT_AS_MADE, UNDEFINED_TABLE, server_error, sqlstate};
use crate::postgres::connection::session::run;
use crate::postgres::name::{TableName, Text};
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::record::{Whose, whose};
use crate::postgres::trust::own_schema::Function;

/// Waits until transactions that an unfinished run left on its shadow, the table `oid`, are gone. One of them may
/// be its swap.
///
/// # Errors
/// The server's.
pub(crate) async fn wait_for_the_dead(client: &Client, shadow: &TableName, oid: u32) -> Result<()> {
    if oid_of(client, shadow).await? != Some(oid) {
        return Ok(());
    }
    let action = "waiting for sessions of the unfinished run";
    let sql = format!("BEGIN; LOCK TABLE {shadow} IN ACCESS EXCLUSIVE MODE; COMMIT");
    match client.batch_execute(&sql).await {
        Err(error) if sqlstate(&error) == Some(UNDEFINED_TABLE) => {
            run(client, action, "ROLLBACK").await
        }
        outcome => outcome.map_err(|error| server_error(action, &error)),
    }
}

/// Drops the shadow, if it is there and osc made it; never what hangs on it.
///
/// # Errors
/// `Refused` where a table of this name is another user's; the server's.
pub(crate) async fn drop_shadow(
    client: &Client,
    ledger: &Ledger,
    shadow: &TableName,
) -> Result<()> {
    match whose(client, ledger, shadow, Function::Shadow).await? {
        None => Ok(()),
        Some(Whose::Ours(oid)) => run(client, "dropping the shadow", &drop_of(shadow, oid)).await,
        Some(Whose::Others) => Err(Error::Refused(vec![not_ours(shadow)])),
    }
}

/// The statement that drops the table `oid`, which was called `table` when it was looked at: never another
/// one that bears the name by now.
pub(crate) fn drop_of(table: &TableName, oid: u32) -> String {
    let body = format!(
        "BEGIN LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE; IF {}::regclass <> {oid} THEN \
         RAISE EXCEPTION USING ERRCODE = '{NOT_AS_MADE}', MESSAGE = {}; END IF; DROP TABLE {table}; END",
        Text(&table.to_string()),
        Text(&format!("another session put a table of its own in the place of {}", table.plain()))
    );
    format!("DO {}", Text(&body))
}

/// The refusal of a name that another user's table has.
pub(crate) fn not_ours(table: &TableName) -> Finding {
    Finding::new(
        "leftovers",
        format!("{} exists, and no run of osc made it", table.plain()),
        "rename it, or drop it if it is not needed",
    )
}
