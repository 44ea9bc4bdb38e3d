//! What the steps of one run on PostgreSQL share: the table under change, its shadow's statements and
//! sessions, its record.

mod failed_rows;
pub(crate) mod held;
pub(crate) mod indexes;

use std::sync::{Arc, Mutex as Sync, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::{Client, SimpleQueryRow};

use super::catalog::table::{Index, Table};
use super::connection::session::Sessions;
use super::connection::settings::RoleSettings;
use super::copy::projection::project;
use super::copy::shadow::{Blueprint, Carried};
use super::copy::statements::{Scope, Statements};
use super::copy::{fingerprint, key_stays, rows, shadow};
use super::name::{Helpers, Ident, TableName};
use super::runs::ledger::Ledger;
use super::runs::lock::lock_number;
use super::runs::record::{self, Record};
use super::setting::Setting;
use super::stream::{Capture, Names, Seen};
use super::throttle::wal_retention;
use super::{methods, stream, undo};
use crate::engine::backend::CopyOutcome;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::ledger::claim::Looked;
use crate::ledger::{FencingToken, RunId};
use held::For;

/// How often the tables are looked at for DDL of another session.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// A shadow that was vacuumed so lately is not vacuumed again.
const VACUUM_PERIOD: Duration = Duration::from_secs(600);

/// The table, and what its steps share.
pub(super) struct PostgresTable {
    pub(super) setting: Setting,
    pub(super) sessions: Sessions,
    pub(super) ledger: Ledger,
    pub(super) seen: Arc<Seen>,
    pub(super) token: FencingToken,
    pub(super) run: OnceLock<RunId>,
    /// The server's time when this attempt began, for [`Orders`](super::runs::orders::Orders).
    pub(super) begun: OnceLock<String>,
    pub(super) capture: OnceLock<Capture>,
    pub(super) record: OnceLock<Record>,
    pub(super) carried: OnceLock<Carried>,
    pub(super) ready: OnceLock<Ready>,
    pub(super) claim: Mutex<Option<Client>>,
    pub(super) looked: Looked,
    /// It only looks: no run is claimed, and nothing that it writes is committed.
    pub(super) looks: bool,
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
    pub(super) fn new(setting: Setting) -> Self {
        Self {
            sessions: Sessions::new(setting.options.clone()),
            ledger: setting.ledger.clone(),
            seen: Arc::default(),
            token: FencingToken::random(),
            run: OnceLock::new(),
            begun: OnceLock::new(),
            capture: OnceLock::new(),
            record: OnceLock::new(),
            carried: OnceLock::new(),
            ready: OnceLock::new(),
            claim: Mutex::new(None),
            looked: Looked::default(),
            looks: false,
            watched: Mutex::new(None),
            vacuumed: Sync::new(None),
            setting,
        }
    }

    /// One of which no run is claimed: it is only looked at.
    pub(super) fn looking(setting: Setting) -> Self {
        Self { looks: true, ..Self::new(setting) }
    }

    /// The names of its tables beside the original: those that the run has recorded, if it has.
    pub(super) fn helpers(&self) -> &Helpers {
        let recorded = self.record.get().and_then(|record| record.helpers.as_ref());
        recorded.unwrap_or(&self.setting.helpers)
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

    pub(super) fn capture(&self) -> Result<Capture> {
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
        Ok(std::iter::once(&self.helpers().shadow.table).chain(partitions).collect())
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
    pub(super) fn blueprint<'a>(
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
            trusts_owner: self.setting.settings.trust_owner,
        })
    }

    /// Fails where the tables do not look as they did when the shadow was made.
    pub(super) async fn look(&self, client: &Client, record: &Record) -> Result<()> {
        fingerprint::look(
            client,
            record.watched(),
            &record.fingerprint,
            &self.setting.original.name,
        )
        .await
    }

    /// What an earlier attempt made, derived from the clauses and the catalog, where nothing has changed
    /// since.
    pub(super) async fn derive(&self, client: &Client) -> Result<Carried> {
        let record = self.record()?;
        let original = &self.setting.original.name;
        self.look(client, record).await?;
        let dependents = self.setting.dependents.clone();
        if record::digest(client, &dependents).await? != record.dependents {
            return Err(hangs_otherwise(original));
        }
        if let Some(undo) = &self.setting.undo {
            return undo::derive(client, self, undo, record).await;
        }
        let place = shadow::place(original);
        let clauses = self.setting.change.for_shadow(&place);
        let blueprint = self.blueprint(&place, clauses.as_deref(), record.deferred)?;
        let made = shadow::derive(client, &blueprint, record.shadow).await?;
        Ok(Carried { made, dependents })
    }

    /// The shadow as it is now.
    pub(super) async fn read_shadow(&self, client: &Client) -> Result<Table> {
        let shadow = Table::read(client, &self.helpers().shadow).await?;
        shadow.ok_or_else(|| Error::Internal("the shadow is gone".into()))
    }

    /// What a plain session of the role had when the run began.
    pub(super) fn role(&self) -> &RoleSettings {
        self.record.get().map_or(&self.setting.role, |record| &record.role)
    }

    /// Reads both tables and makes the statements.
    pub(super) async fn get_ready(&self, client: &Client) -> Result<()> {
        if let Some(undo) = &self.setting.undo {
            let _ = self.ready.set(undo::ready(client, self, undo).await?);
            return Ok(());
        }
        let original = &self.setting.original;
        let shadow = self.read_shadow(client).await?;
        let copy_key = original.copy_key()?;
        let mut columns = self.setting.change.columns.clone();
        columns.using = methods::expressions(
            client,
            &original.name,
            self.role(),
            &columns.using,
            self.setting.settings.trust_owner,
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
        key_stays::key_stays(original, &shadow, deferred, &key, &shadow_key)?;
        let _ = self.ready.set(Ready {
            statements: Statements {
                original: original.name.clone(),
                shadow: shadow.name.clone(),
                projection: project(original, &shadow, columns),
                lens: None,
                lock: lock_number(&shadow.name),
                operators: original.operators(&key),
                key,
                shadow_key,
            },
            shadow,
        });
        Ok(())
    }

    /// Stops the run when another session changed the original or the shadow, which no stream reports.
    pub(super) async fn watch(&self) -> Result<()> {
        let mut watched = self.watched.lock().await;
        if watched.is_some_and(|at| at.elapsed() < WATCH_PERIOD) {
            return Ok(());
        }
        let Some(record) = self.record.get() else { return Ok(()) };
        let client = self.sessions.take("watching the tables").await?;
        self.look(&client, record).await?;
        if let (Capture::Logical, Some(limit)) = (record.capture, self.setting.settings.max_wal()) {
            wal_retention::enforce(&client, &self.names()?, limit).await?;
        }
        self.sessions.give_back(client);
        *watched = Some(Instant::now());
        Ok(())
    }

    pub(super) fn shadow_key(&self) -> Result<&[Ident]> {
        Ok(&self.ready()?.statements.shadow_key)
    }

    /// The index by which rows of the shadow are found, where it is one of those left to after the copy:
    /// the copy key's own, or a longer one that begins with it, where the clauses extend the key.
    pub(super) fn deferred_key<'i>(
        &self,
        deferred: &'i [Index],
        key: &[Ident],
    ) -> Option<&'i Index> {
        let exact = deferred.iter().find(|index| index.is_key(key));
        let from_the_start = || {
            self.ready.get().is_some_and(|ready| ready.shadow.indexes.iter().any(|i| i.is_key(key)))
        };
        exact.or_else(|| {
            let longer = || deferred.iter().find(|index| index.begins_with_key(key));
            if from_the_start() { None } else { longer() }
        })
    }

    pub(super) async fn difference(&self, scope: Scope<'_>, limit: usize) -> Result<Vec<Key>> {
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
    pub(super) async fn write(
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

/// The end of a run under which what hangs on the table was changed.
pub(crate) fn hangs_otherwise(original: &TableName) -> Error {
    Error::Foreign(format!(
        "the dependents of {} (views, triggers, keys, grants …) were changed during the run",
        original.plain()
    ))
}
