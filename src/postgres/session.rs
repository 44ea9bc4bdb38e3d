//! Sessions: how each is set up, and the few that are kept for the next chunk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::broken::{self, Rule};
use crate::engine::Result;
use crate::postgres::connect::{Options, connect, server_error};

/// How long a statement of the copy may wait for a lock of our own.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Sessions kept at most.
const KEPT: usize = 40;

/// What each session says first. The output is the one that keys are read in; time zone, order of
/// dates and search path stay those of the role, by which the server itself would convert. Chunks
/// run beside each other already: workers for each would be forked for tenths of a second.
const SETUP: &str = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
    SET bytea_output = 'hex'; SET extra_float_digits = 1; \
    SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0";

/// What every session says: limits that the role has are for the application, and compiling a query
/// of the catalog takes longer than running it.
const UNLIMITED: &str = "SET client_min_messages = error; SET jit = off; SET statement_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0; \
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'; \
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off";

/// The sessions of a run.
pub struct Sessions {
    options: Options,
    idle: Mutex<Vec<Client>>,
}

impl Sessions {
    /// None yet.
    pub fn new(options: Options) -> Self {
        Self { options, idle: Mutex::new(Vec::new()) }
    }

    /// How they connect.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A session for one step. It is closed when dropped, unless it is given back: a step that was
    /// cut off leaves one in the middle of something.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub async fn take(&self, action: &str) -> Result<Client> {
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
    pub fn give_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && !client.is_closed() {
            idle.push(client);
        }
    }

    /// The rows of a query, in a kept session.
    ///
    /// # Errors
    /// Those of [`connect`] and [`rows`].
    pub async fn query(&self, action: &str, sql: &str) -> Result<Vec<SimpleQueryRow>> {
        let client = self.take(action).await?;
        let found = rows(&client, action, sql).await?;
        self.give_back(client);
        Ok(found)
    }

    /// A session that is never kept.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub async fn own(&self, action: &str) -> Result<Client> {
        let client = connect(&self.options, action).await?;
        // What is committed is on disk (`off` would be quicker): a sitting goes on after the server has
        // crashed, and counts as copied and refreshed what it was told so.
        let flush = if broken::is(Rule::CommitsOnDisk) { "off" } else { "local" };
        let setup = format!(
            "{UNLIMITED}; {SETUP}; SET synchronous_commit = {flush}; SET lock_timeout = {}",
            LOCK_WAIT.as_millis()
        );
        run(&client, action, &setup).await?;
        Ok(client)
    }

    /// One by [`plain`].
    ///
    /// # Errors
    /// Those of [`connect`].
    pub async fn plain(&self, action: &str) -> Result<Client> {
        plain(&self.options, action).await
    }
}

/// A session for changes of the schema: without the role's limits, and what it writes is on disk
/// when it says so.
///
/// # Errors
/// Those of [`connect`].
pub async fn plain(options: &Options, action: &str) -> Result<Client> {
    let client = connect(options, action).await?;
    let setup = format!("{UNLIMITED}; SET synchronous_commit = local");
    run(&client, action, &setup).await?;
    Ok(client)
}

/// Runs statements, one or several.
///
/// # Errors
/// Those of [`server_error`].
pub async fn run(client: &Client, action: &str, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| server_error(action, &error))
}

/// The rows of a query, in the server's text form.
///
/// # Errors
/// Those of [`server_error`].
pub async fn rows(client: &Client, action: &str, sql: &str) -> Result<Vec<SimpleQueryRow>> {
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
pub async fn value(client: &Client, action: &str, sql: &str) -> Result<Option<String>> {
    let rows = rows(client, action, sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}

/// A row's texts.
pub fn texts(row: &SimpleQueryRow) -> Vec<Option<&str>> {
    (0..row.len()).map(|at| row.get(at)).collect()
}
