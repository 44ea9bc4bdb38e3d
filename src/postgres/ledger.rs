//! The ledger's table on PostgreSQL: `osc_ledger`, in the schema of the table being changed.

use tokio_postgres::{Client, SimpleQueryRow};

use crate::engine::Result;
use crate::ledger::{Checkpoint, End, NewRun, RunId, RunRecord, taken_over};
use crate::postgres::connect::TAKEN_OVER;
use crate::postgres::inspect::number;
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::session::{rows, run, value};

/// The ledger of a schema.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The table of runs.
    pub runs: TableName,
}

fn optional<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "NULL".into(), |value| value.to_string())
}

fn text(value: Option<&str>) -> String {
    optional(value.map(|value| Text(value).to_string()))
}

impl Ledger {
    /// The ledger of `schema`.
    pub fn of(schema: &Ident) -> Self {
        Self { runs: TableName { schema: schema.clone(), table: Ident::new("osc_ledger") } }
    }

    /// Creates it, if it is not there.
    ///
    /// # Errors
    /// The server's.
    pub async fn create(&self, client: &Client) -> Result<()> {
        if self.exists(client).await? {
            return Ok(());
        }
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {runs} (
               run bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
               table_name text NOT NULL,
               clauses text NOT NULL,
               road text NOT NULL,
               phase text NOT NULL,
               result text,
               detail text,
               state text,
               rows_copied bigint NOT NULL DEFAULT 0,
               rows_estimate bigint NOT NULL DEFAULT 0,
               rows_verified bigint,
               verification text NOT NULL,
               lock_ms double precision,
               owner text NOT NULL,
               carried text,
               started timestamptz NOT NULL DEFAULT clock_timestamp(),
               updated timestamptz NOT NULL DEFAULT clock_timestamp(),
               ended timestamptz);
             COMMENT ON TABLE {runs} IS 'The record of every run of osc'",
            runs = self.runs
        );
        run(client, "creating the ledger", &sql).await
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// The server's.
    pub async fn exists(&self, client: &Client) -> Result<bool> {
        let sql = format!("SELECT to_regclass({}) IS NOT NULL", Text(&self.runs.to_string()));
        Ok(value(client, "looking for the ledger", &sql).await?.as_deref() == Some("t"))
    }

    /// Records that a run begins.
    ///
    /// # Errors
    /// The server's.
    pub async fn begin(&self, client: &Client, new: &NewRun<'_>) -> Result<RunId> {
        let sql = format!(
            "INSERT INTO {} (table_name, clauses, road, phase, verification, owner) \
             VALUES ({}, {}, {}, 'prepare', {}, {}) RETURNING run",
            self.runs,
            Text(new.table),
            Text(new.clauses),
            Text(new.road),
            Text(if new.verify { "on" } else { "off" }),
            Text(new.owner)
        );
        let run = value(client, "recording the run", &sql).await?;
        Ok(RunId(number(run.as_deref())?))
    }

