//! `osc revert` on MySQL and MariaDB: the run that is undone, its way back, and the run that goes it.

use std::sync::Arc;

use mysql_async::Conn;

use super::arguments::{one_expression, whole_name};
use super::prepare::{Found, any_unfinished, find, none_unfinished, treated};
use crate::engine::event::{Event, Start, Summary};
use crate::engine::undo_check::{self, UndoCheck};
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::claim::Standing;
use crate::ledger::refusals::{other_clauses, replaced};
use crate::ledger::{REVERT, RunRecord, undo_text};
use crate::mysql::catalog::table::{self, Table};
use crate::mysql::checks::{self, Checked};
use crate::mysql::clauses::change::Change;
use crate::mysql::clauses::{ForeignKeyAddition, ForeignKeyChanges};
use crate::mysql::connection::connect::opts;
use crate::mysql::connection::settings::Role;
use crate::mysql::connection::version::Flavor;
use crate::mysql::connection::{recognise, single};
use crate::mysql::copy::put::Given;
use crate::mysql::copy::shadow;
use crate::mysql::dependents::Dependents;
use crate::mysql::dependents::foreign_keys::ForeignKey;
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::mysql::run::MysqlTable;
use crate::mysql::runs::ledger::{Ledger, Purpose, Vetted};
use crate::mysql::runs::proof::{Catalog, there};
use crate::mysql::runs::record::{Record, UndoFacts};
use crate::mysql::runs::undone::{self, Candidate};
use crate::mysql::setting::{Setting, Undone};
use crate::mysql::swap::outcome::is_retired;
use crate::mysql::throttle::{self, status::ServerStatus};
use crate::plan::{Assignment, Job, Opposite, Undoing};
use crate::testing::mutation::{self, Rule};

/// Runs of a table that are looked at.
const RUNS: u32 = 100;

/// The change that takes the table's last one back, where that has left no retired table.
pub(crate) async fn opposite(job: &Job) -> Result<Option<Opposite>> {
    let (mut conn, _) = recognise::open(&job.target, treated(job)).await?;
    let flavor = table::flavor(&mut conn).await?;
    let name = whole_name(&job.request.table, &job.target)?;
    let Some(live) = Table::read(&mut conn, &name).await? else { return Ok(None) };
    let (place, application) = (&job.target.ledger, Some(name.schema.as_str()));
    let vetted = Ledger::vetted(&mut conn, flavor, place, application, Purpose::Read).await?;
    if !vetted.stands {
        return Ok(None);
    }
    let runs = vetted.ledger.of_table(&mut conn, &live.name, RUNS).await?;
    undone::opposite(&runs, &live)
}

