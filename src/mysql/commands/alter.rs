//! `osc alter` and `osc plan` on MySQL and MariaDB: read, check, choose the method, go.

use std::sync::Arc;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::config::settings::Indexes;
use crate::config::target::Scheme;
use crate::engine::permission::Given;
use crate::engine::progress::{Event, Phase, Summary};
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::refusals::{lock_lost, other_clauses, other_run, related_unfinished};
use crate::ledger::unfinished::Unfinished;
use crate::ledger::{End, FencingToken, NewRun, RunRecord};
use crate::mysql::catalog::table::{self, Table};
use crate::mysql::checks::Checked;
use crate::mysql::clauses::change::Change;
use crate::mysql::clauses::destructive::destructive;
use crate::mysql::clauses::{Clauses, same};
use crate::mysql::commands::arguments::whole_name;
use crate::mysql::connection::connect::opts;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::process_list::processes;
use crate::mysql::connection::settings::Role;
use crate::mysql::connection::version::Flavor;
use crate::mysql::connection::{privileges, recognise, single};
use crate::mysql::copy::shadow::{self, Draft};
use crate::mysql::dependents::Dependents;
use crate::mysql::methods::choose::{Attempt, attempts};
use crate::mysql::methods::facts::{ColumnFacts, TableFacts};
use crate::mysql::methods::probe::Decided;
use crate::mysql::methods::run::Native;
use crate::mysql::methods::{probe, run};
use crate::mysql::name::{Helpers, Ident, TableName, Text};
use crate::mysql::run::MysqlTable;
use crate::mysql::runs::ledger::{self, Ledger, Purpose, Vetted};
use crate::mysql::runs::lock::{self, lock_name};
use crate::mysql::runs::proof::Catalog;
use crate::mysql::runs::record::Record;
use crate::mysql::setting::Setting;
use crate::mysql::{checks, clauses, throttle};
use crate::plan::method::Method;
use crate::plan::recognition::Recognition;
use crate::plan::{Job, Plan, Step, for_good};

/// Everything that is known before the method is taken.
struct Prepared {
    setting: Setting,
    /// An unfinished run had swapped the tables: only what follows is left to do.
    made: bool,
    /// The ledger is there.
    stands: bool,
    /// What there is to know of the ledger.
    ledger_notes: Vec<String>,
    recognised: Recognition,
    /// The methods, in their order, and how certain the first is.
    decided: Decided,
}

impl Prepared {
    /// Those that can still come to it: the first alone, where that is certain.
    fn open(&self) -> &[Attempt] {
        let methods = &self.decided.methods;
        if self.decided.doubts.is_empty() { methods.get(..1).unwrap_or_default() } else { methods }
    }

    /// The clauses that take away for good what a copy would keep.
    fn lost(&self) -> Vec<String> {
        let indexes = &self.setting.original.indexes;
        let unique =
            |name: &Ident| indexes.iter().any(|index| index.unique && index.name.same(name));
        destructive(&self.setting.change.clauses, unique)
    }
}

