//! Which run an undo undoes: the newest that is done, where the catalog proves that its two tables are those
//! that it left.

use tokio_postgres::Client;

use crate::engine::undo::Direction;
use crate::error::{Error, Finding, Result};
use crate::ledger::{Outcome, RunRecord};
use crate::plan::Opposite;
use crate::postgres::catalog::table::Table;
use crate::postgres::methods::opposite::{Definition, NativeRecord};
use crate::postgres::name::{Helpers, TableName};
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::record::{Record, Whose, whose};
use crate::postgres::runs::tables::Tables;
use crate::postgres::trust::own_schema::Function;

/// Runs of a table that are looked at.
const LOOKED_AT: u32 = 200;

/// A run that can be undone.
#[derive(Debug, Clone)]
pub(crate) struct Undone {
    /// Its number.
    pub run: i64,
    /// What it recorded.
    pub record: Record,
    /// Its tables.
    pub tables: Tables,
    /// Which way an undo goes.
    pub direction: Direction,
    /// The clauses that made the new table of the old one.
    pub clauses: String,
    /// Its names.
    pub helpers: Helpers,
}

fn refused<T>(code: &'static str, problem: String, help: impl Into<String>) -> Result<T> {
    Err(Error::Refused(vec![Finding::new(code, problem, help)]))
}

/// The newest run on the table that is done; or, of these, the run `wanted`, which an unfinished undo has
/// begun to undo. What is read of it is not proved yet.
async fn run_of(
    client: &Client,
    ledger: &Ledger,
    table: &TableName,
    wanted: Option<i64>,
) -> Result<Undone> {
    let runs = ledger.runs(client, table, LOOKED_AT).await?;
    let is_it = |run: &&RunRecord| match wanted {
        Some(number) => run.run == number,
        None => run.result == Some(Outcome::Done),
    };
    let name = table.plain();
    let Some(run) = runs.iter().find(is_it) else {
        return refused(
            "undo-no-run",
            format!("the ledger has no run on {name} that is done: there is nothing to undo"),
            "look at `osc status`; to change the table: osc alter",
        );
    };
    let number = run.run;
    if !run.retires() {
        return refused(
            "undo-no-retired-table",
            format!(
                "the last change of {name}, run {number}, was made {}, which keeps no retired table",
                run.method
            ),
            "make the inverse change with osc alter",
        );
    }
    let earlier = || {
        refused(
            "undo-old-record",
            format!(
                "run {number} on {name} was made by an earlier version of osc, and cannot be undone"
            ),
            "make the inverse change with osc alter",
        )
    };
    let Some(record) = Record::of(run)? else { return earlier() };
    let Some(tables) = record.tables.clone() else { return earlier() };
    let base = tables.base.unwrap_or(number);
    let Some(base) = runs.iter().find(|run| run.run == base) else { return earlier() };
    let direction = match tables.old.oid == record.original {
        true => Direction::Back,
        false => Direction::Again,
    };
    let helpers = record.helpers(table);
    let clauses = base.clauses.clone();
    Ok(Undone { run: number, record, tables, direction, clauses, helpers })
}

/// The run that an undo of the table undoes, whose tables the catalog has proved.
///
/// # Errors
/// `Refused` where there is none; the server's.
pub(crate) async fn newest(
    client: &Client,
    ledger: &Ledger,
    live: &Table,
    wanted: Option<i64>,
) -> Result<Undone> {
    let undone = run_of(client, ledger, &live.name, wanted).await?;
    let (name, run, retired) = (live.name.plain(), undone.run, &undone.helpers.retired);
    if undone.record.shadow != live.oid {
        return refused(
            "undo-replaced",
            format!("{name} is not the table that run {run} made: it was put in its place since"),
            "make the inverse change with osc alter",
        );
    }
    match whose(client, ledger, retired, Function::Retired).await? {
        Some(Whose::Ours(oid)) if oid == undone.record.original => Ok(undone),
        Some(Whose::Others) | Some(Whose::Ours(_)) => refused(
            "undo-no-retired-table",
            format!(
                "{} is not the table that run {run} retired, or has lost its guard",
                retired.plain()
            ),
            "make the inverse change with osc alter",
        ),
        None => refused(
            "undo-no-retired-table",
            format!("{}, which run {run} on {name} retired, is gone", retired.plain()),
            "make the inverse change with osc alter",
        ),
    }
}

/// The change that takes the table's last one back, where that left no retired table.
///
/// # Errors
/// `Refused` where the table is not as the run left it, or there is no opposite change; the server's.
pub(crate) async fn opposite(
    client: &Client,
    ledger: &Ledger,
    live: &Table,
) -> Result<Option<Opposite>> {
    let runs = ledger.runs(client, &live.name, LOOKED_AT).await?;
    let Some(run) = runs.iter().find(|run| run.result == Some(Outcome::Done)) else {
        return Ok(None);
    };
    let record = run.carried.as_deref().filter(|_| !run.retires());
    let Some(record) = record.and_then(|text| serde_json::from_str::<NativeRecord>(text).ok())
    else {
        return Ok(None);
    };
    let (number, method, name) = (run.run, run.method.clone(), live.name.plain());
    if Definition::read(client, &live.name).await?.columns != record.after.columns {
        return refused(
            "undo-definition-changed",
            format!("the columns of {name} are not what run {number} left"),
            "take this later change back first",
        );
    }
    match record.opposite {
        Ok(clauses) if clauses.is_empty() => refused(
            "undo-nothing",
            format!("run {number} changed nothing that could be taken back: {}", run.clauses),
            "look at `osc status`",
        ),
        Ok(clauses) => {
            let whole = ["CREATE ", "DROP INDEX "].iter().any(|word| clauses.starts_with(word));
            let statement = match whole {
                true => clauses.clone(),
                false => format!("ALTER TABLE {name} {clauses}"),
            };
            let verdict = record.verdict;
            Ok(Some(Opposite { run: number, method, clauses, statement, verdict }))
        }
        Err(why) => refused(
            "undo-no-retired-table",
            format!("run {number} was made {method}, which keeps no retired table, and {why}"),
            "make the inverse change with osc alter",
        ),
    }
}

impl Undone {
    /// The same run, of which an unfinished undo has already swapped the tables.
    ///
    /// # Errors
    /// `Refused` where the ledger does not have it any more; the server's.
    pub(crate) async fn swapped(
        client: &Client,
        ledger: &Ledger,
        table: &TableName,
        run: i64,
    ) -> Result<Self> {
        run_of(client, ledger, table, Some(run)).await
    }
}