    /// Makes a dead run one of ours.
    ///
    /// # Errors
    /// The server's.
    pub async fn take_over(&self, client: &Client, id: RunId, owner: &str) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET owner = {}, result = NULL, detail = NULL, ended = NULL, \
             updated = clock_timestamp() WHERE run = {}",
            self.runs,
            Text(owner),
            id.0
        );
        run(client, "taking the dead run over", &sql).await
    }

    /// A statement that fails with `TAKEN_OVER` when the run is no longer `owner`'s.
    pub fn fence(&self, id: RunId, owner: &str) -> String {
        let (runs, owner) = (&self.runs, Text(owner));
        let body = format!(
            "BEGIN IF NOT EXISTS (SELECT FROM {runs} WHERE run = {} AND owner = {owner}) THEN \
             RAISE EXCEPTION USING ERRCODE = '{TAKEN_OVER}', MESSAGE = 'taken over'; END IF; END",
            id.0
        );
        format!("DO {}", Text(&body))
    }

    /// The latest runs of a table, or of all, newest first.
    ///
    /// # Errors
    /// The server's.
    pub async fn runs(
        &self,
        client: &Client,
        table: Option<&Ident>,
        most: u32,
    ) -> Result<Vec<RunRecord>> {
        let filter = table
            .map_or(String::new(), |table| format!("WHERE table_name = {}", Text(table.as_str())));
        let sql = format!(
            "SELECT run, table_name, clauses, road, phase, result, detail, state, rows_copied, \
             rows_estimate, rows_verified, verification, lock_ms, \
             to_char(started AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), \
             to_char(updated AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), \
             greatest(extract(epoch FROM clock_timestamp() - updated), 0)::bigint, \
             to_char(ended AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), carried \
             FROM {} {filter} ORDER BY run DESC LIMIT {most}",
            self.runs
        );
        rows(client, "reading the ledger", &sql).await?.iter().map(record).collect()
    }

    /// Stores a checkpoint, and makes it last: everything that this run committed before is on disk
    /// when this returns.
    ///
    /// # Errors
    /// `Stopped` when the run is no longer `owner`'s; the server's.
    pub async fn checkpoint(
        &self,
        client: &Client,
        id: RunId,
        owner: &str,
        now: &Checkpoint,
    ) -> Result<()> {
        let sql = format!(
            "BEGIN; SET LOCAL synchronous_commit = local; \
             UPDATE {} SET updated = clock_timestamp(), state = coalesce({}, state), phase = {}, \
             rows_copied = {}, rows_estimate = {}, rows_verified = {} \
             WHERE run = {} AND owner = {} RETURNING 1; COMMIT",
            self.runs,
            text(now.state.as_deref()),
            Text(now.phase),
            now.rows_copied,
            now.rows_estimate,
            optional(now.rows_verified),
            id.0,
            Text(owner)
        );
        if rows(client, "storing the checkpoint", &sql).await?.is_empty() {
            return Err(taken_over());
        }
        Ok(())
    }

    /// Records what was made for the run, and what the new table must have after the swap.
    ///
    /// # Errors
    /// The server's.
    pub async fn carry(&self, client: &Client, id: RunId, carried: &str) -> Result<()> {
        let (runs, carried) = (&self.runs, Text(carried));
        let sql = format!("UPDATE {runs} SET carried = {carried} WHERE run = {}", id.0);
        run(client, "recording what hangs on the table", &sql).await
    }

    /// Records how a run ended.
    ///
    /// # Errors
    /// The server's.
    pub async fn end(&self, client: &Client, id: RunId, end: &End<'_>) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET result = {}, detail = {}, ended = clock_timestamp(), \
             updated = clock_timestamp(), phase = coalesce({}, phase), \
             lock_ms = coalesce({}, lock_ms), rows_copied = coalesce({}, rows_copied), \
             rows_verified = coalesce({}, rows_verified), \
             verification = coalesce({}, verification) WHERE run = {}",
            self.runs,
            Text(end.result),
            text(end.detail.as_deref()),
            text(end.phase),
            optional(end.lock_ms),
            optional(end.rows_copied),
            optional(end.rows_verified),
            text(end.verification),
            id.0
        );
        run(client, "recording the end of the run", &sql).await
    }
}

fn record(row: &SimpleQueryRow) -> Result<RunRecord> {
    let text = |at: usize| row.get(at).map(str::to_owned);
    let known = |at: usize| text(at).unwrap_or_default();
    let maybe = |at: usize| row.get(at).map(|text| number(Some(text))).transpose();
    Ok(RunRecord {
        run: number(row.get(0))?,
        table: known(1),
        clauses: known(2),
        road: known(3),
        phase: known(4),
        result: text(5),
        detail: text(6),
        state: text(7),
        rows_copied: number(row.get(8))?,
        rows_estimate: number(row.get(9))?,
        rows_verified: maybe(10)?,
        verification: known(11),
        lock_ms: row.get(12).map(|text| number(Some(text))).transpose()?,
        started: known(13),
        updated: known(14),
        silent_seconds: number(row.get(15))?,
        ended: text(16),
        deferred: Vec::new(),
        carried: text(17),
        kept_wal: None,
    })
}
