//! The swap rehearsed on the empty shadow: what the server will refuse of it, such as a foreign key
//! whose column gets another type, is known before a copy of hours and not after it.
//!
//! It takes the swap's locks for the time of some DDL, and everything is rolled back. Where nothing
//! hangs on the table there is nothing that could fail, and no lock is taken.

use std::time::Duration;

use crate::engine::backoff::jittered;
use crate::engine::blocker::blocked_by;
use crate::error::{Error, Finding, Result};
use crate::postgres::blockers;
use crate::postgres::connection::errors::{DEADLOCK, LOCK_NOT_AVAILABLE, server_error, sqlstate};
use crate::postgres::connection::session::run;
use crate::postgres::copy::index_ddl::index_with_constraint;
use crate::postgres::name::NEW;
use crate::postgres::run::PostgresTable;
use crate::postgres::swap;

/// Attempts at the locks. Without them the swap itself has to show it.
const ATTEMPTS: u32 = 5;

/// How long a rehearsal may hold its locks.
const ALLOWED: Duration = Duration::from_secs(2);

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(300);

const ACTION: &str = "rehearsing the swap";

/// Rehearses the swap, if its locks are granted.
///
/// # Errors
/// `Refused` with the server's words where a statement of the swap fails; those of the connection.
pub(crate) async fn rehearse(table: &PostgresTable) -> Result<()> {
    if table.carried()?.dependents.is_bare() && !table.setting.change.adds_foreign_keys() {
        return Ok(());
    }
    for attempt in 1..=ATTEMPTS {
        match once(table).await? {
            None => return Ok(()),
            Some(reason) => tracing::info!(attempt, reason, "the swap is not rehearsed yet"),
        }
        tokio::time::sleep(jittered(PAUSE)).await;
    }
    tracing::warn!("skipped the cut-over dry run: the tables could not be locked");
    Ok(())
}

/// `Some`: not yet, for this reason.
async fn once(table: &PostgresTable) -> Result<Option<String>> {
    let watcher = table.sessions.plain(ACTION).await?;
    let oids = [table.setting.original.oid];
    let found = blockers::look(&watcher, &oids, swap::LOCK_BUDGET, None).await?;
    if let Some(reason) = blocked_by(&found.old) {
        return Ok(Some(reason));
    }
    // Its transaction ends with it, whatever happens.
    let client = table.sessions.own(ACTION).await?;
    let begin = format!(
        "BEGIN; {}SET LOCAL lock_timeout = {}",
        swap::deadlines(ALLOWED, table.setting.version),
        swap::LOCK_BUDGET.as_millis()
    );
    run(&client, ACTION, &begin).await?;
    let shadow = &table.helpers().shadow;
    for index in &table.carried()?.made.deferred {
        let sql = index_with_constraint(index, &index.name.with_suffix(NEW), shadow);
        run(&client, ACTION, &sql).await?;
    }
    if let Some(reason) = swap::lock(table, &client, swap::LOCK_BUDGET).await? {
        return Ok(Some(reason));
    }
    swap::look(table, &client).await?;
    if let Err(error) = client.batch_execute(&swap::statements(table)?.join(";\n")).await {
        return match sqlstate(&error) {
            Some(LOCK_NOT_AVAILABLE | DEADLOCK) => Ok(Some("a lock was not granted".into())),
            Some(_) => Err(refused(&error)),
            None => Err(server_error(ACTION, &error)),
        };
    }
    run(&client, ACTION, "ROLLBACK").await?;
    Ok(None)
}

fn refused(error: &tokio_postgres::Error) -> Error {
    let message = server_error(ACTION, error).to_string();
    Error::Refused(vec![Finding::new(
        "swap",
        format!("with these clauses the swap would fail: {message}"),
        "change the table's dependents in the same way first, or drop them and create them again later",
    )])
}
