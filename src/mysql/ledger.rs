//! The ledger's tables on MySQL and MariaDB: `osc_ledger` has a row for every run, `osc_marker`
//! the markers that the stream is drained to. Both live in the schema of the table being changed.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, params};

use crate::engine::{Error, Result};
use crate::fault::{self, Point};
use crate::ledger::{Checkpoint, End, NewRun, RunId, RunRecord, taken_over};
use crate::mysql::connect::connection_error;
use crate::mysql::name::{Ident, TableName, Text};

/// The ledger of one schema.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The table of runs.
    pub runs: TableName,
    /// The table of markers.
    pub markers: TableName,
}

const COLUMNS: &str = "run, table_name, clauses, road, phase, result, detail, state, rows_copied, \
                       rows_estimate, rows_verified, verification";
const MORE_COLUMNS: &str = "lock_ms, CAST(started AS CHAR), CAST(updated AS CHAR), \
                            TIMESTAMPDIFF(SECOND, updated, UTC_TIMESTAMP(3)), CAST(ended AS CHAR), deferred, carried";

impl Ledger {
    /// The ledger of `schema`.
    pub fn of(schema: &Ident) -> Self {
        Self {
            runs: TableName { schema: schema.clone(), table: Ident::new("osc_ledger") },
            markers: TableName { schema: schema.clone(), table: Ident::new("osc_marker") },
        }
    }

