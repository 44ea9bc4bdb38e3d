//! Whether sessions that block osc's locks can be named, and ended where the settings say so.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as DriverError};

use crate::error::Result;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::version::Flavor;

const ACTION: &str = "checking the rights to name blockers";

/// What is missing, for the operator; `kill`: `--kill-blockers-after` is given.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn notes(conn: &mut Conn, flavor: Flavor, kill: bool) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let cannot = if kill {
        "sessions that block the cut-over can be neither named nor ended by --kill-blockers-after"
    } else {
        "sessions that block the cut-over cannot be named"
    };
    let (probe, cure) = if flavor.is_mariadb() {
        (
            "SELECT 1 FROM information_schema.METADATA_LOCK_INFO LIMIT 0",
            "the plugin is missing: INSTALL SONAME 'metadata_lock_info'",
        )
    } else {
        (
            "SELECT 1 FROM performance_schema.metadata_locks l \
             JOIN performance_schema.threads h ON h.THREAD_ID = l.OWNER_THREAD_ID LIMIT 0",
            "a right is missing: GRANT SELECT ON performance_schema.* TO the user that osc \
             connects as",
        )
    };
    match conn.query_drop(probe).await {
        Ok(()) => {}
        Err(DriverError::Server(_)) => {
            notes.push(format!("{cannot}; {cure}"));
            return Ok(notes);
        }
        Err(error) => return Err(connection_error(ACTION, error)),
    }
    let right = if flavor.is_mariadb() { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
    if kill && !may(conn, right).await? {
        notes.push(format!(
            "--kill-blockers-after can end only sessions of the user that osc connects as; a right is \
             missing: GRANT {right} ON *.* TO that user"
        ));
    }
    Ok(notes)
}

/// Whether the user has this right everywhere, or more than it. A user with roles is believed.
async fn may(conn: &mut Conn, right: &str) -> Result<bool> {
    let lines: Vec<String> = conn
        .all("SHOW GRANTS FOR CURRENT_USER()")
        .await
        .map_err(|error| connection_error(ACTION, error))?;
    let enough = |line: &String| {
        let everywhere = line.contains(" ON *.* ");
        let named = [right, "SUPER", "ALL PRIVILEGES"].iter().any(|right| line.contains(right));
        everywhere && named || !line.contains(" ON ")
    };
    Ok(lines.iter().any(enough))
}
