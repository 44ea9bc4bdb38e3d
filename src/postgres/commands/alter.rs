//! `osc alter` and `osc plan` on PostgreSQL: read, check, choose the method, go.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::config::settings::Indexes;
use crate::config::strategy::Strategy;
use crate::config::target::Scheme;
use crate::engine::event::{Event, Start, Summary};
use crate::error::{Error, Finding, Findings, Result};
use crate::ledger::RunRecord;
use crate::ledger::claim::Standing;
use crate::ledger::refusals::{other_clauses, related_unfinished};
use crate::ledger::unfinished::Unfinished;
use crate::plan::recognition::Recognition;
use crate::plan::undo::{Reason, Verdict, Way};
use crate::plan::{Job, Plan, Step, for_good, only_a_copy};
use crate::postgres::catalog::table::{Table, resolve, version};
use crate::postgres::checks::Checked;
use crate::postgres::clauses::Statement;
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::same::same;
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::recognise::{self, Facts, distributed};
use crate::postgres::connection::session::value;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::key_stays::key_stays;
use crate::postgres::copy::shadow::{self, Blueprint};
use crate::postgres::dependents::Dependents;
use crate::postgres::methods::{Chosen, Method, record};
use crate::postgres::name::TableName;
use crate::postgres::run::PostgresTable;
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock;
use crate::postgres::runs::names;
use crate::postgres::runs::record::{Record, owned, standing};
use crate::postgres::setting::Setting;
use crate::postgres::trust::functions;
use crate::postgres::{checks, methods, throttle, undo};

/// Everything that is known before the method is taken.
struct Prepared {
    setting: Setting,
    /// `None`: an unfinished run is resumed.
    chosen: Option<Chosen>,
    /// An unfinished run had swapped the tables: only what follows is left to do.
    made: bool,
    recognised: Recognition,
}

impl Prepared {
    /// The clauses that take away for good what a copy would keep.
    fn lost(&self) -> Vec<String> {
        lost(&self.setting.change, &self.setting.original)
    }

    /// What is reported when the change begins by `method`.
    fn start(&self, method: &Method) -> Start {
        let original = &self.setting.original;
        let mut start = Start {
            clauses: self.setting.change.text.clone(),
            method: method.word().into(),
            rows_estimate: original.rows.0,
            bytes: Some(original.bytes),
            ..Start::default()
        };
        if let Some(verdict) = self.opposite().filter(|_| *method != Method::Copy) {
            verdict.tell(&original.name.plain(), &mut start);
        }
        start
    }

    /// Whether the change can be undone when one of the server's own methods makes it. Beforehand that is known only
    /// of what takes something away for good.
    fn opposite(&self) -> Option<Verdict> {
        let lost = self.lost();
        let reasons: Vec<Reason> = lost.iter().map(|clause| Reason::for_good(clause)).collect();
        (!reasons.is_empty()).then(|| Verdict::of(Way::OppositeChange, reasons))
    }
}

fn lost(change: &Change, original: &Table) -> Vec<String> {
    let indexes = &original.indexes;
    change
        .statement
        .destructive(|name| indexes.iter().any(|it| it.unique && it.name.as_str() == name))
}

/// Changes the table.
///
/// # Errors
/// Whatever ends the run other than success.
pub(crate) async fn alter(job: Job) -> Result<Summary> {
    let (client, prepared) = open(&job).await?;
    for text in &prepared.recognised.notes {
        job.sink.event(Event::Note { text: text.clone() });
    }
    let mut summary = match &prepared.chosen {
        Some(Chosen { method: Method::Copy, reason, notes, .. }) => {
            report(&job, "copy", reason, notes);
            Box::pin(copy(&client, &job, prepared)).await?
        }
        Some(chosen) => own_method(&client, &job, &prepared, chosen).await?,
        None => {
            // What hangs on the table may be more than when the run began.
            let outcomes = prepared.setting.change.outcomes(&prepared.setting.original);
            let notes = if prepared.made {
                Vec::new()
            } else {
                prepared.setting.dependents.notes(&outcomes)
            };
            report(&job, "copy", "resuming an unfinished run of the same change", &notes);
            Box::pin(copy(&client, &job, prepared)).await?
        }
    };
    summary.seconds = job.progress.elapsed().as_secs_f64();
    Ok(summary)
}

