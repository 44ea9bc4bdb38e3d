//! How much of the log there is behind a place.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::connect::{column, identity};
use super::position::Place;
use crate::error::Result;
use crate::key::Position;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::version::Flavor;

/// The bytes of log behind a place; `None`: this server's log does not reach back to it.
///
/// # Errors
/// Those of [`connection_error`]; needs the right to see the log's files, as [`super::current_position`] does.
pub(in crate::mysql) async fn bytes_since(
    conn: &mut Conn,
    flavor: Flavor,
    position: &Position,
) -> Result<Option<u64>> {
    let Ok(place) = Place::parse(position) else { return Ok(None) };
    if identity(conn, flavor).await? != place.server {
        return Ok(None);
    }
    let files: Vec<Row> = conn
        .query("SHOW BINARY LOGS")
        .await
        .map_err(|error| connection_error("looking at the files of the binary log", error))?;
    let files: Vec<(String, u64)> = files
        .iter()
        .filter_map(|row| Some((column(row, 0)?, column(row, 1)?.parse().ok()?)))
        .collect();
    let Some(first) = files.iter().position(|(file, _)| *file == place.file) else {
        return Ok(None);
    };
    let behind: u64 = files.iter().skip(first).map(|(_, bytes)| bytes).sum();
    Ok(Some(behind.saturating_sub(place.offset)))
}
