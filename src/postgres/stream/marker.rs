//! Markers: logical messages `run:number` under a prefix of ours.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::connection::errors::server_error;

/// What our messages are known by.
pub(super) const PREFIX: &str = "osc";

/// The run and the number that a message holds.
pub(super) fn parse(content: &[u8]) -> Option<(i64, u64)> {
    let (run, number) = std::str::from_utf8(content).ok()?.split_once(':')?;
    Some((run.parse().ok()?, number.parse().ok()?))
}

/// Commits marker `number` of `run`, so that the logical stream delivers it. `client` must not be
/// in a transaction.
///
/// The commit is flushed, and with it every commit before it that did not care to be
/// (`synchronous_commit=off`), which the stream could not deliver otherwise. It does not wait for
/// standbys: a lock may be held meanwhile.
///
/// # Errors
/// Those of the connection.
pub async fn emit_marker(client: &Client, run: i64, number: u64) -> Result<()> {
    // One message of several statements is one transaction.
    let sql = format!(
        "SET LOCAL synchronous_commit = local;
         SELECT pg_catalog.pg_logical_emit_message(true, '{PREFIX}', '{run}:{number}')"
    );
    client.batch_execute(&sql).await.map_err(|error| server_error("writing a marker", &error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_marker_comes_back_and_nothing_else_is_one(run: i64, number: u64, other in "[^:]*") {
            prop_assert_eq!(parse(format!("{run}:{number}").as_bytes()), Some((run, number)));
            prop_assert_eq!(parse(other.as_bytes()), None);
        }
    }
}