fn report(job: &Job, method: &str, reason: &str, notes: &[String]) {
    for text in notes {
        job.sink.event(Event::Note { text: text.clone() });
    }
    job.sink.event(Event::Method { method: method.into(), reason: reason.into() });
}

/// What `alter` would do. Changes nothing.
///
/// # Errors
/// The server's; `Usage` and `Refused` for clauses that cannot be.
pub(crate) async fn plan(job: &Job) -> Result<Plan> {
    let (client, prepared) = open(job).await?;
    let original = &prepared.setting.original.name;
    let server = value(&client, "reading the version", "SHOW server_version").await?;
    let mut plan = Plan {
        table: original.plain(),
        server: format!("PostgreSQL {}", server.unwrap_or_default()),
        recognised: prepared.recognised.name.clone(),
        notes: prepared.recognised.notes.clone(),
        rows_estimate: prepared.setting.original.rows.0,
        bytes: prepared.setting.original.bytes,
        decided: true,
        ..Plan::default()
    };
    if let Some(chosen) = &prepared.chosen {
        plan.notes.extend(chosen.notes.iter().cloned());
        if chosen.method != Method::Copy {
            plan.notes.extend(prepared.lost().iter().map(|clause| for_good(clause)));
        }
        let statements = chosen.method.statements();
        plan.methods.push(Step {
            what: chosen.method.word().into(),
            why: chosen.reason.clone(),
            statement: (!statements.is_empty()).then(|| statements.join(";\n")),
            undo: prepared.opposite().filter(|_| chosen.method != Method::Copy),
        });
    }
    if prepared.chosen.as_ref().is_none_or(|chosen| chosen.method == Method::Copy) {
        let (findings, verdict) = check(&client, job, &prepared).await?;
        if let Some(step) = plan.methods.last_mut() {
            step.undo = verdict;
        }
        plan.refusals = findings.refusals;
        plan.notes.extend(findings.notes);
        let helpers = &prepared.setting.helpers;
        let form = prepared.setting.change.form.statements(&helpers.shadow);
        plan.statements = vec![
            format!("CREATE TABLE {} (LIKE {original} INCLUDING ALL …)", helpers.shadow),
            prepared.setting.change.for_shadow(&helpers.shadow).unwrap_or_default(),
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

/// The table of the job. A `DROP INDEX` that names none gives the index in its place.
async fn table_of(client: &Client, role: &RoleSettings, job: &Job) -> Result<TableName> {
    let schema = job.request.table.schema.as_deref();
    if let Statement::DropIndex { indexes, .. } = Statement::parse(&job.request.clauses, None)?
        && indexes.first().is_some_and(|(_, name)| *name == job.request.table.table)
        && let Some(table) =
            methods::table_of(client, role, schema, &job.request.table.table).await?
    {
        return Ok(table);
    }
    resolve(client, role, schema, &job.request.table.table).await
}

/// The first session, and everything that is known before the method is taken.
async fn open(job: &Job) -> Result<(Client, Prepared)> {
    let settings = &job.settings;
    let options = Options::of(&job.target)?;
    let treated = settings.treat_as == Some(Scheme::Postgres);
    let (client, facts, recognised) = recognise::open(&options, treated).await?;
    let prepared = prepare(&client, job, options, &facts, recognised).await?;
    Ok((client, prepared))
}

async fn prepare(
    client: &Client,
    job: &Job,
    options: Options,
    facts: &Facts,
    recognised: Recognition,
) -> Result<Prepared> {
    let settings = &job.settings;
    let version = version(client).await?;
    let role = RoleSettings::read(&options).await?;
    let ledger = Ledger::open(client, &job.target.ledger).await?;
    let name = table_of(client, &role, job).await?;
    ledger.no_earlier(client, &name.schema).await?;
    if let Some(finding) = ledger.obstacle(client).await? {
        return Err(Error::Refused(vec![finding]));
    }
    let Some(original) = Table::read(client, &name).await? else {
        return Err(Error::Refused(vec![Finding::new(
            "table",
            format!("there is no table {}", name.plain()),
            "check the name",
        )]));
    };
    job.progress.subject().set_table(name.plain());
    checks::is_table(&original)?;
    if let Some(finding) = distributed(client, facts, &name).await? {
        return Err(Error::Refused(vec![finding]));
    }
    let absent = methods::foreign_keys(client, &name).await?;
    let mut change = Change::parse(&job.request.clauses, &name, absent)?;
    checks::parents(client, &role, &mut change).await?;
    if !settings.trust_owner {
        let findings = functions::of_others(client, &original, &role, &change.text).await?;
        if !findings.is_empty() {
            return Err(Error::Refused(findings));
        }
    }
    let dependents = Dependents::read(client, &name).await?;
    let dead = unfinished(client, &ledger, &original).await?;
    let related = lock::related(client, &change, &name).await?;
    lock::look(client, &name, &related).await?;
    match &dead {
        Some(dead) => {
            dead.may_be_resumed(
                same(&dead.run.clauses, &change.text),
                settings.strategy().copies(),
            )?;
        }
        None => {
            for other in &related {
                let found = any_unfinished(client, &ledger, other).await?;
                if let Some(run) = found.filter(|run| !run.is_watch()) {
                    return Err(related_unfinished(&run, &name.plain(), &other.plain()));
                }
            }
        }
    }
    let made = dead.as_ref().is_some_and(Unfinished::is_swapped);
    let recorded = dead.as_ref().map(|dead| Record::of(&dead.run)).transpose()?.flatten();
    let helpers = match recorded {
        Some(record) => record.helpers(&name),
        None => names::free(client, &ledger, &original).await?,
    };
    // What follows a swap waits for no throttle.
    if !made {
        throttle::check(job, &options, dead.is_some()).await?;
    }
    if !made {
        change.statement = methods::named(client, &role, &name, change.statement).await?;
    }
    let chosen = match dead {
        Some(_) => None,
        None => {
            let choose = async |strategy| {
                methods::choose(client, &role, &name, &change.statement, strategy, version).await
            };
            let chosen = choose(settings.strategy()).await?;
            let lost = lost(&change, &original);
            match job.needs_a_copy(&lost).filter(|_| chosen.method != Method::Copy) {
                Some(reason) => {
                    only_a_copy(reason, !settings.strategy().copies())?;
                    Some(Chosen { reason: reason.into(), ..choose(Strategy::Copy).await? })
                }
                None => Some(chosen),
            }
        }
    };
    let setting = Setting {
        options,
        version,
        original,
        change,
        helpers,
        undo: None,
        dependents,
        role,
        settings: Arc::clone(settings),
        ledger,
        progress: Arc::clone(&job.progress),
    };
    Ok(Prepared { setting, chosen, made, recognised })
}

/// The last run on the table that was begun by a copy and has not ended.
async fn any_unfinished(
    client: &Client,
    ledger: &Ledger,
    name: &TableName,
) -> Result<Option<RunRecord>> {
    let last = ledger.last(client, name).await?;
    Ok(last.filter(RunRecord::has_copy))
}

/// The same, where it is there by the catalog, with how far it came.
pub(super) async fn unfinished(
    client: &Client,
    ledger: &Ledger,
    original: &Table,
) -> Result<Option<Unfinished>> {
    let Some(run) = any_unfinished(client, ledger, &original.name).await? else { return Ok(None) };
    let Some(record) = Record::of(&run)? else { return Ok(None) };
    let standing = standing(client, ledger, original, &record).await?;
    if run.is_watch() && standing != Standing::Swapped {
        return Ok(None);
    }
    if standing == Standing::Unswapped {
        owned(client, &record, &record.helpers(&original.name).shadow).await?;
    }
    Ok((standing != Standing::Gone).then_some(Unfinished { run, standing }))
}

/// The checks before the start, and whether the change can be undone, where the shadow could be drafted.
async fn check(
    client: &Client,
    job: &Job,
    prepared: &Prepared,
) -> Result<(Findings, Option<Verdict>)> {
    let checked = Checked {
        version: prepared.setting.version,
        original: &prepared.setting.original,
        change: &prepared.setting.change,
        dependents: &prepared.setting.dependents,
        role: &prepared.setting.role,
        ledger: &prepared.setting.ledger,
        helpers: &prepared.setting.helpers,
    };
    let mut findings = checks::all(client, &checked).await?;
    let mut verdict = None;
    // A run that is resumed has its shadow.
    if findings.refusals.is_empty() && prepared.chosen.is_some() {
        match fits(client, job, prepared).await {
            Err(Error::Refused(refusals)) => findings.refusals = refusals,
            Err(error) => return Err(error),
            Ok(judged) => verdict = Some(judged),
        }
    }
    // A run that has begun meanwhile is the reason, and what was found may be its own: it must not be dropped.
    if !findings.refusals.is_empty() {
        let name = &prepared.setting.original.name;
        let related = lock::related(client, &prepared.setting.change, name).await?;
        lock::look(client, name, &related).await?;
    }
    Ok((findings, verdict))
}

/// Whether the shadow can be made: it is, and taken back; and whether an undo could take it back.
async fn fits(client: &Client, job: &Job, prepared: &Prepared) -> Result<Verdict> {
    let original = &prepared.setting.original;
    let place = shadow::place(&original.name);
    let clauses = prepared.setting.change.for_shadow(&place);
    let blueprint = Blueprint {
        original,
        copy_key: &original.copy_key()?.name,
        clauses: clauses.as_deref(),
        form: &prepared.setting.change.form,
        role: &prepared.setting.role,
        dependents: &prepared.setting.dependents,
        place: &place,
        defer: job.settings.indexes() != Indexes::During,
        own: &prepared.setting.ledger.schema,
        trusts_owner: job.settings.trust_owner,
    };
    let draft = shadow::rehearse(client, &blueprint).await?;
    let key = original.key_columns(original.copy_key()?)?;
    let columns = &prepared.setting.change.columns;
    let renamed: Option<Vec<_>> =
        key.0.iter().map(|column| columns.new_name(&column.name)).collect();
    if let Some(renamed) = renamed {
        key_stays(original, &draft.table, &[], &key, &renamed)?;
    }
    let (change, dependents) = (&prepared.setting.change, &prepared.setting.dependents);
    undo::verdict::of_change(client, original, &draft, change, dependents).await
}

/// One of the server's own methods.
async fn own_method(
    client: &Client,
    job: &Job,
    prepared: &Prepared,
    chosen: &Chosen,
) -> Result<Summary> {
    let name = &prepared.setting.original.name;
    job.agree(&name.plain(), chosen.method.word(), &prepared.lost()).await?;
    let related = lock::related(client, &prepared.setting.change, name).await?;
    lock::take(client, name, &related, Duration::ZERO).await?;
    if let Some(dead) =
        unfinished(client, &prepared.setting.ledger, &prepared.setting.original).await?
    {
        // Its checkpoint would be worth nothing any more.
        return Err(other_clauses(&dead.run));
    }
    report(job, chosen.method.word(), &chosen.reason, &chosen.notes);
    job.sink.event(Event::Started(Box::new(prepared.start(&chosen.method))));
    let (options, role, ledger) =
        (&prepared.setting.options, &prepared.setting.role, prepared.setting.ledger.clone());
    let place = record::Place { client, options, role, ledger };
    let ended = record::run(
        place,
        job,
        name,
        &prepared.setting.change.text,
        &chosen.method,
        prepared.opposite().as_ref(),
    )
    .await;
    lock::release(client).await;
    ended
}

async fn copy(client: &Client, job: &Job, prepared: Prepared) -> Result<Summary> {
    if prepared.chosen.is_some() {
        let (findings, _) = check(client, job, &prepared).await?;
        job.refuse_if_any(findings)?;
    } else if !prepared.made && prepared.setting.change.is_empty() {
        tracing::debug!("resuming an unfinished rewrite");
    }
    let defer_indexes = job.settings.indexes() != Indexes::During;
    let (table, clauses) =
        (prepared.setting.original.name.plain(), prepared.setting.change.text.clone());
    let throttle = throttle::build(job, &prepared.setting.options, true)?;
    let start = prepared.start(&Method::Copy);
    let server = PostgresTable::new(prepared.setting);
    let mut summary = job.copy(server, throttle, defer_indexes, start).await?;
    summary.table = table;
    summary.clauses = clauses;
    Ok(summary)
}
