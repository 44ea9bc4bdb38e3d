//! Which run an undo undoes, and what is in its way: the catalog proves that the tables are those that the run
//! left, and that their columns are what they were.

use super::proof::Catalog;
use super::record::{Record, Shape, SwapMark, UndoFacts};
use crate::error::{Error, Finding, Result};
use crate::ledger::{Outcome, RunRecord};
use crate::mysql::catalog::table::Table;
use crate::mysql::name::TableName;
use crate::plan::Opposite;

/// A run that can be undone.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The run.
    pub run: RunRecord,
    /// What it recorded.
    pub record: Record,
    /// What it recorded for an undo.
    pub facts: UndoFacts,
    /// The name that its retired table has now.
    pub retired: TableName,
}

impl Candidate {
    /// Where in the log its swap stands, where an undo may go by the log: it has compared all rows itself, and
    /// seen its work to the end.
    pub(crate) fn mark(&self) -> Option<SwapMark> {
        let verified = self.run.verification == "passed";
        self.record.swap.clone().filter(|mark| verified && !mark.sessions.is_empty())
    }
}

/// The table's last change. `runs`: this server's, newest first.
///
/// # Errors
/// `Refused` where there is none that can be undone, with the reason.
pub(crate) fn choose(
    runs: Vec<RunRecord>,
    catalog: &Catalog,
    name: &TableName,
) -> Result<Candidate> {
    let Some(run) = runs.into_iter().find(|run| run.result == Some(Outcome::Done)) else {
        return Err(refused(
            "undo-no-run",
            format!("no run of osc on this server has changed {}", name.plain()),
            "osc status shows the runs; what another tool changed, osc cannot undo",
        ));
    };
    if !run.retires() {
        return Err(refused(
            "undo-no-retired-table",
            format!(
                "run {} was {}, which keeps no retired table: {}",
                run.run, run.method, run.clauses
            ),
            "make the opposite change with osc alter; what a DROP took away is gone",
        ));
    }
    let record = Record::of(&run)?;
    let Some(facts) = record.undo.clone() else {
        return Err(refused(
            "undo-old-record",
            format!(
                "run {} recorded nothing for an undo: an earlier version of osc made it",
                run.run
            ),
            "make the opposite change with osc alter",
        ));
    };
    if !catalog.is_live(&record.tables.shadow) {
        return Err(refused(
            "undo-replaced",
            format!(
                "{} is not the table that run {} left: it was changed or replaced since by other means than osc",
                name.plain(),
                run.run
            ),
            "make the opposite change with osc alter",
        ));
    }
    let Some(retired) = catalog.retired_as(&record.tables.original).cloned() else {
        return Err(refused(
            "undo-no-retired-table",
            format!(
                "the table that run {} retired is gone, or was rebuilt since: nothing holds what {} was before",
                run.run,
                name.plain()
            ),
            "make the opposite change with osc alter; osc cleanup is what drops retired tables",
        ));
    };
    Ok(Candidate { run, record, facts, retired })
}

/// The change that takes back the table's last one, where that left no retired table. `runs`: this server's, newest
/// first. `None`: another way is to be gone, or none.
///
/// # Errors
/// `Refused` where the table is not as the run left it, or there is no opposite change.
pub(crate) fn opposite(runs: &[RunRecord], live: &Table) -> Result<Option<Opposite>> {
    // An unfinished opposite change is resumed as a change.
    let Some(run) = runs.iter().find(|run| run.result == Some(Outcome::Done)) else {
        return Ok(None);
    };
    let Record { opposite: Some(opposite), undo: Some(facts), verdict, .. } = Record::of(run)?
    else {
        return Ok(None);
    };
    let name = live.name.plain();
    let (number, method) = (run.run, run.method.clone());
    if Shape::of(live) != facts.after {
        return Err(refused(
            "undo-definition-changed",
            format!("the columns of {name} are not what run {number} left"),
            "take this later change back first",
        ));
    }
    match opposite {
        Ok(clauses) if clauses.is_empty() => Err(refused(
            "undo-nothing",
            format!("run {number} changed nothing that could be taken back: {}", run.clauses),
            "osc status shows the runs",
        )),
        Ok(clauses) => {
            let statement = format!("ALTER TABLE {name} {clauses}");
            Ok(Some(Opposite { run: number, method, clauses, statement, verdict }))
        }
        Err(why) => Err(refused(
            "undo-no-retired-table",
            format!("run {number} was {method}, which keeps no retired table, and {why}"),
            "make the opposite change with osc alter",
        )),
    }
}

/// Fails where the columns of either table are not what they were at the swap.
///
/// # Errors
/// `Refused`.
pub(crate) fn unchanged(candidate: &Candidate, live: &Table, retired: &Table) -> Result<()> {
    let mut findings = Vec::new();
    for (table, was) in [(live, &candidate.facts.after), (retired, &candidate.facts.before)] {
        let now = Shape::of(table);
        let lacks = |one: &[Shape], other: &[Shape]| -> Vec<String> {
            let gone = one.iter().filter(|shape| !other.contains(shape));
            gone.map(|shape| format!("{} {}", shape.name, shape.form)).collect()
        };
        let (gone, new) = (lacks(was, &now), lacks(&now, was));
        if gone.is_empty() && new.is_empty() {
            continue;
        }
        let list = |what: &str, columns: Vec<String>| match columns.is_empty() {
            true => String::new(),
            false => format!("; {what}: {}", columns.join(", ")),
        };
        findings.push(Finding::new(
            "undo-definition-changed",
            format!(
                "the columns of {} are not what run {} left{}{}",
                table.name.plain(),
                candidate.run.run,
                list("gone", gone),
                list("new", new)
            ),
            "take this later change back first",
        ));
    }
    if findings.is_empty() { Ok(()) } else { Err(Error::Refused(findings)) }
}

fn refused(code: &'static str, problem: String, help: &str) -> Error {
    Error::Refused(vec![Finding::new(code, problem, help)])
}
