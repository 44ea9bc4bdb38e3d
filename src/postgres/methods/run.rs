//! Running the server's own methods: short locks are requested again and again and never waited for
//! behind an old transaction; long steps are cancelled when the run is to stop.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::progress;
use super::{Look, Method, Step, Undo};
use crate::engine::backoff::Backoff;
use crate::engine::blocker::blocked_by;
use crate::engine::permission::{Given, Permission};
use crate::engine::progress::Phase;
use crate::error::{Error, Result, end_transactions};
use crate::postgres::blockers;
use crate::postgres::catalog::table::Table;
use crate::postgres::connection::connect::{Options, connect};
use crate::postgres::connection::errors::{
    DEADLOCK, LOCK_NOT_AVAILABLE, QUERY_CANCELED, detail_with_key, server_error, sqlstate,
};
use crate::postgres::connection::session::{plain, rows, run as execute, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::dependents::validation::{before_reading, before_validating};
use crate::postgres::name::{Ident, TableName, Text};
use crate::testing::failpoint::{self, Point};
use crate::testing::mutation::{self, Rule};

/// How it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NativeDone {
    /// Attempts at the locks, in all.
    pub attempts: u32,
    /// Things to know.
    pub warnings: Vec<String>,
}

const ACTION: &str = "changing the table";

/// Offending rows that are shown.
const SHOWN: usize = 5;

/// Between two looks at whether the cancelled statement has ended.
const CANCEL_AGAIN: Duration = Duration::from_millis(200);

/// How the server's own steps are taken.
pub struct Going<'a> {
    /// Attempts at each short lock.
    pub attempts: u32,
    /// How long one attempt may wait for its lock.
    pub budget: Duration,
    /// Ends the run, resumably.
    pub stop: &'a CancellationToken,
    /// Gets each attempt that failed.
    pub say: &'a (dyn Fn(u32, String) + Sync),
    /// Gets how far a long step is, and what it waits for.
    pub report: &'a (dyn Fn(String) + Sync),
    /// Run functions of roles that osc's is stronger than.
    pub trusts_owner: bool,
    /// Who must agree before each step; `None`: no one needs to.
    pub permission: Option<Permission<'a>>,
}

/// Takes a method that is the server's own.
///
/// # Errors
/// `Data` where rows do not allow the change, and all of it is taken back; `Stopped` when the lock is
/// not granted or the run is to stop, and the same command resumes; the server's.
pub async fn run(
    options: &Options,
    role: &RoleSettings,
    original: &TableName,
    method: &Method,
    going: &Going<'_>,
) -> Result<NativeDone> {
    let client = plain(options, ACTION).await?;
    let session = value(&client, ACTION, "SELECT pg_backend_pid()").await?.unwrap_or_default();
    let steps: &[Step] = match method {
        Method::Direct(step) => std::slice::from_ref(step),
        Method::Steps(steps) => steps,
        Method::Copy => return Err(Error::Internal("a copy is no method of the server's".into())),
    };
    let stop = going.stop;
    let walk = Walk { client: &client, role, original, going };
    let walking = walk.all(steps);
    tokio::pin!(walking);
    tokio::select! {
        outcome = &mut walking => return outcome,
        () = stop.cancelled() => {}
        never = progress::watch(options, &session, going.report) => match never {},
    }
    // The server continues a statement whose client has left: it must be cancelled.
    let watcher = connect(options, "cancelling the statement").await?;
    let cancel = format!("SELECT pg_cancel_backend({session})");
    loop {
        execute(&watcher, "cancelling the statement", &cancel).await?;
        tokio::select! {
            outcome = &mut walking => return outcome,
            () = tokio::time::sleep(CANCEL_AGAIN) => {}
        }
        // Only the step is cancelled, not what takes it back.
        if is_undoing(&watcher, &session).await? {
            return walking.await;
        }
    }
}

/// What a run that died on these steps left of no use to anybody.
///
/// # Errors
/// Those of the connection.
pub async fn leftovers(client: &Client, steps: &[Step]) -> Result<Vec<Undo>> {
    let mut left = Vec::new();
    for (question, undo) in steps.iter().filter_map(Step::leftover) {
        if value(client, "looking for what is half-done", &question).await?.as_deref() == Some("t")
        {
            left.push(undo.clone());
        }
    }
    Ok(left)
}

/// Takes such leftovers back, under short locks.
///
/// # Errors
/// `Stopped` when a lock is not granted; the server's.
pub async fn take_back(
    client: &Client,
    original: &TableName,
    left: &[Undo],
    attempts: u32,
    budget: Duration,
) -> Result<()> {
    let stop = CancellationToken::new();
    let going = Going {
        attempts,
        budget,
        stop: &stop,
        say: &|_, _| {},
        report: &|_| {},
        trusts_owner: false,
        permission: None,
    };
    let role = &RoleSettings::default();
    let walk = Walk { client, role, original, going: &going };
    for undo in left {
        walk.take_back(undo).await?;
    }
    Ok(())
}

