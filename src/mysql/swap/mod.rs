//! The swap. On MySQL one session locks both tables, drains, refreshes and renames. MariaDB refuses
//! RENAME under LOCK TABLES (error 1192), so there a second session renames while the first holds
//! the lock, and a sentry table under the retired name makes that rename fail should the first
//! session die before everything is drained.
//!
//! Waiting for the lock stalls the application, whose statements queue behind the request. So each
//! attempt asks for so short a time that no application notices, and takes the request back when it is over.

pub(crate) mod outcome;
mod rename;

use std::fmt::Write as _;
use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::binlog;
use super::connection::errors::{connection_error, is_contention, is_given_up, is_of_the_moment};
use super::connection::own_sessions;
use super::connection::process_list::process;
use super::connection::session::{run, run_ddl};
use super::connection::settings;
use super::connection::version::Flavor;
use super::copy::projection::Side;
use super::copy::rows::Write;
use super::copy::statements::{Scope, Statements};
use super::copy::{rows, shadow};
use super::dependents::histograms;
use super::name::{TableName, Text};
use super::run::MysqlTable;
use super::runs::record::SwapMark;
use crate::engine::backend::{Drain, Drained, SwapOutcome};
use crate::engine::backoff::reconnecting;
use crate::engine::under_lock;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::ledger::claim::Standing;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};
use outcome::{SENTRY, is_sentry_of};

/// How long one attempt may wait for the lock: what the application may see as a stall.
const LOCK_BUDGET: Duration = Duration::from_millis(100);

/// How long a rename that has its locks is left to come to its end.
const RENAME_ENDS: Duration = Duration::from_secs(10);

/// Rows without a parent that are named: in an undo, where each is a misfit, and else.
const MISFITS_SHOWN: usize = 1_000;
const ORPHANS_SHOWN: usize = 10;

/// Before the first attempt: rows that a new foreign key forbids, statistics and counters of the
/// shadow.
pub(super) async fn before(table: &MysqlTable) -> Result<()> {
    let mut conn = table.plain("preparing the swap").await?;
    let shadow = &table.helpers.shadow;
    let setting = &table.setting;
    let (original, kept) = (&setting.original.name, &setting.change.kept);
    let most = if setting.undone.is_some() { MISFITS_SHOWN } else { ORPHANS_SHOWN };
    let rows = table.carried().without_parent(&mut conn, &setting.original, shadow, most).await?;
    if !rows.is_empty() && setting.undone.is_some() {
        let rows = rows.into_iter().map(|row| format!("{row} has no parent")).collect::<Vec<_>>();
        return Err(Error::Misfits { count: rows.len() as u64, rows, may_stay: false });
    }
    if !rows.is_empty() {
        let reason = "rows have no parent for a foreign key that the clauses add".into();
        return Err(Error::Data { reason, rows });
    }
    let mut remarks = table.ready()?.statements.projection.notes.clone();
    remarks.extend(histograms::analyze(&mut conn, setting.flavor, original, shadow, kept).await?);
    *table.remarks.lock().unwrap_or_else(PoisonError::into_inner) = remarks;
    raise_counter(&mut conn, table).await
}

/// Sets the shadow's AUTO_INCREMENT to the original's, if that is higher.
async fn raise_counter(conn: &mut Conn, table: &MysqlTable) -> Result<()> {
    let action = "carrying AUTO_INCREMENT over";
    let original = counter(conn, &table.setting.original.name).await?;
    let shadow = counter(conn, &table.helpers.shadow).await?;
    match (original, shadow) {
        (Some(original), Some(shadow)) if original > shadow => {
            let name = &table.helpers.shadow;
            run_ddl(conn, action, &format!("ALTER TABLE {name} AUTO_INCREMENT = {original}")).await
        }
        _ => Ok(()),
    }
}

async fn counter(conn: &mut Conn, name: &TableName) -> Result<Option<u64>> {
    let value: Option<Option<u64>> = conn
        .query_first(format!(
            "SELECT AUTO_INCREMENT FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            Text(name.schema.as_str()),
            Text(name.table.as_str())
        ))
        .await
        .map_err(|error| connection_error("reading AUTO_INCREMENT", error))?;
    Ok(value.flatten())
}

