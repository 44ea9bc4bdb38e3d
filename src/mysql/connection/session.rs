//! Sessions: how each is set up, and how the server's errors are read.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row};

use super::answer::Answers as _;
use super::connect::{CONNECT_TIMEOUT, connection_error};
use super::own_sessions;
use super::settings;
use super::settings::Role;
use crate::engine::{Error, Result};

/// Sessions for the copy, the refreshes and the verification.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: Pool,
    opts: Opts,
    role: Role,
}

/// How the sessions see values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// In the server's own time zone, not in UTC.
    pub zoned: bool,
    /// Refusing dates such as February 31st.
    pub strict_dates: bool,
}

impl Sessions {
    /// Sessions with these options, for a login whose plain sessions have the settings `role`.
    pub fn new(opts: &Opts, reading: Reading, role: &Role) -> Self {
        let constraints = PoolConstraints::new(0, 64).unwrap_or_default();
        let pool_opts = PoolOpts::default()
            .with_constraints(constraints)
            .with_inactive_connection_ttl(Duration::from_secs(60));
        let with_setup: Opts = OptsBuilder::from_opts(opts.clone())
            .pool_opts(pool_opts)
            .setup(settings::for_driver(settings::rows(reading, role)))
            .into();
        Self { pool: Pool::new(with_setup), opts: opts.clone(), role: role.clone() }
    }

    /// A session for data: READ COMMITTED, strict, UTC.
    pub async fn get(&self, action: &str) -> Result<Conn> {
        let _opening = own_sessions::Opening::begin();
        match tokio::time::timeout(CONNECT_TIMEOUT, self.pool.get_conn()).await {
            Ok(conn) => {
                conn.inspect(own_sessions::note).map_err(|error| connection_error(action, error))
            }
            Err(_) => Err(Error::Connection {
                action: action.into(),
                message: format!("no session within {} s", CONNECT_TIMEOUT.as_secs()),
            }),
        }
    }

    /// A session of its own, outside the pool, set up as those in it.
    pub async fn own(&self, action: &str, reading: Reading) -> Result<Conn> {
        let setup = settings::for_driver(settings::rows(reading, &self.role));
        let opts: Opts = OptsBuilder::from_opts(self.opts.clone()).setup(setup).into();
        super::connect::connect(&opts, action).await
    }

    /// A session that makes, changes and renames tables, with short lock waits.
    pub async fn ddl(opts: &Opts, action: &str) -> Result<Conn> {
        let opts: Opts = OptsBuilder::from_opts(opts.clone())
            .setup(settings::for_driver(settings::changes()))
            .into();
        super::connect::connect(&opts, action).await
    }

    /// Ends all pooled sessions.
    pub async fn close(self) {
        let _ = self.pool.disconnect().await;
    }
}

/// What a failed write means.
#[derive(Debug)]
pub enum WriteError {
    /// A value exists already in the unique index of this name.
    Duplicate {
        /// The index.
        index: String,
        /// The server's words.
        message: String,
    },
    /// A deadlock or a lock wait.
    Contention,
    /// A value does not fit the shadow; the row of the statement, from 1, where the server tells.
    Unfit {
        /// The server's words.
        message: String,
        /// Which row.
        row: Option<u64>,
    },
    /// Anything else.
    Other(Error),
}

/// Reads the server's error for a write.
pub fn write_error(action: &str, error: mysql_async::Error) -> WriteError {
    let mysql_async::Error::Server(server) = &error else {
        return WriteError::Other(connection_error(action, error));
    };
    match server.code {
        // ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME
        1062 | 1586 => WriteError::Duplicate {
            index: index_of(&server.message),
            message: without_values(&server.message),
        },
        // ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_CHECKREAD
        1213 | 1205 | 1020 => WriteError::Contention,
        code if is_unfit(code) => WriteError::Unfit {
            row: row_of(&server.message),
            message: without_values(&server.message),
        },
        _ => WriteError::Other(connection_error(action, error)),
    }
}

/// Errors and warnings that tell of a value that does not fit its column.
fn is_unfit(code: u16) -> bool {
    matches!(
        code,
        // NULL into NOT NULL, no default, out of range, truncated, invalid date, wrong value
        1048 | 1138 | 1364 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1441
        // numbers out of range, geometry, invalid JSON, CHECK of MySQL and MariaDB, partition
        | 1690 | 1416 | 3140..=3147 | 3156 | 3819 | 4025 | 1526 | 3854 | 3988 | 1300 | 3058 | 3643
        // division by zero in a generated column, functional index on a bad value, row too large
        | 1365 | 3751..=3759 | 1118 | 3903 | 3904 | 3907
        // bytes that are no VECTOR
        | 6136
    )
}

