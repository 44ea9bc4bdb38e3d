//! `osc alter` and `osc plan` on PostgreSQL: read, check, choose the road, go.

use std::sync::Arc;

use tokio_postgres::Client;

use crate::config::settings::Indexes;
use crate::engine::error::{Finding, Findings};
use crate::engine::progress::{Event, Summary};
use crate::engine::{Error, Result};
use crate::ledger::{RunRecord, other_clauses, other_run};
use crate::plan::{Job, Plan, Step};
use crate::postgres::change::Change;
use crate::postgres::checks::{self, Checked};
use crate::postgres::claim::lock_number;
use crate::postgres::connect::Options;
use crate::postgres::dependents::Dependents;
use crate::postgres::gauges::Gauges;
use crate::postgres::inspect::{Table, resolve, version};
use crate::postgres::ledger::Ledger;
use crate::postgres::name::Helpers;
use crate::postgres::roads::{self, Chosen, Road};
use crate::postgres::session::{plain, value};
use crate::postgres::table::{Carried, PostgresTable, Setting};
use crate::postgres::{native, throttle};

/// Everything that is known before the road is taken.
struct Prepared {
    options: Options,
    version: u32,
    original: Table,
    change: Change,
    dependents: Dependents,
    /// `None`: a dead run is gone on with.
    chosen: Option<Chosen>,
    /// A dead run had swapped the tables: only what follows is left to do.
    made: bool,
}

