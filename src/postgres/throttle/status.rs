//! Numbers that PostgreSQL tells the throttle.

use std::fmt;

use tokio_postgres::Client;

use crate::error::{Error, Finding, Result};
use crate::postgres::connection::connect::{Options, connect};
use crate::postgres::connection::errors::{
    DEADLOCK, LOCK_NOT_AVAILABLE, QUERY_CANCELED, SERIALIZATION_FAILURE, server_error,
};
use crate::postgres::connection::session::{rows, run};
use crate::throttle::probe::StatusProbe;

/// What a load limit may name, and the query that gives it.
const GAUGES: &[(&str, &str)] = &[
    (
        "active_sessions",
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
         AND backend_type = 'client backend' AND application_name NOT LIKE 'osc%'",
    ),
    ("connections", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"),
    (
        "waiting_sessions",
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
         AND application_name NOT LIKE 'osc%'",
    ),
    (
        "idle_in_transaction",
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' \
         AND application_name NOT LIKE 'osc%'",
    ),
    (
        "oldest_transaction_seconds",
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) \
         FROM pg_stat_activity WHERE backend_type = 'client backend' \
         AND application_name NOT LIKE 'osc%'",
    ),
    ("archive_backlog", "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"),
    (
        "retained_wal_bytes",
        "SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0) FROM pg_replication_slots",
    ),
];

/// Errors that may be gone the next time: a deadlock, a lock wait, a statement that took too long.
const PASSING: [&str; 4] = [SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE, QUERY_CANCELED];

/// A session that only looks, and comes back by itself after it was lost.
pub(crate) struct Session {
    options: Options,
    live: Option<Client>,
}

impl fmt::Debug for Session {
    /// Without the options, for the password is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// A session that connects when it is first used.
    pub(crate) fn new(options: Options) -> Self {
        Self { options, live: None }
    }

    /// The first row of a query, as text. Dropping the call drops the connection.
    pub(crate) async fn all(
        &mut self,
        action: &str,
        sql: &str,
    ) -> Result<Vec<tokio_postgres::SimpleQueryRow>> {
        let client = self.take(action).await?;
        let found = rows(&client, action, sql).await;
        self.live = Some(client);
        found
    }

    async fn take(&mut self, action: &str) -> Result<Client> {
        if let Some(client) = self.live.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let client = connect(&self.options, action).await?;
        // Unanswered questions must not pile up.
        let setup = "SET statement_timeout = '2s'; SET default_transaction_read_only = on";
        run(&client, action, setup).await?;
        Ok(client)
    }

    /// The rows of a text that the user wrote: in a transaction that reads only, which a function that it
    /// calls cannot make another one, and that is taken back with the settings it may have changed.
    async fn reading(
        &mut self,
        action: &str,
        sql: &str,
    ) -> Result<Vec<tokio_postgres::SimpleQueryRow>> {
        // One session for all three: a new one would be in no transaction.
        let client = self.take(action).await?;
        run(&client, action, "START TRANSACTION READ ONLY").await?;
        let found = rows(&client, action, sql).await;
        run(&client, action, "ROLLBACK").await?;
        self.live = Some(client);
        found
    }

    /// Fails where the text is not one statement: what is prepared can be no more.
    async fn is_one_statement(&mut self, action: &str, sql: &str) -> Result<()> {
        self.all(action, "SELECT 1").await?;
        let Some(client) = &self.live else { return Ok(()) };
        client.prepare(sql).await.map(drop).map_err(|error| server_error(action, &error))
    }
}

/// Load and queries, over one session.
#[derive(Debug)]
pub(in crate::postgres) struct ServerStatus {
    session: Session,
}

impl ServerStatus {
    /// ServerStatus of this server. Connects at the first look. The session is read-only.
    pub(in crate::postgres) fn new(options: Options) -> Self {
        Self { session: Session::new(options) }
    }
}

fn query(name: &str) -> Result<&'static str> {
    let found = GAUGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, sql)| *sql).ok_or_else(|| {
        let known: Vec<&str> = GAUGES.iter().map(|(name, _)| *name).collect();
        Error::Refused(vec![Finding::new(
            "load",
            format!("{name} is no load that osc can read from PostgreSQL"),
            format!("there are {}", known.join(", ")),
        )])
    })
}

impl StatusProbe for ServerStatus {
    async fn status(&mut self, names: &[&str]) -> Result<Vec<f64>> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            values.push(self.number(query(name)?).await?.unwrap_or_default());
        }
        Ok(values)
    }

    async fn number(&mut self, sql: &str) -> Result<Option<f64>> {
        const ACTION: &str = "asking the throttle's query";
        let rows = self.session.reading(ACTION, sql).await?;
        let Some(text) = rows.first().and_then(|row| row.get(0)) else { return Ok(None) };
        match text {
            "t" => return Ok(Some(1.0)),
            "f" => return Ok(Some(0.0)),
            _ => {}
        }
        let number = text.parse().ok().filter(|number: &f64| !number.is_nan());
        number.map(Some).ok_or_else(|| {
            Error::server(ACTION, format!("it returns {text:?}, which is no number"))
        })
    }

    async fn first_number(&mut self, sql: &str) -> Result<Option<f64>> {
        self.session.is_one_statement("asking the throttle's query", sql).await?;
        self.number(sql).await
    }

    fn passes(&self, error: &Error) -> bool {
        error.sqlstate().is_some_and(|state| PASSING.contains(&state))
    }
}
