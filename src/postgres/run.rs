//! One table under change on PostgreSQL: the engine's [`Server`].

use std::sync::{Arc, Mutex as Sync, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use tokio::sync::Mutex;
use tokio_postgres::{Client, SimpleQueryRow};

use super::catalog::name::{Helpers, Ident, TableName};
use super::catalog::table::{Index, Table, number};
use super::clauses::change::Change;
use super::connection::connect::Options;
use super::connection::session::Sessions;
use super::connection::settings::RoleSettings;
use super::copy::held::For;
use super::copy::projection::project;
use super::copy::rows;
use super::copy::shadow;
use super::copy::shadow::{Blueprint, Made};
use super::copy::statements::{Scope, Statements};
use super::copy::{fingerprint, indexes};
use super::dependents::Dependents;
use super::runs::claim::lock_number;
use super::runs::ledger::Ledger;
use super::runs::record;
use super::runs::record::Record;
use super::stream;
use super::stream::{Capture, Names, PgStream, Seen, StreamConfig};
use super::swap::dry_run::rehearse;
use super::throttle::wal_retention;
use super::{checks, methods, swap};
use crate::engine::backend::{Comparison, CopyOutcome, Drain, Resumable, Server, SwapOutcome};
use crate::engine::key::{Key, KeyOrder, KeyRange, Position, Rows};
use crate::engine::progress::{Progress, Summary};
use crate::engine::{Error, Result};
use crate::ledger::{Checkpoint, End, RunId, is_resumable, is_waste, new_owner};
use crate::testing::failpoint;
use crate::testing::failpoint::Point;

/// Keys looked up by one statement.
const LOOK_UP: usize = 500;

/// How often the tables are looked at for somebody's DDL.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// A shadow that was vacuumed so lately is not vacuumed again.
const VACUUM_PERIOD: Duration = Duration::from_secs(600);

/// What a run on one table is made from.
pub struct Setting {
    /// How to connect.
    pub options: Options,
    /// The server's version number.
    pub version: u32,
    /// The original.
    pub original: Table,
    /// The change.
    pub change: Change,
    /// What hangs on the original.
    pub dependents: Dependents,
    /// What a plain session of the role has now.
    pub role: RoleSettings,
    /// Run functions of roles that osc's is stronger than.
    pub trusts_owner: bool,
    /// Compare before the swap.
    pub verify: bool,
    /// Indexes built at once.
    pub threads: usize,
    /// How long a cut-over attempt may hold its lock while the stream is drained.
    pub cut_over_timeout: Duration,
    /// Log that the run's slot may make the server keep.
    pub max_wal: Option<ByteSize>,
    /// Blockers of the cut-over older than this are ended.
    pub kill_blockers_after: Option<Duration>,
    /// The ledger, looked at.
    pub ledger: Ledger,
    /// Counters, for the ledger.
    pub progress: Arc<Progress>,
}

/// What the swap must know.
#[derive(Debug, Clone)]
pub struct Carried {
    /// What was made.
    pub made: Made,
    /// What hung on the original at the start.
    pub dependents: Dependents,
}

/// The table, and what its steps share.
pub struct PostgresTable {
    pub(super) setting: Setting,
    pub(super) helpers: Helpers,
    pub(super) sessions: Sessions,
    pub(super) ledger: Ledger,
    pub(super) seen: Arc<Seen>,
    pub(super) owner: String,
    pub(super) run: OnceLock<RunId>,
    capture: OnceLock<Capture>,
    pub(super) record: OnceLock<Record>,
    pub(super) carried: OnceLock<Carried>,
    ready: OnceLock<Ready>,
    pub(super) claim: Mutex<Option<Client>>,
    pub(super) claim_seen: Sync<Option<Instant>>,
    watched: Mutex<Option<Instant>>,
    vacuumed: Sync<Option<Instant>>,
}

/// What is known once the shadow is there.
pub(super) struct Ready {
    pub(super) statements: Statements,
    pub(super) shadow: Table,
}

impl PostgresTable {
    /// A table that nothing was done to yet.
    pub fn new(setting: Setting) -> Self {
        let helpers = Helpers::of(&setting.original.name);
        Self {
            sessions: Sessions::new(setting.options.clone()),
            ledger: setting.ledger.clone(),
            seen: Arc::default(),
            owner: new_owner(),
            run: OnceLock::new(),
            capture: OnceLock::new(),
            record: OnceLock::new(),
            carried: OnceLock::new(),
            ready: OnceLock::new(),
            claim: Mutex::new(None),
            claim_seen: Sync::new(None),
            watched: Mutex::new(None),
            vacuumed: Sync::new(None),
            helpers,
            setting,
        }
    }

    pub(super) fn run(&self) -> Result<RunId> {
        self.run.get().copied().ok_or_else(|| Error::Internal("the run was not claimed".into()))
    }

    pub(super) fn ready(&self) -> Result<&Ready> {
        self.ready.get().ok_or_else(|| Error::Internal("the shadow is not there".into()))
    }

    pub(super) fn record(&self) -> Result<&Record> {
        self.record.get().ok_or_else(|| Error::Internal("nothing was recorded".into()))
    }

    pub(super) fn carried(&self) -> Result<&Carried> {
        self.carried.get().ok_or_else(|| Error::Internal("no shadow was made".into()))
    }

    fn capture(&self) -> Result<Capture> {
        let known = self.record.get().map(|record| record.capture);
        known
            .or(self.capture.get().copied())
            .ok_or_else(|| Error::Internal("no stream was prepared".into()))
    }

    pub(super) fn names(&self) -> Result<Names> {
        // After the swap the original's name belongs to another table.
        let original = self.record.get().map_or(self.setting.original.oid, |r| r.original);
        let database = self.setting.options.target.database();
        Ok(stream::names(self.run()?.0, original, database, &self.ledger.schema))
    }

    /// The names by which the server may speak of the shadow: its own, and its partitions'.
    pub(super) fn shadow_tables(&self) -> Result<Vec<&Ident>> {
        let partitions = self.carried()?.made.partitions.iter();
        Ok(std::iter::once(&self.helpers.shadow.table).chain(partitions).collect())
    }

    /// Whether the shadow's statistics are of now.
    pub(super) fn is_vacuumed(&self) -> bool {
        let at = self.vacuumed.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < VACUUM_PERIOD)
    }

    /// Notes that they are.
    pub(super) fn set_vacuumed(&self) {
        *self.vacuumed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Commits a marker in a session of the caller's.
    pub(super) async fn mark_in(&self, client: &Client, marker: u64) -> Result<()> {
        match self.capture()? {
            Capture::Logical => stream::emit_marker(client, self.run()?.0, marker).await,
            Capture::Triggers => {
                stream::triggers::emit_marker(client, &self.names()?.log, marker).await
            }
        }
    }

    /// What the shadow is made from.
    fn blueprint<'a>(
        &'a self,
        place: &'a TableName,
        clauses: Option<&'a str>,
        defer: bool,
    ) -> Result<Blueprint<'a>> {
        let original = &self.setting.original;
        Ok(Blueprint {
            original,
            copy_key: &original.copy_key()?.name,
            clauses,
            form: &self.setting.change.form,
            role: self.role(),
            dependents: &self.setting.dependents,
            place,
            defer,
            own: &self.ledger.schema,
            trusts_owner: self.setting.trusts_owner,
        })
    }

    /// What an earlier attempt made, derived from the clauses and the catalog, where nothing has changed
    /// since.
    pub(super) async fn derive(&self, client: &Client) -> Result<Carried> {
        let record = self.record()?;
        let original = &self.setting.original.name;
        fingerprint::look(client, record, original).await?;
        let dependents = self.setting.dependents.clone();
        if record::digest(client, &dependents).await? != record.dependents {
            return Err(swap::hangs_otherwise(original));
        }
        let place = shadow::place(original);
        let clauses = self.setting.change.for_shadow(&place);
        let blueprint = self.blueprint(&place, clauses.as_deref(), record.deferred)?;
        let made = shadow::derive(client, &blueprint, record.shadow).await?;
        Ok(Carried { made, dependents })
    }

    /// The shadow as it is now.
    pub(super) async fn read_shadow(&self, client: &Client) -> Result<Table> {
        let shadow = Table::read(client, &self.helpers.shadow).await?;
        shadow.ok_or_else(|| Error::Internal("the shadow is gone".into()))
    }

    /// What a plain session of the role had when the run began.
    pub(super) fn role(&self) -> &RoleSettings {
        self.record.get().map_or(&self.setting.role, |record| &record.role)
    }

    /// Reads both tables and makes the statements.
    pub(super) async fn get_ready(&self, client: &Client) -> Result<()> {
        let original = &self.setting.original;
        let shadow = self.read_shadow(client).await?;
        let copy_key = original.copy_key()?;
        let mut columns = self.setting.change.columns.clone();
        columns.using = methods::expressions(
            client,
            &original.name,
            self.role(),
            &columns.using,
            self.setting.trusts_owner,
        )
        .await?;
        let columns = &columns;
        let key = original.key_columns(copy_key)?;
        let shadow_key = key
            .0
            .iter()
            .map(|column| columns.new_name(&column.name))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::Internal("the copy key loses a column".into()))?;
        let deferred = &self.carried()?.made.deferred;
        checks::key_stays(original, &shadow, deferred, &key, &shadow_key)?;
        let _ = self.ready.set(Ready {
            statements: Statements {
                original: original.name.clone(),
                shadow: shadow.name.clone(),
                projection: project(original, &shadow, columns),
                lock: lock_number(&shadow.name),
                operators: original.operators(&key),
                key,
                shadow_key,
            },
            shadow,
        });
        Ok(())
    }

    /// Stops the run when somebody changed the original or the shadow, which no stream tells.
    async fn watch(&self) -> Result<()> {
        let mut watched = self.watched.lock().await;
        if watched.is_some_and(|at| at.elapsed() < WATCH_PERIOD) {
            return Ok(());
        }
        let Some(record) = self.record.get() else { return Ok(()) };
        let client = self.sessions.take("watching the tables").await?;
        fingerprint::look(&client, record, &self.setting.original.name).await?;
        if let (Capture::Logical, Some(limit)) = (record.capture, self.setting.max_wal) {
            wal_retention::enforce(&client, &self.names()?, limit).await?;
        }
        self.sessions.give_back(client);
        *watched = Some(Instant::now());
        Ok(())
    }

    fn shadow_key(&self) -> Result<&[Ident]> {
        Ok(&self.ready()?.statements.shadow_key)
    }

    /// The index by which rows of the shadow are found, where it is one of those left to after the copy:
    /// the copy key's own, or a longer one that begins with it, where the clauses extend the key.
    fn deferred_key<'i>(&self, deferred: &'i [Index], key: &[Ident]) -> Option<&'i Index> {
        let exact = deferred.iter().find(|index| index.is_key(key));
        let from_the_start = || {
            self.ready.get().is_some_and(|ready| ready.shadow.indexes.iter().any(|i| i.is_key(key)))
        };
        exact.or_else(|| {
            let longer = || deferred.iter().find(|index| index.begins_with_key(key));
            if from_the_start() { None } else { longer() }
        })
    }

    async fn difference(&self, scope: Scope<'_>, limit: usize) -> Result<Vec<Key>> {
        let statements = &self.ready()?.statements;
        let sql = statements.differing(scope, limit)?;
        let found = self.converting("comparing the tables", &sql).await?;
        rows::either(&statements.key, &found)
    }

    /// The keys that a query over the tables gives.
    pub(super) async fn keys(&self, action: &str, sql: &str) -> Result<Vec<Key>> {
        let held = self.held(For::Reading)?;
        let found = self.sessions.query_after(action, &held, &format!("{sql}; COMMIT")).await?;
        rows::keys(&self.ready()?.statements.key, &found)
    }

    /// The rows of a query over the tables that converts values ([`Sessions::converting`]).
    pub(super) async fn converting(&self, action: &str, sql: &str) -> Result<Vec<SimpleQueryRow>> {
        self.sessions.converting(action, self.role(), &self.held(For::Reading)?, sql).await
    }

    /// Writes rows of a scope to the shadow, in one transaction. `turn`: what it waits for before it holds
    /// the tables, since any login can make it wait.
    async fn write(
        &self,
        action: &str,
        turn: Option<String>,
        sql: &str,
        scope: Scope<'_>,
    ) -> Result<CopyOutcome> {
        let client = self.sessions.take(action).await?;
        let held = self.held(For::Writing)?;
        let turn = turn.map_or(String::new(), |turn| turn + "; ");
        let first = format!("BEGIN; {turn}{held}; {}SELECT 1", self.role().for_values());
        let statements = [first, format!("{sql}; COMMIT")];
        let write = rows::write(&client, &self.shadow_tables()?, &statements, action).await?;
        self.sessions.give_back(client);
        self.outcome(write, scope, action).await
    }
}

