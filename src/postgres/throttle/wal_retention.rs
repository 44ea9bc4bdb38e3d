//! The log that slots make the server keep: what can fill its disk (rule 6).
//!
//! A slot keeps what its reader has not confirmed, and what any transaction needs that was open
//! then. The first ends when osc catches up, so the copy, which writes most of the log, pauses; the
//! second only with that transaction, which is shown.

use std::time::Duration;

use bytesize::ByteSize;
use tokio_postgres::Client;

use super::status::Session;
use crate::control::Directives;
use crate::error::{Error, Result};
use crate::key::Position;
use crate::postgres::connection::connect::Options;
use crate::postgres::stream::{self, Names};
use crate::throttle::probe::brief;
use crate::throttle::{Source, Verdict};

/// How often the slots are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// A run whose slot keeps so many times the limit ends.
const CRITICAL: u64 = 2;

/// The slots of osc's in this database, those of unfinished runs too, and what they keep; with the oldest
/// transaction that has written, for it can be the reason.
const LOOK: &str = "SELECT s.slot_name, \
     pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint, s.wal_status, s.active, \
     (SELECT format('session %s has been in a transaction for %s s', a.pid, \
             extract(epoch FROM clock_timestamp() - a.xact_start)::bigint) \
      FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL \
      AND a.xact_start < clock_timestamp() - interval '10 seconds' ORDER BY a.xact_start LIMIT 1) \
     FROM pg_replication_slots s WHERE s.database = current_database() \
     AND s.slot_name LIKE 'osc\\_%' AND s.restart_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1";

/// Pauses the copy while a slot keeps too much.
#[derive(Debug)]
pub(crate) struct Retention {
    session: Session,
    limit: ByteSize,
}

impl Retention {
    /// Slots on this server may keep so much.
    pub(crate) fn new(options: Options, limit: ByteSize) -> Self {
        Self { session: Session::new(options), limit }
    }

    async fn judge(&mut self) -> Result<Verdict> {
        let found = self.session.all("asking how much log the slots keep", LOOK).await?;
        let Some(row) = found.first() else { return Ok(Verdict::Run) };
        let text = |at: usize| row.get(at).unwrap_or_default();
        let (slot, status) = (text(0), text(2));
        let kept = ByteSize::b(text(1).parse().unwrap_or_default());
        let about_to_be_lost = status == "unreserved";
        if kept <= self.limit && !about_to_be_lost {
            return Ok(Verdict::Run);
        }
        let mut reason = format!("the slot {slot} keeps {kept} of WAL (limit {})", self.limit);
        if about_to_be_lost {
            reason.push_str(", and is about to be lost (max_slot_wal_keep_size)");
        }
        if text(3) == "f" {
            reason
                .push_str("; nothing reads it: if its run is not running, `osc cleanup` drops it");
        } else if !text(4).is_empty() {
            reason.push_str("; ");
            reason.push_str(text(4));
        }
        Ok(Verdict::Pause(reason))
    }
}

impl Source for Retention {
    fn name(&self) -> &'static str {
        "kept WAL"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        self.judge().await.unwrap_or_else(|error| {
            Verdict::Pause(format!("the WAL that slots keep is unknown: {}", brief(&error)))
        })
    }
}

/// Fails when the run's own slot keeps so much that the disk matters more than the run.
///
/// # Errors
/// `StreamGap`, which ends the run for good: its slot goes. Those of the connection.
pub(crate) async fn enforce(client: &Client, names: &Names, limit: ByteSize) -> Result<()> {
    let kept = ByteSize::b(stream::retained(client, names).await?.bytes);
    if kept.as_u64() / CRITICAL <= limit.as_u64() {
        return Ok(());
    }
    Err(Error::StreamGap {
        position: Position("its checkpoint".into()),
        reason: format!(
            "the slot {} makes the server keep {kept} of WAL, more than {CRITICAL} times \
             --max-wal ({limit}); the run has ended and its slot is dropped before the disk is full",
            names.slot
        ),
    })
}
