//! `osc alter` and `osc plan` on MySQL and MariaDB: check, and go by the method that was chosen.

use std::sync::Arc;

use mysql_async::Conn;

use super::prepare::{Prepared, open};
use crate::config::settings::Indexes;
use crate::engine::event::{Event, Summary};
use crate::engine::orders;
use crate::engine::permission::Given;
use crate::engine::progress::Phase;
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::refusals::{lock_lost, other_clauses, other_run};
use crate::ledger::{End, FencingToken, NewRun, RunId};
use crate::mysql::catalog::table::Table;
use crate::mysql::checks::Checked;
use crate::mysql::clauses::opposite::opposite;
use crate::mysql::connection::process_list::processes;
use crate::mysql::connection::session::run;
use crate::mysql::copy::shadow;
use crate::mysql::methods::choose::Attempt;
use crate::mysql::methods::run::{self as native, Native};
use crate::mysql::name::TableName;
use crate::mysql::run::MysqlTable;
use crate::mysql::runs::ledger::Ledger;
use crate::mysql::runs::lock;
use crate::mysql::runs::orders::{Orders, now};
use crate::mysql::runs::record::{Record, Shape, UndoFacts};
use crate::mysql::setting::Setting;
use crate::mysql::{checks, throttle};
use crate::plan::method::Method;
use crate::plan::{Job, Plan, Step, for_good};

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
            undo: prepared.undo(attempt.method)?,
        });
    }
    if prepared.open().iter().any(|attempt| attempt.method == Method::Copy) {
        let findings = check(&mut conn, &prepared).await?;
        plan.refusals = findings.refusals;
        plan.notes.extend(findings.notes);
        plan.notes.extend(prepared.setting.dependents.notes());
        let helpers = &prepared.setting.helpers;
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

/// What keeps those who block the change from being named or ended.
async fn blocker_notes(conn: &mut Conn, job: &Job, prepared: &Prepared) -> Result<Vec<String>> {
    let kill = job.settings.kill_blockers_after().is_some();
    checks::blockers::notes(conn, prepared.setting.flavor, kill).await
}

async fn check(conn: &mut Conn, prepared: &Prepared) -> Result<Findings> {
    let checked = Checked {
        flavor: prepared.setting.flavor,
        original: &prepared.setting.original,
        change: &prepared.setting.change,
        dependents: &prepared.setting.dependents,
        schema: prepared.setting.ledger.runs.schema.clone(),
        ledger: prepared.ledger_stands.then_some(&prepared.setting.ledger),
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
    let helpers = &prepared.setting.helpers;
    let (statements, _) = shadow::statements(&prepared.setting.draft(), helpers, shadow)?;
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
    claim(conn, name, &related).await?;
    let ledger = &prepared.setting.ledger;
    // Before the change, which could not be recorded otherwise.
    ledger.create(conn).await?;
    if let Some(run) =
        ledger.last(conn, name).await?.filter(|run| run.has_copy() && !run.is_watch())
    {
        // Its checkpoint would be worth nothing any more.
        return Err(other_clauses(&run));
    }
    let Some(statement) = attempt.statement(&prepared.setting.change.clauses, name) else {
        return Err(Error::Internal("a native method without a statement".into()));
    };
    let sink = Arc::clone(&job.sink);
    sink.event(Event::Started(Box::new(prepared.start(attempt.method)?)));
    let attempts = job.settings.cut_over_attempts().get();
    let report = |attempt, reason: String| {
        job.progress.set_blocked(Some(reason.clone()));
        sink.event(Event::CutOverRetry { attempt, attempts, retry_seconds: None, reason });
    };
    let setup =
        prepared.setting.role.for_clauses(shadow::has_zero_dates(&prepared.setting.original));
    let statement = native::Statement { text: &statement, setup: &setup };
    let throttle = throttle::build(job, &prepared.setting.opts, false)?;
    let permission = job.permission(&throttle);
    let mut entry = Entry::new(ledger, name, &prepared.setting.change.text, attempt.method.word());
    // Where it has to wait, orders find it meanwhile.
    let book = match permission.is_near().await {
        true => None,
        false => {
            let run = entry.begin(conn, job).await?;
            let opts = prepared.setting.opts.clone();
            let begun = entry.begun.clone();
            Some(Orders::new(opts, ledger.clone(), run, entry.token.clone(), begun))
        }
    };
    let permitted = async || -> Result<()> {
        if permission.wait().await? == Given::Awaited {
            still_claimed(conn, name).await?;
            permission.enter(Phase::CutOver);
        }
        Ok(())
    };
    let target = (name, prepared.setting.flavor);
    let work = async {
        tokio::select! {
            outcome = native::run(
                &prepared.setting.opts, statement, target, attempts, &job.stop, permitted, report,
            ) => outcome,
            never = permission.report_throttle() => match never {},
        }
    };
    let outcome = match book {
        Some(book) => Box::pin(orders::beside(book, &job.scene(&throttle), work)).await,
        None => work.await,
    };
    let unrecorded = match &outcome {
        Ok(Native::Done { .. }) => None,
        Ok(Native::Refused(reason)) => entry.end(conn, &End::failed(reason)).await.err(),
        Err(error) => entry.end(conn, &End::by(error)).await.err(),
    };
    if let Some(error) = unrecorded {
        tracing::warn!(%error, "the end of the run could not be recorded");
    }
    match outcome? {
        Native::Refused(reason) => {
            lock::release(conn).await;
            Ok(Err(reason))
        }
        Native::Done { attempts } => {
            let mut warnings = Vec::new();
            let method = attempt.method.word();
            let verdict = prepared.undo(attempt.method)?;
            let verdict = verdict.map(|verdict| verdict.record(&name.plain())).unwrap_or_default();
            let undo = verdict.first().cloned();
            if let Err(error) = entry.done(conn, job, &prepared.setting, verdict).await {
                warnings.push(format!("done, but not recorded in the ledger: {error}"));
            }
            lock::release(conn).await;
            Ok(Ok(Summary {
                table: name.plain(),
                clauses: prepared.setting.change.text.clone(),
                method: method.into(),
                attempts,
                undo,
                warnings,
                ..Summary::default()
            }))
        }
    }
}

/// Takes the run's locks for `conn`, so that no other is under way; returns the table's as a literal.
async fn claim(conn: &mut Conn, table: &TableName, related: &[TableName]) -> Result<()> {
    // It may wait for permission for long.
    run(conn, "claiming the table", "SET SESSION wait_timeout = 86400").await?;
    lock::take(conn, table, related, 0).await
}

/// Fails where the session that holds the table's lock was lost while permission was awaited.
async fn still_claimed(conn: &mut Conn, table: &TableName) -> Result<()> {
    match lock::holds(conn, table).await? {
        true => Ok(()),
        false => Err(lock_lost(other_run(&table.plain()))),
    }
}

/// A run in the ledger that goes by the server's own method: there from its end on, or from when it has to wait.
struct Entry<'a> {
    ledger: &'a Ledger,
    name: &'a TableName,
    clauses: &'a str,
    method: &'static str,
    token: FencingToken,
    run: Option<RunId>,
    /// When it was put there, by the server's clock.
    begun: String,
}

impl<'a> Entry<'a> {
    fn new(
        ledger: &'a Ledger,
        name: &'a TableName,
        clauses: &'a str,
        method: &'static str,
    ) -> Self {
        Self {
            ledger,
            name,
            clauses,
            method,
            token: FencingToken::random(),
            run: None,
            begun: String::new(),
        }
    }

    async fn begin(&mut self, conn: &mut Conn, job: &Job) -> Result<RunId> {
        if let Some(run) = self.run {
            return Ok(run);
        }
        let new = NewRun {
            schema: self.name.schema.as_str(),
            table: self.name.table.as_str(),
            clauses: self.clauses,
            method: self.method,
            verify: false,
            token: &self.token,
        };
        self.begun = now(conn).await?;
        let run = self.ledger.begin(conn, &new).await?;
        job.progress.subject().set_run(run.0);
        self.run = Some(run);
        Ok(run)
    }

    /// How it ended, if it had begun.
    async fn end(&self, conn: &mut Conn, end: &End<'_>) -> Result<()> {
        match self.run {
            Some(run) => self.ledger.end(conn, run, Some(&self.token), end).await.map(drop),
            None => Ok(()),
        }
    }

    async fn done(
        &mut self,
        conn: &mut Conn,
        job: &Job,
        setting: &Setting,
        verdict: Vec<String>,
    ) -> Result<()> {
        let run = self.begin(conn, job).await?;
        let mut record = Record { verdict, ..Record::default() };
        if let Some(now) = Table::read(conn, self.name).await? {
            let (before, kept) = (&setting.original.create, &setting.change.kept);
            record.opposite = Some(opposite(before, &now.create, kept, setting.flavor));
            let after = Shape::of(&now);
            record.undo = Some(UndoFacts { after, ..UndoFacts::default() });
        }
        self.ledger.carry(conn, run, &self.token, &record.text()?).await?;
        self.end(conn, &End::done_natively()).await
    }
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
    let start = prepared.start(Method::Copy)?;
    let setting = prepared.setting;
    let (table, clauses) = (setting.original.name.plain(), setting.change.text.clone());
    let throttle = throttle::build(job, &setting.opts, true)?;
    let mut summary = job.copy(MysqlTable::new(setting), throttle, defer_indexes, start).await?;
    summary.table = table;
    summary.clauses = clauses;
    Ok(summary)
}

/// Whether anybody reads the binlog as a replica does.
async fn has_replicas(conn: &mut Conn) -> Result<bool> {
    let processes = processes(conn, "looking for replicas").await?;
    Ok(processes.iter().any(|process| process.command.starts_with("Binlog Dump")))
}
