//! Transactions that have written something and not ended, and waiting for them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use crate::engine::blocker::{Blocker, blocked_by};
use crate::error::{AGAIN, Error, Result};
use crate::postgres::blockers::{end_prepared, end_session};
use crate::postgres::connection::errors::server_error;
use crate::testing::mutation::{self, Rule};

/// Pauses between looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose transactions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    /// Those of this session's database.
    Database,
    /// All.
    Cluster,
}

/// A transaction that has written something and not ended.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// Its number, and a subtransaction's own.
    xid: String,
    /// Who has it.
    pub(super) blocker: Blocker,
}

/// The transactions underway, oldest first, without this session's.
///
/// Each holds a lock on its number until snapshots show that it has ended, which is later than its
/// end in the log. A snapshot's own list would not do: it stops at the latest number that has
/// ended. Prepared transactions hold the lock too, after a crash as well.
pub(super) async fn writers(client: &Client, scope: Scope) -> Result<Vec<Writer>> {
    let failed = |error| server_error("looking for transactions underway", &error);
    let ours = match scope {
        Scope::Database => {
            "coalesce(a.datname, p.database, current_database()) = current_database()"
        }
        Scope::Cluster => "true",
    };
    let sql = format!(
        "SELECT l.transactionid::text, l.pid, p.gid, coalesce(a.datname, p.database)::text,
                extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8,
                coalesce(a.state, 'prepared'), coalesce(a.usename, p.owner, '')::text
         FROM pg_catalog.pg_locks l
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = l.transactionid
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
           AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND {ours}
         ORDER BY 5 DESC NULLS LAST"
    );
    let rows = client.query(&sql, &[]).await.map_err(failed)?;
    rows.iter()
        .map(|row| {
            let place = row.try_get::<_, Option<&str>>(3)?.unwrap_or("?");
            let (pid, gid): (Option<i32>, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
            let what = match (gid, pid) {
                (Some(gid), _) => format!("prepared transaction '{gid}'"),
                (None, Some(pid)) => format!("session {pid}"),
                (None, None) => "a prepared transaction".into(),
            };
            let seconds: Option<f64> = row.try_get(4)?;
            let blocker = Blocker {
                session: format!("{what} in {place}"),
                user: row.try_get(6)?,
                state: row.try_get(5)?,
                age: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
                statement: pid.filter(|_| gid.is_none()).map_or_else(end_prepared, end_session),
                ..Blocker::default()
            };
            Ok(Writer { xid: row.try_get(0)?, blocker })
        })
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(failed)
}

/// What a wait ends with that took too long.
pub(super) fn stopped(what: String, inway: Vec<Writer>) -> Error {
    let blockers: Vec<Blocker> = inway.into_iter().map(|writer| writer.blocker).collect();
    let why = blocked_by(&blockers);
    Error::Stopped {
        reason: match why {
            Some(why) => format!("{what}; {why}"),
            None => format!("{what}: it was blocked by transactions that have ended since"),
        },
        help: format!("end what blocks it, or wait for it; then {AGAIN}"),
    }
}

/// The barrier of rule 1: returns when every transaction of this database that is underway now,
/// prepared or held back by a standby, has ended and is visible. `client` must not be in a
/// transaction.
///
/// # Errors
/// `Stopped` after `timeout`, naming what is in the way; those of the connection.
pub async fn start_barrier(client: &Client, timeout: Duration) -> Result<()> {
    if mutation::active(Rule::StartBarrier) {
        return Ok(());
    }
    let deadline = Instant::now() + timeout;
    let mut awaited: Option<HashSet<String>> = None;
    loop {
        let mut underway = writers(client, Scope::Database).await?;
        if let Some(awaited) = &awaited {
            underway.retain(|writer| awaited.contains(&writer.xid));
        }
        if underway.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(stopped(
                format!("transactions did not end within {} s", timeout.as_secs()),
                underway,
            ));
        }
        awaited = Some(underway.into_iter().map(|writer| writer.xid).collect());
        tokio::time::sleep(PAUSE).await;
    }
}
