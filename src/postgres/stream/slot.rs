//! The replication slot.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::names::Names;
use super::transaction_wait;
use crate::error::{AGAIN, Error, Result};
use crate::key::Position;
use crate::postgres::connection::connect::{Options, connect};
use crate::postgres::connection::errors::{QUERY_CANCELED, server_error, sqlstate};

/// How long a session may take that was asked to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Creates the slot, and returns the position after which it delivers every commit. A slot of this
/// name, whose creation was never answered, is replaced.
///
/// The server waits for every transaction, in any database, that has written something and not
/// ended.
///
/// # Errors
/// `Stopped` after `timeout`, naming what is in the way; nothing is left. `Refused` without the right
/// to replicate.
pub async fn create_slot(options: &Options, names: &Names, timeout: Duration) -> Result<Position> {
    let action = "creating the replication slot";
    let client = connect(options, action).await?;
    drop_slot(&client, names).await?;
    let begun = Instant::now();
    let failed = |error| server_error(action, &error);
    client
        .batch_execute(&format!("SET statement_timeout = {}", timeout.as_millis().max(1)))
        .await
        .map_err(failed)?;
    let created = client
        .query_one(
            "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1::text, 'pgoutput')",
            &[&names.slot],
        )
        .await;
    match created {
        Ok(row) => Ok(Position(row.try_get(0).map_err(failed)?)),
        Err(error) if sqlstate(&error) == Some(QUERY_CANCELED) => {
            let mut inway =
                transaction_wait::writers(&client, transaction_wait::Scope::Cluster).await?;
            inway.retain(|writer| writer.blocker.age.is_none_or(|age| age >= begun.elapsed()));
            Err(transaction_wait::stopped(
                format!("no replication slot could be created in {} s", timeout.as_secs()),
                inway,
            ))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Drops the slot, if it is there. A session of ours that reads it is ended first.
pub(super) async fn drop_slot(client: &Client, names: &Names) -> Result<()> {
    let failed = |error| server_error("dropping the replication slot", &error);
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let sql = "SELECT s.active_pid, coalesce(a.application_name = s.slot_name, false)
             FROM pg_catalog.pg_replication_slots s
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
             WHERE s.slot_name = $1::text";
        let Some(row) = client.query_opt(sql, &[&names.slot]).await.map_err(failed)? else {
            return Ok(());
        };
        let reader: Option<i32> = row.try_get(0).map_err(failed)?;
        let ours: bool = row.try_get(1).map_err(failed)?;
        let done = match reader {
            None => {
                client
                    .execute(
                        "SELECT pg_catalog.pg_drop_replication_slot($1::text::name)",
                        &[&names.slot],
                    )
                    .await
            }
            Some(pid) if ours => {
                client.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await
            }
            Some(_) => Ok(0),
        };
        match done {
            Ok(_) => {}
            // Dropped, or taken, since we looked.
            Err(error) if matches!(sqlstate(&error), Some("42704" | "55006")) => {}
            Err(error) => return Err(failed(error)),
        }
        if let Some(pid) = reader {
            if Instant::now() > deadline {
                return Err(Error::Stopped {
                    reason: format!("the session {pid} reads the replication slot {}", names.slot),
                    help: format!("end that session, then {AGAIN}"),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What a slot makes the server keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// Log kept for the slot, in bytes.
    pub bytes: u64,
    /// `reserved`, `extended`, `unreserved` (about to be lost) or `lost`.
    pub wal_status: String,
    /// Bytes that may still be written before the slot can be lost; `None` without a limit.
    pub safe_wal_size: Option<i64>,
}

/// How much log the server keeps for the slot.
///
/// # Errors
/// `StreamGap` when there is no slot; those of the connection.
pub async fn retained(client: &Client, names: &Names) -> Result<Retained> {
    let failed = |error| server_error("asking how much log the slot keeps", &error);
    let row = client
        .query_opt(
            "SELECT coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(),
                                                        restart_lsn), 0)::bigint,
                    coalesce(wal_status, 'lost'), safe_wal_size,
                    coalesce(confirmed_flush_lsn::text, '')
             FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text",
            &[&names.slot],
        )
        .await
        .map_err(failed)?
        .ok_or_else(|| Error::StreamGap {
            position: Position(String::new()),
            reason: format!("the replication slot {} is gone", names.slot),
        })?;
    Ok(Retained {
        bytes: u64::try_from(row.try_get::<_, i64>(0).map_err(failed)?).unwrap_or_default(),
        wal_status: row.try_get(1).map_err(failed)?,
        safe_wal_size: row.try_get(2).map_err(failed)?,
    })
}
