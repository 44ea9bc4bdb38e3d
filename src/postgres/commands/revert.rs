//! `osc revert` on PostgreSQL: find the run that is undone, check, go.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Client;

use super::alter::unfinished;
use crate::config::target::Scheme;
use crate::engine::event::{Event, Start, Summary};
use crate::engine::undo_check::{self, UndoCheck};
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::refusals::other_clauses;
use crate::ledger::{REVERT, undo_text};
use crate::plan::{Assignment, Job, Opposite, Undoing};
use crate::postgres::catalog::table::{Table, resolve, version};
use crate::postgres::checks::{self, Checked};
use crate::postgres::clauses::change::Change;
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::recognise::{self, distributed};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::lens::Given;
use crate::postgres::dependents::Dependents;
use crate::postgres::name::{Helpers, Ident};
use crate::postgres::run::PostgresTable;
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::record::Record;
use crate::postgres::runs::{lock, names};
use crate::postgres::setting::Setting;
use crate::postgres::throttle;
use crate::postgres::undo::{self, Retired, Undo, Undone};
use crate::testing::mutation::{self, Rule};

/// How far an unfinished undo came.
enum Begun {
    /// There is none.
    Not,
    /// It goes on.
    Unswapped(Record),
    /// Only what follows the swap is left.
    Swapped(Record),
}

/// What an undo is made from.
struct Prepared {
    client: Client,
    setting: Setting,
    begun: Begun,
    /// What the user should know of the server.
    notes: Vec<String>,
}

/// The change that takes the table's last one back, where that has left no retired table.
///
/// # Errors
/// `Refused` where there is none; the server's.
pub(crate) async fn opposite(job: &Job) -> Result<Option<Opposite>> {
    let options = Options::of(&job.target)?;
    let treated = job.settings.treat_as == Some(Scheme::Postgres);
    let (client, ..) = recognise::open(&options, treated).await?;
    let role = RoleSettings::read(&options).await?;
    let ledger = Ledger::open(&client, &job.target.ledger).await?;
    let request = &job.request.table;
    let name = resolve(&client, &role, request.schema.as_deref(), &request.table).await?;
    let Some(live) = Table::read(&client, &name).await? else { return Ok(None) };
    undo::opposite(&client, &ledger, &live).await
}

