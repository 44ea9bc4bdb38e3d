//! `osc cleanup` on PostgreSQL: the retired table, what dead runs left, guards whose time is over.

use std::time::Duration;

use tokio_postgres::Client;

use crate::config::target::Target;
use crate::engine::{Error, Result};
use crate::ledger::{End, Leftover, RunId, RunRecord, other_run, unsettled};
use crate::plan::road::Strategy;
use crate::postgres::change::Change;
use crate::postgres::claim::lock_number;
use crate::postgres::connect::{Options, connect, server_error, sqlstate};
use crate::postgres::guards;
use crate::postgres::inspect::{Table, resolve, version};
use crate::postgres::ledger::Ledger;
use crate::postgres::name::{Helpers, TableName};
use crate::postgres::roads::{self, Road, Undo};
use crate::postgres::session::{run, value};
use crate::postgres::stream;
use crate::postgres::table::Carried;

/// How long one attempt to drop a table may wait for its lock.
const LOCK_BUDGET: Duration = Duration::from_millis(500);

/// Attempts to drop a table.
const ATTEMPTS: u32 = 20;

const ACTION: &str = "dropping what is left";

/// What there is to drop, and the session that found it.
pub struct Cleanup {
    client: Client,
    ledger: Ledger,
    name: TableName,
    /// The tables to drop, with the reason and size of each.
    pub tables: Vec<Leftover<TableName>>,
    /// Slots and publications that dead runs left, for a human.
    pub streams: Vec<String>,
    /// What takes back half-done steps of dead runs on the server's own roads.
    pub halves: Vec<Undo>,
    unfinished: Vec<RunId>,
    names: Vec<stream::Names>,
}

impl Cleanup {
    /// Finds what can be dropped. Takes the table's lock, so that a run under way is never touched.
    ///
    /// # Errors
    /// `Refused` while a run is under way, or where one died behind its swap.
    pub async fn find(target: &Target, schema: Option<&str>, table: &str) -> Result<Self> {
        let client = connect(&Options::of(target)?, "connecting").await?;
        let name = resolve(&client, schema, table).await?;
        let sql = format!("SELECT pg_try_advisory_lock({})", lock_number(&name));
        if value(&client, "claiming the table", &sql).await?.as_deref() != Some("t") {
            return Err(other_run(&name.plain()));
        }
        let ledger = Ledger::of(&name.schema);
        let mut cleanup = Self {
            client,
            ledger,
            name,
            tables: Vec::new(),
            streams: Vec::new(),
            halves: Vec::new(),
            unfinished: Vec::new(),
            names: Vec::new(),
        };
        cleanup.look(target).await?;
        Ok(cleanup)
    }

    async fn look(&mut self, target: &Target) -> Result<()> {
        if !self.ledger.exists(&self.client).await? {
            return Ok(());
        }
        let runs = self.ledger.runs(&self.client, Some(&self.name.table), 100).await?;
        if runs.is_empty() {
            return Ok(());
        }
        let Some(now) = Table::read(&self.client, &self.name).await? else { return Ok(()) };
        let database = target.database();
        for dead in runs.iter().filter(|dead| dead.is_unfinished()) {
            let carried = Carried::of(dead);
            let original = carried.as_ref().map_or(now.oid, |carried| carried.made.original);
            if carried.is_some_and(|carried| carried.made.shadow == now.oid) {
                return Err(unsettled(dead, &self.name.plain(), ""));
            }
            self.unfinished.push(RunId(dead.run));
            if dead.road != Road::Copy.word() {
                self.halves.extend(self.half_done(dead).await?);
                continue;
            }
            let names = stream::names(dead.run, original, database);
            self.streams.push(names.slot.clone());
            self.names.push(names);
        }
        let helpers = Helpers::of(&self.name);
        for (table, what) in
            [(helpers.shadow, "the shadow of a dead run"), (helpers.retired, "the retired table")]
        {
            if let Some(found) = Table::read(&self.client, &table).await? {
                self.tables.push(Leftover { table, what, bytes: found.bytes });
            }
        }
        Ok(())
    }

    /// What a run left that died on one of the server's own roads: its clauses tell the steps.
    async fn half_done(&self, dead: &RunRecord) -> Result<Vec<Undo>> {
        let absent = roads::foreign_keys(&self.client, &self.name).await?;
        let change = Change::parse(&dead.clauses, &self.name, absent)?;
        let version = version(&self.client).await?;
        let strategy = Strategy::Inplace;
        let chosen =
            roads::choose(&self.client, &self.name, &change.statement, strategy, version).await;
        match chosen.map(|chosen| chosen.road) {
            Ok(Road::Steps(steps)) => roads::leftovers(&self.client, &steps).await,
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.is_connection() => Err(error),
            Err(error) => {
                tracing::warn!("what `{}` left cannot be told: {error}", dead.clauses);
                Ok(Vec::new())
            }
        }
    }

    /// Drops what was found, and closes the records of dead runs.
    ///
    /// # Errors
    /// `Stopped` when a table's lock is not to be had; the server's.
    pub async fn drop_all(self) -> Result<()> {
        roads::take_back(&self.client, &self.name, &self.halves, ATTEMPTS, LOCK_BUDGET).await?;
        let budget = format!("SET lock_timeout = {}", LOCK_BUDGET.as_millis());
        run(&self.client, ACTION, &budget).await?;
        for names in &self.names {
            stream::drop_all(&self.client, names).await?;
        }
        for leftover in &self.tables {
            let mut sql = format!("DROP TABLE IF EXISTS {}", leftover.table);
            if leftover.table == Helpers::of(&self.name).retired {
                // In one transaction: nobody would come back for the function alone.
                sql = format!("{sql}; {}", guards::forget_retired(&leftover.table));
            }
            self.drop_table(&leftover.table, &sql).await?;
        }
        guards::drop_if_over(&self.client, &self.name).await?;
        for id in self.unfinished {
            let end = End::failed("forgotten by osc cleanup");
            self.ledger.end(&self.client, id, &end).await?;
        }
        Ok(())
    }

    /// Never CASCADE: what hangs on the table is somebody's.
    async fn drop_table(&self, table: &TableName, sql: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Err(error) = self.client.batch_execute(sql).await else { return Ok(()) };
            if sqlstate(&error) != Some("55P03") {
                return Err(server_error(ACTION, &error));
            }
            tokio::time::sleep(LOCK_BUDGET).await;
        }
        Err(Error::Stopped {
            reason: format!("the lock on {} is not to be had", table.plain()),
            help: "look for old transactions that use it, then run the command again".into(),
        })
    }
}
