//! `osc cleanup` on PostgreSQL: the retired table, what unfinished runs left, guards whose time is over.

use std::time::Duration;

use tokio_postgres::Client;

use crate::config::strategy::Strategy;
use crate::config::target::Target;
use crate::error::{Error, Result};
use crate::ledger::claim::Standing;
use crate::ledger::refusals::unsettled;
use crate::ledger::undo_window::Kept;
use crate::ledger::{End, Leftover, REVERT, RunId, RunRecord};
use crate::plan::TableArg;
use crate::postgres::catalog::table::{Table, resolve, version};
use crate::postgres::clauses::change::Change;
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::errors::{
    LOCK_NOT_AVAILABLE, UNDEFINED_TABLE, server_error, sqlstate,
};
use crate::postgres::connection::recognise;
use crate::postgres::connection::session::run;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::old_shadow::drop_of;
use crate::postgres::methods::{Method, Undo};
use crate::postgres::name::{Helpers, TableName};
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock;
use crate::postgres::runs::names;
use crate::postgres::runs::record::{Record, Whose, standing, whose};
use crate::postgres::trust::functions::of_others;
use crate::postgres::trust::guards;
use crate::postgres::trust::own_schema::Function;
use crate::postgres::{methods, stream};

/// How long one attempt to drop a table may wait for its lock.
const LOCK_BUDGET: Duration = Duration::from_millis(500);

/// Attempts to drop a table.
const ATTEMPTS: u32 = 20;

const ACTION: &str = "dropping what is left";

/// What there is to drop, and the session that found it.
pub(crate) struct Cleanup {
    client: Client,
    role: RoleSettings,
    ledger: Ledger,
    name: TableName,
    /// The tables to drop, with the reason and size of each.
    pub tables: Vec<Leftover<Found>>,
    /// Retired tables whose time is not over.
    pub kept: Vec<Kept>,
    /// Slots and publications that unfinished runs left, for a human.
    pub streams: Vec<String>,
    /// What takes back half-done steps of unfinished runs on the server's own methods.
    pub halves: Vec<Undo>,
    /// Runs whose records this osc cannot read: they are forgotten.
    pub forgotten: Vec<i64>,
    unfinished: Vec<RunId>,
    names: Vec<stream::Names>,
}

/// A table that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    name: TableName,
    oid: u32,
}

impl Found {
    /// Its name without quotes.
    pub(crate) fn plain(&self) -> String {
        self.name.plain()
    }
}

impl Cleanup {
    /// Finds what can be dropped, with `now` what is kept for an undo too. Takes the table's lock, so that a run under way is never touched.
    ///
    /// # Errors
    /// `Refused` while a run is under way, or where one died behind its swap.
    pub(crate) async fn find(target: &Target, table: &TableArg, now: bool) -> Result<Self> {
        let (schema, table) = (table.schema.as_deref(), table.table.as_str());
        let options = Options::of(target)?;
        // Only what osc has made itself is dropped, on a server that it does not know too.
        let (client, ..) = recognise::open(&options, true).await?;
        let ledger = Ledger::open(&client, &target.ledger).await?;
        let role = RoleSettings::read(&options).await?;
        let name = resolve(&client, &role, schema, table).await?;
        ledger.no_earlier(&client, &name.schema).await?;
        lock::take(&client, &name, &[], Duration::ZERO).await?;
        let mut cleanup = Self {
            client,
            role,
            ledger,
            name,
            tables: Vec::new(),
            kept: Vec::new(),
            streams: Vec::new(),
            halves: Vec::new(),
            forgotten: Vec::new(),
            unfinished: Vec::new(),
            names: Vec::new(),
        };
        cleanup.look(target, now).await?;
        Ok(cleanup)
    }

    async fn look(&mut self, target: &Target, drop_now: bool) -> Result<()> {
        let Some(now) = Table::read(&self.client, &self.name).await? else { return Ok(()) };
        let database = target.database();
        let runs = self.ledger.runs(&self.client, &self.name, 100).await?;
        // The tables of undos; `any`: of one that does not say which.
        let (mut taken, mut any) = (Vec::new(), false);
        for dead in runs.iter().filter(|dead| dead.is_unfinished()) {
            // A record of another version's cannot be finished by this one, only forgotten.
            match Record::of(dead) {
                Ok(Some(record))
                    if standing(&self.client, &self.ledger, &now, &record).await?
                        == Standing::Swapped =>
                {
                    return Err(unsettled(dead, &self.name.plain(), ""));
                }
                Ok(Some(record)) if record.undoes.is_some() => taken.push(record.shadow),
                Ok(_) => any |= dead.method == REVERT,
                Err(_) => {
                    any |= dead.method == REVERT;
                    self.forgotten.push(dead.run);
                }
            }
            self.unfinished.push(RunId(dead.run));
            if ![Method::Copy.word(), REVERT].contains(&dead.method.as_str()) {
                self.halves.extend(self.half_done(dead).await?);
                continue;
            }
            let left = stream::left(&self.client, dead.run, database, &self.ledger.schema).await?;
            self.streams.extend(left.iter().map(|names| names.slot.clone()));
            self.names.extend(left);
        }
        let shadow = Helpers::of(&self.name).shadow;
        match whose(&self.client, &self.ledger, &shadow, Function::Shadow).await? {
            None => {}
            Some(Whose::Others) => {
                tracing::warn!("{} stays: no run of osc made it what it is", shadow.plain());
            }
            Some(Whose::Ours(oid)) => {
                self.add(shadow, oid, "the shadow of an unfinished run").await?;
            }
        }
        for (retired, oid) in names::standing(&self.client, &self.ledger, &self.name).await? {
            // What discards an undo leaves its table: the undo can be begun again.
            if any || taken.contains(&oid) {
                continue;
            }
            match kept(&runs, &retired, oid).filter(|_| !drop_now) {
                Some(kept) => self.kept.push(kept),
                None => self.add(retired, oid, "the retired table").await?,
            }
        }
        Ok(())
    }