/// Changes the table.
pub(crate) async fn alter(job: Job) -> Result<Summary> {
    let (mut conn, prepared) = open(&job).await?;
    let mut notes = prepared.setting.change.clauses.notes();
    notes.extend(prepared.recognised.notes.iter().cloned());
    notes.extend(blocker_notes(&mut conn, &job, &prepared).await?);
    for text in notes {
        job.sink.event(Event::Note { text });
    }
    if let Some(first) =
        prepared.decided.methods.first().filter(|first| first.method != Method::Copy)
    {
        let table = prepared.setting.original.name.plain();
        job.agree(&table, first.method.word(), &prepared.lost()).await?;
    }
    let mut summary = None;
    let mut because = None;
    for attempt in &prepared.decided.methods {
        let reason = because.take().unwrap_or_else(|| attempt.reason.clone());
        if attempt.method == Method::Copy {
            let method = attempt.method.to_string();
            job.sink.event(Event::Method { method, reason });
            break;
        }
        match go_native(&mut conn, &job, &prepared, attempt).await? {
            Ok(done) => {
                job.sink.event(Event::Method { method: attempt.method.to_string(), reason });
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
    let mut summary = match (summary, prepared.decided.methods.last()) {
        (Some(summary), _) => summary,
        (None, Some(last)) if last.method == Method::Copy => {
            copy(&mut conn, &job, prepared).await?
        }
        (None, _) => {
            return Err(Error::Refused(vec![Finding::new(
                "strategy",
                because.unwrap_or_else(|| "no method can make this change".into()),
                "use --strategy auto or copy",
            )]));
        }
    };
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

/// What `alter` would do. Changes nothing.
pub(crate) async fn plan(job: &Job) -> Result<Plan> {
    let (mut conn, prepared) = open(job).await?;
    let original = &prepared.setting.original.name;
    let mut plan = Plan {
        table: original.plain(),
        server: prepared.setting.flavor.to_string(),
        recognised: prepared.recognised.name.clone(),
        rows_estimate: prepared.setting.original.rows.0,
        bytes: prepared.setting.original.bytes,
        notes: prepared.setting.change.clauses.notes(),
        ..Plan::default()
    };
    if prepared.decided.methods.first().is_some_and(|first| first.method != Method::Copy) {
        plan.notes.extend(prepared.lost().iter().map(|clause| for_good(clause)));
    }
    plan.notes.extend(prepared.recognised.notes.iter().cloned());
    plan.notes.extend(blocker_notes(&mut conn, job, &prepared).await?);
    plan.notes.extend(prepared.ledger_notes.iter().cloned());
    plan.notes.extend(prepared.decided.notes.iter().cloned());
    plan.decided = prepared.decided.doubts.is_empty();
    plan.notes.extend(prepared.decided.doubts.iter().map(|doubt| format!("not certain: {doubt}")));
    for attempt in prepared.open() {
        plan.methods.push(Step {
            what: attempt.method.to_string(),
            why: attempt.reason.clone(),
            statement: attempt.statement(&prepared.setting.change.clauses, original),
        });
    }
    if prepared.open().iter().any(|attempt| attempt.method == Method::Copy) {
        let findings = check(&mut conn, &prepared).await?;
        plan.refusals = findings.refusals;
        plan.notes.extend(findings.notes);
        plan.notes.extend(prepared.setting.dependents.notes());
        let helpers = Helpers::of(original);
        let shadow = &helpers.shadow;
        plan.statements = vec![
            format!("CREATE TABLE {shadow} LIKE {original}"),
            prepared.setting.change.for_shadow(shadow, &[], &[]),
            format!("INSERT INTO {shadow} (…) SELECT … FROM {original} WHERE … (chunk by chunk)"),
            format!("RENAME TABLE {original} TO {}, {shadow} TO {original}", helpers.retired),
        ];
    }
    Ok(plan)
}

/// The first session, and everything that is known before a method is tried.
async fn open(job: &Job) -> Result<(Conn, Prepared)> {
    let treated = job.settings.treat_as == Some(Scheme::Mysql);
    let (mut conn, recognised) = recognise::open(&job.target, treated).await?;
    let prepared = prepare(&mut conn, job, recognised).await?;
    Ok((conn, prepared))
}

async fn prepare(conn: &mut Conn, job: &Job, recognised: Recognition) -> Result<Prepared> {
    let flavor = table::flavor(conn).await?;
    if let Some(finding) = flavor.too_old() {
        return Err(Error::Refused(vec![finding]));
    }
    let clauses = Clauses::parse_for(&job.request.clauses, flavor).map_err(Error::from)?;
    single::check(&job.request.clauses).map_err(|changed| Error::Usage {
        message: changed.to_string(),
        help: single::HELP.into(),
    })?;
    let role = Role::read(conn).await?;
    let mut refusals = clauses.refusals();
    refusals.extend(role.unsettable(conn, flavor).await?);
    refusals.extend(role.reads_otherwise(
        clauses::quoted(&job.request.clauses, flavor).map_err(Error::from)?.into_iter(),
    ));
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let opts = opts(&job.target)?;
    let name = whole_name(&job.request.table, &job.target)?;
    let original = Table::read(conn, &name).await?.ok_or_else(|| {
        Error::Refused(vec![Finding::new(
            "table",
            format!("there is no table {}", name.plain()),
            "check the name, and the schema in the URL",
        )])
    })?;
    job.progress.subject().set_table(original.name.plain());
    let dependents = Dependents::read(conn, &original.name).await?;
    let related = lock::related(&dependents, &job.request.clauses, &original.name);
    lock::look(conn, &original.name, &related).await?;
    let (place, application) = (&job.target.ledger, Some(original.name.schema.as_str()));
    let ledger = Ledger::vetted(conn, flavor, place, application, Purpose::Write).await?;
    // A run of the same change that died, or was stopped, is resumed.
    let dead = unfinished(conn, &ledger, flavor, &original.name).await?;
    match &dead {
        Some(dead) => {
            let same = same::same(&dead.run.clauses, &job.request.clauses);
            dead.may_be_resumed(same, job.settings.strategy().copies())?;
        }
        None => none_unfinished(conn, &ledger, &original.name, &related).await?,
    }
    let made = dead.as_ref().is_some_and(Unfinished::is_swapped);
    // What follows a swap waits for no throttle.
    if !made {
        throttle::check(job, &opts, dead.is_some()).await?;
    }
    let change = if made {
        Change::made(&job.request.clauses, clauses)
    } else {
        Change::of(
            &job.request.clauses,
            clauses,
            flavor,
            &original,
            dependents.foreign_key_names(),
        )?
    };
    let decided = if dead.is_some() {
        Decided { methods: vec![Attempt::going_on()], ..Decided::default() }
    } else {
        let draft = Draft {
            flavor,
            role: &role,
            original: &original,
            change: &change,
            dependents: &dependents,
        };
        let methods =
            attempts(job.settings.strategy(), &change.clauses, flavor, &facts(&original))?;
        probe::decide(&opts, &draft, &ledger.ledger.runs.schema, methods).await?
    };
    if decided.methods.first().is_some_and(|first| first.method != Method::Copy) {
        let schema = &ledger.ledger.runs.schema;
        let mut lacking = privileges::lacking(conn, schema, &ledger::RIGHTS).await?;
        if lacking.is_none() {
            lacking = checks::rights::may_alter(conn, &original.name).await?;
        }
        if let Some(finding) = lacking {
            return Err(Error::Refused(vec![finding]));
        }
    }
    let setting = Setting {
        opts,
        flavor,
        role,
        original,
        change,
        dependents,
        settings: Arc::clone(&job.settings),
        progress: Arc::clone(&job.progress),
        ledger: ledger.ledger,
    };
    let (stands, ledger_notes) = (ledger.stands, ledger.notes);
    Ok(Prepared { setting, made, stands, ledger_notes, recognised, decided })
}

/// Fails where a run on a related table was not finished.
async fn none_unfinished(
    conn: &mut Conn,
    ledger: &Vetted,
    name: &TableName,
    related: &[TableName],
) -> Result<()> {
    for other in related {
        if let Some(run) = any_unfinished(conn, ledger, other).await? {
            return Err(related_unfinished(&run, &name.plain(), &other.plain()));
        }
    }
    Ok(())
}

/// What keeps those who block the change from being named or ended.
async fn blocker_notes(conn: &mut Conn, job: &Job, prepared: &Prepared) -> Result<Vec<String>> {
    let kill = job.settings.kill_blockers_after().is_some();
    checks::blockers::notes(conn, prepared.setting.flavor, kill).await
}

/// The last run of this server on the table, if it has a checkpoint and has not ended.
async fn any_unfinished(
    conn: &mut Conn,
    ledger: &Vetted,
    name: &TableName,
) -> Result<Option<RunRecord>> {
    if !ledger.stands {
        return Ok(None);
    }
    let last = ledger.ledger.last(conn, name).await?;
    Ok(last.filter(|run| run.is_unfinished() && run.state.is_some()))
}

/// The same, with how its tables stand.
async fn unfinished(
    conn: &mut Conn,
    ledger: &Vetted,
    flavor: Flavor,
    name: &TableName,
) -> Result<Option<Unfinished>> {
    let Some(run) = any_unfinished(conn, ledger, name).await? else { return Ok(None) };
    let tables = Record::of(&run)?.tables;
    let catalog = Catalog::read(conn, flavor.is_mariadb(), name).await?;
    let standing = catalog.standing(&tables);
    Ok(Some(Unfinished { run, standing }))
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
        flavor: prepared.setting.flavor,
        original: &prepared.setting.original,
        change: &prepared.setting.change,
        dependents: &prepared.setting.dependents,
        schema: prepared.setting.ledger.runs.schema.clone(),
        ledger: prepared.stands.then_some(&prepared.setting.ledger),
    };
    let mut findings = checks::all(conn, &checked).await?;
    if findings.refusals.is_empty() {
        findings.refusals = shadow::duplicate_checks(conn, &prepared.setting.draft()).await?;
    }
    if findings.refusals.is_empty()
        && let Some(shadow) = &prepared.decided.shadow
    {
        match fits(conn, prepared, shadow).await {
            Err(Error::Refused(refusals)) => findings.refusals = refusals,
            other => other?,
        }
    }
    // A run that has begun meanwhile is the reason, and what was found may be its own: it must not be dropped.
    if !findings.refusals.is_empty() {
        let name = &prepared.setting.original.name;
        let related =
            lock::related(&prepared.setting.dependents, &prepared.setting.change.text, name);
        lock::look(conn, name, &related).await?;
    }
    Ok(findings)
}

/// Whether the table as a copy would make it can be filled and followed.
async fn fits(conn: &mut Conn, prepared: &Prepared, shadow: &Table) -> Result<()> {
    let original = &prepared.setting.original;
    let helpers = Helpers::of(&original.name);
    let (statements, _) = shadow::statements(&prepared.setting.draft(), &helpers, shadow)?;
    checks::server::row_image(conn, original, &statements.index).await
}

/// One of the server's own methods; the inner error is the server's refusal.
async fn go_native(
    conn: &mut Conn,
    job: &Job,
    prepared: &Prepared,
    attempt: &Attempt,
) -> Result<std::result::Result<Summary, String>> {
    let name = &prepared.setting.original.name;
    let related = lock::related(&prepared.setting.dependents, &prepared.setting.change.text, name);
    let claim = claim(conn, name, &related).await?;
    let ledger = &prepared.setting.ledger;
    // Before the change, which could not be recorded otherwise.
    ledger.create(conn).await?;
    let last = ledger.last(conn, name).await?.filter(RunRecord::is_unfinished);
    if let Some(run) = last.filter(|run| run.state.is_some()) {
        // Its checkpoint would be worth nothing any more.
        return Err(other_clauses(&run));
    }
    let Some(statement) = attempt.statement(&prepared.setting.change.clauses, name) else {
        return Err(Error::Internal("a native method without a statement".into()));
    };
    let sink = Arc::clone(&job.sink);
    let attempts = job.settings.cut_over_attempts().get();
    let tell = |attempt, reason| {
        sink.event(Event::CutOverRetry { attempt, attempts, retry_seconds: None, reason });
    };
    let setup =
        prepared.setting.role.for_clauses(shadow::has_zero_dates(&prepared.setting.original));
    let native = run::Statement { text: &statement, setup: &setup };
    let throttle = throttle::build(job, &prepared.setting.opts, false)?;
    let permission = job.permission(&throttle);
    let permitted = async || -> Result<()> {
        if permission.wait().await? == Given::Awaited {
            still_claimed(conn, &claim).await?;
            permission.enter(Phase::CutOver);
        }
        Ok(())
    };
    let target = (name, prepared.setting.flavor);
    let outcome = tokio::select! {
        outcome = run::run(
            &prepared.setting.opts, native, target, attempts, &job.stop, permitted, tell,
        ) => outcome?,
        never = permission.report_throttle() => match never {},
    };
    lock::release(conn).await;
    match outcome {
        Native::Refused(reason) => Ok(Err(reason)),
        Native::Done { attempts } => {
            let mut warnings = Vec::new();
            let method = attempt.method.word();
            if let Err(error) =
                record_native(conn, job, ledger, name, &prepared.setting.change.text, method).await
            {
                warnings.push(format!("done, but not recorded in the ledger: {error}"));
            }
            Ok(Ok(Summary {
                table: name.plain(),
                clauses: prepared.setting.change.text.clone(),
                method: method.into(),
                attempts,
                warnings,
                ..Summary::default()
            }))
        }
    }
}

/// Takes the run's locks for `conn`, so that no other is under way; returns the table's as a literal.
async fn claim(conn: &mut Conn, table: &TableName, related: &[TableName]) -> Result<String> {
    let lock = Text(&lock_name(table)).to_string();
    // It may wait for permission for long.
    conn.query_drop("SET SESSION wait_timeout = 86400")
        .await
        .map_err(|error| connection_error("claiming the table", error))?;
    lock::take(conn, table, related, 0).await?;
    Ok(lock)
}

/// Fails where the session that holds the table's lock was lost while permission was awaited.
async fn still_claimed(conn: &mut Conn, lock: &str) -> Result<()> {
    let action = "looking whether the table is still claimed";
    let held: Option<Option<i64>> = conn
        .query_first(format!("SELECT IS_USED_LOCK({lock}) = CONNECTION_ID()"))
        .await
        .map_err(|error| connection_error(action, error))?;
    if held.flatten() == Some(1) { Ok(()) } else { Err(lock_lost(other_run(lock))) }
}

async fn record_native(
    conn: &mut Conn,
    job: &Job,
    ledger: &Ledger,
    name: &TableName,
    clauses: &str,
    method: &str,
) -> Result<()> {
    let token = FencingToken::random();
    let new = NewRun {
        schema: name.schema.as_str(),
        table: name.table.as_str(),
        clauses,
        method,
        verify: false,
        token: &token,
    };
    let run = ledger.begin(conn, &new).await?;
    job.progress.subject().set_run(run.0);
    ledger.end(conn, run, Some(&token), &End::done_natively()).await.map(drop)
}

async fn copy(conn: &mut Conn, job: &Job, prepared: Prepared) -> Result<Summary> {
    if !prepared.made {
        let findings = check(conn, &prepared).await?;
        job.refuse_if_any(findings)?;
    }
    let defer_indexes = match job.settings.indexes() {
        Indexes::After => true,
        Indexes::During => false,
        // Replicas would stand still for as long as the build takes.
        Indexes::Auto => job.replicas.is_empty() && !has_replicas(conn).await?,
    };
    let (table, clauses) =
        (prepared.setting.original.name.plain(), prepared.setting.change.text.clone());
    let throttle = throttle::build(job, &prepared.setting.opts, true)?;
    let server = MysqlTable::new(prepared.setting);
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
