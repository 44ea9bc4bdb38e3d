//! Running the server's own roads: short locks are asked for again and again and never waited for
//! behind an old transaction; long steps are cancelled when the run is to stop.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::engine::run::jittered;
use crate::engine::{Error, Result};
use crate::postgres::blockers;
use crate::postgres::connect::{Options, connect, server_error, sqlstate};
use crate::postgres::name::{TableName, Text};
use crate::postgres::roads::{Look, Road, Step};
use crate::postgres::session::{run as execute, value};
use crate::postgres::shadow::oid_of;

/// How it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NativeDone {
    /// Attempts at the locks, in all.
    pub attempts: u32,
    /// Things to know.
    pub warnings: Vec<String>,
}

const ACTION: &str = "changing the table";

/// Takes a road that is the server's own. `say` is told of each attempt that did not come through.
///
/// # Errors
/// `Data` where rows do not allow the change; `Stopped` when the lock is not to be had or the run is
/// to stop; the server's.
pub async fn run(
    options: &Options,
    original: &TableName,
    road: &Road,
    attempts: u32,
    budget: Duration,
    stop: &CancellationToken,
    say: &(dyn Fn(u32, String) + Sync),
) -> Result<NativeDone> {
    let client = connect(options, ACTION).await?;
    execute(
        &client,
        ACTION,
        "SET client_min_messages = error; SET statement_timeout = 0; \
         SET idle_in_transaction_session_timeout = 0",
    )
    .await?;
    let steps = match road {
        Road::Direct(statements) => statements.iter().cloned().map(Step::short).collect(),
        Road::Steps(steps) => steps.clone(),
        Road::Copy => return Err(Error::Internal("a copy is no road of the server's".into())),
    };
    let cancel = client.cancel_token();
    let mut done = NativeDone::default();
    let work = async {
        for step in &steps {
            if is_done(&client, step).await? {
                continue;
            }
            let outcome = if step.short {
                short(&client, original, step, attempts, budget, say).await
            } else {
                done.attempts += 1;
                long(&client, step).await.map(|()| 1)
            };
            match outcome {
                Ok(tried) => done.attempts = done.attempts.max(tried),
                Err(error) => {
                    if let (Some(undo), false) = (&step.undo, error.is_connection()) {
                        execute(&client, "taking the half-done step back", undo).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        outcome = work => outcome?,
        () = stop.cancelled() => {
            let _ = cancel.cancel_query(NoTls).await;
            return Err(Error::Stopped {
                reason: "asked to stop".into(),
                help: "the same command goes on with the step that was under way".into(),
            });
        }
    }
    Ok(done)
}

async fn is_done(client: &Client, step: &Step) -> Result<bool> {
    match &step.done {
        None => Ok(false),
        Some(Look::Query(sql)) => Ok(value(client, ACTION, sql).await?.as_deref() == Some("t")),
        Some(Look::Index(index)) => {
            let sql = format!(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({})",
                Text(&index.to_string())
            );
            match value(client, ACTION, &sql).await?.as_deref() {
                Some("t") => Ok(true),
                None => Ok(false),
                Some(_) => {
                    // What an earlier build left.
                    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
                    execute(client, "dropping an invalid index", &drop).await?;
                    Ok(false)
                }
            }
        }
    }
}

async fn long(client: &Client, step: &Step) -> Result<()> {
    execute(client, ACTION, "SET lock_timeout = 0").await?;
    client.batch_execute(&step.sql).await.map_err(|error| told(&error))
}

/// How a failed statement is told: rows that are in the way are the user's to mend.
fn told(error: &tokio_postgres::Error) -> Error {
    match (sqlstate(error), error.as_db_error()) {
        (Some(code), Some(db)) if code.starts_with("23") => Error::Data {
            reason: db.message().to_owned(),
            rows: db.detail().map(str::to_owned).into_iter().collect(),
        },
        _ => server_error(ACTION, error),
    }
}

/// Returns the attempt that came through.
async fn short(
    client: &Client,
    original: &TableName,
    step: &Step,
    attempts: u32,
    budget: Duration,
    say: &(dyn Fn(u32, String) + Sync),
) -> Result<u32> {
    let mut pause = Duration::from_millis(100);
    for attempt in 1..=attempts {
        let Some(reason) = attempt_once(client, original, step, budget).await? else {
            return Ok(attempt);
        };
        say(attempt, reason);
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    Err(Error::Stopped {
        reason: format!("the lock was not to be had in {attempts} attempts"),
        help: "look for long transactions on the table, then run the same command again".into(),
    })
}

/// `Some`: not yet, for this reason.
async fn attempt_once(
    client: &Client,
    original: &TableName,
    step: &Step,
    budget: Duration,
) -> Result<Option<String>> {
    let oids: Vec<u32> = oid_of(client, original).await?.into_iter().collect();
    let found = blockers::look(client, &oids, budget, None).await?;
    if let Some(first) = found.old.first() {
        return Ok(Some(format!("in the way: {first}")));
    }
    // An autovacuum gives way only to who waits longer than the server's deadlock_timeout.
    let budget = if found.autovacuum { Duration::from_millis(1500) } else { budget };
    let timeout = format!("SET lock_timeout = {}", budget.as_millis());
    execute(client, ACTION, &timeout).await?;
    match client.batch_execute(&step.sql).await {
        Ok(()) => Ok(None),
        Err(error) if matches!(sqlstate(&error), Some("55P03" | "40P01")) => {
            Ok(Some(format!("the lock was not granted within {} ms", budget.as_millis())))
        }
        Err(error) => Err(told(&error)),
    }
}
