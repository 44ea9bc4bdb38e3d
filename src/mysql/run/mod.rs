//! What the steps of one run on MySQL or MariaDB share: the table under change, its shadow's statements and
//! sessions, its record.

pub(crate) mod indexes;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, PoisonError};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::Mutex;

use super::binlog::ShadowWatch;
use super::catalog::table::{Index, Table};
use super::connection::answer::Answers as _;
use super::connection::errors::connection_error;
use super::connection::session::{Sessions, run};
use super::connection::settings::{Reading, Role};
use super::connection::texts;
use super::copy::deferred_indexes::Deferred;
use super::copy::projection::Side;
use super::copy::put::Rewriting;
use super::copy::rows::{Work, Write};
use super::copy::statements::{Scope, Statements};
use super::copy::{rows, shadow, undo_verdict};
use super::dependents::Carried;
use super::name::{Helpers, TableName};
use super::runs::ledger::Ledger;
use super::runs::proof::{Catalog, Numbers, Tables};
use super::runs::record::Record;
use super::setting::Setting;
use crate::engine::backend::{Clash, CopyOutcome};
use crate::error::{Error, Result};
use crate::key::{Key, KeyRange};
use crate::ledger::claim::{Looked, Standing};
use crate::ledger::refusals::taken_over;
use crate::ledger::{FencingToken, RunId};
use crate::testing::failpoint::Point;
use crate::testing::mutation::{self, Rule};

/// One table under change.
pub(super) struct MysqlTable {
    /// What it was made from.
    pub setting: Setting,
    /// The names of its helpers.
    pub helpers: Helpers,
    /// The ledger.
    pub ledger: Ledger,
    pub(super) token: FencingToken,
    pub(super) claim: Mutex<Option<Conn>>,
    pub(super) looked: Looked,
    pub(super) run: OnceLock<RunId>,
    /// The server's time when this attempt began, for [`Orders`](super::runs::orders::Orders).
    pub(super) begun: OnceLock<String>,
    pub(super) ready: OnceLock<Ready>,
    pub(super) carried: OnceLock<Carried>,
    /// What the ledger has, or is to have, of the run's tables.
    pub(super) record: std::sync::Mutex<Record>,
    /// What stands under the shadow's name is this run's.
    pub(super) has_shadow: AtomicBool,
    /// Foreign keys may have been unenforced briefly.
    pub died_in_swap: AtomicBool,
    /// An undo goes by the log alone.
    pub(super) by_log: AtomicBool,
    /// The marker of this process's last attempt to swap; 0: it has made none.
    pub(super) lock_marker: AtomicU64,
    /// What is reported to the operator once the tables are swapped.
    pub remarks: std::sync::Mutex<Vec<String>>,
    /// From where on others' writes to the shadow are watched for.
    pub(super) shadow_watch: Arc<ShadowWatch>,
}

/// What is known once the shadow is there.
pub(super) struct Ready {
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
    pub(super) fn new(setting: Setting) -> Self {
        let helpers = setting.helpers.clone();
        let ledger = setting.ledger.clone();
        let token = FencingToken::random();
        let record = Record { role: setting.role.clone(), ..Record::default() };
        Self {
            setting,
            helpers,
            ledger,
            token,
            claim: Mutex::new(None),
            looked: Looked::default(),
            run: OnceLock::new(),
            begun: OnceLock::new(),
            ready: OnceLock::new(),
            carried: OnceLock::new(),
            record: std::sync::Mutex::new(record),
            has_shadow: AtomicBool::new(false),
            died_in_swap: AtomicBool::new(false),
            by_log: AtomicBool::new(false),
            lock_marker: AtomicU64::new(0),
            remarks: std::sync::Mutex::default(),
            shadow_watch: Arc::default(),
        }
    }

    /// The run's number.
    pub(super) fn run(&self) -> Result<RunId> {
        self.run.get().copied().ok_or_else(|| Error::Internal("the run has no number yet".into()))
    }

    /// What is known once the shadow is there.
    pub(super) fn ready(&self) -> Result<&Ready> {
        self.ready.get().ok_or_else(|| Error::Internal("the shadow is not there yet".into()))
    }

    /// What the new table must have after the swap.
    pub(super) fn carried(&self) -> &Carried {
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
    pub(super) async fn note(
        &self,
        conn: &mut Conn,
        change: impl FnOnce(&mut Record),
    ) -> Result<()> {
        let mut record = self.known();
        change(&mut record);
        let text = record.text()?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        self.ledger.carry(conn, self.run()?, &self.token, &text).await
    }

    /// The server rewrites the shadow, or has done so: its numbers are others then.
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
        if mutation::active(Rule::RoleStored) {
            self.setting.role.clone()
        } else {
            self.known().role
        }
    }

    pub(super) async fn numbers(&self, conn: &mut Conn, table: &TableName) -> Result<Numbers> {
        Numbers::of(conn, self.setting.flavor.is_mariadb(), table).await
    }

