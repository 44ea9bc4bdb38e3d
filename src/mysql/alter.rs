//! `osc alter` and `osc plan` on MySQL and MariaDB: read, check, choose the road, go.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::config::settings::Indexes;
use crate::engine::error::{Finding, Findings};
use crate::engine::progress::{Event, Summary};
use crate::engine::{Error, Result};
use crate::ledger::{End, NewRun, RunRecord, new_owner, other_clauses, other_run};
use crate::mysql::change::Change;
use crate::mysql::checks::{self, Checked};
use crate::mysql::claim::lock_name;
use crate::mysql::clauses::Clauses;
use crate::mysql::connect::{connect, connection_error, opts};
use crate::mysql::dependents::Dependents;
use crate::mysql::flavor::Flavor;
use crate::mysql::inspect::{self, Table};
use crate::mysql::ledger::Ledger;
use crate::mysql::name::{Helpers, Ident, TableName, Text};
use crate::mysql::native::{self, Native};
use crate::mysql::session::processes;
use crate::mysql::swap::is_swapped;
use crate::mysql::table::{MysqlTable, Setting};
use crate::mysql::throttle;
use crate::plan::road::{Attempt, ColumnFacts, Road, TableFacts, attempts};
use crate::plan::{Job, Plan, Step};

/// Everything that is known before the road is taken.
struct Prepared {
    opts: Opts,
    flavor: Flavor,
    original: Table,
    change: Change,
    dependents: Dependents,
    roads: Vec<Attempt>,
    /// A dead run had swapped the tables: only what follows is left to do.
    made: bool,
}

