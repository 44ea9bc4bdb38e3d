//! `osc cleanup` on MySQL and MariaDB: the retired table, and what unfinished runs left.

use mysql_async::Conn;

use crate::config::target::Target;
use crate::error::{Error, Finding, Result};
use crate::ledger::claim::Standing;
use crate::ledger::refusals::unsettled;
use crate::ledger::undo_window::Kept;
use crate::ledger::{End, Leftover, REVERT, RunId, RunRecord};
use crate::mysql::catalog::table::{self, Table};
use crate::mysql::checks::leftovers::Proof;
use crate::mysql::connection::recognise;
use crate::mysql::connection::session::run;
use crate::mysql::connection::version::Flavor;
use crate::mysql::copy::shadow;
use crate::mysql::name::{Helpers, TableName};
use crate::mysql::runs::ledger::{Ledger, Purpose};
use crate::mysql::runs::lock;
use crate::mysql::runs::proof::{Catalog, there};
use crate::mysql::runs::record::Record;
use crate::mysql::swap::outcome::is_retired;
use crate::plan::TableArg;

/// Runs of a table that are looked at.
const RUNS: u32 = 100;

/// What there is to drop, and the session that found it.
pub(crate) struct Cleanup {
    conn: Conn,
    flavor: Flavor,
    ledger: Ledger,
    name: TableName,
    /// The tables to drop, with the reason and size of each.
    pub tables: Vec<Leftover<TableName>>,
    /// Retired tables whose time is not over.
    pub kept: Vec<Kept>,
    /// Tables under the helpers' names that no run of this server made: left alone, and why.
    pub spared: Vec<String>,
    /// Runs whose records this osc cannot read: they are forgotten.
    pub forgotten: Vec<i64>,
    unfinished: Vec<RunId>,
}

impl Cleanup {
    /// Finds what can be dropped, with `now` what is kept for an undo too. Takes the table's lock, so that a run
    /// under way is never touched.
    pub(crate) async fn find(target: &Target, table: &TableArg, now: bool) -> Result<Self> {
        let (schema, table) = (table.schema.as_deref(), table.table.as_str());
        let schema = schema.or(target.database.as_deref()).ok_or_else(|| Error::Usage {
            message: format!("no database selected: write shop.{table} or put /shop in the URL"),
            help: String::new(),
        })?;
        // Only what osc has made itself is dropped, on a server that it does not know too.
        let (mut conn, _) = recognise::open(target, true).await?;
        let flavor = table::flavor(&mut conn).await?;
        let asked = TableName::new(schema, table);
        let name = Table::read(&mut conn, &asked).await?.map_or(asked, |found| found.name);
        let (place, application) = (&target.ledger, Some(name.schema.as_str()));
        let vetted = Ledger::vetted(&mut conn, flavor, place, application, Purpose::Write).await?;
        lock::take(&mut conn, &name, &[], 0).await?;
        let ledger = vetted.ledger;
        let (tables, kept, spared) = (Vec::new(), Vec::new(), Vec::new());
        let (forgotten, unfinished) = (Vec::new(), Vec::new());
        let mut cleanup =
            Self { conn, flavor, ledger, name, tables, kept, spared, forgotten, unfinished };
        if vetted.stands {
            cleanup.look(now).await?;
        }
        Ok(cleanup)
    }

    /// Looks at the runs, and at the tables that they made.
    async fn look(&mut self, now: bool) -> Result<()> {
        let runs = self.ledger.of_table(&mut self.conn, &self.name, RUNS).await?;
        self.forgotten =
            runs.iter().filter(|run| Record::of(run).is_err()).map(|run| run.run).collect();
        if let Some(dead) = runs.first().filter(|run| run.has_copy())
            && let Ok(Record { tables, .. }) = Record::of(dead)
        {
            let mariadb = self.flavor.is_mariadb();
            let catalog = Catalog::read(&mut self.conn, mariadb, &self.name).await?;
            if catalog.standing(&tables) == Standing::Swapped {
                let why = ": keys and triggers may still hang on the retired table";
                return Err(unsettled(dead, &self.name.plain(), why));
            }
        }
        self.unfinished =
            runs.iter().filter(|run| run.is_unfinished()).map(|run| RunId(run.run)).collect();
        self.find_tables(&runs, now).await
    }

