//! The steps of [a claim](crate::ledger::claim) on PostgreSQL.

use std::time::Duration;

use tokio_postgres::Client;

use crate::engine::backend::Server as _;
use crate::error::Result;
use crate::ledger::claim::{Lease, Looked, Standing};
use crate::ledger::refusals::altered_meanwhile;
use crate::ledger::{End, NewRun, RunId, RunRecord};
use crate::postgres::clauses::same::same;
use crate::postgres::connection::session::run;
use crate::postgres::copy::old_shadow;
use crate::postgres::run::PostgresTable;
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock::{related, take};
use crate::postgres::runs::orders;
use crate::postgres::runs::record::{Record, standing};
use crate::postgres::stream;

impl Lease for PostgresTable {
    type Session = Client;
    /// `None`: it died before it made anything.
    type Record = Option<Record>;

    fn looked(&self) -> &Looked {
        &self.looked
    }

    fn is_same(&self, clauses: &str) -> bool {
        same(clauses, &self.setting.change.text)
    }

    async fn lock(&self, patience: Duration) -> Result<()> {
        let mut claim = self.claim.lock().await;
        // Closed first: the server may still hold the lock for it.
        *claim = None;
        let client = self.sessions.plain("claiming the table").await?;
        let name = &self.setting.original.name;
        let related = related(&client, &self.setting.change, name).await?;
        take(&client, name, &related, patience).await?;
        *claim = Some(client);
        Ok(())
    }

    async fn is_locked(&self) -> bool {
        match self.claim.lock().await.as_ref() {
            Some(client) if !client.is_closed() => {
                run(client, "holding the claim", "SELECT 1").await.is_ok()
            }
            _ => false,
        }
    }

    async fn open(&self) -> Result<Client> {
        let client = self.sessions.plain("reading the ledger").await?;
        self.ledger.create(&client).await?;
        Ok(client)
    }

    async fn last(&self, client: &mut Client) -> Result<Option<RunRecord>> {
        // What was opened before may have been without the table.
        let ledger = Ledger::open(client, self.ledger.schema.as_str()).await?;
        ledger.last(client, &self.setting.original.name).await
    }

    fn record(&self, run: &RunRecord) -> Result<Option<Record>> {
        Record::of(run)
    }

    async fn begin(&self, client: &mut Client) -> Result<()> {
        let new = NewRun {
            schema: self.setting.original.name.schema.as_str(),
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            method: self.method(),
            verify: self.setting.settings.verify(),
            token: &self.token,
        };
        let _ = self.begun.set(orders::now(client).await?);
        let _ = self.run.set(self.ledger.begin(client, &new).await?);
        Ok(())
    }

    async fn fence(&self, client: &mut Client, run: RunId) -> Result<()> {
        // Orders from before are not for this attempt.
        let _ = self.begun.set(orders::now(client).await?);
        self.ledger.take_over(client, run, &self.token).await
    }

    async fn wait_for_the_dead(&self, client: &mut Client, record: &Option<Record>) -> Result<()> {
        match record {
            Some(record) => {
                old_shadow::wait_for_the_dead(client, &self.helpers().shadow, record.shadow).await
            }
            None => Ok(()),
        }
    }

    async fn standing(&self, client: &mut Client, record: &Option<Record>) -> Result<Standing> {
        match record {
            Some(record) => standing(client, &self.ledger, &self.setting.original, record).await,
            None => Ok(Standing::Gone),
        }
    }

    async fn forget(&self, client: &mut Client, run: RunId, why: &'static str) -> Result<()> {
        let database = self.setting.options.target.database();
        for names in stream::left(client, run.0, database, &self.ledger.schema).await? {
            stream::drop_all(client, &names).await?;
        }
        self.ledger.end(client, run, Some(&self.token), &End::failed(why)).await.map(drop)
    }

    async fn resume(
        &self,
        client: &mut Client,
        earlier: &RunRecord,
        record: Option<Record>,
        swapped: bool,
    ) -> Result<()> {
        // From here on an error ends the run, and its copy must outlive what can be tried again.
        let _ = self.run.set(RunId(earlier.run));
        if let Some(record) = record {
            let _ = self.record.set(record);
        }
        if !swapped {
            let original = self.setting.original.name.plain();
            let altered = |error| altered_meanwhile(error, &original, earlier.run);
            let _ = self.carried.set(self.derive(client).await.map_err(altered)?);
            self.get_ready(client).await.map_err(altered)?;
        }
        Ok(())
    }
}
