//! One table under change on MySQL or MariaDB: the engine's [`Server`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::sync::Mutex;

use super::binlog;
use super::binlog::{BinlogStream, Shadow, ShadowWatch, StreamConfig};
use super::catalog::name::{Helpers, TableName};
use super::catalog::table::{Index, Table};
use super::checks;
use super::checks::leftovers;
use super::clauses::change::Change;
use super::connection::answer::Answers as _;
use super::connection::connect::connection_error;
use super::connection::session::{Reading, Sessions, run};
use super::connection::settings::Role;
use super::connection::version::Flavor;
use super::copy::deferred_indexes;
use super::copy::deferred_indexes::Deferred;
use super::copy::projection::Side;
use super::copy::rows;
use super::copy::rows::{Work, Write};
use super::copy::shadow;
use super::copy::shadow::Draft;
use super::copy::statements::{Insert, Scope, Statements};
use super::dependents::{Carried, Dependents};
use super::runs::ledger::Ledger;
use super::runs::proof::{Catalog, Numbers, Standing, Tables};
use super::runs::record::Record;
use super::swap;
use crate::engine::backend::{
    Clash, Comparison, CopyOutcome, Drain, Resumable, Server, SwapOutcome,
};
use crate::engine::key::{Key, KeyOrder, KeyRange, Position, Rows};
use crate::engine::progress::{Progress, Summary};
use crate::engine::{Error, Result};
use crate::ledger::{Checkpoint, End, RunId, is_waste, new_owner, taken_over};
use crate::testing::failpoint;
use crate::testing::failpoint::Point;
use crate::testing::mutation;
use crate::testing::mutation::Rule;

/// Keys looked up by one statement.
const LOOK_UP: usize = 500;

/// What a migration on MySQL or MariaDB is made from.
pub struct Setting {
    /// The server.
    pub opts: Opts,
    /// Its family and version.
    pub flavor: Flavor,
    /// What plain sessions of the same login have, where it changes values.
    pub role: Role,
    /// The table as it is now.
    pub original: Table,
    /// What is to change.
    pub change: Change,
    /// What hangs on the table.
    pub dependents: Dependents,
    /// Compare the tables before the swap.
    pub verify: bool,
    /// How long the cut-over waits for its locks.
    pub cut_over_timeout: Duration,
    /// Kill those who block the cut-over, after so long.
    pub kill_blockers_after: Option<Duration>,
    /// The run's counters, recorded at each checkpoint.
    pub progress: Arc<Progress>,
    /// The ledger, which has been looked at.
    pub ledger: Ledger,
}

/// One table under change.
pub struct MysqlTable {
    /// What it was made from.
    pub setting: Setting,
    /// The names of its helpers.
    pub helpers: Helpers,
    /// The ledger.
    pub ledger: Ledger,
    pub(super) owner: String,
    pub(super) claim: Mutex<Option<Conn>>,
    pub(super) claim_seen: std::sync::Mutex<Option<Instant>>,
    pub(super) run: OnceLock<RunId>,
    ready: OnceLock<Ready>,
    pub(super) carried: OnceLock<Carried>,
    /// What the ledger has, or is to have, of the run's tables.
    pub(super) record: std::sync::Mutex<Record>,
    /// What stands under the shadow's name is this run's.
    pub(super) has_shadow: AtomicBool,
    /// Foreign keys may have been unenforced for a moment.
    pub died_in_swap: AtomicBool,
    /// What the operator must be told once the tables are swapped.
    pub remarks: std::sync::Mutex<Vec<String>>,
    /// From where on others' writes to the shadow are watched for.
    shadow_watch: Arc<ShadowWatch>,
}

impl Setting {
    /// What the shadow is made from.
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            flavor: self.flavor,
            role: &self.role,
            original: &self.original,
            change: &self.change,
            dependents: &self.dependents,
        }
    }
}

/// What is known once the shadow is there.
pub struct Ready {
    /// The shadow's definition.
    pub shadow: Table,
    /// The statements.
    pub statements: Statements,
    /// The sessions.
    pub sessions: Sessions,
    /// How the sessions see values.
    pub reading: Reading,
}

impl MysqlTable {
    /// A table under change.
    pub fn new(setting: Setting) -> Self {
        let helpers = Helpers::of(&setting.original.name);
        let ledger = setting.ledger.clone();
        let owner = new_owner();
        Self {
            setting,
            helpers,
            ledger,
            owner,
            claim: Mutex::new(None),
            claim_seen: std::sync::Mutex::new(None),
            run: OnceLock::new(),
            ready: OnceLock::new(),
            carried: OnceLock::new(),
            record: std::sync::Mutex::default(),
            has_shadow: AtomicBool::new(false),
            died_in_swap: AtomicBool::new(false),
            remarks: std::sync::Mutex::default(),
            shadow_watch: Arc::default(),
        }
    }

