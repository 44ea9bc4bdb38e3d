//! What `osc alter` and `osc plan` find out before anything is changed: the table, the clauses, an unfinished
//! run, and the methods by which the change can be made.

use std::sync::Arc;

use mysql_async::{Conn, Opts};

use crate::config::target::Scheme;
use crate::engine::event::Start;
use crate::error::{Error, Finding, Result};
use crate::ledger::RunRecord;
use crate::ledger::claim::Standing;
use crate::ledger::refusals::related_unfinished;
use crate::ledger::unfinished::Unfinished;
use crate::mysql::catalog::table::{self, Table};
use crate::mysql::clauses::change::Change;
use crate::mysql::clauses::destructive::destructive;
use crate::mysql::clauses::{Clauses, same};
use crate::mysql::commands::arguments::whole_name;
use crate::mysql::commands::revert::free_name;
use crate::mysql::connection::connect::opts;
use crate::mysql::connection::settings::Role;
use crate::mysql::connection::version::Flavor;
use crate::mysql::connection::{privileges, recognise, single};
use crate::mysql::copy::undo_verdict;
use crate::mysql::dependents::Dependents;
use crate::mysql::methods::choose::{Attempt, attempts};
use crate::mysql::methods::probe::{self, Decided};
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::mysql::runs::ledger::{self, Ledger, Purpose, Vetted};
use crate::mysql::runs::lock;
use crate::mysql::runs::proof::Catalog;
use crate::mysql::runs::record::Record;
use crate::mysql::setting::Setting;
use crate::mysql::{checks, clauses, throttle};
use crate::plan::method::Method;
use crate::plan::recognition::Recognition;
use crate::plan::undo::Verdict;
use crate::plan::{Job, only_a_copy};

/// Everything that is known before the method is taken.
pub(super) struct Prepared {
    /// What a copy is made from.
    pub(super) setting: Setting,
    /// An unfinished run had swapped the tables: only what follows is left to do.
    pub(super) made: bool,
    /// The ledger's tables are there.
    pub(super) ledger_stands: bool,
    /// What of the ledger could not be looked at.
    pub(super) ledger_notes: Vec<String>,
    pub(super) recognised: Recognition,
    /// The methods, in their order, and how certain the first is.
    pub(super) decided: Decided,
}

impl Prepared {
    /// Those that can still come to it: the first alone, where that is certain.
    pub(super) fn open(&self) -> &[Attempt] {
        let methods = &self.decided.methods;
        if self.decided.doubts.is_empty() { methods.get(..1).unwrap_or_default() } else { methods }
    }

    /// The clauses that take away for good what a copy would keep.
    pub(super) fn lost(&self) -> Vec<String> {
        lost(&self.setting.change.clauses, &self.setting.original)
    }

    /// What is reported when the change begins by `method`.
    pub(super) fn start(&self, method: Method) -> Result<Start> {
        let original = &self.setting.original;
        let mut start = Start {
            clauses: self.setting.change.text.clone(),
            method: method.word().into(),
            rows_estimate: original.rows.0,
            bytes: Some(original.bytes),
            ..Start::default()
        };
        if let Some(verdict) = self.undo(method)? {
            verdict.tell(&original.name.plain(), &mut start);
        }
        Ok(start)
    }

    /// Whether the change can be undone when it is made by `method`; `None`: that is not known beforehand.
    pub(super) fn undo(&self, method: Method) -> Result<Option<Verdict>> {
        let (draft, shadow) = (self.setting.draft(), self.decided.shadow.as_ref());
        match (method, shadow) {
            (Method::Copy, None) => Ok(None),
            (Method::Copy, Some(shadow)) => {
                undo_verdict::by_revert(&draft, &self.setting.helpers, shadow).map(Some)
            }
            (_, shadow) => Ok(undo_verdict::by_opposite(&draft, shadow, &self.lost())),
        }
    }
}

fn lost(clauses: &Clauses, original: &Table) -> Vec<String> {
    let unique =
        |name: &Ident| original.indexes.iter().any(|index| index.unique && index.name.same(name));
    destructive(clauses, unique)
}

