//! How far the server is with a long step, and what it waits for.

use std::convert::Infallible;
use std::future::pending;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryRow};

use crate::engine::blocker::{Blocker, blocked_by};
use crate::error::Result;
use crate::postgres::blockers::end_session;
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::session::{plain, rows};

const ACTION: &str = "watching the statement";

/// How often the server is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the same phase is reported again.
const AGAIN: Duration = Duration::from_secs(10);

/// Tells of what the session `pid` is doing for as long as it is polled. That nothing can be learnt
/// stops no other session.
pub(crate) async fn watch(
    options: &Options,
    pid: &str,
    report: &(dyn Fn(String) + Sync),
) -> Infallible {
    if let Err(error) = follow(options, pid, report).await {
        tracing::info!(%error, "the step's progress is not known");
    }
    pending().await
}

async fn follow(options: &Options, pid: &str, report: &(dyn Fn(String) + Sync)) -> Result<()> {
    tokio::time::sleep(PERIOD).await;
    let client = plain(options, ACTION).await?;
    let mut last: Option<(State, Instant)> = None;
    loop {
        let state = look(&client, pid).await?;
        let again = last.as_ref().is_none_or(|(before, at)| {
            before.phase != state.phase
                || before.blocking() != state.blocking()
                || at.elapsed() >= AGAIN
        });
        if again && !state.is_nothing() {
            report(state.text());
            last = Some((state, Instant::now()));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What the server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// The index that is being built.
    index: String,
    /// `pg_stat_progress_create_index.phase`.
    phase: String,
    blocks: (u64, u64),
    tuples: (u64, u64),
    /// Sessions that it waits for.
    blockers: Vec<Blocker>,
}

impl State {
    fn is_nothing(&self) -> bool {
        self.phase.is_empty() && self.blockers.is_empty()
    }

    fn blocking(&self) -> Vec<&str> {
        self.blockers.iter().map(|blocker| blocker.session.as_str()).collect()
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.phase.is_empty() {
            parts.push(format!("index {}: {}", self.index, self.phase));
        }
        for ((done, total), what) in [(self.blocks, "blocks"), (self.tuples, "rows")] {
            if let Some(percent) = (done * 100).checked_div(total) {
                parts.push(format!("{done} of {total} {what} ({percent} %)"));
            }
        }
        parts.extend(blocked_by(&self.blockers));
        parts.join(", ")
    }
}

async fn look(client: &Client, pid: &str) -> Result<State> {
    let mut state = State::default();
    let sql = format!(
        "SELECT coalesce(nullif(index_relid, 0)::regclass::text, relid::regclass::text), phase, \
         blocks_done, blocks_total, tuples_done, tuples_total \
         FROM pg_stat_progress_create_index WHERE pid = {pid}"
    );
    if let Some(row) = rows(client, ACTION, &sql).await?.first() {
        let text = |at: usize| row.get(at).unwrap_or_default().to_owned();
        let number = |at: usize| text(at).parse().unwrap_or(0);
        (state.index, state.phase) = (text(0), text(1));
        (state.blocks, state.tuples) = ((number(2), number(3)), (number(4), number(5)));
    }
    // Waiting for a transaction's end, it is in the locks of that one, too.
    let sql = format!(
        "SELECT a.pid, a.usename, a.state, \
         round(extract(epoch FROM clock_timestamp() - a.xact_start)) FROM pg_stat_activity a \
         WHERE a.pid = ANY (pg_blocking_pids({pid})) ORDER BY a.xact_start, a.pid"
    );
    let blocker = |row: &SimpleQueryRow| {
        let text = |at: usize| row.get(at).unwrap_or("?").to_owned();
        let pid = text(0);
        Blocker {
            session: format!("session {pid}"),
            user: text(1),
            state: text(2),
            age: text(3).parse().ok().map(Duration::from_secs),
            statement: end_session(&pid),
            ..Blocker::default()
        }
    };
    state.blockers = rows(client, ACTION, &sql).await?.iter().map(blocker).collect();
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_reported_with_its_numbers_and_its_blockers() {
        let blocker = Blocker {
            session: "session 77".into(),
            user: "app".into(),
            state: "idle in transaction".into(),
            age: Some(Duration::from_secs(12)),
            statement: "SELECT pg_terminate_backend(77)".into(),
            ..Blocker::default()
        };
        let state = State {
            index: "k".into(),
            phase: "waiting for writers before build".into(),
            blocks: (25, 100),
            tuples: (0, 0),
            blockers: vec![blocker],
        };
        assert_eq!(
            state.text(),
            "index k: waiting for writers before build, 25 of 100 blocks (25 %), blocked by session 77 (app, \
             idle in transaction, transaction open 12 s); to end it: SELECT pg_terminate_backend(77)"
        );
        assert!(State::default().is_nothing());
    }
}