/// Undoes the table's last change.
pub(crate) async fn revert(job: Job) -> Result<Summary> {
    let (mut conn, recognised) = recognise::open(&job.target, treated(&job)).await?;
    let probe = ServerStatus::new(opts(&job.target)?);
    let job = job.with_checks(probe);
    for text in recognised.notes {
        job.sink.event(Event::Note { text });
    }
    let (setting, swapped) = prepare(&mut conn, &job).await?;
    if !swapped {
        job.refuse_if_any(check(&mut conn, &setting).await?)?;
    }
    let throttle = throttle::build(&job, &setting.opts, true)?;
    let (table, clauses) = (setting.original.name.plain(), setting.change.text.clone());
    let start = Start::of_an_undo(&table, clauses.clone(), setting.original.bytes);
    let mut summary = job.copy(MysqlTable::new(setting), throttle, false, start).await?;
    summary.table = table;
    summary.clauses = clauses;
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

/// What [`revert`] would meet now. Changes nothing.
pub(crate) async fn check_undo(job: &Job) -> Result<(Undoing, UndoCheck)> {
    let (mut conn, _) = recognise::open(&job.target, treated(job)).await?;
    let (setting, swapped) = prepare(&mut conn, job).await?;
    if swapped {
        return Err(Error::Refused(vec![Finding::new(
            "unsettled",
            format!("an undo of {} has swapped the tables and died", setting.original.name.plain()),
            format!("finish it: osc revert {}", setting.original.name.plain()),
        )]));
    }
    let findings = check(&mut conn, &setting).await?;
    if !findings.refusals.is_empty() {
        return Err(Error::Refused(findings.refusals));
    }
    let table = MysqlTable::new(setting);
    table.get_ready(&mut conn).await?;
    let not_by_log = table.logged().await?.err();
    let setting = &table.setting;
    let undoing = Undoing {
        table: setting.original.name.plain(),
        run: setting.undone.as_ref().map_or(0, |undone| undone.run),
        retired: setting.helpers.shadow.plain(),
        by_log: not_by_log.is_none(),
        not_by_log,
    };
    let throttle = throttle::build(job, &table.setting.opts, true)?;
    let found = undo_check::check(&table, &job.progress, &throttle).await?;
    Ok((undoing, found))
}

/// What the run is made from, and whether an earlier attempt has swapped the tables already.
async fn prepare(conn: &mut Conn, job: &Job) -> Result<(Setting, bool)> {
    let flavor = table::flavor(conn).await?;
    if let Some(finding) = flavor.too_old() {
        return Err(Error::Refused(vec![finding]));
    }
    let role = Role::read(conn).await?;
    if let Some(finding) = role.unsettable(conn, flavor).await? {
        return Err(Error::Refused(vec![finding]));
    }
    let Found { opts, table: live, dependents, related, ledger: vetted } =
        find(conn, job, flavor, "").await?;
    let name = live.name.clone();
    none_unfinished(conn, &vetted, &name, &related).await?;
    let catalog = Catalog::read(conn, flavor.is_mariadb(), &name).await?;
    let dead = any_unfinished(conn, &vetted, &name).await?;
    let mut swapped = false;
    let runs = match vetted.stands {
        true => vetted.ledger.of_table(conn, &name, RUNS).await?,
        false => Vec::new(),
    };
    let others = runs.iter().map(|run| run.run);
    let newest = others.filter(|run| dead.as_ref().is_none_or(|dead| dead.run != *run)).max();
    let (candidate, helpers) = match &dead {
        Some(dead) => {
            let (candidate, helpers, standing) =
                resumed(conn, &vetted, &catalog, &name, dead).await?;
            swapped = standing;
            (candidate, helpers)
        }
        None => {
            let candidate = undone::choose(runs, &catalog, &name)?;
            let retired = free_name(conn, &name).await?;
            let helpers = Helpers { shadow: candidate.retired.clone(), retired };
            (candidate, helpers)
        }
    };
    if !swapped {
        let retired = Table::read(conn, &helpers.shadow).await?.ok_or_else(|| {
            Error::Foreign(format!("{} went away while it was looked at", helpers.shadow.plain()))
        })?;
        undone::unchanged(&candidate, &live, &retired)?;
        throttle::check(job, &opts, dead.is_some()).await?;
    }
    let run = candidate.run.run;
    // What a later run wrote into the retired table is in the log too.
    let swap = candidate.mark().filter(|_| newest == Some(run));
    let facts = candidate.facts;
    let place = (&live, flavor);
    let fill = given(conn, place, &facts, &job.undo.fill, true).await?;
    let inverse = given(conn, place, &facts, &job.undo.inverse, false).await?;
    let change = change_back(run, &facts, &dependents);
    let setting = Setting {
        opts,
        flavor,
        role,
        original: live,
        change,
        dependents,
        settings: Arc::clone(&job.settings),
        progress: Arc::clone(&job.progress),
        ledger: vetted.ledger,
        helpers,
        undone: Some(Undone {
            run,
            tables: candidate.record.tables,
            direction: facts.direction,
            fill,
            inverse,
            swap,
            leaves: job.undo.leave_misfits,
        }),
    };
    Ok((setting, swapped))
}

/// An undo that was not finished: what it undoes, by its own record and that of the run.
async fn resumed(
    conn: &mut Conn,
    vetted: &Vetted,
    catalog: &Catalog,
    name: &TableName,
    dead: &RunRecord,
) -> Result<(Candidate, Helpers, bool)> {
    let record = Record::of(dead)?;
    let Some(undoes) = record.undoes.filter(|_| dead.method == REVERT) else {
        return Err(other_clauses(dead));
    };
    let runs = vetted.ledger.of_table(conn, name, RUNS).await?;
    let run = runs.into_iter().find(|run| run.run == undoes).ok_or_else(|| other_clauses(dead))?;
    let of_it = Record::of(&run)?;
    let facts = of_it.undo.clone().ok_or_else(|| other_clauses(dead))?;
    let helpers = record.helpers(name);
    let swapped = match catalog.standing(&record.tables) {
        Standing::Replaced => return Err(replaced(dead)),
        Standing::Swapped => true,
        Standing::Unswapped | Standing::Gone => false,
    };
    let retired = helpers.shadow.clone();
    Ok((Candidate { run, record: of_it, facts, retired }, helpers, swapped))
}

/// The first retired name that no table has, but perhaps a sentry.
pub(super) async fn free_name(conn: &mut Conn, name: &TableName) -> Result<TableName> {
    let names = Helpers::retired_names(name);
    let taken = there(conn, names.clone()).await?;
    for candidate in names {
        if !taken.contains(&candidate) || !is_retired(conn, &candidate).await? {
            return Ok(candidate);
        }
    }
    Err(Error::Refused(vec![Finding::new(
        "leftovers",
        format!("{} has as many retired tables as osc keeps", name.plain()),
        format!("drop those that are no longer needed: osc cleanup {}", name.plain()),
    )]))
}

/// The change that takes the run's back.
fn change_back(run: i64, facts: &UndoFacts, dependents: &Dependents) -> Change {
    let has =
        |keys: &[ForeignKey], name: &Ident| keys.iter().any(|key: &ForeignKey| key.name.same(name));
    let back = facts.keys.iter().filter(|key| !has(&dependents.outgoing, &key.name));
    let added = back.map(|key| ForeignKeyAddition {
        text: key.add_as(&key.name),
        name: Some(key.name.clone()),
        columns: key.columns.clone(),
    });
    let gone = dependents.outgoing.iter().filter(|key| !has(&facts.keys, &key.name));
    let foreign_keys = ForeignKeyChanges {
        added: added.collect(),
        dropped: gone.map(|key| key.name.clone()).collect(),
    };
    let mut kept = facts.kept.clone();
    if mutation::active(Rule::PairedByRecord) {
        kept.retain(|(old, new)| old.same(new));
    }
    Change::back(undo_text(run), &kept, foreign_keys)
}

/// Reads `--fill` (`dropped`) or `--inverse`.
async fn given(
    conn: &mut Conn,
    (live, flavor): (&Table, Flavor),
    facts: &UndoFacts,
    assignments: &[Assignment],
    dropped: bool,
) -> Result<Vec<Given>> {
    let (flag, meant) = match dropped {
        true => ("--fill", "a column that the change dropped"),
        false => ("--inverse", "a column of the retired table that the change kept"),
    };
    let mut all = Vec::new();
    for assignment in assignments {
        let column = Ident::new(assignment.column.clone());
        let known = facts.before.iter().find(|shape| shape.name.same(&column));
        let carried = facts.kept.iter().any(|(old, _)| old.same(&column));
        let Some(shape) = known.filter(|_| carried != dropped) else {
            return Err(Error::Usage {
                message: format!("{flag} {}: it is not {meant}", assignment.column),
                help: String::new(),
            });
        };
        let expression = one_expression(&assignment.expression, flavor)
            .map_err(|why| usage(flag, assignment, &why))?;
        let tried = format!("SELECT {expression} FROM {} LIMIT 0", live.name);
        if let Err(mysql_async::Error::Server(error)) = single::rows(conn, &tried).await {
            return Err(usage(flag, assignment, &error.message));
        }
        all.push(Given { column: shape.name.clone(), expression });
    }
    Ok(all)
}

fn usage(flag: &str, assignment: &Assignment, why: &str) -> Error {
    Error::Usage {
        message: format!("{flag} {}: {why}", assignment.column),
        help: "give one expression over the live table's columns".into(),
    }
}

async fn check(conn: &mut Conn, setting: &Setting) -> Result<Findings> {
    let checked = Checked {
        flavor: setting.flavor,
        original: &setting.original,
        change: &setting.change,
        dependents: &setting.dependents,
        schema: setting.ledger.runs.schema.clone(),
        ledger: Some(&setting.ledger),
    };
    let mut findings = checks::of_an_undo(conn, &checked).await?;
    if findings.refusals.is_empty()
        && let (Some(undone), Some(retired)) =
            (&setting.undone, Table::read(conn, &setting.helpers.shadow).await?)
    {
        let (draft, helpers) = (setting.draft(), &setting.helpers);
        let statements = shadow::statements_back(&draft, helpers, &retired, undone.manner());
        match statements {
            Err(Error::Refused(refusals)) => findings.refusals = refusals,
            Err(error) => return Err(error),
            Ok((statements, _)) => {
                checks::server::row_image(conn, &setting.original, &statements.index).await?;
                if statements.put.is_some() {
                    checks::rights::may_lay_aside(conn, &setting.original.name, &mut findings)
                        .await?;
                }
            }
        }
    }
    Ok(findings)
}