/// The server's words without a value of a row, which osc names by its key: `Incorrect … value: 'x' for column
/// 'c' at row 1`, `Duplicate entry 'x' for key 'u'`. A value may have quotes, too.
pub(crate) fn without_values(message: &str) -> String {
    let begins = ["value: '", "value '", "entry '"];
    let Some(from) = begins.iter().find_map(|word| Some(message.find(word)? + word.len() - 1))
    else {
        return message.to_owned();
    };
    let (before, rest) = message.split_at_checked(from).unwrap_or((message, ""));
    let after = ["' for ", "' at row"].iter().find_map(|end| rest.rfind(end));
    let after = after.or_else(|| rest.rfind('\'')).and_then(|end| rest.get(end + 1..));
    format!("{before}(value not shown){}", after.unwrap_or_default())
}

fn index_of(message: &str) -> String {
    let name = message.rsplit('\'').nth(1).unwrap_or_default();
    name.rsplit_once('.').map_or(name, |(_, index)| index).to_owned()
}

fn row_of(message: &str) -> Option<u64> {
    message.rsplit_once(" at row ").and_then(|(_, row)| row.trim().parse().ok())
}

/// Runs a statement whose result does not matter. A lock that was not to be had stops the run: the
/// same command may get it.
pub async fn run(conn: &mut Conn, action: &str, sql: &str) -> Result<()> {
    conn.query_drop(sql).await.map_err(|error| failed(action, error))
}

/// What a failed statement that changes tables means.
pub fn failed(action: &str, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) if is_contention(error.code) => {
            no_lock(action, &error.message)
        }
        error => connection_error(action, error),
    }
}

/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
pub fn is_contention(code: u16) -> bool {
    matches!(code, 1205 | 1213)
}

/// The end of a run that a lock stood in the way of.
pub fn no_lock(action: &str, message: &str) -> Error {
    Error::Stopped {
        reason: format!("{action} failed: {message}"),
        help: "look for long transactions on the table, then run the same command again; it goes \
               on from the checkpoint"
            .into(),
    }
}

/// What a session of the server's is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u64,
    /// The kind of its command, such as `Query` or `Binlog Dump`.
    pub command: String,
    /// What it is doing, such as waiting for a lock.
    pub state: String,
    /// Whose it is.
    pub user: String,
    /// From where.
    pub host: String,
    /// For how many seconds it has done so.
    pub seconds: Option<u64>,
    /// The beginning of its statement; empty when it has none.
    pub statement: String,
}

/// The server's sessions. SHOW, since MySQL's information_schema.PROCESSLIST fails while anybody's
/// statement has a character that utf8mb3 lacks.
pub async fn processes(conn: &mut Conn, action: &str) -> Result<Vec<Process>> {
    let rows: Vec<Row> =
        conn.all("SHOW PROCESSLIST").await.map_err(|error| connection_error(action, error))?;
    let text =
        |row: &Row, at| row.get_opt(at).and_then(std::result::Result::ok).unwrap_or_default();
    let process = |row: Row| {
        let id = row.get_opt::<u64, _>(0)?.ok()?;
        Some(Process {
            id,
            user: text(&row, 1),
            host: text(&row, 2),
            command: text(&row, 4),
            seconds: row.get_opt(5).and_then(std::result::Result::ok),
            state: text(&row, 6),
            statement: text(&row, 7),
        })
    };
    Ok(rows.into_iter().filter_map(process).collect())
}

/// What the session `id` is at; `None` when it is gone.
pub async fn process(conn: &mut Conn, id: u32, action: &str) -> Result<Option<Process>> {
    Ok(processes(conn, action).await?.into_iter().find(|process| process.id == u64::from(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_duplicate_is_read_in_both_spellings() {
        assert_eq!(index_of("Duplicate entry 'a-b' for key 't_osc_new.u'"), "u");
        assert_eq!(index_of("Duplicate entry 'it''s' for key 'PRIMARY'"), "PRIMARY");
        assert_eq!(index_of("nonsense"), "");
    }

    #[test]
    fn values_of_rows_are_not_shown() {
        for (message, shown) in [
            (
                "Incorrect integer value: 'se' for x'' for column 'c' at row 1",
                "Incorrect integer value: (value not shown) for column 'c' at row 1",
            ),
            (
                "Truncated incorrect INTEGER value: 'se'",
                "Truncated incorrect INTEGER value: (value not shown)",
            ),
            (
                "Duplicate entry 'a-b' for key 't.u'",
                "Duplicate entry (value not shown) for key 't.u'",
            ),
            ("Data too long for column 'c' at row 1", "Data too long for column 'c' at row 1"),
        ] {
            assert_eq!(without_values(message), shown);
        }
    }

    #[test]
    fn the_row_of_an_unfit_value_is_read() {
        assert_eq!(row_of("Data too long for column 'c' at row 12"), Some(12));
        assert_eq!(row_of("Data too long"), None);
    }
}