    /// The run's number.
    pub fn run(&self) -> Result<RunId> {
        self.run.get().copied().ok_or_else(|| Error::Internal("the run has no number yet".into()))
    }

    /// What is known once the shadow is there.
    pub fn ready(&self) -> Result<&Ready> {
        self.ready.get().ok_or_else(|| Error::Internal("the shadow is not there yet".into()))
    }

    /// What the new table must have after the swap.
    pub fn carried(&self) -> &Carried {
        self.carried.get_or_init(Carried::default)
    }

    /// Indexes left to after the copy.
    pub(super) fn deferred(&self) -> Vec<Deferred> {
        self.known().deferred
    }

    /// What is known of the run's tables.
    pub(super) fn known(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of the run's tables, and records it.
    async fn note(&self, conn: &mut Conn, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.known();
        change(&mut record);
        let text = record.text()?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        self.ledger.carry(conn, self.run()?, &self.owner, &text).await
    }

    /// The server writes the shadow anew, or has done so: its numbers are others then.
    pub(super) async fn shadow_is_rebuilt(&self, conn: &mut Conn, begins: bool) -> Result<()> {
        let now = self.numbers(conn, &self.helpers.shadow).await?;
        self.note(conn, |record| {
            record.tables.rebuilt = begins;
            record.tables.shadow = now;
        })
        .await
    }

    /// The settings by which values are converted: those of the run's first attempt.
    fn role(&self) -> Role {
        if mutation::is(Rule::RoleStored) { self.setting.role.clone() } else { self.known().role }
    }

    async fn numbers(&self, conn: &mut Conn, table: &TableName) -> Result<Numbers> {
        Numbers::of(conn, self.setting.flavor.is_mariadb(), table).await
    }

    /// How the run's tables stand, by the catalog.
    pub(super) async fn standing(&self, conn: &mut Conn) -> Result<Standing> {
        let mariadb = self.setting.flavor.is_mariadb();
        let catalog = Catalog::read(conn, mariadb, &self.setting.original.name).await?;
        Ok(catalog.standing(&self.known().tables))
    }

    /// Fails where the table under the shadow's name is not the one that the run made.
    pub(super) async fn shadow_stands(&self, conn: &mut Conn) -> Result<()> {
        let now = self.numbers(conn, &self.helpers.shadow).await?;
        if mutation::is(Rule::FactsProved) || now.have(&self.known().tables.shadow) {
            return Ok(());
        }
        let name = self.helpers.shadow.plain();
        Err(Error::Foreign(format!("another table has the shadow's name, {name}")))
    }

    async fn session(&self, action: &str) -> Result<Conn> {
        self.ready()?.sessions.get(action).await
    }

    /// A session outside the data sessions' rules.
    pub async fn plain(&self, action: &str) -> Result<Conn> {
        Sessions::ddl(&self.setting.opts, action).await
    }

    /// Makes the statements and sessions from the shadow as it is on the server.
    pub(super) async fn get_ready(&self, conn: &mut Conn) -> Result<&Ready> {
        let shadow =
            Table::read(conn, &self.helpers.shadow).await?.ok_or_else(|| Error::Stopped {
                reason: "the shadow of the dead run is gone".into(),
                help: "discard it with: osc cleanup TABLE; then start again".into(),
            })?;
        let (statements, reading) =
            shadow::statements(&self.setting.draft(), &self.helpers, &shadow)?;
        let sessions = Sessions::new(&self.setting.opts, reading, &self.role());
        Ok(self.ready.get_or_init(|| Ready { shadow, statements, sessions, reading }))
    }

    fn unique_index(&self, name: &str) -> Result<Option<&Index>> {
        let shadow = &self.ready()?.shadow;
        Ok(shadow
            .indexes
            .iter()
            .find(|index| index.unique && index.name.as_str().eq_ignore_ascii_case(name)))
    }

    async fn outcome(
        &self,
        write: Write,
        range: Option<&KeyRange>,
        keys: &[Key],
        except: &[Key],
    ) -> Result<CopyOutcome> {
        match write {
            Write::Done(rows) => Ok(CopyOutcome::Written(rows)),
            Write::Contention => Ok(CopyOutcome::Contention),
            Write::Duplicate { index, message } => {
                let statements = &self.ready()?.statements;
                let index = match self.unique_index(&index)? {
                    Some(index) if !index.name.same(&statements.shadow_index) => index,
                    Some(_) => return Ok(CopyOutcome::Contention),
                    None => {
                        return Err(Error::Data { reason: message, rows: Vec::new() });
                    }
                };
                if !statements.tells_apart(index) {
                    return Err(Error::Data { reason: message, rows: Vec::new() });
                }
                let mut conn = self.session("looking for what clashed").await?;
                let sql = statements.clashes(index, range, keys, except)?;
                let pairs: Vec<mysql_async::Row> = conn
                    .all(sql)
                    .await
                    .map_err(|error| connection_error("looking for what clashed", error))?;
                let width = statements.key.0.len();
                let mut clash = Clash { index: index.name.as_str().into(), ..Clash::default() };
                for pair in pairs {
                    let texts = rows::texts(pair)?;
                    let (own, holder) = texts.split_at(width.min(texts.len()));
                    clash.own.push(statements.key_of(own)?);
                    clash.holders.push(statements.key_of(holder)?);
                }
                Ok(CopyOutcome::Clash(clash))
            }
            Write::Unfit { message, rows, .. } if !rows.is_empty() => {
                Err(Error::Data { reason: message, rows })
            }
            Write::Unfit { message, row, .. } => {
                let named = self.unfit_row(range, keys, except, row).await.unwrap_or_default();
                Err(Error::Data { reason: message, rows: named })
            }
        }
    }

    /// The key of the row that a failed statement counted; where the server does not count (NULL,
    /// checks, partitions, JSON), the row is found by halves.
    async fn unfit_row(
        &self,
        range: Option<&KeyRange>,
        keys: &[Key],
        except: &[Key],
        row: Option<u64>,
    ) -> Result<Vec<String>> {
        let statements = &self.ready()?.statements;
        let action = "looking for the row that does not fit";
        let mut conn = self.session(action).await?;
        let found = match row {
            Some(row) => {
                let sql = statements.nth_key(range, keys, except, row)?;
                rows::keys(&mut conn, statements, &sql, action).await?.pop()
            }
            None => {
                let sql = statements.keys(range, keys, except)?;
                let keys = rows::keys(&mut conn, statements, &sql, action).await?;
                rows::first_unfit(&mut conn, statements, keys, action).await?
            }
        };
        Ok(found.map(|key| statements.key.describe(&key)).into_iter().collect())
    }

    /// Deletes and inserts rows of the shadow, in one transaction that is fenced off from a sitting
    /// which takes the run over.
    async fn write(
        &self,
        action: &str,
        uncommitted: Point,
        delete: Option<&str>,
        insert: &Insert,
    ) -> Result<Write> {
        let owned = self.ledger.owned(self.run()?, &self.owner);
        // A hint of indexes is refused for a view: whoever puts one in the shadow's place runs nothing as osc.
        // Once it was read, the table keeps its name until the transaction ends.
        let fence = format!(
            "SELECT ({owned}), (SELECT 1 FROM {} USE INDEX () LIMIT 1)",
            self.helpers.shadow
        );
        let mut conn = self.session(action).await?;
        let signs = self.shadow_watch.signs() && !mutation::is(Rule::WritesSigned);
        let signature = match signs {
            true => self.ledger.signature(self.run()?, conn.id()).to_vec(),
            false => Vec::new(),
        };
        let work = Work { action, uncommitted, fence: &fence, signature: &signature };
        rows::write(&mut conn, delete, insert, work).await
    }

    /// Fails when another sitting has taken the run over.
    pub(super) async fn still_ours(&self) -> Result<()> {
        let action = "looking at the ledger";
        let mut conn = self.session(action).await?;
        let owned = self.ledger.owned(self.run()?, &self.owner);
        let owned: Option<u64> =
            conn.query_first(owned).await.map_err(|error| connection_error(action, error))?;
        if owned == Some(1) { Ok(()) } else { Err(taken_over()) }
    }

    async fn difference(&self, scope: Scope<'_>) -> Result<Vec<Key>> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("comparing the tables").await?;
        let action = "comparing the tables";
        // One snapshot for both sides; a plain SELECT takes no lock under REPEATABLE READ either.
        run(&mut conn, action, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        run(&mut conn, action, "START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        let original =
            rows::digests(&mut conn, statements, &statements.digests(Side::Original, scope)?)
                .await?;
        let shadow =
            rows::digests(&mut conn, statements, &statements.digests(Side::Shadow, scope)?).await?;
        let differing = rows::difference(original, shadow);
        run(&mut conn, action, "COMMIT").await?;
        Ok(differing)
    }
}

impl Server for MysqlTable {
    type Stream = BinlogStream;

    fn key_order(&self) -> KeyOrder {
        self.ready.get().map_or(KeyOrder::Server, |ready| ready.statements.key.order())
    }

    fn describe(&self, key: &Key) -> String {
        match self.ready.get() {
            Some(ready) => ready.statements.key.describe(key),
            None => "(unknown key)".into(),
        }
    }

    fn number(&self) -> Option<i64> {
        self.run.get().map(|run| run.0)
    }

    async fn claim(&self) -> Result<Option<Resumable>> {
        self.claim_run().await
    }

    async fn hold_claim(&self) -> Result<()> {
        self.hold_run().await
    }

    async fn position(&self) -> Result<Position> {
        let mut conn = self.plain("asking for the binlog's position").await?;
        binlog::current_position(&mut conn, self.setting.flavor).await
    }

    async fn stream(&self, position: &Position) -> Result<BinlogStream> {
        let ready = self.ready()?;
        let config = StreamConfig {
            opts: self.setting.opts.clone(),
            flavor: self.setting.flavor,
            original: self.setting.original.name.clone(),
            ledger: self.ledger.markers.clone(),
            run: self.run()?.0,
            key: ready.statements.key.clone(),
            shadow: Some(Shadow {
                name: self.helpers.shadow.clone(),
                key: ready.shadow.key_named(&ready.statements.shadow_key)?,
                watch: Arc::clone(&self.shadow_watch),
            }),
        };
        binlog::open(&config, position).await
    }

    fn watch_shadow(&self, marker: u64) {
        self.shadow_watch.begin(marker);
    }

    async fn start_barrier(&self) -> Result<()> {
        let mut conn = self.plain("waiting for prepared transactions").await?;
        self.ledger.mark(&mut conn, self.run()?, 0).await?;
        rows::wait_for_prepared(&mut conn, self.setting.cut_over_timeout * 10).await
    }

    async fn create_shadow(&self, defer_indexes: bool) -> Result<()> {
        let mut conn = self.plain("creating the shadow").await?;
        let (setting, name) = (&self.setting, &self.setting.original.name);
        leftovers::clear_shadow(&mut conn, setting.flavor, &self.ledger, name).await?;
        let before = self.numbers(&mut conn, &self.helpers.shadow).await?;
        shadow::create(&mut conn, &setting.draft(), &self.helpers).await?;
        self.has_shadow.store(true, Ordering::Relaxed);
        let index = &self.get_ready(&mut conn).await?.statements.index;
        checks::server::row_image(&mut conn, &setting.original, index).await?;
        failpoint::at(Point::ShadowAltered)?;
        let carried = Carried::settle(
            &mut conn,
            &setting.original,
            &self.helpers,
            &setting.change,
            &setting.dependents,
        )
        .await?;
        let recorded = carried.recorded();
        let _ = self.carried.set(carried);
        let deferred = if defer_indexes {
            let ready = self.ready()?;
            deferred_indexes::drop_deferrable(&mut conn, &ready.shadow, &ready.statements).await?
        } else {
            Vec::new()
        };
        failpoint::at(Point::ShadowStripped)?;
        let original = self.numbers(&mut conn, name).await?;
        let shadow = self.numbers(&mut conn, &self.helpers.shadow).await?.without(&before);
        if original.is_none() || shadow.is_none() {
            return Err(Error::Internal("the server does not show the tables' numbers".into()));
        }
        self.note(&mut conn, |record| {
            record.tables = Tables { original, shadow, rebuilt: false };
            record.deferred = deferred;
            record.carried = recorded;
        })
        .await
    }

    async fn estimate(&self) -> Result<Rows> {
        Ok(self.setting.original.rows)
    }

    async fn last(&self) -> Result<Option<Key>> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("looking for the last row").await?;
        let sql = statements.last();
        Ok(rows::keys(&mut conn, statements, &sql, "looking for the last row").await?.pop())
    }

    async fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<Option<Key>> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("planning a chunk").await?;
        let sql = statements.bound(after, rows)?;
        Ok(rows::keys(&mut conn, statements, &sql, "planning a chunk").await?.pop())
    }

    async fn copy(&self, range: &KeyRange, clear: bool, except: &[Key]) -> Result<CopyOutcome> {
        let statements = &self.ready()?.statements;
        let clear = if clear { Some(statements.clear(range)?) } else { None };
        let insert = statements.copy(range, except)?;
        let write = self
            .write("copying a chunk", Point::ChunkUncommitted, clear.as_deref(), &insert)
            .await?;
        self.outcome(write, Some(range), &[], except).await
    }

    async fn checkpoint(&self, state: Option<String>) -> Result<()> {
        let now = Checkpoint::now(state, &self.setting.progress);
        let mut conn = self.session("storing the checkpoint").await?;
        self.ledger.checkpoint(&mut conn, self.run()?, &self.owner, &now).await
    }

    async fn refresh(&self, keys: &[Key]) -> Result<CopyOutcome> {
        let statements = &self.ready()?.statements;
        let delete = statements.delete(keys)?;
        let insert = statements.rewrite(keys)?;
        let write = self
            .write("refreshing rows", Point::RefreshUncommitted, Some(&delete), &insert)
            .await?;
        self.outcome(write, None, keys, &[]).await
    }

    async fn duplicates(
        &self,
        index: &str,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<Vec<String>> {
        let Some(index) = self.unique_index(index)? else { return Ok(Vec::new()) };
        let sql = self.ready()?.statements.duplicates(index, range, keys)?;
        let mut conn = self.session("looking for duplicates").await?;
        let found: Vec<mysql_async::Row> = conn
            .all(sql)
            .await
            .map_err(|error| connection_error("looking for duplicates", error))?;
        found
            .into_iter()
            .map(|row| {
                let texts = rows::texts(row)?;
                Ok(texts.join(": "))
            })
            .collect()
    }

    async fn build_indexes(&self) -> Result<()> {
        let mut conn = self.plain("building indexes").await?;
        deferred_indexes::build(&mut conn, self).await
    }

    async fn compare(&self, range: &KeyRange) -> Result<Comparison> {
        let statements = &self.ready()?.statements;
        let mut conn = self.session("comparing the tables").await?;
        let (rows, equal) = rows::compare(&mut conn, statements, range).await?;
        Ok(Comparison { rows, equal })
    }

    async fn differing(&self, range: &KeyRange, limit: usize) -> Result<Vec<Key>> {
        let mut keys = self.difference(Scope::Range(range)).await?;
        keys.truncate(limit);
        Ok(keys)
    }

    async fn still_differing(&self, keys: &[Key]) -> Result<Vec<Key>> {
        let mut differing = Vec::new();
        for part in keys.chunks(LOOK_UP) {
            differing.extend(self.difference(Scope::Keys(part)).await?);
        }
        Ok(differing)
    }

    async fn before_swap(&self) -> Result<()> {
        swap::before(self).await
    }

    async fn mark(&self, marker: u64) -> Result<()> {
        let mut conn = self.session("writing a marker").await?;
        self.ledger.mark(&mut conn, self.run()?, marker).await
    }

    async fn swap<D: Drain>(&self, marker: u64, drain: &mut D) -> Result<SwapOutcome> {
        swap::attempt(self, marker, drain).await
    }

    async fn after_swap(&self) -> Result<Vec<String>> {
        swap::after(self, self.died_in_swap.load(Ordering::Relaxed)).await
    }

    async fn finish(&self, summary: &Summary) -> Result<()> {
        let mut conn = self.plain("recording the end of the run").await?;
        let done = End::done(summary);
        let _ = self.ledger.end(&mut conn, self.run()?, Some(&self.owner), &done).await?;
        // Not only by its end, which the server may see a moment after this command has returned.
        if let Some(mut claim) = self.claim.lock().await.take() {
            let _ = claim.query_drop("DO RELEASE_ALL_LOCKS()").await;
        }
        if let Some(ready) = self.ready.get() {
            ready.sessions.clone().close().await;
        }
        Ok(())
    }

    async fn abandon(&self, error: &Error) -> Result<()> {
        let Some(run_id) = self.run.get().copied() else { return Ok(()) };
        let mut conn = self.plain("recording the failure").await?;
        let end = End::by(error);
        let ours = self.ledger.end(&mut conn, run_id, Some(&self.owner), &end).await?;
        // What can never be gone on from would only fill the disk; differing tables are evidence. The shadow
        // of a run that was taken over is another sitting's, or somebody else's by now.
        if ours && is_waste(error) && self.has_shadow.load(Ordering::Relaxed) {
            // Without a number it was made a moment ago.
            let just_made = self.known().tables.shadow.is_none();
            match self.shadow_stands(&mut conn).await {
                Err(error) if !just_made => tracing::warn!("not dropped: {error}"),
                _ => shadow::drop_table(&mut conn, &self.helpers.shadow).await?,
            }
        }
        Ok(())
    }

    fn retired(&self) -> String {
        self.helpers.retired.plain()
    }
}