/// One attempt. Whatever happens on the way, the catalog decides what the outcome was.
pub(super) async fn attempt<D: Drain>(
    table: &MysqlTable,
    marker: u64,
    drain: &mut D,
) -> Result<SwapOutcome> {
    let blocked = {
        let mut conn = table.plain("looking for blockers").await?;
        super::blockers::old_transactions(&mut conn, table, LOCK_BUDGET).await?
    };
    if let Some(reason) = blocked {
        return Ok(SwapOutcome::NotYet(reason));
    }
    let mut holder =
        table.ready()?.sessions.own("preparing the swap", table.ready()?.reading).await?;
    let holder_id = holder.id();
    let outcome = match prepare_holder(&mut holder, table).await {
        Ok(()) => locked(table, &mut holder, marker, drain).await,
        Err(error) => Err(error),
    };
    let renamer = match &outcome {
        Ok(Attempt { renamer, .. }) => *renamer,
        Err(_) => None,
    };
    match outcome {
        Ok(Attempt { outcome: Some(outcome), .. }) => {
            let _ = holder.disconnect().await;
            if matches!(outcome, SwapOutcome::NotYet(_)) {
                let mut conn = table.plain("clearing an attempt away").await?;
                clear_away(&mut conn, table).await?;
            }
            Ok(outcome)
        }
        Ok(Attempt { outcome: None, locked_at, .. }) => {
            drop(holder);
            settle(table, holder_id, renamer, locked_at).await
        }
        Err(error) => {
            // The session ends here, and its locks with it.
            drop(holder);
            let settled = settle(table, holder_id, None, Instant::now()).await?;
            match (settled, error) {
                (swapped @ SwapOutcome::Swapped { .. }, _) => Ok(swapped),
                (
                    SwapOutcome::NotYet(_),
                    error @ (Error::Stopped { .. } | Error::Connection { .. } | Error::Full { .. }),
                ) => Ok(SwapOutcome::NotYet(error.to_string())),
                (SwapOutcome::NotYet(_), error) if passes(&error) => {
                    Ok(SwapOutcome::NotYet(error.to_string()))
                }
                (SwapOutcome::NotYet(_), error) => Err(error),
            }
        }
    }
}

/// A lock that was not granted in time, a deadlock, or a statement that another session interrupted.
fn passes(error: &Error) -> bool {
    error.mysql_code().is_some_and(is_of_the_moment)
}

struct Attempt {
    /// `None`: the catalog decides.
    outcome: Option<SwapOutcome>,
    renamer: Option<u32>,
    locked_at: Instant,
}

fn not_yet(reason: impl Into<String>, locked_at: Instant) -> Attempt {
    Attempt { outcome: Some(SwapOutcome::NotYet(reason.into())), renamer: None, locked_at }
}

async fn prepare_holder(holder: &mut Conn, table: &MysqlTable) -> Result<()> {
    let action = "preparing the swap";
    for sql in settings::cut_over(longest_idle(table)) {
        run(holder, action, &sql).await?;
    }
    if let Some(scratch) = table.ready()?.statements.scratch() {
        run(holder, action, &scratch).await?;
    }
    if table.setting.flavor.is_mariadb() {
        let retired = &table.helpers.retired;
        let sql = format!("CREATE TABLE {retired} (id INT) ENGINE=InnoDB COMMENT={}", Text(SENTRY));
        match holder.query_drop(sql).await {
            Ok(()) => {}
            // Perhaps that of an attempt that came to nothing; what it is, is looked at under the lock.
            Err(mysql_async::Error::Server(error)) if error.code == ER_TABLE_EXISTS_ERROR => {}
            Err(error) => return Err(connection_error(action, error)),
        }
    }
    failpoint::hit(Point::SwapReady)
}

