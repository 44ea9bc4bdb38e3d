//! Building the indexes that were left to after the copy.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::MysqlTable;
use crate::engine::backoff::Backoff;
use crate::error::{Error, Result};
use crate::mysql::catalog::table::Table;
use crate::mysql::connection::errors::{connection_error, is_contention, no_lock};

/// Adds the indexes that were left out and are not there yet, in one pass over the table.
pub(crate) async fn build(conn: &mut Conn, table: &MysqlTable) -> Result<()> {
    let shadow = &table.helpers.shadow;
    let Some(now) = Table::read(conn, shadow).await? else {
        return Err(Error::Internal("the shadow is gone".into()));
    };
    let missing: Vec<String> = table
        .deferred()
        .iter()
        .filter(|deferred| !now.indexes.iter().any(|index| index.name.same(&deferred.name)))
        .map(|deferred| format!("ADD {}", deferred.definition()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // While a refresh changes a text key's case, InnoDB may take the row's two entries in an index
    // that is being built for duplicates, though the index is not unique: even where refreshes wait,
    // as long as the older entry is not purged. A copy of the table by the server cannot.
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut attempt = 0;
    let mut waits = 0;
    loop {
        attempt += 1;
        let (algorithm, lock) = match attempt {
            1..=3 => ("INPLACE", "NONE"),
            4..=6 => ("INPLACE", "SHARED"),
            _ => ("COPY", "SHARED"),
        };
        if algorithm == "COPY" {
            // The server continues it even without osc.
            table.shadow_is_rebuilt(conn, true).await?;
        }
        let sql = format!(
            "ALTER TABLE {shadow} {}, ALGORITHM={algorithm}, LOCK={lock}",
            missing.join(", ")
        );
        match conn.query_drop(sql).await {
            Err(mysql_async::Error::Server(error))
                if DUPLICATE_ENTRY.contains(&error.code) && algorithm != "COPY" =>
            {
                tracing::info!(%error, "building indexes again");
                backoff.wait().await;
            }
            Err(mysql_async::Error::Server(error)) if is_contention(error.code) => {
                // Comparisons and refreshes hold the shadow too, each briefly.
                waits += 1;
                if waits > MOST_WAITS {
                    return Err(no_lock("building indexes", &error.message));
                }
                tracing::info!(%error, "building indexes again");
                attempt -= 1;
            }
            outcome => {
                outcome.map_err(|error| connection_error("building indexes", error))?;
                if algorithm == "COPY" {
                    table.shadow_is_rebuilt(conn, false).await?;
                }
                return Ok(());
            }
        }
    }
}

/// `ER_DUP_ENTRY`, and `ER_DUP_UNKNOWN_IN_INDEX`, which means the same where the row is not known.
pub(crate) const DUPLICATE_ENTRY: [u16; 2] = [1062, 1859];

/// How often the build of indexes waits for the shadow's lock in vain, each time for seconds.
pub(crate) const MOST_WAITS: u32 = 60;
