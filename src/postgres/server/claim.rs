//! Whose a table and its run are: the lock that one osc holds, and the unfinished run that it resumes.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::engine::backend::Resumable;
use crate::error::Result;
use crate::ledger::{End, NewRun, RunId, RunRecord, altered_meanwhile, lock_lost, other_clauses};
use crate::postgres::clauses::same::same;
use crate::postgres::connection::session::run;
use crate::postgres::copy::shadow;
use crate::postgres::run::PostgresTable;
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock::{related, take};
use crate::postgres::runs::record::{Proof, Record, prove};
use crate::postgres::stream;
use crate::testing::failpoint::{self, Point};

/// How often the run's lock is looked at.
const CLAIM_PERIOD: Duration = Duration::from_secs(2);

impl PostgresTable {
    /// Takes the table's lock, and takes over its unfinished run or begins one.
    pub(crate) async fn claim_run(&self) -> Result<Option<Resumable>> {
        *self.claim.lock().await = Some(self.take_lock(Duration::ZERO).await?);
        failpoint::hit(Point::Locked)?;
        let client = self.sessions.plain("reading the ledger").await?;
        self.ledger.create(&client).await?;
        // What was opened before may have been without the table.
        let ledger = Ledger::open(&client, self.ledger.schema.as_str()).await?;
        let original = &self.setting.original.name;
        let earlier = ledger.runs(&client, original, 1).await?.into_iter().next();
        let Some(earlier) = earlier.filter(RunRecord::is_unfinished) else {
            self.begin(&client).await?;
            return Ok(None);
        };
        if !same(&earlier.clauses, &self.setting.change.text) {
            return Err(other_clauses(&earlier));
        }
        let id = RunId(earlier.run);
        let record = Record::of(&earlier)?.filter(|_| earlier.state.is_some());
        let proof = match &record {
            Some(record) => prove(&client, &ledger, &self.setting.original, record).await?,
            None => Proof::Nothing,
        };
        let Some(record) = record.filter(|_| proof != Proof::Nothing) else {
            self.forget(&client, &earlier).await?;
            self.begin(&client).await?;
            return Ok(None);
        };
        self.ledger.take_over(&client, id, &self.owner).await?;
        let _ = self.run.set(id);
        if proof == Proof::Whole {
            // From here on an error ends the run, and its copy must outlive what can be tried again.
            let altered = |error| altered_meanwhile(error, &original.plain(), earlier.run);
            let _ = self.record.set(record);
            shadow::wait_for_the_dead(&client, &self.helpers.shadow).await.map_err(altered)?;
            let _ = self.carried.set(self.derive(&client).await.map_err(altered)?);
            self.get_ready(&client).await.map_err(altered)?;
        } else {
            let _ = self.record.set(record);
        }
        let swapped = proof == Proof::Swapped;
        Ok(Some(Resumable { state: earlier.state.unwrap_or_default(), swapped }))
    }

    /// Ends an unfinished run that nothing can be made of.
    async fn forget(&self, client: &Client, dead: &RunRecord) -> Result<()> {
        let database = self.setting.options.target.database();
        for names in stream::left(client, dead.run, database, &self.ledger.schema).await? {
            stream::drop_all(client, &names).await?;
        }
        let why = match dead.carried {
            None => "died before its first checkpoint",
            Some(_) => "its shadow is not there, or not as the run left it",
        };
        self.ledger.end(client, RunId(dead.run), None, &End::failed(why)).await.map(drop)
    }

    /// Looks whether the session with the lock is there, and takes it again where it was lost.
    pub(crate) async fn hold_run(&self) -> Result<()> {
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
        let related = related(&client, &self.setting.change, name).await?;
        take(&client, name, &related, patience).await?;
        Ok(client)
    }

    async fn begin(&self, client: &Client) -> Result<()> {
        let new = NewRun {
            schema: self.setting.original.name.schema.as_str(),
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            method: "copy",
            verify: self.setting.verify,
            owner: &self.owner,
        };
        let _ = self.run.set(self.ledger.begin(client, &new).await?);
        Ok(())
    }
}
