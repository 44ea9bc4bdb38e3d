//! The ledger on MySQL and MariaDB: `osc_ledger` has a row for every run, `osc_marker` the markers that
//! the stream is drained to. Both live in a database of osc's own, for all runs of the server
//! (`docs/decisions/0011-ledger.md`).
//!
//! What stands there is data (rule 11). Whoever reads it has [`Ledger::vetted`] look first at what the
//! tables are and who may write them; a row is another server's or ours; and what a row says of tables
//! is proved by the catalog ([`proof`](super::proof)).

mod grants;
mod records;
mod shape;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, params};

use crate::error::{Error, Finding, Result};
use crate::ledger::refusals::{earlier_ledger, taken_over, untrusted};
use crate::ledger::{Checkpoint, End, FencingToken, NewRun, RunId, RunRecord};
use crate::mysql::binlog::signature;
use crate::mysql::connection::errors::{ACCESS_DENIED, connection_error};
use crate::mysql::connection::privileges;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Ident, TableName, Text, account};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};
pub(crate) use records::RunQuery;

/// The ledger, as one server's runs see it.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// The table of runs.
    pub runs: TableName,
    /// The table of markers.
    pub markers: TableName,
    /// The table of orders.
    pub orders: TableName,
    /// The table of figures over time.
    pub samples: TableName,
    /// This server: part of each row's key.
    server: String,
}

/// A ledger that has been looked at.
#[derive(Debug)]
pub(crate) struct Vetted {
    /// It.
    pub ledger: Ledger,
    /// Its tables of runs and markers are there.
    pub stands: bool,
    /// So are those of orders and samples.
    pub whole: bool,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

/// What the ledger is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read only.
    Read,
    /// To be written, now or by what is planned.
    Write,
}

/// What osc needs to do in the ledger's database. TRIGGER, since who lacks it sees no trigger there.
pub(crate) const RIGHTS: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "TRIGGER"];

/// What a server is known by. MySQL has a UUID, in its data directory. MariaDB has nothing of the kind:
/// its server_id is what replication tells servers apart by, so that no two that share a table of
/// theirs have the same. A dump may come to a server of the same server_id; there the numbers of the
/// tables are others ([`proof`](super::proof)).
async fn identity(conn: &mut Conn, flavor: Flavor) -> Result<String> {
    let sql = if flavor.is_mariadb() {
        "SELECT CONCAT('server_id=', @@GLOBAL.server_id)"
    } else {
        "SELECT @@GLOBAL.server_uuid"
    };
    let found: Option<String> = conn
        .query_first(sql)
        .await
        .map_err(|error| connection_error("asking who the server is", error))?;
    found.ok_or_else(|| Error::Internal("the server does not say who it is".into()))
}

impl Ledger {
    /// Looks at the ledger in `schema`, before anything of it is read: what its tables are, and who may
    /// write them. `application`: the schema of the table that the command is about, where an earlier
    /// build had its ledger.
    ///
    /// # Errors
    /// `Refused` with what is not as it must be, each with the statement that cures it.
    pub(crate) async fn vetted(
        conn: &mut Conn,
        flavor: Flavor,
        schema: &str,
        application: Option<&str>,
        purpose: Purpose,
    ) -> Result<Vetted> {
        let schema = Ident::new(schema);
        let found = shape::look(conn, &schema).await?;
        let mut wrong = found.wrong;
        if let Some(application) = application.filter(|name| *name != schema.as_str()) {
            let earlier = shape::earlier(conn, &Ident::new(application)).await?;
            if !earlier.is_empty() && !mutation::active(Rule::LedgerVetted) {
                let drop = shape::drop_of(conn, &earlier).await?;
                let names: Vec<String> = earlier.iter().map(TableName::plain).collect();
                wrong.push(earlier_ledger(&names.join(", "), schema.as_str(), &drop));
            }
        }
        if found.schema && purpose == Purpose::Write {
            // Who lacks this right is shown no trigger.
            wrong.extend(privileges::lacking(conn, &schema, &["TRIGGER"]).await?);
        }
        let mut notes = Vec::new();
        if !mutation::active(Rule::LedgerVetted) {
            match grants::writers(conn, flavor.is_mariadb(), &schema).await? {
                Some(writers) => wrong.extend(writers),
                None => notes.push(not_checked(flavor, &schema)),
            }
        }
        if !wrong.is_empty() {
            return Err(Error::Refused(wrong));
        }
        let ledger = Self::of(conn, flavor, &schema).await?;
        let stands = found.schema && found.tables;
        Ok(Vetted { ledger, stands, whole: stands && found.whole, notes })
    }