/// What takes a cancelled step back says so.
const UNDOING: &str = "/* osc takes it back */";

async fn is_undoing(watcher: &Client, session: &str) -> Result<bool> {
    let sql = format!(
        "SELECT query LIKE '{UNDOING}%' OR state = 'idle' FROM pg_stat_activity WHERE pid = {session}"
    );
    Ok(value(watcher, "watching the statement", &sql).await?.as_deref() != Some("f"))
}

struct Walk<'a> {
    client: &'a Client,
    role: &'a RoleSettings,
    original: &'a TableName,
    going: &'a Going<'a>,
}

impl Walk<'_> {
    async fn all(&self, steps: &[Step]) -> Result<NativeDone> {
        let mut done = NativeDone::default();
        let mut ran: Vec<&Step> = Vec::new();
        for step in steps {
            if self.going.stop.is_cancelled() {
                return Err(stopped());
            }
            if self.is_done(step).await? {
                continue;
            }
            let outcome = self.one(step).await;
            match outcome {
                Ok(tried) => done.attempts = done.attempts.max(tried),
                Err(error) => return Err(self.failed(step, &ran, error).await),
            }
            ran.push(step);
        }
        Ok(done)
    }

    async fn one(&self, step: &Step) -> std::result::Result<u32, Failure> {
        self.permitted().await?;
        failpoint::hit(Point::StepBegun)?;
        let words = step.in_words.then(|| self.role.in_words(&step.sql));
        let sql = words.as_deref().unwrap_or(&step.sql);
        let tried = if step.short {
            self.short(sql, &step.also).await?
        } else {
            self.long(&self.looked(step, sql)).await?;
            1
        };
        failpoint::hit(Point::StepDone)?;
        Ok(tried)
    }

    /// With what goes before it, in one transaction.
    fn looked(&self, step: &Step, sql: &str) -> String {
        let validates = step.validates.as_ref();
        let before =
            validates.map(|name| before_validating(self.original, name, self.going.trusts_owner));
        before.unwrap_or_default() + sql
    }

    async fn permitted(&self) -> Result<()> {
        let Some(permission) = &self.going.permission else { return Ok(()) };
        if permission.wait().await? == Given::Awaited {
            permission.enter(Phase::CutOver);
        }
        Ok(())
    }

    async fn is_done(&self, step: &Step) -> Result<bool> {
        match &step.done {
            None => Ok(false),
            Some(Look::Query(sql)) => {
                Ok(value(self.client, ACTION, sql).await?.as_deref() == Some("t"))
            }
            Some(Look::Index(index)) => {
                let sql = format!(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({})",
                    Text(&index.to_string())
                );
                match value(self.client, ACTION, &sql).await?.as_deref() {
                    Some(_) if mutation::active(Rule::InvalidSeen) => Ok(true),
                    Some("t") => Ok(true),
                    None => Ok(false),
                    // What an earlier build left.
                    Some(_) => {
                        self.take_back(&Undo::index(index)).await?;
                        Ok(false)
                    }
                }
            }
        }
    }

    /// Takes back what a step left. Rows that do not allow it end the whole change: the steps before
    /// it are taken back too. A stop leaves what the same command can resume from.
    async fn failed(&self, step: &Step, ran: &[&Step], error: Failure) -> Error {
        let stop = self.going.stop.is_cancelled();
        let cause = match error {
            Failure::Statement(error) if stop && sqlstate(&error) == Some(QUERY_CANCELED) => {
                stopped()
            }
            Failure::Statement(error) => self.explained(step, &error).await,
            Failure::Other(error) => error,
        };
        let resumable = matches!(cause, Error::Stopped { .. } | Error::Connection { .. });
        let mut undo: Vec<&Undo> = Vec::new();
        if !resumable {
            undo.extend(&step.undo);
            undo.extend(ran.iter().rev().flat_map(|step| &step.undo));
        } else if matches!(step.done, Some(Look::Index(_))) {
            // An invalid index costs each write, and is of no use to the next run.
            undo.extend(step.undo.iter().take(1));
        }
        if cause.is_connection() {
            return cause;
        }
        for undo in undo {
            if let Err(error) = self.take_back(undo).await {
                tracing::warn!("not taken back: {}: {error}", undo.sql);
                return left(cause, &undo.sql);
            }
        }
        cause
    }

    async fn take_back(&self, undo: &Undo) -> Result<()> {
        failpoint::hit(Point::StepFailed)?;
        let sql = format!("{UNDOING} {}", undo.sql);
        let outcome = if undo.short {
            self.short(&sql, &[]).await.map(|_| ())
        } else {
            self.long(&sql).await
        };
        outcome.map_err(|failure| match failure {
            Failure::Statement(error) => server_error("taking a step back", &error),
            Failure::Other(error) => error,
        })
    }

    async fn long(&self, sql: &str) -> std::result::Result<(), Failure> {
        execute(self.client, ACTION, "SET lock_timeout = 0").await?;
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Returns the attempt that came through.
    async fn short(&self, sql: &str, also: &[String]) -> std::result::Result<u32, Failure> {
        let mut backoff = Backoff::for_table_lock();
        let mut reason = String::new();
        for attempt in 1..=self.going.attempts {
            if attempt > 1 && !sql.starts_with(UNDOING) {
                self.permitted().await?;
            }
            match self.attempt(sql, also).await? {
                None => return Ok(attempt),
                Some(why) => reason = why,
            }
            (self.going.say)(attempt, reason.clone());
            backoff.wait().await;
            if self.going.stop.is_cancelled() && !sql.starts_with(UNDOING) {
                return Err(stopped().into());
            }
        }
        Err(Failure::Other(Error::Stopped {
            reason: format!(
                "could not get the table lock in {} attempts: {reason}",
                self.going.attempts
            ),
            help: end_transactions("the table"),
        }))
    }

    /// `Some`: not yet, for this reason.
    async fn attempt(
        &self,
        sql: &str,
        also: &[String],
    ) -> std::result::Result<Option<String>, Failure> {
        let tables = also.iter().map(String::as_str);
        let own = self.original.to_string();
        let tables = tables.chain([own.as_str()]);
        let tables: Vec<String> =
            tables.map(|table| format!("to_regclass({})::oid", Text(table))).collect();
        let sql_oids = format!("SELECT unnest(ARRAY[{}])", tables.join(", "));
        let found = rows(self.client, ACTION, &sql_oids).await?;
        let oids: Vec<u32> = found.iter().filter_map(|row| row.get(0)?.parse().ok()).collect();
        if oids.is_empty() {
            return Err(
                Error::Foreign(format!("there is no table {}", self.original.plain())).into()
            );
        }
        let found = blockers::look(self.client, &oids, self.going.budget, None).await?;
        if let Some(reason) = blocked_by(&found.old) {
            return Ok(Some(reason));
        }
        let budget = found.budget(self.going.budget);
        let timeout = format!("SET lock_timeout = {}", budget.as_millis());
        execute(self.client, ACTION, &timeout).await?;
        match self.client.batch_execute(sql).await {
            Ok(()) => Ok(None),
            Err(error) if matches!(sqlstate(&error), Some(LOCK_NOT_AVAILABLE | DEADLOCK)) => {
                Ok(Some(format!("the lock was not granted within {} ms", budget.as_millis())))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What becomes of a failed statement's error: rows that are in the way are the user's to mend.
    async fn explained(&self, step: &Step, error: &tokio_postgres::Error) -> Error {
        let (Some(code), Some(db)) = (sqlstate(error), error.as_db_error()) else {
            return server_error(ACTION, error);
        };
        if !code.starts_with("23") {
            return server_error(ACTION, error);
        }
        let mut shown: Vec<String> = detail_with_key(db).map(str::to_owned).into_iter().collect();
        if let (true, Some(check)) = (shown.is_empty(), &step.shows) {
            shown = self.offending(check).await.unwrap_or_default();
        }
        Error::Data { reason: db.message().to_owned(), rows: shown }
    }

    /// Some rows that break a check.
    async fn offending(&self, check: &Ident) -> Result<Vec<String>> {
        let table = self.original;
        let sql = format!(
            "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint \
             WHERE conrelid = {}::regclass AND conname = {} AND contype = 'c'",
            Text(&table.to_string()),
            Text(check.as_str())
        );
        let Some(condition) = value(self.client, ACTION, &sql).await? else {
            return Ok(Vec::new());
        };
        // Keys, and no other values: what is shown may be kept by others.
        let read = Table::read(self.client, table).await?;
        let key = read.as_ref().and_then(|read| read.key_columns(read.copy_key().ok()?).ok());
        let shown = match &key {
            Some(key) => {
                let part = |name: &Ident| {
                    format!("pg_catalog.concat({}, ' = ', {name})", Text(name.as_str()))
                };
                key.0.iter().map(|column| part(&column.name)).collect::<Vec<_>>().join(", ")
            }
            None => "'row at ' || ctid::text".to_owned(),
        };
        let looked = before_reading(table, check, self.going.trusts_owner);
        let sql = format!(
            "{looked}SELECT pg_catalog.concat_ws(' and ', {shown}) FROM {table} WHERE NOT ({condition}) \
             LIMIT {SHOWN}"
        );
        let found = rows(self.client, "looking for the rows", &sql).await?;
        Ok(found.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect())
    }
}

/// A statement that failed, or something around it.
enum Failure {
    Statement(tokio_postgres::Error),
    Other(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn stopped() -> Error {
    Error::stopped("on request")
}

/// The same, with what is still there.
fn left(cause: Error, sql: &str) -> Error {
    match cause {
        Error::Data { reason, rows } => {
            Error::Data { reason: format!("{reason} (still to be done: {sql})"), rows }
        }
        other => other,
    }
}