    /// How a run's tables stand, by the catalog.
    pub(super) async fn standing_of(&self, conn: &mut Conn, tables: &Tables) -> Result<Standing> {
        let mariadb = self.setting.flavor.is_mariadb();
        let catalog = Catalog::read(conn, mariadb, &self.setting.original.name).await?;
        Ok(catalog.standing(tables))
    }

    /// Fails where the table under the shadow's name is not the one that the run made.
    pub(super) async fn shadow_stands(&self, conn: &mut Conn) -> Result<()> {
        let now = self.numbers(conn, &self.helpers.shadow).await?;
        if mutation::active(Rule::FactsProved) || now.have(&self.known().tables.shadow) {
            return Ok(());
        }
        let name = self.helpers.shadow.plain();
        Err(Error::Foreign(format!("another table has the shadow's name, {name}")))
    }

    pub(super) async fn session(&self, action: &str) -> Result<Conn> {
        self.ready()?.sessions.get(action).await
    }

    /// A session outside the data sessions' rules.
    pub(super) async fn plain(&self, action: &str) -> Result<Conn> {
        Sessions::ddl(&self.setting.opts, action).await
    }

    /// Makes the statements and sessions from the shadow as it is on the server.
    pub(super) async fn get_ready(&self, conn: &mut Conn) -> Result<&Ready> {
        let shadow =
            Table::read(conn, &self.helpers.shadow).await?.ok_or_else(|| Error::Stopped {
                reason: "the shadow of the unfinished run is gone".into(),
                help: "discard it with: osc cleanup TABLE; then start again".into(),
            })?;
        let (draft, helpers) = (self.setting.draft(), &self.helpers);
        let (statements, reading) = match &self.setting.undone {
            Some(undone) => shadow::statements_back(&draft, helpers, &shadow, undone.manner())?,
            None => shadow::statements(&draft, helpers, &shadow)?,
        };
        let sessions = Sessions::new(&self.setting.opts, reading, &self.role());
        Ok(self.ready.get_or_init(|| Ready { shadow, statements, sessions, reading }))
    }

    /// Whether what the run does can be undone, as it is recorded.
    pub(super) fn verdict(&self) -> Result<Vec<String>> {
        let (draft, shadow) = (self.setting.draft(), &self.ready()?.shadow);
        let verdict = undo_verdict::by_revert(&draft, &self.helpers, shadow)?;
        Ok(verdict.record(&self.setting.original.name.plain()))
    }

    pub(super) fn unique_index(&self, name: &str) -> Result<Option<&Index>> {
        let shadow = &self.ready()?.shadow;
        Ok(shadow
            .indexes
            .iter()
            .find(|index| index.unique && index.name.as_str().eq_ignore_ascii_case(name)))
    }

    pub(super) async fn outcome(
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
                    // In an undo nothing else writes there: the live table has two such rows.
                    Some(_) if self.setting.undone.is_some() => {
                        return Err(Error::Data { reason: message, rows: Vec::new() });
                    }
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
                    let texts = texts::texts(pair)?;
                    let (own, holder) = texts.split_at(width.min(texts.len()));
                    clash.own.push(statements.key_of(own)?);
                    clash.holders.push(statements.key_of(holder)?);
                }
                Ok(CopyOutcome::Clash(clash))
            }
            Write::Unfit { message, rows, .. } if !rows.is_empty() => {
                Err(Error::Data { reason: message, rows })
            }
            // The engine finds the row by trying each alone.
            Write::Unfit { message, .. } if self.setting.undone.is_some() => {
                Err(Error::Data { reason: message, rows: Vec::new() })
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

    /// Deletes and inserts rows of the shadow, in one transaction that is fenced off from an attempt
    /// which takes the run over.
    pub(super) async fn write(
        &self,
        action: &str,
        uncommitted: Point,
        rewriting: &Rewriting,
    ) -> Result<Write> {
        let owned = self.ledger.owned(self.run()?, &self.token);
        // A hint of indexes is refused for a view: whoever puts one in the shadow's place runs nothing as osc.
        // Once it was read, the table keeps its name until the transaction ends.
        let fence = format!(
            "SELECT ({owned}), (SELECT 1 FROM {} USE INDEX () LIMIT 1)",
            self.helpers.shadow
        );
        let mut conn = self.session(action).await?;
        let signs = self.shadow_watch.signs() && !mutation::active(Rule::WritesSigned);
        let signature = match signs {
            true => self.ledger.signature(self.run()?, conn.id()).to_vec(),
            false => Vec::new(),
        };
        let work = Work { action, uncommitted, fence: &fence, signature: &signature };
        rows::write(&mut conn, &self.ready()?.statements, rewriting, work).await
    }

    /// Fails when another attempt has taken the run over.
    pub(super) async fn still_ours(&self) -> Result<()> {
        let action = "looking at the ledger";
        let mut conn = self.session(action).await?;
        let owned = self.ledger.owned(self.run()?, &self.token);
        let owned: Option<u64> =
            conn.query_first(owned).await.map_err(|error| connection_error(action, error))?;
        if owned == Some(1) { Ok(()) } else { Err(taken_over()) }
    }

    pub(super) async fn difference(&self, scope: Scope<'_>) -> Result<Vec<Key>> {
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
