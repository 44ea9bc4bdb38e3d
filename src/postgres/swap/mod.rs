//! The swap: one transaction that locks, drains, refreshes, renames, and gives the new table
//! everything that hung on the old one. Until its commit nothing has happened.

pub(crate) mod dry_run;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::catalog::table::oid_of;
use super::connection::errors::{
    DEADLOCK, LOCK_NOT_AVAILABLE, QUERY_CANCELED, server_error, sqlstate,
};
use super::connection::session::{self, run};
use super::copy::rows::Write;
use super::copy::shadow::Made;
use super::copy::statements::{Scope, Statements};
use super::copy::{rows, shadow};
use super::dependents::validation::validate;
use super::dependents::{Dependents, either};
use super::name::{Ident, TableName, Text};
use super::run::hangs_otherwise;
use super::run::{PostgresTable, indexes};
use super::trust::own_schema;
use super::{dependents, stream, undo};
use crate::engine::backend::{Drain, Drained, SwapOutcome};
use crate::engine::backoff::reconnecting;
use crate::engine::blocker::blocked_by;
use crate::engine::under_lock;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// How long one attempt may wait for a lock: what the application may see as a stall.
pub(super) const LOCK_BUDGET: Duration = Duration::from_millis(200);

/// How long the statements that rename may wait for the locks of other tables.
const LOCK_WAIT_UNDER_LOCK: Duration = Duration::from_secs(5);

/// What the server grants a session that holds the lock beyond the time that it may hold it: it ends one that
/// is silent for longer, or that was cut off.
const GRACE: Duration = Duration::from_millis(500);

const ACTION: &str = "swapping the tables";

/// Before the first attempt: the shadow gets its constraints; and its statistics and its visibility
/// map, if it has not got them just now.
pub(super) async fn before(table: &PostgresTable) -> Result<()> {
    indexes::constrain(table).await?;
    if let Some(undo) = &table.setting.undo {
        undo::with_parents(table, undo).await?;
    }
    if table.is_vacuumed() {
        return Ok(());
    }
    vacuum(table).await
}

/// Gives the shadow its statistics and its visibility map.
pub(super) async fn vacuum(table: &PostgresTable) -> Result<()> {
    let client = table.sessions.plain("preparing the swap").await?;
    let shadow = &table.helpers().shadow;
    run(&client, "preparing the swap", &format!("VACUUM (ANALYZE) {shadow}")).await?;
    table.set_vacuumed();
    Ok(())
}

/// One attempt. Whatever happens on the way, the catalog decides what the outcome was.
pub(super) async fn attempt<D: Drain>(
    table: &PostgresTable,
    marker: u64,
    drain: &mut D,
) -> Result<SwapOutcome> {
    let watcher = table.sessions.plain("looking for blockers").await?;
    let oids = [table.setting.original.oid];
    let kill = table.setting.settings.kill_blockers_after();
    let found = super::blockers::look(&watcher, &oids, LOCK_BUDGET, kill).await?;
    if let Some(reason) = blocked_by(&found.old) {
        return Ok(SwapOutcome::NotYet(reason));
    }
    let budget = found.budget(LOCK_BUDGET);
    let holder = table.sessions.own(ACTION).await?;
    let mut locked_at = Instant::now();
    let outcome = inside(table, &holder, budget, marker, drain, &mut locked_at).await;
    let outcome = outcome.or_else(out_of_time);
    let locked = locked_at.elapsed();
    if let Ok(Some(reason)) = &outcome {
        let _ = holder.batch_execute("ROLLBACK").await;
        return Ok(SwapOutcome::NotYet(reason.clone()));
    }
    // The session ends here, and what it had not committed with it.
    drop(holder);
    let swapped = settle(table).await?;
    match outcome {
        _ if swapped => Ok(SwapOutcome::Swapped { locked }),
        Err(error @ (Error::Stopped { .. } | Error::Connection { .. } | Error::Full { .. })) => {
            Ok(SwapOutcome::NotYet(error.to_string()))
        }
        Err(error) => Err(error),
        Ok(_) => Ok(SwapOutcome::NotYet("the swap was not committed".into())),
    }
}

/// Whether the swap has happened: the original's name belongs to what was the shadow. Waits until
/// the session that tried is gone.
async fn settle(table: &PostgresTable) -> Result<bool> {
    let original = &table.setting.original.name;
    let now = reconnecting(Duration::from_secs(60), || async {
        let client = table.sessions.plain("learning the outcome of the swap").await?;
        // Granted only when the session that tried has ended, either way.
        let sql = format!("BEGIN; LOCK TABLE {original} IN ACCESS SHARE MODE; COMMIT");
        run(&client, "learning the outcome of the swap", &sql).await?;
        oid_of(&client, original).await
    });
    Ok(now.await? == Some(table.record()?.shadow))
}