    /// Creates the tables where they are missing. Times are UTC in DATETIME, whatever zone a
    /// session has.
    pub async fn create(&self, conn: &mut Conn) -> Result<()> {
        let failed = |error| connection_error("creating the ledger", error);
        conn.query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {} (
               run BIGINT NOT NULL AUTO_INCREMENT,
               table_name VARCHAR(64) NOT NULL,
               clauses MEDIUMTEXT NOT NULL,
               road VARCHAR(16) NOT NULL,
               phase VARCHAR(16) NOT NULL,
               result VARCHAR(16) NULL,
               detail TEXT NULL,
               state MEDIUMTEXT NULL,
               rows_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
               rows_estimate BIGINT UNSIGNED NOT NULL DEFAULT 0,
               rows_verified BIGINT UNSIGNED NULL,
               verification VARCHAR(16) NOT NULL,
               lock_ms DOUBLE NULL,
               owner CHAR(32) NOT NULL,
               beat BIGINT UNSIGNED NOT NULL DEFAULT 0,
               deferred MEDIUMTEXT NULL,
               carried MEDIUMTEXT NULL,
               started DATETIME(3) NOT NULL,
               updated DATETIME(3) NOT NULL,
               ended DATETIME(3) NULL,
               PRIMARY KEY (run),
               KEY table_name (table_name)
             ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
               COMMENT='The record of every run of osc'",
            self.runs
        ))
        .await
        .map_err(failed)?;
        conn.query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {} (
               run BIGINT NOT NULL,
               marker BIGINT UNSIGNED NOT NULL,
               PRIMARY KEY (run, marker)
             ) ENGINE=InnoDB COMMENT='Markers in the change stream of osc'",
            self.markers
        ))
        .await
        .map_err(failed)
    }

    /// Whether the ledger's table is there.
    pub async fn exists(&self, conn: &mut Conn) -> Result<bool> {
        let found: Option<u8> = conn
            .exec_first(
                "SELECT 1 FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = :schema AND TABLE_NAME = :table",
                params! {
                    "schema" => self.runs.schema.as_str(), "table" => self.runs.table.as_str(),
                },
            )
            .await
            .map_err(|error| connection_error("looking for the ledger", error))?;
        Ok(found.is_some())
    }

    /// Records a new run.
    pub async fn begin(&self, conn: &mut Conn, new: &NewRun<'_>) -> Result<RunId> {
        conn.exec_drop(
            format!(
                "INSERT INTO {} (table_name, clauses, road, phase, verification, owner, started, updated) \
                 VALUES (:table, :clauses, :road, 'prepare', :verification, :owner, \
                         UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))",
                self.runs
            ),
            params! {
                "table" => new.table, "clauses" => new.clauses, "road" => new.road,
                "verification" => if new.verify { "on" } else { "off" }, "owner" => new.owner,
            },
        )
        .await
        .map_err(|error| connection_error("recording the run", error))?;
        let run = conn.last_insert_id().and_then(|id| i64::try_from(id).ok());
        run.map(RunId).ok_or_else(|| Error::Internal("the ledger gave the run no number".into()))
    }

    /// Takes a dead run over.
    pub async fn take_over(&self, conn: &mut Conn, run: RunId, owner: &str) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET owner = :owner, result = NULL, detail = NULL, ended = NULL, \
                 updated = UTC_TIMESTAMP(3) WHERE run = :run",
                self.runs
            ),
            params! { "owner" => owner, "run" => run.0 },
        )
        .await
        .map_err(|error| connection_error("taking the dead run over", error))
    }

    /// A query that tells how often the run is `owner`'s: once or, when it was taken over, never.
    pub fn owned(&self, run: RunId, owner: &str) -> String {
        let (runs, owner) = (&self.runs, Text(owner));
        format!("SELECT COUNT(*) FROM {runs} WHERE run = {} AND owner = {owner}", run.0)
    }

    /// The latest runs of a table (or of all), newest first.
    pub async fn runs(
        &self,
        conn: &mut Conn,
        table: Option<&Ident>,
        most: u32,
    ) -> Result<Vec<RunRecord>> {
        let failed = |error| connection_error("reading the ledger", error);
        let table = table.map(Ident::as_str);
        let rows: Vec<mysql_async::Row> = conn
            .exec(
                format!(
                    "SELECT {COLUMNS}, {MORE_COLUMNS} FROM {} \
                     WHERE :table IS NULL OR table_name = :table ORDER BY run DESC LIMIT {most}",
                    self.runs
                ),
                params! { "table" => table },
            )
            .await
            .map_err(failed)?;
        rows.into_iter()
            .map(|mut row| {
                fn take<T: mysql_async::prelude::FromValue>(
                    row: &mut mysql_async::Row,
                    at: usize,
                ) -> Result<T> {
                    row.take_opt(at).and_then(std::result::Result::ok).ok_or_else(|| {
                        Error::Internal(format!("column {at} of the ledger cannot be read"))
                    })
                }
                let deferred: Option<String> = take(&mut row, 17)?;
                Ok(RunRecord {
                    run: take(&mut row, 0)?,
                    table: take(&mut row, 1)?,
                    clauses: take(&mut row, 2)?,
                    road: take(&mut row, 3)?,
                    phase: take(&mut row, 4)?,
                    result: take(&mut row, 5)?,
                    detail: take(&mut row, 6)?,
                    state: take(&mut row, 7)?,
                    rows_copied: take(&mut row, 8)?,
                    rows_estimate: take(&mut row, 9)?,
                    rows_verified: take(&mut row, 10)?,
                    verification: take(&mut row, 11)?,
                    lock_ms: take(&mut row, 12)?,
                    started: take(&mut row, 13)?,
                    updated: take(&mut row, 14)?,
                    silent_seconds: take::<i64>(&mut row, 15)?.max(0).cast_unsigned(),
                    ended: take(&mut row, 16)?,
                    carried: take(&mut row, 18)?,
                    kept_wal: None,
                    deferred: deferred
                        .and_then(|text| serde_json::from_str(&text).ok())
                        .unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Stores a checkpoint. Fails with `Stopped` when another sitting owns the run now.
    pub async fn checkpoint(
        &self,
        conn: &mut Conn,
        run: RunId,
        owner: &str,
        now: &Checkpoint,
    ) -> Result<()> {
        conn.exec_drop(
            format!(
                "UPDATE {} SET beat = beat + 1, updated = UTC_TIMESTAMP(3), \
                 state = COALESCE(:state, state), phase = :phase, rows_copied = :copied, \
                 rows_estimate = :estimate, rows_verified = :verified \
                 WHERE run = :run AND owner = :owner",
                self.runs
            ),
            params! {
                "state" => now.state.as_deref(), "phase" => now.phase, "copied" => now.rows_copied,
                "estimate" => now.rows_estimate, "verified" => now.rows_verified,
                "run" => run.0, "owner" => owner,
            },
        )
        .await
        .map_err(|error| connection_error("storing the checkpoint", error))?;
        if conn.affected_rows() == 1 {
            return Ok(());
        }
        Err(taken_over())
    }

    /// Records the definitions of the indexes that are left to after the copy.
    pub async fn defer(&self, conn: &mut Conn, run: RunId, indexes: &[String]) -> Result<()> {
        let text = serde_json::to_string(indexes)
            .map_err(|error| Error::Internal(format!("no list of indexes: {error}")))?;
        conn.exec_drop(
            format!("UPDATE {} SET deferred = :text WHERE run = :run", self.runs),
            params! { "text" => text, "run" => run.0 },
        )
        .await
        .map_err(|error| connection_error("recording the deferred indexes", error))
    }

    /// Records what the new table must have after the swap.
    pub async fn carry(&self, conn: &mut Conn, run: RunId, carried: &str) -> Result<()> {
        conn.exec_drop(
            format!("UPDATE {} SET carried = :carried WHERE run = :run", self.runs),
            params! { "carried" => carried, "run" => run.0 },
        )
        .await
        .map_err(|error| connection_error("recording what hangs on the table", error))
    }

    /// Commits a marker.
    pub async fn mark(&self, conn: &mut Conn, run: RunId, marker: u64) -> Result<()> {
        // A marker that was written before its connection broke may be there already: that is the
        // commit that is wanted, but a new one must follow for the caller to be sure of it.
        conn.exec_drop(
            format!("DELETE FROM {} WHERE run = :run AND marker = :marker", self.markers),
            params! { "run" => run.0, "marker" => marker },
        )
        .await
        .map_err(|error| connection_error("writing a marker", error))?;
        conn.exec_drop(
            format!("INSERT INTO {} (run, marker) VALUES (:run, :marker)", self.markers),
            params! { "run" => run.0, "marker" => marker },
        )
        .await
        .map_err(|error| connection_error("writing a marker", error))
    }

    /// Records how a run ended, and forgets its markers.
    pub async fn end(&self, conn: &mut Conn, run: RunId, end: &End<'_>) -> Result<()> {
        let failed = |error| connection_error("recording the end of the run", error);
        // First: nobody comes back to a run whose end is recorded.
        conn.exec_drop(
            format!("DELETE FROM {} WHERE run = :run", self.markers),
            params! { "run" => run.0 },
        )
        .await
        .map_err(failed)?;
        fault::at(Point::MarkersGone)?;
        conn.exec_drop(
            format!(
                "UPDATE {} SET result = :result, detail = :detail, ended = UTC_TIMESTAMP(3), \
                 updated = UTC_TIMESTAMP(3), phase = COALESCE(:phase, phase), \
                 lock_ms = COALESCE(:lock, lock_ms), \
                 rows_copied = COALESCE(:copied, rows_copied), \
                 rows_verified = COALESCE(:verified, rows_verified), \
                 verification = COALESCE(:verification, verification) WHERE run = :run",
                self.runs
            ),
            params! {
                "result" => end.result, "detail" => end.detail.as_deref(), "phase" => end.phase,
                "lock" => end.lock_ms, "copied" => end.rows_copied, "verified" => end.rows_verified,
                "verification" => end.verification, "run" => run.0,
            },
        )
        .await
        .map_err(failed)
    }
}