/// Changes the table.
pub async fn alter(job: Job) -> Result<Summary> {
    let mut conn = connect(&opts(&job.target)?, "connecting").await?;
    let prepared = prepare(&mut conn, &job).await?;
    for note in prepared.change.clauses.notes() {
        job.sink.event(Event::Note { text: note });
    }
    let mut summary = None;
    let mut because = None;
    for attempt in &prepared.roads {
        let reason = because.take().unwrap_or_else(|| attempt.reason.clone());
        if attempt.road == Road::Copy {
            let road = attempt.road.to_string();
            job.sink.event(Event::Road { road, reason });
            break;
        }
        match go_native(&mut conn, &job, &prepared, attempt).await? {
            Ok(done) => {
                job.sink.event(Event::Road { road: attempt.road.to_string(), reason });
                summary = Some(done);
                break;
            }
            Err(refusal) => {
                let text = attempt.refused(&refusal);
                job.sink.event(Event::Note { text: text.clone() });
                because = Some(text);
            }
        }
    }
    let mut summary = match (summary, prepared.roads.last()) {
        (Some(summary), _) => summary,
        (None, Some(last)) if last.road == Road::Copy => copy(&mut conn, &job, prepared).await?,
        (None, _) => {
            return Err(Error::Refused(vec![Finding::new(
                "strategy",
                because.unwrap_or_else(|| "no road is open".into()),
                "use --strategy auto or copy",
            )]));
        }
    };
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

/// What `alter` would do. Changes nothing.
pub async fn plan(job: &Job) -> Result<Plan> {
    let mut conn = connect(&opts(&job.target)?, "connecting").await?;
    let prepared = prepare(&mut conn, job).await?;
    let original = &prepared.original.name;
    let mut plan = Plan {
        table: original.plain(),
        server: prepared.flavor.to_string(),
        rows_estimate: prepared.original.rows.0,
        bytes: prepared.original.bytes,
        notes: prepared.change.clauses.notes(),
        ..Plan::default()
    };
    for attempt in &prepared.roads {
        plan.roads.push(Step {
            what: attempt.road.to_string(),
            why: attempt.reason.clone(),
            statement: attempt.statement(&prepared.change.clauses, original),
        });
    }
    if prepared.roads.iter().any(|attempt| attempt.road == Road::Copy) {
        let findings = check(&mut conn, &prepared).await?;
        plan.refusals = findings.refusals;
        plan.notes.extend(findings.notes);
        plan.notes.extend(prepared.dependents.notes());
        let helpers = Helpers::of(original);
        let shadow = &helpers.shadow;
        plan.statements = vec![
            format!("CREATE TABLE {shadow} LIKE {original}"),
            prepared.change.for_shadow(shadow, &[]),
            format!("INSERT INTO {shadow} (…) SELECT … FROM {original} WHERE … (chunk by chunk)"),
            format!("RENAME TABLE {original} TO {}, {shadow} TO {original}", helpers.retired),
        ];
    }
    Ok(plan)
}

async fn prepare(conn: &mut Conn, job: &Job) -> Result<Prepared> {
    let flavor = inspect::flavor(conn).await?;
    if let Some(finding) = flavor.too_old() {
        return Err(Error::Refused(vec![finding]));
    }
    let clauses = Clauses::parse_for(&job.clauses, flavor).map_err(Error::from)?;
    let refusals = clauses.refusals();
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let name = table_name(job)?;
    let original = Table::read(conn, &name).await?.ok_or_else(|| {
        Error::Refused(vec![Finding::new(
            "table",
            format!("there is no table {}", name.plain()),
            "check the name, and the schema in the URL",
        )])
    })?;
    let dependents = Dependents::read(conn, &original.name).await?;
    let opts = opts(&job.target)?;
    let dead = dead_run(conn, &original.name, &job.clauses).await?;
    if dead && is_swapped(conn, &original.name).await? {
        let change = Change::made(&job.clauses, clauses);
        let roads = vec![Attempt::going_on()];
        return Ok(Prepared { opts, flavor, original, change, dependents, roads, made: true });
    }
    let change =
        Change::of(&job.clauses, clauses, flavor, &original, dependents.foreign_key_names())?;
    let roads = if dead {
        vec![Attempt::going_on()]
    } else {
        attempts(job.settings.strategy, &change.clauses, flavor, &facts(&original))?
    };
    Ok(Prepared { opts, flavor, original, change, dependents, roads, made: false })
}

/// Whether a run of the same change died, or was stopped: it is gone on with.
async fn dead_run(conn: &mut Conn, name: &TableName, clauses: &str) -> Result<bool> {
    let last = unfinished(conn, name).await?;
    Ok(last.is_some_and(|run| run.state.is_some() && run.clauses.trim() == clauses.trim()))
}

/// The last run on the table, if it has not ended.
async fn unfinished(conn: &mut Conn, name: &TableName) -> Result<Option<RunRecord>> {
    let ledger = Ledger::of(&name.schema);
    if !ledger.exists(conn).await? {
        return Ok(None);
    }
    let runs = ledger.runs(conn, Some(&name.table), 1).await?;
    Ok(runs.into_iter().next().filter(RunRecord::is_unfinished))
}

fn table_name(job: &Job) -> Result<TableName> {
    let schema = job.schema.clone().or_else(|| job.target.database.clone());
    let schema = schema.ok_or_else(|| Error::Usage {
        message: format!("in which schema is {}?", job.table),
        help: "name it: `osc alter shop.users …`, or in the URL: mysql://host/shop".into(),
    })?;
    Ok(TableName { schema: Ident::new(schema), table: Ident::new(job.table.clone()) })
}

fn facts(table: &Table) -> TableFacts {
    TableFacts {
        collation: table.collation.clone(),
        columns: table
            .columns
            .iter()
            .map(|column| ColumnFacts {
                name: column.name.clone(),
                data_type: column.data_type.clone(),
                characters: column.characters,
                octets: column.octets,
                collation: column.collation.clone(),
                nullable: column.nullable,
                generated: column.generated,
            })
            .collect(),
    }
}

async fn check(conn: &mut Conn, prepared: &Prepared) -> Result<Findings> {
    let checked = Checked {
        flavor: prepared.flavor,
        original: &prepared.original,
        change: &prepared.change,
        dependents: &prepared.dependents,
    };
    checks::all(conn, &checked).await
}

/// One of the server's own roads; the inner error is the server's refusal.
async fn go_native(
    conn: &mut Conn,
    job: &Job,
    prepared: &Prepared,
    attempt: &Attempt,
) -> Result<std::result::Result<Summary, String>> {
    let name = &prepared.original.name;
    let claim = claim(conn, name).await?;
    if let Some(run) = unfinished(conn, name).await?.filter(|run| run.state.is_some()) {
        // Its checkpoint would be worth nothing any more.
        return Err(other_clauses(&run));
    }
    let Some(statement) = attempt.statement(&prepared.change.clauses, name) else {
        return Err(Error::Internal("a native road without a statement".into()));
    };
    let sink = Arc::clone(&job.sink);
    let attempts = job.settings.cut_over_attempts.get();
    let tell = |attempt, reason| sink.event(Event::CutOverRetry { attempt, reason });
    let outcome = native::run(&prepared.opts, &statement, attempts, &job.stop, tell).await?;
    let _ = conn.query_drop(format!("DO RELEASE_LOCK({claim})")).await;
    match outcome {
        Native::Refused(reason) => Ok(Err(reason)),
        Native::Done { attempts } => {
            let ledger = Ledger::of(&name.schema);
            let mut warnings = Vec::new();
            let road = attempt.road.word();
            if let Err(error) =
                record_native(conn, &ledger, name, &prepared.change.text, road).await
            {
                warnings.push(format!("done, but not recorded in the ledger: {error}"));
            }
            Ok(Ok(Summary {
                table: name.plain(),
                clauses: prepared.change.text.clone(),
                road: road.into(),
                attempts,
                warnings,
                ..Summary::default()
            }))
        }
    }
}

/// Takes the table's lock for `conn`, so that no run is under way; returns its name as a literal.
async fn claim(conn: &mut Conn, table: &TableName) -> Result<String> {
    let lock = Text(&lock_name(table)).to_string();
    let got: Option<Option<i64>> = conn
        .query_first(format!("SELECT GET_LOCK({lock}, 0)"))
        .await
        .map_err(|error| connection_error("claiming the table", error))?;
    if got.flatten() == Some(1) { Ok(lock) } else { Err(other_run(&table.plain())) }
}

async fn record_native(
    conn: &mut Conn,
    ledger: &Ledger,
    name: &TableName,
    clauses: &str,
    road: &str,
) -> Result<()> {
    ledger.create(conn).await?;
    let owner = new_owner();
    let new = NewRun { table: name.table.as_str(), clauses, road, verify: false, owner: &owner };
    let run = ledger.begin(conn, &new).await?;
    ledger.end(conn, run, &End { result: "done", phase: Some("done"), ..End::default() }).await
}

async fn copy(conn: &mut Conn, job: &Job, prepared: Prepared) -> Result<Summary> {
    if !prepared.made {
        let findings = check(conn, &prepared).await?;
        job.heed(findings)?;
    }
    let settings = &job.settings;
    let defer_indexes = match settings.indexes {
        Indexes::After => true,
        Indexes::During => false,
        // Replicas would stand still for as long as the build takes.
        Indexes::Auto => settings.replicas.is_empty() && !has_replicas(conn).await?,
    };
    let (table, clauses) = (prepared.original.name.plain(), prepared.change.text.clone());
    let throttle = throttle::build(job, &prepared.opts)?;
    let server = MysqlTable::new(Setting {
        opts: prepared.opts,
        flavor: prepared.flavor,
        original: prepared.original,
        change: prepared.change,
        dependents: prepared.dependents,
        verify: settings.verify,
        defer_indexes,
        cut_over_timeout: settings.cut_over_timeout,
        kill_blockers_after: settings.kill_blockers_after,
        progress: Arc::clone(&job.progress),
    });
    let mut summary = job.copy(server, throttle, defer_indexes).await?;
    summary.table = table;
    summary.clauses = clauses;
    Ok(summary)
}

/// Whether anybody reads the binlog as a replica does.
async fn has_replicas(conn: &mut Conn) -> Result<bool> {
    let processes = processes(conn, "looking for replicas").await?;
    Ok(processes.iter().any(|process| process.command.starts_with("Binlog Dump")))
}