impl Server for PostgresTable {
    type Stream = PgStream;

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
        self.watch().await?;
        self.hold_run().await
    }

    async fn position(&self) -> Result<Position> {
        let client = self.sessions.plain("preparing the change stream").await?;
        let original = &self.setting.original;
        let key = original.key_columns(original.copy_key()?)?;
        let names = self.names()?;
        let version = i32::try_from(self.setting.version).unwrap_or(i32::MAX);
        stream::drop_all(&client, &names).await?;
        let patience = self.setting.cut_over_timeout * 10;
        let (capture, _) = stream::choose(&client, &original.name).await?;
        let _ = self.capture.set(capture);
        match capture {
            Capture::Logical => {
                stream::prepare(&client, &original.name, &key, &names, version).await?;
                failpoint::at(Point::Published)?;
                stream::create_slot(&self.setting.options, &names, patience).await
            }
            Capture::Triggers => {
                stream::triggers::create(&client, &original.name, &key, &names, patience).await
            }
        }
    }

    async fn stream(&self, position: &Position) -> Result<PgStream> {
        let config = StreamConfig {
            options: self.setting.options.clone(),
            original: self.setting.original.name.clone(),
            oid: self.setting.original.oid,
            key: self.ready()?.statements.key.clone(),
            run: self.run()?.0,
            names: self.names()?,
            capture: self.capture()?,
            seen: Arc::clone(&self.seen),
        };
        PgStream::open(config, position).await
    }

    async fn start_barrier(&self) -> Result<()> {
        if self.capture()? == Capture::Triggers {
            // Their lock has waited for every writer.
            return Ok(());
        }
        let client = self.sessions.plain("waiting for older transactions").await?;
        stream::start_barrier(&client, self.setting.cut_over_timeout * 10).await
    }

    async fn create_shadow(&self, defer_indexes: bool) -> Result<()> {
        let client = self.sessions.plain("creating the shadow").await?;
        shadow::drop_shadow(&client, &self.ledger, &self.helpers.shadow).await?;
        let place = shadow::place(&self.setting.original.name);
        let clauses = self.setting.change.for_shadow(&place);
        let blueprint = self.blueprint(&place, clauses.as_deref(), defer_indexes)?;
        let (made, fingerprint) = shadow::create(&client, &blueprint, &self.helpers).await?;
        failpoint::at(Point::ShadowUnrecorded)?;
        let dependents = self.setting.dependents.clone();
        let mut record = Record::new(made.original, made.shadow, self.capture()?, defer_indexes);
        record.fingerprint = fingerprint;
        record.dependents = record::digest(&client, &dependents).await?;
        record.unchecked = dependents.to_validate();
        record.role = self.setting.role.clone();
        self.ledger.carry(&client, self.run()?, &self.owner, &record.text()?).await?;
        let _ = self.record.set(record);
        let _ = self.carried.set(Carried { made, dependents });
        rehearse(self).await?;
        self.get_ready(&client).await
    }

    fn defers_key(&self) -> bool {
        self.carried().is_ok_and(|carried| {
            let key = self.ready.get().map(|ready| ready.statements.shadow_key.as_slice());
            key.is_some_and(|key| self.deferred_key(&carried.made.deferred, key).is_some())
        })
    }

    async fn build_key(&self) -> Result<()> {
        let key = self.deferred_key(&self.carried()?.made.deferred, self.shadow_key()?);
        indexes::build(self, |index| key.is_some_and(|key| key.name == index.name)).await
    }

    async fn estimate(&self) -> Result<Rows> {
        Ok(self.setting.original.rows)
    }

    async fn last(&self) -> Result<Option<Key>> {
        let sql = self.ready()?.statements.last();
        Ok(self.keys("looking for the last row", &sql).await?.pop())
    }

    async fn bound(&self, after: Option<&Key>, rows: Rows) -> Result<Option<Key>> {
        let sql = self.ready()?.statements.bound(after, rows)?;
        Ok(self.keys("planning a chunk", &sql).await?.pop())
    }

    async fn copy(&self, range: &KeyRange, clear: bool, except: &[Key]) -> Result<CopyOutcome> {
        let ready = self.ready()?;
        // No index of a partitioned shadow would tell a row that is there already.
        let partitioned = ready.shadow.kind == 'p';
        let sql = ready.statements.copy(range, clear || partitioned, except)?;
        let turn = partitioned.then(|| ready.statements.turn(range));
        self.write("copying a chunk", turn, &sql, Scope::Range(range)).await
    }

    async fn checkpoint(&self, state: Option<String>) -> Result<()> {
        let position = state.as_deref().and_then(position_of);
        let now = Checkpoint::now(state, &self.setting.progress);
        let client = self.sessions.take("storing the checkpoint").await?;
        self.ledger.checkpoint(&client, self.run()?, &self.owner, &now).await?;
        // Rule 2: whatever the stream has named so far can be read from here on.
        self.seen.visible(&client).await?;
        self.sessions.give_back(client);
        if let Some(position) = position {
            self.seen.confirm(&position);
        }
        Ok(())
    }

    async fn refresh(&self, keys: &[Key]) -> Result<CopyOutcome> {
        let statements = &self.ready()?.statements;
        let sql = statements.refresh(keys)?;
        self.write("refreshing rows", Some(statements.in_order()), &sql, Scope::Keys(keys)).await
    }

    async fn duplicates(
        &self,
        index: &str,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> Result<Vec<String>> {
        let Some(index) = &self.unique_index(index).await? else { return Ok(Vec::new()) };
        if index.keys.iter().any(|key| key.excludes.is_some()) {
            return Ok(Vec::new());
        }
        let mut found = self.duplicates_in(index, Scope::Keys(keys)).await?;
        if let Some(range) = range
            && found.is_empty()
            && keys.is_empty()
        {
            found = self.duplicates_in(index, Scope::Range(range)).await?;
        }
        Ok(found)
    }

    async fn build_indexes(&self) -> Result<()> {
        let key = self.deferred_key(&self.carried()?.made.deferred, self.shadow_key()?);
        indexes::build(self, |index| key.is_none_or(|key| key.name != index.name)).await?;
        // Beside the verification, which the cut-over waits for.
        swap::vacuum(self).await
    }

    async fn compare(&self, range: &KeyRange) -> Result<Comparison> {
        let sql = self.ready()?.statements.compare(range)?;
        let found = self.converting("comparing the tables", &sql).await?;
        let row = found.first().ok_or_else(|| Error::Internal("no comparison".into()))?;
        Ok(Comparison { rows: Rows(number(row.get(0))?), equal: row.get(1) == Some("t") })
    }

    async fn differing(&self, range: &KeyRange, limit: usize) -> Result<Vec<Key>> {
        self.difference(Scope::Range(range), limit).await
    }

    async fn still_differing(&self, keys: &[Key]) -> Result<Vec<Key>> {
        let mut differing = Vec::new();
        for part in keys.chunks(LOOK_UP) {
            differing.extend(self.difference(Scope::Keys(part), part.len()).await?);
        }
        Ok(differing)
    }

    async fn before_swap(&self) -> Result<()> {
        swap::before(self).await
    }

    async fn mark(&self, marker: u64) -> Result<()> {
        let client = self.sessions.take("writing a marker").await?;
        self.mark_in(&client, marker).await?;
        self.sessions.give_back(client);
        Ok(())
    }

    async fn swap<D: Drain>(&self, marker: u64, drain: &mut D) -> Result<SwapOutcome> {
        swap::attempt(self, marker, drain).await
    }

    async fn after_swap(&self) -> Result<Vec<String>> {
        swap::after(self).await
    }

    async fn finish(&self, summary: &Summary) -> Result<()> {
        let client = self.sessions.plain("recording the end of the run").await?;
        let done = End::done(summary);
        let _ = self.ledger.end(&client, self.run()?, Some(&self.owner), &done).await?;
        *self.claim.lock().await = None;
        Ok(())
    }

    async fn abandon(&self, error: &Error) -> Result<()> {
        let Some(id) = self.run.get().copied() else { return Ok(()) };
        let client = self.sessions.plain("recording the failure").await?;
        let ours = self.ledger.end(&client, id, Some(&self.owner), &End::by(error)).await?;
        // Slot and shadow of a run that was taken over are another sitting's, or somebody else's by now.
        if !ours || is_resumable(error) {
            return Ok(());
        }
        // A slot that nobody reads would fill the disk; differing tables are evidence.
        stream::drop_all(&client, &self.names()?).await?;
        if is_waste(error) {
            // One that is not ours is not dropped.
            return match shadow::drop_shadow(&client, &self.ledger, &self.helpers.shadow).await {
                Err(Error::Refused(_)) => Ok(()),
                outcome => outcome,
            };
        }
        Ok(())
    }

    fn retired(&self) -> String {
        self.helpers.retired.plain()
    }
}

/// The position in the engine's state.
fn position_of(state: &str) -> Option<Position> {
    let state: serde_json::Value = serde_json::from_str(state).ok()?;
    state.get("position")?.as_str().map(|text| Position(text.to_owned()))
}