/// The first session, and everything that is known before a method is tried.
pub(super) async fn open(job: &Job) -> Result<(Conn, Prepared)> {
    let (mut conn, recognised) = recognise::open(&job.target, treated(job)).await?;
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
    let Found { opts, table: original, dependents, related, ledger } =
        find(conn, job, flavor, &job.request.clauses).await?;
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
    let Vetted { ledger, stands: ledger_stands, notes: ledger_notes, .. } = ledger;
    let helpers = match &dead {
        Some(dead) => Record::of(&dead.run)?.helpers(&original.name),
        None => Helpers {
            retired: free_name(conn, &original.name).await?,
            ..Helpers::of(&original.name)
        },
    };
    let setting = Setting {
        opts,
        flavor,
        role,
        original,
        change,
        dependents,
        settings: Arc::clone(&job.settings),
        progress: Arc::clone(&job.progress),
        ledger,
        helpers,
        undone: None,
    };
    let schema = &setting.ledger.runs.schema;
    let decided = if dead.is_some() {
        Decided { methods: vec![Attempt::resumed()], ..Decided::default() }
    } else {
        let (clauses, original) = (&setting.change.clauses, &setting.original);
        let mut methods = attempts(job.settings.strategy(), clauses, flavor, original)?;
        let lost = lost(clauses, original);
        if let Some(reason) = job.needs_a_copy(&lost) {
            methods.retain(|attempt| attempt.method == Method::Copy);
            only_a_copy(reason, methods.is_empty())?;
            methods.iter_mut().for_each(|copy| copy.reason = reason.into());
        }
        probe::decide(&setting.opts, &setting.draft(), schema, methods).await?
    };
    if decided.methods.first().is_some_and(|first| first.method != Method::Copy) {
        let mut lacking = privileges::lacking(conn, schema, &ledger::RIGHTS).await?;
        if lacking.is_none() {
            lacking = checks::rights::may_alter(conn, &setting.original.name).await?;
        }
        if let Some(finding) = lacking {
            return Err(Error::Refused(vec![finding]));
        }
    }
    Ok(Prepared { setting, made, ledger_stands, ledger_notes, recognised, decided })
}

/// Whether a server that osc does not know is to be treated as one of these.
pub(super) fn treated(job: &Job) -> bool {
    job.settings.treat_as == Some(Scheme::Mysql)
}

/// The table that a job names, and what is in the way of any run on it.
pub(super) struct Found {
    /// How to connect.
    pub(super) opts: Opts,
    /// The table.
    pub(super) table: Table,
    /// What hangs on it.
    pub(super) dependents: Dependents,
    /// Tables that a foreign key joins with it, or that `clauses` would join with it.
    pub(super) related: Vec<TableName>,
    /// The ledger, which has been looked at.
    pub(super) ledger: Vetted,
}

/// Finds the table, and fails where another run has it.
pub(super) async fn find(
    conn: &mut Conn,
    job: &Job,
    flavor: Flavor,
    clauses: &str,
) -> Result<Found> {
    let opts = opts(&job.target)?;
    let name = whole_name(&job.request.table, &job.target)?;
    let table = Table::read(conn, &name).await?.ok_or_else(|| {
        Error::Refused(vec![Finding::new(
            "table",
            format!("there is no table {}", name.plain()),
            "check the name, and the schema in the URL",
        )])
    })?;
    job.progress.subject().set_table(table.name.plain());
    let dependents = Dependents::read(conn, &table.name).await?;
    let related = lock::related(&dependents, clauses, &table.name);
    lock::look(conn, &table.name, &related).await?;
    let (place, application) = (&job.target.ledger, Some(table.name.schema.as_str()));
    let ledger = Ledger::vetted(conn, flavor, place, application, Purpose::Write).await?;
    Ok(Found { opts, table, dependents, related, ledger })
}

/// Fails where a run on a related table was not finished.
pub(super) async fn none_unfinished(
    conn: &mut Conn,
    ledger: &Vetted,
    name: &TableName,
    related: &[TableName],
) -> Result<()> {
    for other in related {
        let found = any_unfinished(conn, ledger, other).await?;
        if let Some(run) = found.filter(|run| !run.is_watch()) {
            return Err(related_unfinished(&run, &name.plain(), &other.plain()));
        }
    }
    Ok(())
}

/// The last run of this server on the table, if it has a checkpoint and has not ended.
pub(super) async fn any_unfinished(
    conn: &mut Conn,
    ledger: &Vetted,
    name: &TableName,
) -> Result<Option<RunRecord>> {
    if !ledger.stands {
        return Ok(None);
    }
    let last = ledger.ledger.last(conn, name).await?;
    Ok(last.filter(RunRecord::has_copy))
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
    // A watch whose process has gone had undone nothing.
    let goes_on = !run.is_watch() || standing == Standing::Swapped;
    Ok(goes_on.then_some(Unfinished { run, standing }))
}