/// Changes the table.
///
/// # Errors
/// Whatever ends the run other than success.
pub async fn alter(job: Job) -> Result<Summary> {
    let options = Options::of(&job.target)?;
    let client = plain(&options, "connecting").await?;
    let prepared = prepare(&client, &job, options).await?;
    let mut summary = match &prepared.chosen {
        Some(Chosen { road: Road::Copy, reason, notes, .. }) => {
            tell(&job, "copy", reason, notes);
            Box::pin(copy(&client, &job, prepared)).await?
        }
        Some(chosen) => own_road(&client, &job, &prepared, chosen).await?,
        None => {
            tell(&job, "copy", "an unfinished run is gone on with", &[]);
            Box::pin(copy(&client, &job, prepared)).await?
        }
    };
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

fn tell(job: &Job, road: &str, reason: &str, notes: &[String]) {
    for text in notes {
        job.sink.event(Event::Note { text: text.clone() });
    }
    job.sink.event(Event::Road { road: road.into(), reason: reason.into() });
}

/// What `alter` would do. Changes nothing.
///
/// # Errors
/// The server's; `Usage` and `Refused` for clauses that cannot be.
pub async fn plan(job: &Job) -> Result<Plan> {
    let options = Options::of(&job.target)?;
    let client = plain(&options, "connecting").await?;
    let prepared = prepare(&client, job, options).await?;
    let original = &prepared.original.name;
    let server = value(&client, "reading the version", "SHOW server_version").await?;
    let mut plan = Plan {
        table: original.plain(),
        server: format!("PostgreSQL {}", server.unwrap_or_default()),
        rows_estimate: prepared.original.rows.0,
        bytes: prepared.original.bytes,
        ..Plan::default()
    };
    if let Some(chosen) = &prepared.chosen {
        plan.notes.extend(chosen.notes.iter().cloned());
        let statements = chosen.road.statements();
        plan.roads.push(Step {
            what: chosen.road.word().into(),
            why: chosen.reason.clone(),
            statement: (!statements.is_empty()).then(|| statements.join(";\n")),
        });
    }
    if prepared.chosen.as_ref().is_none_or(|chosen| chosen.road == Road::Copy) {
        let findings = check(&client, &prepared).await?;
        plan.refusals = findings.refusals;
        plan.notes.extend(findings.notes);
        let helpers = Helpers::of(original);
        let form = prepared.change.form.told(&helpers.shadow);
        plan.statements = vec![
            format!("CREATE TABLE {} (LIKE {original} INCLUDING ALL …)", helpers.shadow),
            prepared.change.for_shadow(&helpers.shadow).unwrap_or_default(),
            format!(
                "INSERT INTO {} (…) SELECT … FROM {original} WHERE … (chunk by chunk)",
                helpers.shadow
            ),
            format!(
                "BEGIN; LOCK TABLE … IN ACCESS EXCLUSIVE MODE; ALTER TABLE {original} RENAME TO {}; \
                 ALTER TABLE {} RENAME TO {}; …; COMMIT",
                helpers.retired.table, helpers.shadow, original.table
            ),
        ];
        plan.statements.splice(2..2, form);
        plan.statements.retain(|statement| !statement.is_empty());
    }
    Ok(plan)
}

async fn prepare(client: &Client, job: &Job, options: Options) -> Result<Prepared> {
    let settings = &job.settings;
    let loads = settings.max_load.iter().chain(&settings.critical_load);
    Gauges::check(loads.map(|(name, _)| name.as_str()))?;
    let version = version(client).await?;
    let name = resolve(client, job.schema.as_deref(), &job.table).await?;
    let Some(original) = Table::read(client, &name).await? else {
        return Err(Error::Refused(vec![Finding::new(
            "table",
            format!("there is no table {}", name.plain()),
            "check the name",
        )]));
    };
    checks::is_table(&original)?;
    let absent = roads::foreign_keys(client, &name).await?;
    let change = Change::parse(&job.clauses, &name, absent)?;
    let dependents = Dependents::read(client, &name).await?;
    let dead = unfinished(client, &original).await?;
    if let Some((dead, carried)) = dead
        && dead.clauses.trim() == change.text.trim()
    {
        let made = carried.made.shadow == original.oid;
        return Ok(Prepared { options, version, original, change, dependents, chosen: None, made });
    }
    let chosen =
        Some(roads::choose(client, &name, &change.statement, settings.strategy, version).await?);
    Ok(Prepared { options, version, original, change, dependents, chosen, made: false })
}

/// The last run on the table that was begun by a copy and has not ended.
async fn unfinished(client: &Client, original: &Table) -> Result<Option<(RunRecord, Carried)>> {
    let ledger = Ledger::of(&original.name.schema);
    if !ledger.exists(client).await? {
        return Ok(None);
    }
    let last = ledger.runs(client, Some(&original.name.table), 1).await?.into_iter().next();
    Ok(last.filter(|run| run.is_unfinished() && run.state.is_some()).and_then(|run| {
        let carried = Carried::of(&run)?;
        Some((run, carried))
    }))
}

async fn check(client: &Client, prepared: &Prepared) -> Result<Findings> {
    let checked = Checked {
        version: prepared.version,
        original: &prepared.original,
        change: &prepared.change,
        dependents: &prepared.dependents,
    };
    checks::all(client, &checked).await
}

/// One of the server's own roads.
async fn own_road(
    client: &Client,
    job: &Job,
    prepared: &Prepared,
    chosen: &Chosen,
) -> Result<Summary> {
    let name = &prepared.original.name;
    let claim = format!("SELECT pg_try_advisory_lock({})", lock_number(name));
    if value(client, "claiming the table", &claim).await?.as_deref() != Some("t") {
        return Err(other_run(&name.plain()));
    }
    if let Some((run, _)) = unfinished(client, &prepared.original).await? {
        // Its checkpoint would be worth nothing any more.
        return Err(other_clauses(&run));
    }
    tell(job, chosen.road.word(), &chosen.reason, &chosen.notes);
    native::run(client, &prepared.options, job, name, &prepared.change.text, &chosen.road).await
}

async fn copy(client: &Client, job: &Job, prepared: Prepared) -> Result<Summary> {
    if prepared.chosen.is_some() {
        let findings = check(client, &prepared).await?;
        job.heed(findings)?;
    } else if !prepared.made && prepared.change.is_empty() {
        tracing::debug!("a rewrite is gone on with");
    }
    let settings = &job.settings;
    let defer_indexes = settings.indexes != Indexes::During;
    let (table, clauses) = (prepared.original.name.plain(), prepared.change.text.clone());
    let throttle = throttle::build(job, &prepared.options)?;
    let server = PostgresTable::new(Setting {
        options: prepared.options,
        version: prepared.version,
        original: prepared.original,
        change: prepared.change,
        dependents: prepared.dependents,
        verify: settings.verify,
        defer_indexes,
        threads: settings.threads.get(),
        cut_over_timeout: settings.cut_over_timeout,
        max_wal: settings.max_wal,
        kill_blockers_after: settings.kill_blockers_after,
        progress: Arc::clone(&job.progress),
    });
    let mut summary = job.copy(server, throttle, defer_indexes).await?;
    summary.table = table;
    summary.clauses = clauses;
    Ok(summary)
}
