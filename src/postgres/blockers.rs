//! Who is in the way of the cut-over's locks.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;

use super::catalog::table::number;
use super::connection::session::{rows, run};
use crate::engine::blocker::Blocker;
use crate::error::Result;

const ACTION: &str = "looking for blockers";

/// What is in the way of locking some tables.
#[derive(Debug, Default)]
pub(super) struct Blockers {
    /// Transactions older than an attempt waits for; empty: go ahead.
    pub old: Vec<Blocker>,
    /// An autovacuum is at work on them.
    pub autovacuum: bool,
}

/// How long an attempt waits where an autovacuum must give way: it does so only to a request that
/// waits longer than the server's `deadlock_timeout`, which is a second.
const AUTOVACUUM_BUDGET: Duration = Duration::from_millis(1500);

impl Blockers {
    /// How long an attempt may wait for its lock that `usual`ly waits so long.
    pub(super) fn budget(&self, usual: Duration) -> Duration {
        if self.autovacuum { AUTOVACUUM_BUDGET } else { usual }
    }
}

/// The statement that ends a session.
pub(super) fn end_session(pid: impl fmt::Display) -> String {
    format!("SELECT pg_terminate_backend({pid})")
}

/// How a prepared transaction is ended.
pub(super) fn end_prepared() -> String {
    "COMMIT PREPARED or ROLLBACK PREPARED".into()
}

/// Looks at who holds locks on the tables of these OIDs. Transactions that are older than `kill` are
/// ended: cancelled while they run a statement, terminated otherwise.
///
/// # Errors
/// The server's.
pub(super) async fn look(
    client: &Client,
    tables: &[u32],
    patience: Duration,
    kill: Option<Duration>,
) -> Result<Blockers> {
    let oids: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT DISTINCT a.pid, a.backend_type, a.state, \
         extract(epoch FROM clock_timestamp() - a.xact_start)::float8, \
         coalesce(a.usename, '') \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'relation' AND l.granted AND l.relation IN ({0}) \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND a.xact_start IS NOT NULL AND a.application_name NOT LIKE 'osc%' \
         UNION ALL SELECT 0, 'prepared transaction', p.gid, \
         extract(epoch FROM clock_timestamp() - p.prepared)::float8, p.owner \
         FROM pg_locks l JOIN pg_prepared_xacts p ON l.virtualtransaction LIKE '-1/%' \
         AND l.pid IS NULL AND p.database = current_database() \
         AND l.virtualtransaction = '-1/' || p.transaction \
         WHERE l.locktype = 'relation' AND l.relation IN ({0})",
        oids.join(", ")
    );
    let mut found = Blockers::default();
    for row in rows(client, ACTION, &sql).await? {
        let (pid, kind) = (row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default());
        let age = Duration::try_from_secs_f64(number::<f64>(row.get(3)).unwrap_or(0.0).max(0.0))
            .unwrap_or_default();
        if kind == "autovacuum worker" {
            found.autovacuum = true;
            continue;
        }
        if age <= patience {
            continue;
        }
        let (state, user) = (row.get(2).unwrap_or_default(), row.get(4).unwrap_or_default());
        let mut blocker = Blocker {
            session: format!("session {pid}"),
            user: user.into(),
            state: state.into(),
            age: Some(age),
            statement: end_session(pid),
            ..Blocker::default()
        };
        if kind == "prepared transaction" {
            blocker.session = format!("prepared transaction '{state}'");
            blocker.state = "prepared".into();
            blocker.statement = end_prepared();
        } else if kill.is_some_and(|kill| age >= kill) && kind == "client backend" {
            let end = match state {
                "active" => format!("SELECT pg_cancel_backend({pid})"),
                _ => blocker.statement.clone(),
            };
            match run(client, "ending a blocker", &end).await {
                Err(error) if error.is_connection() => return Err(error),
                Err(error) => (blocker.refusal, blocker.statement) = (Some(error.to_string()), end),
                Ok(()) => {}
            }
        }
        found.old.push(blocker);
    }
    Ok(found)
}