/// Undoes the table's last change.
///
/// # Errors
/// Whatever ends the run other than success.
pub(crate) async fn revert(job: Job) -> Result<Summary> {
    let probe = throttle::ServerStatus::new(Options::of(&job.target)?);
    let job = job.with_checks(probe);
    let Prepared { client, setting, begun, notes } = prepare(&job).await?;
    for text in notes {
        job.sink.event(Event::Note { text });
    }
    if !matches!(begun, Begun::Swapped(_)) {
        throttle::check(&job, &setting.options, !matches!(begun, Begun::Not)).await?;
        job.refuse_if_any(check(&client, &setting).await?)?;
    }
    let (name, text) = (setting.original.name.plain(), setting.change.text.clone());
    let reason = match begun {
        Begun::Not => format!("{text}: rows go back to {}", setting.helpers.shadow.plain()),
        _ => format!("resuming an unfinished {text}"),
    };
    job.sink.event(Event::Method { method: REVERT.into(), reason });
    let throttle = throttle::build(&job, &setting.options, true)?;
    let start = Start::of_an_undo(&name, text.clone(), setting.original.bytes);
    let mut summary = job.copy(PostgresTable::new(setting), throttle, false, start).await?;
    summary.table = name;
    summary.clauses = text;
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

/// What [`revert`] would meet now. Changes nothing.
///
/// # Errors
/// `Refused` where an undo would be; the server's.
pub(crate) async fn check_undo(job: &Job) -> Result<(Undoing, UndoCheck)> {
    let Prepared { client, setting, begun, .. } = prepare(job).await?;
    let name = setting.original.name.plain();
    if matches!(begun, Begun::Swapped(_)) {
        return Err(Error::Refused(vec![Finding::new(
            "unsettled",
            format!("an undo of {name} has swapped the tables and died"),
            format!("finish it: osc revert {name}"),
        )]));
    }
    throttle::check(job, &setting.options, !matches!(begun, Begun::Not)).await?;
    let findings = check(&client, &setting).await?;
    if !findings.refusals.is_empty() {
        return Err(Error::Refused(findings.refusals));
    }
    let throttle = throttle::build(job, &setting.options, true)?;
    let run = setting.undo.as_ref().map_or(0, |undo| undo.run);
    let retired = setting.helpers.shadow.plain();
    let undoing = Undoing { table: name, run, retired, by_log: false, not_by_log: None };
    let table = PostgresTable::looking(setting);
    if let Some(undo) = &table.setting.undo {
        undo::look(&table, undo).await?;
    }
    let mut found = undo_check::check(&table, &job.progress, &throttle).await?;
    if let Some(undo) = &table.setting.undo {
        found.add(undo::without_parent(&table, undo).await?);
    }
    Ok((undoing, found))
}

async fn prepare(job: &Job) -> Result<Prepared> {
    let options = Options::of(&job.target)?;
    let treated = job.settings.treat_as == Some(Scheme::Postgres);
    let (client, facts, recognised) = recognise::open(&options, treated).await?;
    let version = version(&client).await?;
    let role = RoleSettings::read(&options).await?;
    let ledger = Ledger::open(&client, &job.target.ledger).await?;
    let request = &job.request.table;
    let name = resolve(&client, &role, request.schema.as_deref(), &request.table).await?;
    ledger.no_earlier(&client, &name.schema).await?;
    let live = Table::read(&client, &name).await?;
    let live = live.ok_or_else(|| {
        let problem = format!("there is no table {}", name.plain());
        Error::Refused(vec![Finding::new("table", problem, "check the name")])
    })?;
    job.progress.subject().set_table(name.plain());
    checks::is_table(&live)?;
    if let Some(finding) = distributed(&client, &facts, &name).await? {
        return Err(Error::Refused(vec![finding]));
    }
    let begun = begun(&client, &ledger, &live).await?;
    let undone = match &begun {
        Begun::Not => undo::newest(&client, &ledger, &live, None).await?,
        Begun::Unswapped(record) => undo::newest(&client, &ledger, &live, record.undoes).await?,
        Begun::Swapped(record) => {
            let run = record.undoes.unwrap_or_default();
            Undone::swapped(&client, &ledger, &name, run).await?
        }
    };
    let helpers = match &begun {
        Begun::Not => names_of(&client, &ledger, &live, &undone).await?,
        Begun::Unswapped(record) | Begun::Swapped(record) => record.helpers(&name),
    };
    let retired = match &begun {
        Begun::Swapped(_) => None,
        _ => Some(retired(&client, &undone).await?),
    };
    let dependents = Dependents::read(&client, &name).await?;
    // After the swap the keys are there, and still to be validated.
    let hanging = (!matches!(begun, Begun::Swapped(_))).then_some(&dependents);
    let back = undo::keys_back(&client, &name, &undone.tables.dropped, hanging).await?;
    let mut change = Change::none(undo_text(undone.run));
    change.statement = back.statement.unwrap_or(change.statement);
    let mut tables = undone.tables;
    if mutation::active(Rule::PairedByRecord) {
        tables.pairs.retain(|(old, new)| old == new);
    }
    let undo = Undo {
        keys: back.keys,
        lost: back.lost,
        then: undone.record.set.clone(),
        run: undone.run,
        direction: undone.direction,
        tables,
        clauses: undone.clauses,
        suffix: undone.helpers.suffix,
        retired,
        given: Given { inverse: given(&job.undo.inverse), fill: given(&job.undo.fill) },
    };
    let setting = Setting {
        options,
        version,
        dependents,
        original: live,
        change,
        helpers,
        undo: Some(undo),
        // Values are converted as they were by the change.
        role: undone.record.role,
        settings: Arc::clone(&job.settings),
        ledger,
        progress: Arc::clone(&job.progress),
    };
    let related = lock::related(&client, &setting.change, &name).await?;
    lock::look(&client, &name, &related).await?;
    Ok(Prepared { client, setting, begun, notes: recognised.notes })
}

/// The unfinished run on the table, which must be an undo.
async fn begun(client: &Client, ledger: &Ledger, live: &Table) -> Result<Begun> {
    let Some(dead) = unfinished(client, ledger, live).await? else { return Ok(Begun::Not) };
    dead.may_be_resumed(dead.run.method == REVERT, true)?;
    match Record::of(&dead.run)? {
        Some(record) if dead.is_swapped() => Ok(Begun::Swapped(record)),
        Some(record) => Ok(Begun::Unswapped(record)),
        None => Err(other_clauses(&dead.run)),
    }
}

/// The names of an undo that begins: its shadow is the retired table, under the name that it has.
async fn names_of(
    client: &Client,
    ledger: &Ledger,
    live: &Table,
    undone: &Undone,
) -> Result<Helpers> {
    let free = names::free(client, ledger, live).await?;
    Ok(Helpers { shadow: undone.helpers.retired.clone(), ..free })
}

async fn retired(client: &Client, undone: &Undone) -> Result<Retired> {
    let name = &undone.helpers.retired;
    let table = Table::read(client, name).await?;
    let gone = || Error::Foreign(format!("another session dropped {}", name.plain()));
    let table = table.filter(|table| table.oid == undone.record.original).ok_or_else(gone)?;
    Ok(Retired { table, dependents: Dependents::read(client, name).await? })
}

fn given(all: &[Assignment]) -> BTreeMap<Ident, String> {
    all.iter().map(|one| (Ident::new(&one.column), one.expression.clone())).collect()
}

/// The checks before the start, and before an unfinished undo is resumed.
async fn check(client: &Client, setting: &Setting) -> Result<Findings> {
    let checked = Checked {
        version: setting.version,
        original: &setting.original,
        change: &setting.change,
        dependents: &setting.dependents,
        role: &setting.role,
        ledger: &setting.ledger,
        helpers: &setting.helpers,
    };
    let mut findings = checks::of_server(client, &checked).await?;
    if let Some(undo) = &setting.undo {
        let found = undo::findings(client, setting, undo).await?;
        findings.refusals.extend(found.refusals);
        findings.notes.extend(found.notes);
    }
    Ok(findings)
}