/// Tables are locked by their names, which others may have taken before. Fails where the shadow's was;
/// returns why the retired name is not free.
async fn name_taken(table: &MysqlTable, holder: &mut Conn) -> Result<Option<String>> {
    table.shadow_stands(holder).await?;
    let retired = &table.helpers.retired;
    if !table.setting.flavor.is_mariadb() || is_sentry_of(holder, retired).await? {
        return Ok(None);
    }
    let name = retired.plain();
    Ok(Some(format!("there is a table {name} that osc did not make: rename it or drop it")))
}

/// The server's number for a name that a table has already (`mysqld_error.h`).
const ER_TABLE_EXISTS_ERROR: u16 = 1050;

/// After how many seconds without a statement the server ends the session that holds the locks: just
/// above what the drain may take, during which that session has nothing to do.
fn longest_idle(table: &MysqlTable) -> u64 {
    table.setting.settings.cut_over_timeout().as_secs().saturating_add(1)
}

/// Why the rename must not be made any more: the locks were held for longer than the budget, as when osc
/// was frozen in the meantime, and the application's statements wait.
fn over_budget(table: &MysqlTable, locked_at: Instant) -> Option<Attempt> {
    let most = Duration::from_secs(longest_idle(table));
    let held = locked_at.elapsed();
    (held > most && !mutation::active(Rule::ServerEndsLock)).then(|| {
        let reason = format!("the table had been locked for {:.1} s already", held.as_secs_f64());
        not_yet(reason, locked_at)
    })
}

async fn locked<D: Drain>(
    table: &MysqlTable,
    holder: &mut Conn,
    marker: u64,
    drain: &mut D,
) -> Result<Attempt> {
    let original = &table.setting.original.name;
    let shadow = &table.helpers.shadow;
    let retired = &table.helpers.retired;
    let mariadb = table.setting.flavor.is_mariadb();
    let sentry = if mariadb { format!(", {retired} WRITE") } else { String::new() };
    let asked_at = Instant::now();
    let mut lock = format!("LOCK TABLES {original} WRITE, {shadow} WRITE{sentry}");
    for other in table.carried().lock_set(original) {
        let _ = write!(lock, ", {other} WRITE");
    }
    let id = holder.id();
    if let Some(reason) = within_budget(table, id, holder.query_drop(lock)).await? {
        return Ok(not_yet(reason, asked_at));
    }
    let locked_at = Instant::now();
    failpoint::hit(Point::SwapLocked)?;
    // One that takes the run over waits for the lock on the shadow from here on.
    table.still_ours().await?;
    crate::engine::backend::Server::mark(table, marker).await?;
    failpoint::hit(Point::SwapMarked)?;
    // Until the stream is drained, the session that holds the locks has nothing else to do.
    let (drained, taken) = tokio::try_join!(drain.drain(marker), name_taken(table, holder))?;
    if let Some(reason) = taken {
        return Ok(not_yet(reason, locked_at));
    }
    refresh_under_lock(table, holder, &drained).await?;
    failpoint::hit(Point::SwapRefreshed)?;
    // Ids that were given out and deleted again since the attempts began must not be given out twice.
    mutation::skip_if(Rule::CounterUnderLock, raise_counter(holder, table)).await.transpose()?;
    table.carried().install(holder, original, &table.helpers, mariadb).await?;
    failpoint::hit(Point::SwapInstalled)?;
    if let Some(late) = over_budget(table, locked_at) {
        return Ok(late);
    }
    if mariadb {
        rename::from_outside(table, holder, locked_at).await
    } else {
        rename::under_lock(table, holder, locked_at).await
    }
}