/// `Some`: not yet, for this reason.
async fn inside<D: Drain>(
    table: &PostgresTable,
    holder: &Client,
    budget: Duration,
    marker: u64,
    drain: &mut D,
    locked_at: &mut Instant,
) -> Result<Option<String>> {
    // Connected now: under the lock every millisecond is the application's.
    let second = table.sessions.take("writing a marker").await?;
    // The commit must not wait for a standby that is not there.
    let allowed = budget + table.setting.settings.cut_over_timeout();
    let begin = format!(
        "BEGIN; SET LOCAL synchronous_commit = local; {}SET LOCAL lock_timeout = {}",
        deadlines(allowed, table.setting.version),
        budget.as_millis()
    );
    run(holder, ACTION, &begin).await?;
    failpoint::hit(Point::SwapReady)?;
    *locked_at = Instant::now();
    if let Some(reason) = lock(table, holder, budget).await? {
        return Ok(Some(reason));
    }
    failpoint::hit(Point::SwapLocked)?;
    // One that takes the run over waits for the lock on the shadow from here on.
    run(holder, ACTION, &table.fence()?).await?;
    let (looked, drained) = tokio::join!(look(table, holder), async {
        table.mark_in(&second, marker).await?;
        failpoint::hit(Point::SwapMarked)?;
        drain.drain(marker).await
    });
    looked?;
    let drained = drained?;
    table.sessions.give_back(second);
    refresh_under_lock(table, holder, &drained).await?;
    failpoint::hit(Point::SwapRefreshed)?;
    // A process that was frozen, and continues now, must not continue with the lock.
    let held = locked_at.elapsed();
    if held > allowed {
        return Ok(Some(format!("the lock was held for {} ms already", held.as_millis())));
    }
    let wait = LOCK_WAIT_UNDER_LOCK.min(allowed).as_millis();
    run(holder, ACTION, &format!("SET LOCAL lock_timeout = {wait}")).await?;
    // In one message.
    let mut all = statements(table)?;
    if table.setting.change.adds_foreign_keys() {
        // Names that the server gave: an undo takes these keys away, and no others.
        let before: Vec<_> = table.carried()?.dependents.own_foreign_keys().collect();
        let original = &table.setting.original.name;
        all.push(table.ledger.note_added_keys(table.run()?, &table.token, original, &before));
    }
    all.push("COMMIT".to_owned());
    run(holder, ACTION, &all.join(";\n")).await?;
    failpoint::hit(Point::SwapCommitted)?;
    Ok(None)
}

/// Statements, each ended by `;`, by which the server ends the transaction when it holds its locks for much
/// longer than `allowed`: a process that is frozen or cut off cannot give them back itself.
pub(super) fn deadlines(allowed: Duration, version: u32) -> String {
    if mutation::active(Rule::PgLockDeadline) {
        return "SET LOCAL idle_in_transaction_session_timeout = 0; ".into();
    }
    let most = (allowed + GRACE).as_millis();
    // Each statement and each pause is limited; all together are where the server can.
    let whole = match version {
        170_000.. => format!("SET LOCAL transaction_timeout = {}; ", 2 * most),
        _ => String::new(),
    };
    format!(
        "SET LOCAL idle_in_transaction_session_timeout = {most}; \
         SET LOCAL statement_timeout = {most}; {whole}"
    )
}

/// A statement that the server ended for its time is one that may be tried again.
fn out_of_time(error: Error) -> Result<Option<String>> {
    match &error {
        Error::Server { message, .. } if error.sqlstate() == Some(QUERY_CANCELED) => {
            Ok(Some(format!("the server ended a statement under the lock: {message}")))
        }
        _ => Err(error),
    }
}

/// Locks the tables, in the order of the application's own locks. `Some`: not yet, for this reason.
pub(super) async fn lock(
    table: &PostgresTable,
    holder: &Client,
    budget: Duration,
) -> Result<Option<String>> {
    let before = &table.carried()?.dependents;
    let lock = |table: &TableName| format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE");
    let mut locks = before.lock_statements();
    locks.push(lock(&table.setting.original.name));
    locks.extend(before.parents().iter().map(lock));
    locks.extend(before.sequence_locks());
    locks.push(lock(&table.helpers().shadow));
    for sql in &locks {
        if let Err(error) = holder.batch_execute(sql).await {
            return match sqlstate(&error) {
                Some(LOCK_NOT_AVAILABLE) => Ok(Some(format!(
                    "a lock was not granted within {} ms: {sql}",
                    budget.as_millis()
                ))),
                Some(DEADLOCK) => Ok(Some("a deadlock with the application".into())),
                _ => Err(server_error(ACTION, &error)),
            };
        }
    }
    Ok(None)
}

