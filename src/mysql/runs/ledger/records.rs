//! Reading the records of runs.

use mysql_async::{Conn, Row, params};

use super::Ledger;
use crate::error::{Error, Result};
use crate::ledger::orders::{self, OrderRecord};
use crate::ledger::{Outcome, RunId, RunRecord};
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::name::TableName;

const COLUMNS: &str = "run, schema_name, table_name, clauses, method, phase, result, detail, state, \
                       rows_copied, rows_estimate, rows_verified, verification";
const MORE_COLUMNS: &str = "lock_ms, CAST(started AS CHAR), CAST(updated AS CHAR), \
                            TIMESTAMPDIFF(SECOND, updated, UTC_TIMESTAMP(3)), CAST(ended AS CHAR), \
                            carried, server, TIMESTAMPDIFF(SECOND, ended, UTC_TIMESTAMP(3))";

/// Which runs to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunQuery<'a> {
    /// Those of a schema.
    pub schema: Option<&'a str>,
    /// Those of a table.
    pub table: Option<&'a str>,
    /// Those of this server only.
    pub here: bool,
    /// At most so many, newest first.
    pub most: u32,
}

impl Ledger {
    /// This server's newest runs on a table.
    pub(crate) async fn of_table(
        &self,
        conn: &mut Conn,
        table: &TableName,
        most: u32,
    ) -> Result<Vec<RunRecord>> {
        let query = RunQuery {
            schema: Some(table.schema.as_str()),
            table: Some(table.table.as_str()),
            here: true,
            most,
        };
        self.runs(conn, query).await
    }

    /// The newest run on a table that another server began: it came by replication or in a dump.
    pub(crate) async fn elsewhere(
        &self,
        conn: &mut Conn,
        table: &TableName,
    ) -> Result<Option<RunRecord>> {
        let (schema, name) = (table.schema.as_str(), table.table.as_str());
        let query = RunQuery { schema: Some(schema), table: Some(name), here: false, most: 50 };
        let runs = self.runs(conn, query).await?;
        Ok(runs.into_iter().find(|run| run.elsewhere.is_some()))
    }

    /// The newest runs, newest first.
    pub(crate) async fn runs(
        &self,
        conn: &mut Conn,
        query: RunQuery<'_>,
    ) -> Result<Vec<RunRecord>> {
        let rows: Vec<Row> = conn
            .all_of(
                format!(
                    "SELECT {COLUMNS}, {MORE_COLUMNS} FROM {} \
                     WHERE (:schema IS NULL OR schema_name = :schema) \
                     AND (:table IS NULL OR table_name = :table) \
                     AND (:here = 0 OR server = :server) ORDER BY run DESC, started DESC LIMIT {}",
                    self.runs, query.most
                ),
                params! {
                    "schema" => query.schema, "table" => query.table,
                    "here" => u8::from(query.here), "server" => self.server.as_str(),
                },
            )
            .await
            .map_err(|error| connection_error("reading the ledger", error))?;
        rows.into_iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, mut row: Row) -> Result<RunRecord> {
        fn take<T: mysql_async::prelude::FromValue>(row: &mut Row, at: usize) -> Result<T> {
            row.take_opt(at)
                .and_then(std::result::Result::ok)
                .ok_or_else(|| Error::Internal(format!("column {at} of the ledger cannot be read")))
        }
        let row = &mut row;
        let server: String = take(row, 19)?;
        Ok(RunRecord {
            run: take(row, 0)?,
            elsewhere: (server != self.server).then_some(server),
            schema: take(row, 1)?,
            table: take(row, 2)?,
            clauses: take(row, 3)?,
            method: take(row, 4)?,
            phase: take(row, 5)?,
            result: take::<Option<String>>(row, 6)?.map(|word| Outcome::of(&word)),
            detail: take(row, 7)?,
            state: take(row, 8)?,
            rows_copied: take(row, 9)?,
            rows_estimate: take(row, 10)?,
            rows_verified: take(row, 11)?,
            verification: take(row, 12)?,
            lock_ms: take(row, 13)?,
            started: take(row, 14)?,
            updated: take(row, 15)?,
            silent_seconds: take::<i64>(row, 16)?.max(0).cast_unsigned(),
            held: None,
            ended: take(row, 17)?,
            ended_seconds: take::<Option<i64>>(row, 20)?.map(|age| age.max(0).cast_unsigned()),
            carried: take(row, 18)?,
            kept_wal: None,
            undo: Vec::new(),
            undo_until: None,
            picture: None,
            orders: Vec::new(),
        })
    }

    /// The run on a table that this server began and that has not ended.
    pub(crate) async fn unended(
        &self,
        conn: &mut Conn,
        table: &TableName,
    ) -> Result<Option<RunId>> {
        let sql = format!(
            "SELECT run FROM {} WHERE server = :server AND schema_name = :schema \
             AND table_name = :table AND result IS NULL ORDER BY run DESC LIMIT 1",
            self.runs
        );
        let values = params! {
            "server" => self.server.as_str(), "schema" => table.schema.as_str(),
            "table" => table.table.as_str(),
        };
        let rows: Vec<i64> = conn
            .all_of(sql, values)
            .await
            .map_err(|error| connection_error("looking for the run", error))?;
        Ok(rows.first().copied().map(RunId))
    }

    /// Adds to a run how it was when it last stored that, and its last orders.
    pub(crate) async fn add_operation(&self, conn: &mut Conn, run: &mut RunRecord) -> Result<()> {
        let failed = |error| connection_error("reading the ledger", error);
        let values = params! { "server" => self.server.as_str(), "run" => run.run };
        let sql = format!(
            "SELECT picture FROM {} WHERE server = :server AND run = :run AND picture IS NOT NULL \
             ORDER BY at DESC LIMIT 1",
            self.samples
        );
        let pictures: Vec<String> = conn.all_of(sql, values.clone()).await.map_err(failed)?;
        run.seen(pictures.first().and_then(|text| serde_json::from_str(text).ok()));
        let sql = format!(
            "SELECT id, verb, LEFT(arguments, 200), LEFT(who, 100), LEFT(host, 100), LEFT(why, 200), \
             LEFT(CAST(made AS CHAR), 23), CAST(expires AS CHAR), LEFT(answer, 1000), CAST(answered AS CHAR) \
             FROM {} WHERE run = :run AND (server IS NULL OR server = :server) \
             ORDER BY id DESC LIMIT {}",
            self.orders,
            orders::SHOWN
        );
        let rows: Vec<OrderRow> = conn.all_of(sql, values).await.map_err(failed)?;
        run.orders = rows.into_iter().rev().map(order).collect();
        Ok(())
    }
}

type OrderRow = (
    i64,
    String,
    Option<String>,
    String,
    Option<String>,
    Option<String>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
);

fn order(row: OrderRow) -> OrderRecord {
    let (order, verb, arguments, who, host, why, made, expires, answer, answered) = row;
    OrderRecord { order, verb, arguments, who, host, why, made, expires, answer, answered }
}