/// Waits for a lock, but not longer than the budget; then takes the request back and says who is
/// in the way.
async fn within_budget(
    table: &MysqlTable,
    id: u32,
    request: impl Future<Output = std::result::Result<(), mysql_async::Error>>,
) -> Result<Option<String>> {
    let action = "locking the table";
    tokio::pin!(request);
    let budget =
        if mutation::active(Rule::LockBudget) { Duration::from_secs(60) } else { LOCK_BUDGET };
    let outcome = match tokio::time::timeout(budget, &mut request).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let mut conn = table.plain(action).await?;
            let who = super::blockers::who(&mut conn, table, id).await.unwrap_or_default();
            run(&mut conn, action, &format!("KILL QUERY {id}")).await?;
            match request.await {
                // Granted after all, but the KILL may still meet the session's next statement.
                Ok(()) => return Ok(Some("the lock was granted too late".into())),
                // Interrupted, or its own timeout.
                Err(mysql_async::Error::Server(error)) if is_given_up(error.code) => {
                    return Ok(Some(format!(
                        "the lock was not granted within {} ms{who}",
                        LOCK_BUDGET.as_millis()
                    )));
                }
                outcome => outcome,
            }
        }
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(mysql_async::Error::Server(error)) if is_contention(error.code) => {
            Ok(Some(error.message))
        }
        Err(error) => Err(connection_error(action, error)),
    }
}

/// Refreshes what the stream named, and compares what was written all the time.
async fn refresh_under_lock(
    table: &MysqlTable,
    holder: &mut Conn,
    drained: &Drained,
) -> Result<()> {
    if mutation::active(Rule::NeverBegins) {
        run(holder, REFRESHING, "START TRANSACTION").await?;
    }
    let proved = table.by_log.load(Ordering::Relaxed);
    let mut locked = Locked { conn: holder, statements: &table.ready()?.statements, proved };
    under_lock::refresh(&mut locked, &drained.dirty).await?;
    run(locked.conn, REFRESHING, "COMMIT").await?;
    under_lock::compare(&mut locked, &drained.suspects).await
}

const REFRESHING: &str = "refreshing under the lock";

/// The session that holds the locks.
struct Locked<'a> {
    conn: &'a mut Conn,
    statements: &'a Statements,
    /// Rows are compared where they are written.
    proved: bool,
}

impl under_lock::Holder for Locked<'_> {
    fn describe(&self, key: &Key) -> String {
        self.statements.key.describe(key)
    }

    async fn lay_aside(&mut self, keys: &[Key]) -> Result<()> {
        match self.statements.lay_aside(keys)? {
            Some(sql) => run(self.conn, REFRESHING, &sql).await,
            None => Ok(()),
        }
    }

    async fn delete(&mut self, keys: &[Key]) -> Result<()> {
        run(self.conn, REFRESHING, &self.statements.delete(keys)?).await
    }

    async fn insert(&mut self, keys: &[Key]) -> Result<()> {
        let rewriting = self.statements.inserting(keys, self.proved)?;
        match rows::write_under_lock(self.conn, self.statements, &rewriting, REFRESHING).await? {
            Write::Done(_) => Ok(()),
            Write::Contention => Err(under_lock::lock_wait()),
            Write::Duplicate { message, .. } => {
                Err(Error::Data { reason: message, rows: Vec::new() })
            }
            Write::Unfit { message, rows, .. } => Err(Error::Data { reason: message, rows }),
        }
    }

    async fn differing(&mut self, keys: &[Key]) -> Result<Vec<Key>> {
        let digests = |side| self.statements.digests(side, Scope::Keys(keys));
        let (original, shadow) = (digests(Side::Original)?, digests(Side::Shadow)?);
        let original = rows::digests(self.conn, self.statements, &original).await?;
        let shadow = rows::digests(self.conn, self.statements, &shadow).await?;
        Ok(rows::difference(original, shadow))
    }
}

/// How long the swap's outcome is looked for while connections break.
const SETTLE_FOR: Duration = Duration::from_secs(120);

/// Learns from the catalog what happened, after the sessions that could still act are gone.
async fn settle(
    table: &MysqlTable,
    holder: u32,
    renamer: Option<u32>,
    locked_at: Instant,
) -> Result<SwapOutcome> {
    reconnecting(SETTLE_FOR, || try_settle(table, holder, renamer, locked_at)).await
}

