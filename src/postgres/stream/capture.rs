//! The choice between logical decoding and triggers.

use std::time::Duration;

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::connection::errors::server_error;
use crate::postgres::name::TableName;
use crate::testing::failpoint::{self, Point};

use super::names::Names;
use super::{publication, slot, triggers};

/// How long dropping triggers may wait for its lock, in short attempts.
const PATIENCE: Duration = Duration::from_secs(30);

/// How changes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// Publication and replication slot.
    Logical,
    /// Triggers and a log table.
    Triggers,
}

/// The best way for `original`, and why it is not the logical one.
///
/// # Errors
/// `Server` when there is no such table; those of the connection.
pub async fn choose(client: &Client, original: &TableName) -> Result<(Capture, Option<String>)> {
    let failed = |error| server_error("choosing how to capture changes", &error);
    // A managed server gives the right to replicate by membership in a role of its own.
    let row = client
        .query_opt(
            "SELECT CASE
               WHEN current_setting('wal_level') <> 'logical'
                 THEN 'wal_level is ' || current_setting('wal_level')
               WHEN c.relpersistence <> 'p' THEN 'the table is not logged'
               WHEN NOT (r.rolsuper OR r.rolreplication OR EXISTS (
                   SELECT FROM pg_catalog.pg_roles m WHERE m.rolname = 'rds_replication'
                     AND pg_catalog.pg_has_role(m.oid, 'MEMBER')))
                 THEN current_user || ' may not replicate'
               WHEN NOT pg_catalog.has_database_privilege(current_database(), 'CREATE')
                 THEN current_user || ' may not create in the database'
               WHEN (SELECT count(*) FROM pg_catalog.pg_replication_slots
                     WHERE slot_name NOT LIKE 'osc\\_%')
                    >= current_setting('max_replication_slots')::int
                 THEN 'every replication slot is taken'
               -- Security releases of 2026 have this list of what a slot may be made with; not every
               -- role may see it.
               WHEN 'pgoutput' <> ALL (string_to_array(translate(
                   (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'output_plugin_libraries'),
                   ' \"', ''), ','))
                 THEN 'output_plugin_libraries does not list pgoutput'
             END
             FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_catalog.pg_roles r ON r.rolname = current_user
             WHERE n.nspname = $1 AND c.relname = $2",
            &[&original.schema.as_str(), &original.table.as_str()],
        )
        .await
        .map_err(failed)?
        .ok_or_else(|| {
            let message = format!("there is no table {}", original.plain());
            Error::server("choosing how to capture changes", message)
        })?;
    let reason: Option<String> = row.try_get(0).map_err(failed)?;
    Ok((if reason.is_some() { Capture::Triggers } else { Capture::Logical }, reason))
}

/// Drops whatever a stream of these names left: slot and publication, triggers and log. A session
/// of ours that reads the slot is ended first. Idempotent.
///
/// # Errors
/// `Stopped` when another session reads the slot, or holds the table that has triggers; those of the
/// connection.
pub async fn drop_all(client: &Client, names: &Names) -> Result<()> {
    slot::drop_slot(client, names).await?;
    failpoint::hit(Point::SlotDropped)?;
    publication::drop(client, names).await?;
    triggers::drop(client, names, PATIENCE).await
}
