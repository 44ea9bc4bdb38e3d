//! Sessions: how each is set up, and the few that are kept for the next chunk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::connect::{Options, connect};
use super::errors::server_error;
use super::settings::RoleSettings;
use crate::error::Result;
use crate::testing::mutation::{self, Rule};

/// How long a statement of the copy may wait for a lock of our own.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Sessions kept at most.
const KEPT: usize = 40;

/// For sessions that read and write rows. Chunks are found by the copy key, and run beside each other
/// already: workers for each would be forked for tenths of a second.
const ROWS: &str = "SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0";

/// The sessions of a run.
pub(crate) struct Sessions {
    options: Options,
    idle: Mutex<Vec<Client>>,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(options: Options) -> Self {
        Self { options, idle: Mutex::new(Vec::new()) }
    }

    /// A session for one step. It is closed when dropped, unless it is given back: a step that was
    /// cut off leaves one in the middle of something.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub(crate) async fn take(&self, action: &str) -> Result<Client> {
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|client| !client.is_closed());
            idle.pop()
        };
        match kept {
            Some(client) => Ok(client),
            None => self.own(action).await,
        }
    }

    /// Keeps a session that has ended its step.
    pub(crate) fn give_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && !client.is_closed() {
            idle.push(client);
        }
    }

    /// The rows of a query in a transaction that begins with `first`.
    ///
    /// # Errors
    /// Those of [`connect`] and [`rows`].
    pub(crate) async fn query_after(
        &self,
        action: &str,
        first: &str,
        sql: &str,
    ) -> Result<Vec<SimpleQueryRow>> {
        let client = self.take(action).await?;
        run(&client, action, &format!("BEGIN; {first}")).await?;
        let found = rows(&client, action, sql).await?;
        self.give_back(client);
        Ok(found)
    }

    /// The rows of a query that converts values: `settings` are those of the role, by which it does. What the
    /// query gives is rendered by osc's own settings, so that keys have their one form: the result is
    /// held, and read when the transaction is over, which begins with `first`.
    ///
    /// # Errors
    /// Those of [`connect`] and [`rows`].
    pub(crate) async fn converting(
        &self,
        action: &str,
        settings: &RoleSettings,
        first: &str,
        sql: &str,
    ) -> Result<Vec<SimpleQueryRow>> {
        let first = format!("{first}; {}SELECT 1", settings.for_values());
        let held = format!(
            "DECLARE osc_held NO SCROLL CURSOR WITH HOLD FOR {sql}; COMMIT; \
             FETCH ALL FROM osc_held; CLOSE osc_held"
        );
        self.query_after(action, &first, &held).await
    }

    /// A session that is never kept.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub(crate) async fn own(&self, action: &str) -> Result<Client> {
        let client = connect(&self.options, action).await?;
        // What is committed is on disk (`off` would be quicker): an attempt goes on after the server has
        // crashed, and counts as copied and refreshed what was reported so.
        let flush = if mutation::active(Rule::CommitsOnDisk) { "off" } else { "local" };
        let setup = format!(
            "{ROWS}; SET synchronous_commit = {flush}; SET lock_timeout = {}",
            LOCK_WAIT.as_millis()
        );
        run(&client, action, &setup).await?;
        Ok(client)
    }

    /// One by [`plain`].
    ///
    /// # Errors
    /// Those of [`connect`].
    pub(crate) async fn plain(&self, action: &str) -> Result<Client> {
        plain(&self.options, action).await
    }
}

/// A session for changes of the schema, with what every session of osc's has
/// ([`settings`](super::settings)).
///
/// # Errors
/// Those of [`connect`].
pub(crate) async fn plain(options: &Options, action: &str) -> Result<Client> {
    connect(options, action).await
}

/// Runs statements, one or several.
///
/// # Errors
/// Those of [`server_error`].
pub(crate) async fn run(client: &Client, action: &str, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| server_error(action, &error))
}

/// The rows of a query, in the server's text form.
///
/// # Errors
/// Those of [`server_error`].
pub(crate) async fn rows(client: &Client, action: &str, sql: &str) -> Result<Vec<SimpleQueryRow>> {
    let messages = client.simple_query(sql).await.map_err(|error| server_error(action, &error))?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// The first column of the first row; `None` when there is none, or when it is NULL.
///
/// # Errors
/// Those of [`server_error`].
pub(crate) async fn value(client: &Client, action: &str, sql: &str) -> Result<Option<String>> {
    let rows = rows(client, action, sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}

/// A row's texts.
pub(crate) fn texts(row: &SimpleQueryRow) -> Vec<Option<&str>> {
    (0..row.len()).map(|at| row.get(at)).collect()
}