async fn try_settle(
    table: &MysqlTable,
    holder: u32,
    renamer: Option<u32>,
    locked_at: Instant,
) -> Result<SwapOutcome> {
    let action = "learning the swap's outcome";
    let mut conn = table.plain(action).await?;
    let _ = conn.query_drop(format!("KILL {holder}")).await;
    let flavor = table.setting.flavor;
    while process(&mut conn, flavor, holder, action).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if let Some(renamer) = renamer {
        end_renamer(&mut conn, flavor, renamer, action).await?;
    }
    if table.standing_of(&mut conn, &table.known().tables).await? == Standing::Swapped {
        return Ok(SwapOutcome::Swapped { locked: locked_at.elapsed() });
    }
    clear_away(&mut conn, table).await?;
    Ok(SwapOutcome::NotYet("the connection was lost before the rename; nothing was swapped".into()))
}

/// Ends the session that renames, and waits until it is gone. One that is past its locks is left to
/// its end, which is near: killed in the midst of it, MariaDB can leave a file of the table's triggers
/// that it cannot read, and with it the table.
async fn end_renamer(conn: &mut Conn, flavor: Flavor, id: u32, action: &str) -> Result<()> {
    let started = Instant::now();
    while let Some(process) = process(conn, flavor, id, action).await? {
        let waits = process.state.starts_with("Waiting") || process.command == "Sleep";
        if waits || started.elapsed() > RENAME_ENDS {
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Drops what an attempt that did not come through may have left: the sentry.
pub(super) async fn clear_away(conn: &mut Conn, table: &MysqlTable) -> Result<()> {
    let (original, helpers) = (&table.setting.original.name, &table.helpers);
    table.carried().uninstall(conn, original, helpers).await?;
    // Last: while the sentry is there, no rename of the dead can come through.
    if is_sentry_of(conn, &helpers.retired).await? {
        shadow::drop_table(conn, &helpers.retired).await?;
    }
    Ok(())
}

/// After the swap: what hangs on the table is settled, as far as the lock's holder has not done it.
/// `died`: a run died on the way, so that there was a moment when keys were not enforced.
pub(super) async fn after(table: &MysqlTable, died: bool) -> Result<Vec<String>> {
    let mut conn = table.plain("settling the table's dependents").await?;
    let original = &table.setting.original.name;
    let carried = table.carried();
    if mutation::active(Rule::RetiredStays) {
        shadow::drop_table(&mut conn, &table.helpers.retired).await?;
    }
    let mut warnings =
        std::mem::take(&mut *table.remarks.lock().unwrap_or_else(PoisonError::into_inner));
    if !mutation::active(Rule::DependentsFollow) {
        warnings.extend(carried.restore(&mut conn, original, &table.helpers).await?);
    }
    warnings.extend(carried.orphans(&mut conn, original, died).await?);
    let marker = table.lock_marker.load(Ordering::Relaxed);
    if !died && marker != 0 {
        note_settled(&mut conn, table, marker).await?;
    }
    Ok(warnings)
}

/// Records where in the log the swap will stand, for an undo: without that there is none.
pub(super) async fn note_swap(table: &MysqlTable, marker: u64) -> Result<()> {
    let mut conn = table.plain("recording where the swap stands in the log").await?;
    let position = binlog::current_position(&mut conn, table.setting.flavor).await?;
    // Rows that were left behind do not stand in it.
    let leaves = table.setting.undone.as_ref().is_some_and(|undone| undone.leaves);
    let sessions = Vec::new();
    let mark = (!leaves).then_some(SwapMark { position: position.0, marker, sessions });
    table.note(&mut conn, |record| record.swap = mark).await?;
    table.lock_marker.store(marker, Ordering::Relaxed);
    Ok(())
}

/// Marks in the log where osc has done with the tables' definitions, and records in which sessions.
async fn note_settled(conn: &mut Conn, table: &MysqlTable, marker: u64) -> Result<()> {
    table.ledger.mark(conn, table.run()?, binlog::settled(marker)).await?;
    let sessions = own_sessions::all(&table.setting.opts);
    table
        .note(conn, |record| {
            if let Some(mark) = &mut record.swap {
                mark.sessions = sessions;
            }
        })
        .await
}
