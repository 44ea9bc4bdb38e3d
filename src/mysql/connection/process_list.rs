//! The server's sessions.

use mysql_async::{Conn, Row};

use super::answer::Answers as _;
use super::errors::connection_error;
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
pub(crate) async fn processes(conn: &mut Conn, action: &str) -> Result<Vec<Process>> {
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
pub(crate) async fn process(conn: &mut Conn, id: u32, action: &str) -> Result<Option<Process>> {
    Ok(processes(conn, action).await?.into_iter().find(|process| process.id == u64::from(id)))
}
