//! The server's sessions.

use mysql_async::{Conn, Row};

use super::answer::Answers as _;
use super::errors::connection_error;
use super::version::Flavor;
use crate::error::Result;

/// What a session of the server's is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
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
pub(crate) const SHOW: &str = "SHOW PROCESSLIST";

/// Reads the rows of [`SHOW`].
pub(crate) fn read(rows: Vec<Row>) -> impl Iterator<Item = Process> {
    let text =
        |row: &Row, at| row.get_opt(at).and_then(std::result::Result::ok).unwrap_or_default();
    rows.into_iter().filter_map(move |row| {
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
    })
}

/// All sessions.
pub(crate) async fn processes(conn: &mut Conn, action: &str) -> Result<Vec<Process>> {
    let rows = conn.all(SHOW).await.map_err(|error| connection_error(action, error))?;
    Ok(read(rows).collect())
}

/// What the session `id` is at, but for its statement; `None` when it is gone.
pub(crate) async fn process(
    conn: &mut Conn,
    flavor: Flavor,
    id: u32,
    action: &str,
) -> Result<Option<Process>> {
    let schema = if flavor.is_mariadb() { "information_schema" } else { "performance_schema" };
    let sql = format!(
        "SELECT ID, USER, HOST, DB, COMMAND, TIME, STATE, '' FROM {schema}.processlist WHERE ID = {id}"
    );
    match conn.all(sql).await.map(|rows| read(rows).next()) {
        Ok(Some(process)) => return Ok(Some(process)),
        Ok(None) if flavor.is_mariadb() => return Ok(None),
        // MySQL's performance schema may be off, full, or without the table (before 8.0.22).
        Ok(None) | Err(mysql_async::Error::Server(_)) => {}
        Err(error) => return Err(connection_error(action, error)),
    }
    Ok(processes(conn, action).await?.into_iter().find(|process| process.id == u64::from(id)))
}