/// The statements that swap the tables and what hangs on them.
pub(super) fn statements(table: &PostgresTable) -> Result<Vec<String>> {
    let (original, names) = (&table.setting.original.name, names(table));
    let before = &table.carried()?.dependents;
    let change = &table.setting.change;
    let undo = table.setting.undo.as_ref();
    let mut outcomes = match undo {
        Some(undo) => undo.outcomes(&table.setting.original),
        None => change.outcomes(&table.setting.original),
    };
    let made = &table.carried()?.made;
    outcomes.restarted.extend(made.restarted.iter().cloned());
    outcomes.unproved.extend(made.unproved.iter().cloned());
    let words =
        [change.unproved(original, &outcomes.unproved), change.foreign_keys(original)].concat();
    let live = &table.setting.original;
    let given = match undo {
        Some(undo) if undo.keeps_owner(&made.owner) => Vec::new(),
        _ => given_back(made, &names.shadow),
    };
    Ok(given
        .into_iter()
        .chain(undo.iter().flat_map(|undo| undo::counters(undo, live)))
        .chain(before.before_renames(&names, &outcomes))
        .chain(match undo {
            Some(undo) => undo::renames(undo, made, table.helpers()),
            None => vec![own_schema::unmark_shadow(&names.shadow)],
        })
        .chain(renames(table)?)
        .chain(before.after_renames(&names, &outcomes))
        .chain(undo.iter().flat_map(|undo| undo::after_renames(undo, live, before, &outcomes)))
        .chain(words.iter().map(|sql| table.role().in_words(sql)))
        .chain(undo.iter().flat_map(|undo| undo.key_comments(live)))
        .chain(super::trust::guards::retired(&table.ledger.schema, &names.retired))
        .chain(super::trust::guards::snapshot(&table.ledger.schema, original))
        .collect())
}

/// The shadow goes to the owner that the new table has, who may lack the right to create in its schema: then
/// it is given to him in one where he has it.
fn given_back(made: &Made, shadow: &TableName) -> Vec<String> {
    let owner = &made.owner;
    let tables: BTreeSet<TableName> =
        made.holders(shadow).into_iter().chain([shadow.clone()]).collect();
    let give = |table: &TableName| format!("ALTER TABLE {table} OWNER TO {owner}");
    let may = format!(
        "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
         OR pg_catalog.has_schema_privilege({}, {}, 'CREATE')",
        Text(owner.as_str()),
        Text(shadow.schema.as_str())
    );
    let there = shadow::place(shadow).schema;
    let mut detour = vec![
        format!("CREATE SCHEMA {there}"),
        format!("GRANT CREATE ON SCHEMA {there} TO {owner}"),
    ];
    for table in &tables {
        let moved = TableName { schema: there.clone(), table: table.table.clone() };
        detour.push(format!("ALTER TABLE {table} SET SCHEMA {there}"));
        detour.push(give(&moved));
        detour.push(format!("ALTER TABLE {moved} SET SCHEMA {}", table.schema));
    }
    detour.push(format!("DROP SCHEMA {there}"));
    let straight: Vec<String> = tables.iter().map(give).collect();
    vec![either(&may, &straight, &detour)]
}

/// Under the lock no session changes the tables any more: they must be what they were at the start.
pub(super) async fn look(table: &PostgresTable, holder: &Client) -> Result<()> {
    if mutation::active(Rule::LookedAtUnderLock) {
        return Ok(());
    }
    let original = &table.setting.original.name;
    table.look(holder, table.record()?).await?;
    if Dependents::read(holder, original).await? == table.carried()?.dependents {
        return Ok(());
    }
    Err(hangs_otherwise(original))
}

fn names(table: &PostgresTable) -> dependents::Names {
    dependents::Names {
        original: table.setting.original.name.clone(),
        retired: table.helpers().retired.clone(),
        shadow: table.helpers().shadow.clone(),
        suffix: table.helpers().suffix.clone(),
    }
}