    /// The ledger in `schema` for an account that may only make orders.
    ///
    /// # Errors
    /// `Refused` where the account sees no plain tables there.
    pub(crate) async fn for_orders(conn: &mut Conn, flavor: Flavor, schema: &str) -> Result<Self> {
        let schema = Ident::new(schema);
        for shape in [&shape::RUNS, &shape::ORDERS] {
            if let Some(wrong) = shape::seen_by_operator(conn, &schema, shape).await? {
                return Err(Error::Refused(vec![wrong]));
            }
        }
        Self::of(conn, flavor, &schema).await
    }

    async fn of(conn: &mut Conn, flavor: Flavor, schema: &Ident) -> Result<Self> {
        Ok(Self {
            runs: shape::RUNS.named(schema),
            markers: shape::MARKERS.named(schema),
            orders: shape::ORDERS.named(schema),
            samples: shape::SAMPLES.named(schema),
            server: identity(conn, flavor).await?,
        })
    }

    /// This server, as the rows of its runs name it.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Creates the database and the tables where they are missing, and looks at them again: another user
    /// may have been quicker.
    ///
    /// # Errors
    /// `Refused` where a right is missing, with the statements that an administrator runs.
    pub(crate) async fn create(&self, conn: &mut Conn) -> Result<()> {
        let schema = &self.runs.schema;
        let found = shape::look(conn, schema).await?;
        if !found.wrong.is_empty() {
            return Err(Error::Refused(found.wrong));
        }
        if found.schema && found.whole {
            return Ok(());
        }
        // Though it may be here already: a plan made it, and no replica has heard of that.
        let mut statements = vec![create_database(schema)];
        // Filters of replicas go by the database in use for a statement, and by the table's for rows:
        // this way both are the same.
        statements.push(format!("USE {schema}"));
        statements.extend(shape::ALL.map(|shape| shape.create(schema)));
        let before: Option<Option<String>> = conn
            .query_first("SELECT DATABASE()")
            .await
            .map_err(|error| connection_error("creating the ledger", error))?;
        for statement in statements {
            match conn.query_drop(statement).await {
                Ok(()) => {}
                Err(mysql_async::Error::Server(error))
                    if matches!(error.code, 1044 | 1045 | 1142 | ACCESS_DENIED) =>
                {
                    return Err(Error::Refused(vec![self.no_right(conn, &error.message).await?]));
                }
                Err(error) => return Err(connection_error("creating the ledger", error)),
            }
        }
        if let Some(before) = before.flatten() {
            let back = format!("USE {}", Ident(before));
            conn.query_drop(back)
                .await
                .map_err(|error| connection_error("creating the ledger", error))?;
        }
        let wrong = shape::look(conn, schema).await?.wrong;
        if wrong.is_empty() { Ok(()) } else { Err(Error::Refused(wrong)) }
    }

    /// The refusal where osc may not make the ledger.
    async fn no_right(&self, conn: &mut Conn, message: &str) -> Result<Finding> {
        let user: Option<String> = conn
            .query_first("SELECT CURRENT_USER()")
            .await
            .map_err(|error| connection_error("asking who osc is", error))?;
        Ok(untrusted(
            format!("the ledger cannot be made: {message}"),
            format!(
                "as an administrator: CREATE DATABASE IF NOT EXISTS {schema}; \
                 GRANT {} ON {schema}.* TO {}",
                RIGHTS.join(", "),
                account(&user.unwrap_or_default()),
                schema = self.runs.schema,
            ),
        ))
    }

