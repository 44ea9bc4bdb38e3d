//! Whose a table and its run are: the lock that one osc holds, and the unfinished run that it resumes.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::engine::backend::Resumable;
use crate::error::{Error, Finding, Result};
use crate::ledger::{
    End, NewRun, RunId, RunRecord, altered_meanwhile, lock_lost, other_clauses, untrusted,
};
use crate::mysql::catalog::table::Table;
use crate::mysql::clauses::same;
use crate::mysql::copy::shadow;
use crate::mysql::dependents::Carried;
use crate::mysql::name::{TableName, Text};
use crate::mysql::run::MysqlTable;
use crate::mysql::runs::lock::{lock_name, related, take};
use crate::mysql::runs::proof::Standing;
use crate::mysql::runs::record::Record;
use crate::mysql::swap;
use crate::testing::failpoint::{self, Point};

/// How often the claim is checked.
const CLAIM_PERIOD: Duration = Duration::from_secs(1);

impl MysqlTable {
    /// Takes the table's lock, and takes over its unfinished run or begins one.
    pub(crate) async fn claim_run(&self) -> Result<Option<Resumable>> {
        let claim = self.take_lock(0).await?;
        *self.claim.lock().await = Some(claim);
        failpoint::hit(Point::Locked)?;
        let mut conn = self.plain("reading the ledger").await?;
        self.ledger.create(&mut conn).await?;
        let name = &self.setting.original.name;
        let earlier = self.ledger.last(&mut conn, name).await?;
        let Some(earlier) = earlier.filter(RunRecord::is_unfinished) else {
            self.begin(&mut conn).await?;
            return Ok(None);
        };
        if !same::same(&earlier.clauses, &self.setting.change.text) {
            return Err(other_clauses(&earlier));
        }
        let record = Record::of(&earlier)?;
        // First: what an attempt writes that lives on is seen by the wait, or sees this.
        let id = RunId(earlier.run);
        self.ledger.take_over(&mut conn, id, &self.owner).await?;
        shadow::wait_for_the_dead(&mut conn, &self.helpers.shadow).await?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record.clone();
        let standing = self.standing(&mut conn).await?;
        if let (Some(_), Standing::Replaced) = (&earlier.state, standing) {
            return Err(replaced(&earlier, name));
        }
        let new = match standing {
            Standing::Swapped => Table::read(&mut conn, name).await?,
            Standing::Unswapped => Table::read(&mut conn, &self.helpers.shadow).await?,
            Standing::Replaced | Standing::Gone => None,
        };
        let (Some(new), Some(state)) = (new, earlier.state) else {
            *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Record::default();
            let end = End::failed("died before its first checkpoint, or its shadow is gone");
            let _ = self.ledger.end(&mut conn, id, Some(&self.owner), &end).await?;
            self.begin(&mut conn).await?;
            return Ok(None);
        };
        let swapped = standing == Standing::Swapped;
        let recorded = record.carried;
        let carried = Carried::recall(&mut conn, recorded, name, &self.helpers, &new).await?;
        if let Some(index) = record.deferred.iter().find(|index| !index.fits(&new)) {
            return Err(Error::Refused(vec![untrusted(
                format!(
                    "the record of run {} has an index that does not fit: {index:?}",
                    earlier.run
                ),
                "look who may write the ledger; `osc cleanup TABLE` forgets the run",
            )]));
        }
        let _ = self.run.set(id);
        let _ = self.carried.set(carried);
        self.died_in_swap.store(swapped, Ordering::Relaxed);
        if !swapped {
            self.has_shadow.store(true, Ordering::Relaxed);
            swap::clear_away(&mut conn, self).await.map_err(Error::keeping_the_copy)?;
            let original = self.setting.original.name.plain();
            self.get_ready(&mut conn)
                .await
                .map_err(|error| altered_meanwhile(error, &original, earlier.run))?;
        }
        Ok(Some(Resumable { state, swapped }))
    }

    /// Looks whether the lock is still held, and takes it again where its session was lost.
    pub(crate) async fn hold_run(&self) -> Result<()> {
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
        let (name, setting) = (&self.setting.original.name, &self.setting);
        let related = related(&setting.dependents, &setting.change.text, name);
        take(&mut conn, name, &related, seconds).await?;
        Ok(conn)
    }

    async fn begin(&self, conn: &mut Conn) -> Result<()> {
        let new = NewRun {
            schema: self.setting.original.name.schema.as_str(),
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            method: "copy",
            verify: self.setting.verify,
            owner: &self.owner,
        };
        let run = self.ledger.begin(conn, &new).await?;
        let _ = self.run.set(run);
        self.record.lock().unwrap_or_else(PoisonError::into_inner).role = self.setting.role.clone();
        Ok(())
    }
}

/// The refusal where a run's tables were swapped, and the new one is not the run's any more.
pub(crate) fn replaced(dead: &RunRecord, table: &TableName) -> Error {
    Error::Refused(vec![Finding::new(
        "unsettled",
        format!(
            "run {} swapped the tables and died, and {} was rebuilt since: what follows the swap \
             may not be done",
            dead.run,
            table.plain()
        ),
        "see to it that keys and triggers hang on it, then discard the run with: osc cleanup TABLE",
    )])
}