/// Refreshes what the stream named, and compares what was written all the time.
async fn refresh_under_lock(
    table: &PostgresTable,
    holder: &Client,
    drained: &Drained,
) -> Result<()> {
    run(holder, ACTION, &format!("{}SELECT 1", table.role().for_values())).await?;
    let mut locked = Locked { table, client: holder, statements: &table.ready()?.statements };
    match table.setting.undo {
        Some(_) => undo::put_under_lock(table, holder, &drained.dirty).await?,
        None => under_lock::refresh(&mut locked, &drained.dirty).await?,
    }
    under_lock::compare(&mut locked, &drained.suspects).await?;
    run(holder, ACTION, &format!("SELECT 1{}", table.role().back())).await
}

/// The session that holds the locks.
struct Locked<'a> {
    table: &'a PostgresTable,
    client: &'a Client,
    statements: &'a Statements,
}

impl under_lock::Holder for Locked<'_> {
    fn describe(&self, key: &Key) -> String {
        self.statements.key.describe(key)
    }

    async fn delete(&mut self, keys: &[Key]) -> Result<()> {
        run(self.client, ACTION, &self.statements.delete(Scope::Keys(keys))?).await
    }

    async fn insert(&mut self, keys: &[Key]) -> Result<()> {
        let insert = self.statements.insert(Scope::Keys(keys), &[])?;
        let Err(error) = self.client.simple_query(&insert).await else { return Ok(()) };
        Err(match rows::outcome(ACTION, &self.table.shadow_tables()?, &error)? {
            Write::Unfit(reason) | Write::Clash { message: reason, .. } => {
                Error::Data { reason, rows: Vec::new() }
            }
            Write::Done(_) | Write::Contention => under_lock::lock_wait(),
        })
    }

    async fn differing(&mut self, keys: &[Key]) -> Result<Vec<Key>> {
        let sql = self.statements.differing(Scope::Keys(keys), keys.len())?;
        let found = session::rows(self.client, ACTION, &sql).await?;
        // Only to be shown, so that it does not matter how they are rendered.
        rows::either(&self.statements.key, &found)
    }
}

/// The tables change their names, and their indexes and sequences with them.
fn renames(table: &PostgresTable) -> Result<Vec<String>> {
    let (original, made) = (&table.setting.original.name, &table.carried()?.made);
    let (shadow, retired) = (&table.helpers().shadow, &table.helpers().retired);
    let mut all = Vec::new();
    let mut rename = |kind: &str, from: &TableName, to: &Ident| {
        all.push(format!("ALTER {kind} {from} RENAME TO {to}"));
    };
    for index in &table.setting.original.indexes {
        let named = original.sibling(index.name.clone());
        rename("INDEX", &named, &index.name.with_suffix(&table.helpers().suffix));
    }
    rename("TABLE", original, &retired.table);
    rename("TABLE", shadow, &original.table);
    let built = made.deferred.iter().map(|index| &index.name);
    for index in made.indexes.iter().chain(built) {
        rename("INDEX", &original.sibling(index.with_suffix(&made.suffix)), index);
    }
    for sequence in &made.sequences {
        rename("SEQUENCE", &original.sibling(sequence.with_suffix(&made.suffix)), sequence);
    }
    // It was off in a shadow that was filled.
    let filled = table.setting.undo.is_none();
    for holder in made.holders(original).into_iter().filter(|_| filled) {
        all.push(match &made.autovacuum {
            Some(value) => format!("ALTER TABLE {holder} SET (autovacuum_enabled = {value})"),
            None => format!("ALTER TABLE {holder} RESET (autovacuum_enabled)"),
        });
    }
    Ok(all)
}

/// What follows the swap: validation of keys, the end of the stream. Idempotent.
pub(super) async fn after(table: &PostgresTable) -> Result<Vec<String>> {
    let client = table.sessions.plain("finishing").await?;
    if mutation::active(Rule::RetiredStays) {
        run(&client, "finishing", &format!("DROP TABLE {} CASCADE", table.helpers().retired))
            .await?;
    }
    stream::drop_all(&client, &table.names()?).await?;
    failpoint::hit(Point::StreamDropped)?;
    let unchecked = &table.record()?.unchecked;
    let trusts = table.setting.settings.trust_owner;
    let mut warnings = dependents::after_swap(&client, &names(table), unchecked, trusts).await?;
    for name in table.setting.change.validated_later() {
        let sql = validate(&table.setting.original.name, &name, trusts);
        if let Err(error) = run(&client, "validating a foreign key", &sql).await {
            warnings.push(format!("{} is not validated: {error}", name.as_str()));
        }
    }
    Ok(warnings)
}