    async fn add(&mut self, name: TableName, oid: u32, what: &'static str) -> Result<()> {
        if let Some(found) = Table::read(&self.client, &name).await? {
            let table = Found { name, oid };
            self.tables.push(Leftover { table, what, bytes: found.bytes });
        }
        Ok(())
    }

    /// What a run left that died on one of the server's own methods: its steps follow from its clauses.
    async fn half_done(&self, dead: &RunRecord) -> Result<Vec<Undo>> {
        let absent = methods::foreign_keys(&self.client, &self.name).await?;
        let change = Change::parse(&dead.clauses, &self.name, absent)?;
        // Trying the clauses would run what they call.
        if let Some(now) = Table::read(&self.client, &self.name).await?
            && let Some(finding) =
                of_others(&self.client, &now, &self.role, &dead.clauses).await?.first()
        {
            tracing::warn!("what `{}` left is not known: {}", dead.clauses, finding.problem);
            return Ok(Vec::new());
        }
        let version = version(&self.client).await?;
        let strategy = Strategy::Inplace;
        let chosen = methods::choose(
            &self.client,
            &self.role,
            &self.name,
            &change.statement,
            strategy,
            version,
        )
        .await;
        match chosen.map(|chosen| chosen.method) {
            Ok(Method::Steps(steps)) => methods::leftovers(&self.client, &steps).await,
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.is_connection() => Err(error),
            Err(error) => {
                tracing::warn!("what `{}` left is not known: {error}", dead.clauses);
                Ok(Vec::new())
            }
        }
    }

    /// Whether there is anything to drop, discard or forget.
    pub(crate) fn has_work(&self) -> bool {
        let nothing = self.tables.is_empty() && self.names.is_empty() && self.halves.is_empty();
        !(nothing && self.unfinished.is_empty() && self.forgotten.is_empty())
    }

    /// Drops what was found, and closes the records of unfinished runs.
    ///
    /// # Errors
    /// `Stopped` when a table's lock is not granted; the server's.
    pub(crate) async fn drop_all(self) -> Result<()> {
        methods::take_back(&self.client, &self.name, &self.halves, ATTEMPTS, LOCK_BUDGET).await?;
        let budget = format!("SET lock_timeout = {}", LOCK_BUDGET.as_millis());
        run(&self.client, ACTION, &budget).await?;
        for names in &self.names {
            stream::drop_all(&self.client, names).await?;
        }
        for Leftover { table: Found { name, oid }, .. } in &self.tables {
            self.drop_table(name, &drop_of(name, *oid)).await?;
        }
        guards::drop_if_over(&self.client, &self.name).await?;
        for id in self.unfinished {
            let end = End::failed("discarded with osc cleanup");
            let _ = self.ledger.end(&self.client, id, None, &end).await?;
        }
        lock::release(&self.client).await;
        Ok(())
    }

    /// Never CASCADE: what depends on the table is a user's.
    async fn drop_table(&self, table: &TableName, sql: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Err(error) = self.client.batch_execute(sql).await else { return Ok(()) };
            match sqlstate(&error) {
                Some(LOCK_NOT_AVAILABLE) => {}
                // Another session dropped it.
                Some(UNDEFINED_TABLE) => return Ok(()),
                _ => return Err(server_error(ACTION, &error)),
            }
            tokio::time::sleep(LOCK_BUDGET).await;
        }
        Err(Error::Stopped {
            reason: format!("{} cannot be locked", table.plain()),
            help: "look for old transactions that use it, then run the command again".into(),
        })
    }
}

/// Until when a retired table is kept, and for which of `runs`.
fn kept(runs: &[RunRecord], retired: &TableName, oid: u32) -> Option<Kept> {
    runs.iter().find_map(|run| {
        let record = Record::of(run).ok()??;
        let until = run.kept_until(Duration::from_secs(record.undo_for))?;
        let of_this = record.original == oid;
        of_this.then(|| Kept { table: retired.plain(), run: run.run, until })
    })
}