    /// Records a new run.
    pub(crate) async fn begin(&self, conn: &mut Conn, new: &NewRun<'_>) -> Result<RunId> {
        conn.exec_drop(
            format!(
                "INSERT INTO {} (server, schema_name, table_name, clauses, method, phase, \
                 verification, owner, started, updated) \
                 VALUES (:server, :schema, :table, :clauses, :method, 'prepare', :verification, \
                         :owner, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))",
                self.runs
            ),
            params! {
                "server" => self.server.as_str(), "schema" => new.schema, "table" => new.table, "clauses" => new.clauses, "method" => new.method,
                "verification" => if new.verify { "on" } else { "off" }, "owner" => new.token.as_str(),
            },
        )
        .await
        .map_err(|error| connection_error("recording the run", error))?;
        let run = conn.last_insert_id().and_then(|id| i64::try_from(id).ok());
        run.map(RunId).ok_or_else(|| Error::Internal("the ledger gave the run no number".into()))
    }

    /// Takes an unfinished run over.
    pub(crate) async fn take_over(
        &self,
        conn: &mut Conn,
        run: RunId,
        token: &FencingToken,
    ) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET owner = :owner, result = NULL, detail = NULL, ended = NULL, \
                 updated = UTC_TIMESTAMP(3) WHERE server = :server AND run = :run",
                self.runs
            ),
            params! { "server" => self.server.as_str(), "owner" => token.as_str(), "run" => run.0 },
        )
        .await
        .map_err(|error| connection_error("taking over the unfinished run", error))
    }

    /// A query that tells how often the run is this token's: once or, when it was taken over, never.
    pub(crate) fn owned(&self, run: RunId, token: &FencingToken) -> String {
        let (runs, server, owner) = (&self.runs, Text(&self.server), Text(token.as_str()));
        format!(
            "SELECT COUNT(*) FROM {runs} WHERE server = {server} AND run = {} AND owner = {owner}",
            run.0
        )
    }

    /// The newest run that this server has on a table.
    pub(crate) async fn last(
        &self,
        conn: &mut Conn,
        table: &TableName,
    ) -> Result<Option<RunRecord>> {
        Ok(self.of_table(conn, table, 1).await?.into_iter().next())
    }

    /// Stores a checkpoint. Fails with `Stopped` when another attempt owns the run now.
    pub(crate) async fn checkpoint(
        &self,
        conn: &mut Conn,
        run: RunId,
        token: &FencingToken,
        now: &Checkpoint,
    ) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET beat = beat + 1, updated = UTC_TIMESTAMP(3), \
                 state = COALESCE(:state, state), phase = :phase, rows_copied = :copied, \
                 rows_estimate = :estimate, rows_verified = :verified \
                 WHERE server = :server AND run = :run AND owner = :owner",
                self.runs
            ),
            params! {
                "server" => self.server.as_str(), "state" => now.state.as_deref(), "phase" => now.phase, "copied" => now.rows_copied,
                "estimate" => now.rows_estimate, "verified" => now.rows_verified,
                "run" => run.0, "owner" => token.as_str(),
            },
        )
        .await
        .map_err(|error| connection_error("storing the checkpoint", error))?;
        if conn.affected_rows() == 1 {
            return Ok(());
        }
        Err(taken_over())
    }

    /// Records what the run made and what the new table must have after the swap.
    pub(crate) async fn carry(
        &self,
        conn: &mut Conn,
        run: RunId,
        token: &FencingToken,
        carried: &str,
    ) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET carried = :carried, beat = beat + 1 \
                 WHERE server = :server AND run = :run AND owner = :owner",
                self.runs
            ),
            params! {
                "carried" => carried, "server" => self.server.as_str(), "run" => run.0,
                "owner" => token.as_str(),
            },
        )
        .await
        .map_err(|error| connection_error("recording the table's dependents", error))?;
        if conn.affected_rows() == 1 { Ok(()) } else { Err(taken_over()) }
    }

    /// Statements that sign a transaction as `session`'s of this run, and leave no row behind.
    pub(crate) fn signature(&self, run: RunId, session: u32) -> [String; 2] {
        let (markers, server, run) = (&self.markers, Text(&self.server), run.0);
        let sign = signature(session);
        [
            format!("INSERT INTO {markers} (run, marker, server) VALUES ({run}, {sign}, {server})"),
            format!(
                "DELETE FROM {markers} WHERE server = {server} AND run = {run} AND marker = {sign}"
            ),
        ]
    }

    /// Forgets what a run recorded of its tables; the caller has the table's lock.
    pub(crate) async fn forget_record(&self, conn: &mut Conn, run: RunId) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET carried = NULL WHERE server = :server AND run = :run",
                self.runs
            ),
            params! { "server" => self.server.as_str(), "run" => run.0 },
        )
        .await
        .map_err(|error| connection_error("forgetting a run's record", error))
    }

    /// Commits a marker.
    pub(crate) async fn mark(&self, conn: &mut Conn, run: RunId, marker: u64) -> Result<()> {
        // A marker that was written before its connection broke may be there already: that is the
        // commit that is wanted, but a new one must follow for the caller to be sure of it.
        for sql in [
            format!(
                "DELETE FROM {} WHERE server = :server AND run = :run AND marker = :marker",
                self.markers
            ),
            format!(
                "INSERT INTO {} (run, marker, server) VALUES (:run, :marker, :server)",
                self.markers
            ),
        ] {
            let values = params! {
                "run" => run.0, "marker" => marker, "server" => self.server.as_str(),
            };
            conn.exec_drop(sql, values)
                .await
                .map_err(|error| connection_error("writing a marker", error))?;
        }
        Ok(())
    }

    /// Records how a run ended that is this token's, and forgets its markers; `false`: it is not any more.
    /// `None`: whoever's it was, it is dead; the caller has the table's lock.
    pub(crate) async fn end(
        &self,
        conn: &mut Conn,
        run: RunId,
        token: Option<&FencingToken>,
        end: &End<'_>,
    ) -> Result<bool> {
        let failed = |error| connection_error("recording the end of the run", error);
        // First: no attempt comes back to a run whose end is recorded.
        conn.exec_drop(
            format!("DELETE FROM {} WHERE server = :server AND run = :run", self.markers),
            params! { "server" => self.server.as_str(), "run" => run.0 },
        )
        .await
        .map_err(failed)?;
        failpoint::hit(Point::MarkersGone)?;
        conn.exec_drop(
            format!(
                "UPDATE {} SET result = :result, detail = :detail, ended = UTC_TIMESTAMP(3), \
                 updated = UTC_TIMESTAMP(3), phase = COALESCE(:phase, phase), \
                 lock_ms = COALESCE(:lock, lock_ms), \
                 rows_copied = COALESCE(:copied, rows_copied), \
                 rows_verified = COALESCE(:verified, rows_verified), \
                 verification = COALESCE(:verification, verification) \
                 WHERE server = :server AND run = :run AND (:owner IS NULL OR owner = :owner)",
                self.runs
            ),
            params! {
                "result" => end.result.word(), "detail" => end.detail.as_deref(), "phase" => end.phase,
                "lock" => end.lock_ms, "copied" => end.rows_copied, "verified" => end.rows_verified,
                "verification" => end.verification, "server" => self.server.as_str(),
                "run" => run.0, "owner" => token.map(FencingToken::as_str),
            },
        )
        .await
        .map_err(failed)?;
        Ok(conn.affected_rows() == 1)
    }
}

/// Makes osc's own database, where it is not there.
pub(crate) fn create_database(schema: &Ident) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
}

/// The note where it cannot be known who may write the ledger.
fn not_checked(flavor: Flavor, schema: &Ident) -> String {
    let roles = if flavor.is_mariadb() { "roles_mapping" } else { "role_edges" };
    format!(
        "not checked: who else may write the ledger in {schema}; osc may not read the tables of rights \
         (SELECT on mysql.db, mysql.tables_priv, mysql.{roles} and mysql.user)"
    )
}
