//! The methods that the server goes by itself: INSTANT, and INPLACE where it touches no rows.
//!
//! Even these need the table's exclusive metadata lock briefly. A statement that waits for it
//! holds up everybody behind it, so the wait is cut short and tried again later.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;

use super::choose::is_refusal;
use crate::engine::backoff::Backoff;
use crate::error::{Error, Result, end_transactions};
use crate::mysql::blockers;
use crate::mysql::connection::connect::connect;
use crate::mysql::connection::errors::{connection_error, is_given_up};
use crate::mysql::connection::process_list::process;
use crate::mysql::connection::version::Flavor;
use crate::mysql::connection::{session, single};
use crate::mysql::name::TableName;

/// How long the statement may wait for the metadata lock.
const LOCK_BUDGET: Duration = Duration::from_millis(150);

/// How a native attempt ended.
#[derive(Debug)]
pub enum Native {
    /// Done.
    Done {
        /// Attempts needed.
        attempts: u32,
    },
    /// The server cannot go this method; the reason.
    Refused(String),
}

/// The statement, and what its session sets before: the clauses mean what they mean to a plain session.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The ALTER TABLE.
    pub text: &'a str,
    /// Of [`Role::for_clauses`](crate::mysql::connection::settings::Role::for_clauses).
    pub setup: &'a [String],
}

/// Runs `statement`, again and again while the lock is not granted, and each time only once
/// `permitted` returns. After `stop` the statement is no longer under way; what it had done is taken
/// back by the server.
pub async fn run(
    opts: &mysql_async::Opts,
    statement: Statement<'_>,
    (table, flavor): (&TableName, Flavor),
    attempts: u32,
    stop: &CancellationToken,
    mut permitted: impl AsyncFnMut() -> Result<()>,
    mut report: impl FnMut(u32, String),
) -> Result<Native> {
    let action = "changing the table";
    let mut backoff = Backoff::for_table_lock();
    for attempt in 1..=attempts {
        permitted().await?;
        let mut watcher = connect(opts, action).await?;
        let mut conn = connect(opts, action).await?;
        // The server's own end of a wait that a frozen osc cannot take back.
        let setup = statement.setup.iter().map(String::as_str);
        for sql in setup.chain(["SET SESSION lock_wait_timeout = 1"]) {
            session::run(&mut conn, action, sql).await?;
        }
        let id = conn.id();
        let outcome = {
            let running = single::run(&mut conn, statement.text);
            tokio::pin!(running);
            tokio::select! {
                outcome = &mut running => outcome,
                watched = give_up_waiting(&mut watcher, flavor, id) => {
                    watched?;
                    running.await
                }
                () = stop.cancelled() => {
                    // A server continues a statement whose client has left. The watcher was cut off in
                    // the middle of a question.
                    let mut killer = connect(opts, "stopping the change").await?;
                    command(&mut killer, &format!("KILL {id}")).await?;
                    match running.await {
                        // It had come through.
                        Ok(()) => Ok(()),
                        Err(_) => {
                            wait_for_the_end(&mut killer, flavor, id).await?;
                            return Err(asked_to_stop());
                        }
                    }
                }
            }
        };
        match outcome {
            Ok(()) => return Ok(Native::Done { attempts: attempt }),
            // A lock wait, or our own KILL QUERY.
            Err(mysql_async::Error::Server(error)) if is_given_up(error.code) => {
                let who = blockers::of(&mut watcher, table, flavor).await?;
                report(attempt, format!("could not lock the table within the lock timeout{who}"));
                tokio::select! {
                    () = backoff.wait() => {}
                    () = stop.cancelled() => return Err(asked_to_stop()),
                }
            }
            Err(mysql_async::Error::Server(error)) if is_refusal(error.code) => {
                return Ok(Native::Refused(error.message));
            }
            Err(error) => return Err(connection_error(action, error)),
        }
    }
    Err(Error::Stopped {
        reason: format!("could not get the table lock in {attempts} attempts"),
        help: end_transactions("the table"),
    })
}

fn asked_to_stop() -> Error {
    Error::stopped("on request; the server has undone what it had begun")
}

/// Runs a statement about the session that is at work; where that has ended in the meantime, it
/// has nothing left to do (1094).
async fn command(watcher: &mut Conn, sql: &str) -> Result<()> {
    match watcher.query_drop(sql).await {
        Err(mysql_async::Error::Server(error)) if error.code == 1094 => Ok(()),
        outcome => outcome.map_err(|error| connection_error("stopping the change", error)),
    }
}

/// Waits until the killed session is gone, and its locks and half-built indexes with it.
async fn wait_for_the_end(watcher: &mut Conn, flavor: Flavor, id: u32) -> Result<()> {
    while process(watcher, flavor, id, "stopping the change").await?.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Takes the statement back once it has waited for the lock too long; returns only then.
async fn give_up_waiting(watcher: &mut Conn, flavor: Flavor, id: u32) -> Result<()> {
    let action = "watching the change";
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let state = process(watcher, flavor, id, action).await?.map(|process| process.state);
        let waits = state.is_some_and(|state| state.contains("metadata lock"));
        match (waits, since) {
            (true, Some(started)) if started.elapsed() > LOCK_BUDGET => {
                return command(watcher, &format!("KILL QUERY {id}")).await;
            }
            (true, None) => since = Some(Instant::now()),
            (true, Some(_)) => {}
            (false, _) => since = None,
        }
    }
}
