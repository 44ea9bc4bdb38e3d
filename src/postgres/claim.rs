//! Whose a table and its run are: the lock that one osc holds, and the dead run that it goes on with.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::engine::Result;
use crate::engine::server::Resumable;
use crate::fault::{self, Point};
use crate::ledger::{End, NewRun, RunId, RunRecord, lock_lost, other_clauses, other_run};
use crate::postgres::name::TableName;
use crate::postgres::session::{run, value};
use crate::postgres::table::{Carried, PostgresTable};
use crate::postgres::{shadow, stream};
use crate::short::fnv1a;

/// How often the run's lock is looked at.
const CLAIM_PERIOD: Duration = Duration::from_secs(2);

/// The advisory lock of a table: "osc" in the upper half, the name in the lower.
pub(super) fn lock_number(table: &TableName) -> i64 {
    0x006f_7363_i64 << 32 | i64::from(fnv1a(table.plain().as_bytes()))
}

impl PostgresTable {
    /// Takes the table's lock, and takes over its unfinished run or begins one.
    pub(super) async fn claim_run(&self) -> Result<Option<Resumable>> {
        *self.claim.lock().await = Some(self.take_lock(Duration::ZERO).await?);
        fault::at(Point::Locked)?;
        let client = self.sessions.plain("reading the ledger").await?;
        self.ledger.create(&client).await?;
        let table = &self.setting.original.name.table;
        let earlier = self.ledger.runs(&client, Some(table), 1).await?.into_iter().next();
        let Some(earlier) = earlier.filter(RunRecord::is_unfinished) else {
            self.begin(&client).await?;
            return Ok(None);
        };
        if earlier.clauses.trim() != self.setting.change.text.trim() {
            return Err(other_clauses(&earlier));
        }
        let id = RunId(earlier.run);
        let carried = Carried::of(&earlier);
        let there = shadow::oid_of(&client, &self.helpers.shadow).await?;
        let swapped = carried.as_ref().is_some_and(|c| c.made.shadow == self.setting.original.oid);
        let whole = carried.as_ref().is_some_and(|c| there == Some(c.made.shadow));
        let Some(carried) = carried.filter(|_| earlier.state.is_some() && (swapped || whole))
        else {
            let names = stream::names(
                id.0,
                self.setting.original.oid,
                self.setting.options.target.database(),
            );
            stream::drop_all(&client, &names).await?;
            let end = End::failed("died before its first checkpoint");
            self.ledger.end(&client, id, &end).await?;
            self.begin(&client).await?;
            return Ok(None);
        };
        self.ledger.take_over(&client, id, &self.owner).await?;
        let _ = self.run.set(id);
        let _ = self.carried.set(carried);
        if !swapped {
            shadow::wait_for_the_dead(&client, &self.helpers.shadow).await?;
            self.get_ready(&client).await?;
        }
        Ok(Some(Resumable { state: earlier.state.unwrap_or_default(), swapped }))
    }

    /// Looks whether the session with the lock is there, and takes it again where it was lost.
    pub(super) async fn hold_run(&self) -> Result<()> {
        {
            let mut seen = self.claim_seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_some_and(|seen| seen.elapsed() < CLAIM_PERIOD) {
                return Ok(());
            }
            *seen = Some(Instant::now());
        }
        let mut claim = self.claim.lock().await;
        if let Some(client) = claim.as_ref()
            && !client.is_closed()
            && run(client, "holding the claim", "SELECT 1").await.is_ok()
        {
            return Ok(());
        }
        // Closed first: the server may still hold the lock for it.
        *claim = None;
        *claim = Some(self.take_lock(Duration::from_secs(10)).await.map_err(lock_lost)?);
        Ok(())
    }

    async fn take_lock(&self, patience: Duration) -> Result<Client> {
        let client = self.sessions.plain("claiming the table").await?;
        let name = &self.setting.original.name;
        let sql = format!("SELECT pg_try_advisory_lock({})", lock_number(name));
        let begun = Instant::now();
        loop {
            if value(&client, "claiming the table", &sql).await?.as_deref() == Some("t") {
                return Ok(client);
            }
            if begun.elapsed() >= patience {
                return Err(other_run(&name.plain()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn begin(&self, client: &Client) -> Result<()> {
        let new = NewRun {
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            road: "copy",
            verify: self.setting.verify,
            owner: &self.owner,
        };
        let _ = self.run.set(self.ledger.begin(client, &new).await?);
        Ok(())
    }
}