    async fn find_tables(&mut self, runs: &[RunRecord], now: bool) -> Result<()> {
        let (conn, name) = (&mut self.conn, &self.name);
        let helpers = Helpers::of(name);
        if runs.is_empty() {
            return Ok(());
        }
        if Table::read(conn, name).await?.is_none() {
            return Err(Error::Refused(vec![Finding::new(
                "table",
                format!("there is no table {}: nothing of its helpers is dropped", name.plain()),
                "look for where its rows are before anything is dropped",
            )]));
        }
        let shadow = Table::read(conn, &helpers.shadow).await?;
        let mut retired = Vec::new();
        for name in there(conn, Helpers::retired_names(name)).await? {
            retired.extend(Table::read(conn, &name).await?);
        }
        if shadow.is_none() && retired.is_empty() {
            return Ok(());
        }
        let proof = Proof::read(conn, self.flavor, runs, name).await?;
        if let Some(found) = shadow {
            let ours = proof.is_our_shadow(conn, &found.name).await?;
            sort(
                &mut self.tables,
                &mut self.spared,
                found,
                "the shadow of an unfinished run",
                ours,
            );
        }
        // Whoever discards an undo still has what it was to bring back.
        let undo = runs.first().filter(|run| run.is_unfinished() && run.method == REVERT);
        if let Some(undo) = undo {
            let stays = |found: &Table| {
                format!(
                    "{} stays: run {} was to bring it back, and is discarded; run osc cleanup again to drop it",
                    found.name.plain(),
                    undo.run
                )
            };
            self.spared.extend(retired.drain(..).map(|found| stays(&found)));
        }
        for found in retired {
            if let Some(kept) = proof.kept(runs, &found.name).filter(|_| !now) {
                self.kept.push(kept);
                continue;
            }
            // A sentry holds nothing.
            let ours = proof.is_our_retired(&found.name) || !is_retired(conn, &found.name).await?;
            sort(&mut self.tables, &mut self.spared, found, "the retired table", ours);
        }
        Ok(())
    }

    /// Whether there is anything to drop, discard or forget.
    pub(crate) fn has_work(&self) -> bool {
        !(self.tables.is_empty() && self.unfinished.is_empty() && self.forgotten.is_empty())
    }

    /// Drops what was found, and closes the records of unfinished runs.
    pub(crate) async fn drop_all(mut self) -> Result<()> {
        run(&mut self.conn, "dropping tables", "SET SESSION foreign_key_checks = 0").await?;
        run(&mut self.conn, "dropping tables", "SET SESSION lock_wait_timeout = 5").await?;
        for leftover in &self.tables {
            shadow::drop_table(&mut self.conn, &leftover.table).await?;
        }
        for run in self.forgotten {
            self.ledger.forget_record(&mut self.conn, RunId(run)).await?;
        }
        for id in self.unfinished {
            let end = End::failed("discarded with osc cleanup");
            let _ = self.ledger.end(&mut self.conn, id, None, &end).await?;
        }
        lock::release(&mut self.conn).await;
        Ok(())
    }
}

/// Puts a table where it belongs.
fn sort(
    tables: &mut Vec<Leftover<TableName>>,
    spared: &mut Vec<String>,
    found: Table,
    what: &'static str,
    ours: bool,
) {
    if ours {
        tables.push(Leftover { bytes: found.bytes, table: found.name, what });
    } else {
        spared.push(format!(
            "{}: no run of osc on this server made it, so it is left alone; if it is not needed: DROP \
             TABLE {}",
            found.name.plain(),
            found.name
        ));
    }
}
