//! Whose a table and its run are: the lock that one osc holds, and the dead run that it goes on with.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::engine::server::Resumable;
use crate::engine::{Error, Result};
use crate::fault::{self, Point};
use crate::ledger::{End, NewRun, RunId, RunRecord, lock_lost, other_clauses, other_run};
use crate::mysql::connect::connection_error;
use crate::mysql::dependents::Carried;
use crate::mysql::inspect::Table;
use crate::mysql::name::{TableName, Text};
use crate::mysql::session::run;
use crate::mysql::table::MysqlTable;
use crate::mysql::{shadow, swap};
use crate::short::fnv1a;

/// The claim is looked at so often.
const CLAIM_PERIOD: Duration = Duration::from_secs(1);

/// The server-wide lock that one run on a table holds: at most 64 characters.
pub(super) fn lock_name(table: &TableName) -> String {
    let plain = table.plain();
    let short: String = plain.chars().take(40).collect();
    format!("osc:{:08x}:{short}", fnv1a(plain.as_bytes()))
}

impl MysqlTable {
    /// Takes the table's lock, and takes over its unfinished run or begins one.
    pub(super) async fn claim_run(&self) -> Result<Option<Resumable>> {
        let claim = self.take_lock(0).await?;
        *self.claim.lock().await = Some(claim);
        fault::at(Point::Locked)?;
        let mut conn = self.plain("reading the ledger").await?;
        self.ledger.create(&mut conn).await?;
        let table = &self.setting.original.name.table;
        let earlier = self.ledger.runs(&mut conn, Some(table), 1).await?.into_iter().next();
        let earlier = earlier.filter(RunRecord::is_unfinished);
        let Some(earlier) = earlier else {
            self.begin(&mut conn).await?;
            return Ok(None);
        };
        if earlier.clauses.trim() != self.setting.change.text.trim() {
            return Err(other_clauses(&earlier));
        }
        // First: what a sitting writes that lives on is seen by the wait, or sees this.
        let id = RunId(earlier.run);
        self.ledger.take_over(&mut conn, id, &self.owner).await?;
        shadow::wait_for_the_dead(&mut conn, &self.helpers.shadow).await?;
        let swapped = swap::has_happened(&mut conn, self, &earlier).await?;
        let shadow_is_there = Table::read(&mut conn, &self.helpers.shadow).await?.is_some();
        if earlier.state.is_none() || (!swapped && !shadow_is_there) {
            self.ledger
                .end(&mut conn, id, &End::failed("died before its first checkpoint"))
                .await?;
            self.begin(&mut conn).await?;
            return Ok(None);
        }
        let _ = self.run.set(id);
        let _ = self.carried.set(read_carried(earlier.carried.as_deref())?);
        self.died_in_swap.store(swapped, Ordering::Relaxed);
        if !swapped {
            swap::clear_away(&mut conn, self).await?;
            self.get_ready(&mut conn).await?;
        }
        Ok(Some(Resumable { state: earlier.state.unwrap_or_default(), swapped }))
    }

    /// Looks whether the lock is still held, and takes it again where its session was lost.
    pub(super) async fn hold_run(&self) -> Result<()> {
        let now = Instant::now();
        {
            let mut seen = self.claim_seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_some_and(|seen| now.duration_since(seen) < CLAIM_PERIOD) {
                return Ok(());
            }
            *seen = Some(now);
        }
        let mut claim = self.claim.lock().await;
        if let Some(conn) = claim.as_mut() {
            let held: std::result::Result<Option<Option<i64>>, _> = conn
                .query_first(format!(
                    "SELECT IS_USED_LOCK({}) = CONNECTION_ID()",
                    Text(&lock_name(&self.setting.original.name))
                ))
                .await;
            if matches!(held, Ok(Some(Some(1)))) {
                return Ok(());
            }
        }
        // Closed first: the server may still hold the lock for it.
        *claim = None;
        *claim = Some(self.take_lock(10).await.map_err(lock_lost)?);
        Ok(())
    }

    async fn take_lock(&self, seconds: u64) -> Result<Conn> {
        let mut conn = self.plain("claiming the table").await?;
        let _ = run(&mut conn, "claiming the table", "SET SESSION wait_timeout = 86400").await;
        let got: Option<Option<i64>> = conn
            .query_first(format!(
                "SELECT GET_LOCK({}, {seconds})",
                Text(&lock_name(&self.setting.original.name))
            ))
            .await
            .map_err(|error| connection_error("claiming the table", error))?;
        if got.flatten() == Some(1) {
            return Ok(conn);
        }
        Err(other_run(&self.setting.original.name.plain()))
    }

    async fn begin(&self, conn: &mut Conn) -> Result<()> {
        let new = NewRun {
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            road: "copy",
            verify: self.setting.verify,
            owner: &self.owner,
        };
        let run = self.ledger.begin(conn, &new).await?;
        let _ = self.run.set(run);
        Ok(())
    }
}

fn read_carried(text: Option<&str>) -> Result<Carried> {
    let Some(text) = text else { return Ok(Carried::default()) };
    serde_json::from_str(text).map_err(|error| Error::Stopped {
        reason: format!("the ledger's record of keys and triggers cannot be read: {error}"),
        help: "the run was begun by another version of osc; go on with that one".into(),
    })
}
