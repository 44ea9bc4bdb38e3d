//! Tables under the helpers' names, whose they are, and what other tools left.

use std::time::Duration;

use mysql_async::Conn;

use super::Checked;
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::undo_window::Kept;
use crate::ledger::{Outcome, RunRecord};
use crate::mysql::catalog::table::Table;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::version::Flavor;
use crate::mysql::copy::shadow::{drop_table, is_empty};
use crate::mysql::name::{Helpers, TableName, Text};
use crate::mysql::runs::ledger::Ledger;
use crate::mysql::runs::proof::{Catalog, Numbers, Tables, there};
use crate::mysql::runs::record::Record;
use crate::mysql::swap::outcome::is_retired;

/// Runs that are looked at: helpers older than these belong to no run.
const RUNS: u32 = 100;

/// What this server's runs recorded of a table and its helpers, and what has these numbers now.
pub(in crate::mysql) struct Proof {
    catalog: Catalog,
    recorded: Vec<Tables>,
    /// A run died before it could record the shadow that it had begun to make.
    unrecorded: bool,
}

impl Proof {
    /// Reads both.
    ///
    /// # Errors
    /// The server's.
    pub(in crate::mysql) async fn read(
        conn: &mut Conn,
        flavor: Flavor,
        runs: &[RunRecord],
        name: &TableName,
    ) -> Result<Self> {
        let catalog = Catalog::read(conn, flavor.is_mariadb(), name).await?;
        // A record that cannot be read proves nothing, and must not keep the others from it.
        let records = runs.iter().filter_map(|run| Record::of(run).ok());
        let recorded: Vec<Tables> = records
            .map(|record| match record.undoes {
                // An undo's shadow is what another run retired: it is nobody's to drop as a shadow.
                Some(_) => Tables { shadow: Numbers::default(), ..record.tables },
                None => record.tables,
            })
            .collect();
        let died = |run: &RunRecord| {
            run.method == "copy" && run.carried.is_none() && run.result != Some(Outcome::Done)
        };
        let unrecorded = runs.iter().any(died);
        Ok(Self { catalog, recorded, unrecorded })
    }

    /// Whether the table under the shadow's name may be dropped: a run recorded it as its own, or it has
    /// no row and a run died while it made one of this name.
    pub(in crate::mysql) async fn is_our_shadow(
        &self,
        conn: &mut Conn,
        shadow: &TableName,
    ) -> Result<bool> {
        if self.catalog.made_shadow(self.recorded.iter()) {
            return Ok(true);
        }
        Ok(self.unrecorded && is_empty(conn, shadow).await?)
    }

    /// Until when the table under this retired name is kept, and for which run.
    pub(in crate::mysql) fn kept(&self, runs: &[RunRecord], name: &TableName) -> Option<Kept> {
        runs.iter().find_map(|run| {
            let record = Record::of(run).ok()?;
            let retired = self.catalog.is_retired_as(name, &record.tables.original);
            let until = run.kept_until(Duration::from_secs(record.undo_for)).filter(|_| retired)?;
            Some(Kept { table: name.plain(), run: run.run, until })
        })
    }

    /// Whether the table under the retired name is one that a run of this server began with.
    pub(in crate::mysql) fn is_our_retired(&self, name: &TableName) -> bool {
        self.catalog.retired_original(name, self.recorded.iter())
    }
}

/// Makes room for a shadow: drops one that a run of this server made.
///
/// # Errors
/// `Refused` where another user's table has its name.
pub(in crate::mysql) async fn clear_shadow(
    conn: &mut Conn,
    flavor: Flavor,
    ledger: &Ledger,
    name: &TableName,
) -> Result<()> {
    let shadow = Helpers::of(name).shadow;
    if Table::read(conn, &shadow).await?.is_none() {
        return Ok(());
    }
    let runs = ledger.of_table(conn, name, RUNS).await?;
    let proof = Proof::read(conn, flavor, &runs, name).await?;
    if proof.is_our_shadow(conn, &shadow).await? {
        return drop_table(conn, &shadow).await;
    }
    Err(Error::Refused(vec![strange(&shadow, None)]))
}

/// The refusal of a table under a helper's name that no run of this server made. `elsewhere`: the last
/// run on the table that another server began.
fn strange(helper: &TableName, elsewhere: Option<&RunRecord>) -> Finding {
    let hint = elsewhere.map_or(String::new(), |run| {
        format!(
            "; run {} of another server ({}) worked on this table: it may have come from there, by \
             replication or in a dump",
            run.run,
            run.elsewhere.as_deref().unwrap_or_default()
        )
    });
    Finding::new(
        "leftovers",
        format!("{} exists, and no run of osc on this server made it{hint}", helper.plain()),
        format!("rename it or, if it is not needed: DROP TABLE {helper}"),
    )
}

/// A retired table that is still there; a shadow that no run of ours made; another tool at work.
pub(crate) async fn tables(
    conn: &mut Conn,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let original = &checked.original.name;
    let helpers = Helpers::of(original);
    let (runs, elsewhere) = match checked.ledger {
        Some(ledger) => {
            let runs = ledger.of_table(conn, original, RUNS).await?;
            (runs, ledger.elsewhere(conn, original).await?)
        }
        None => (Vec::new(), None),
    };
    // In this order: a rename of an unfinished run that comes through in between shows neither.
    let retired = there(conn, Helpers::retired_names(original)).await?;
    let shadow = Table::read(conn, &helpers.shadow).await?.is_some();
    if !retired.is_empty() || shadow {
        let proof = Proof::read(conn, checked.flavor, &runs, original).await?;
        if shadow && !proof.is_our_shadow(conn, &helpers.shadow).await? {
            findings.refusals.push(strange(&helpers.shadow, elsewhere.as_ref()));
        }
        // The tables that runs retired may stand; what is not theirs has their name.
        for table in &retired {
            if is_retired(conn, table).await? && !proof.is_our_retired(table) {
                findings.refusals.push(strange(table, elsewhere.as_ref()));
            }
        }
    }
    if let Some(run) = elsewhere.filter(RunRecord::is_unfinished) {
        findings.notes.push(format!(
            "run {} on this table was begun on another server ({}) and not finished there; osc does not resume it here",
            run.run,
            run.elsewhere.as_deref().unwrap_or_default()
        ));
    }
    let name = original.table.as_str();
    let others = [
        format!("_{name}_gho"),
        format!("_{name}_ghc"),
        format!("_{name}_new"),
        format!("_{name}_chkpnt"),
    ];
    let list: Vec<String> = others.iter().map(|name| Text(name).to_string()).collect();
    let found: Vec<String> = conn
        .all(format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({})",
            Text(original.schema.as_str()),
            list.join(", ")
        ))
        .await
        .map_err(|error| connection_error("looking for leftovers", error))?;
    if !found.is_empty() {
        findings.refuse(
            "other-tool",
            format!(
                "another tool is changing the table, or died while it did: {}",
                found.join(", ")
            ),
            "let it end, or drop what it left",
        );
    }
    Ok(())
}
