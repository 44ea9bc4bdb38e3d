//! Reading the records of runs.

use tokio_postgres::{Client, SimpleQueryRow};

use super::{Ledger, Origin};
use crate::error::Result;
use crate::ledger::orders::{self, OrderRecord};
use crate::ledger::{Outcome, RunRecord};
use crate::postgres::catalog::table::number;
use crate::postgres::connection::session::{rows, value};
use crate::postgres::name::{TableName, Text};

impl Ledger {
    /// This database's newest run on a table.
    ///
    /// # Errors
    /// The server's.
    pub async fn last(&self, client: &Client, table: &TableName) -> Result<Option<RunRecord>> {
        Ok(self.runs(client, table, 1).await?.pop())
    }

    /// The latest runs of a table of this database, newest first.
    ///
    /// # Errors
    /// The server's.
    pub async fn runs(
        &self,
        client: &Client,
        table: &TableName,
        most: u32,
    ) -> Result<Vec<RunRecord>> {
        let filter = format!(
            "system = {} AND database = {} AND schema_name = {} AND table_name = {}",
            self.here.system,
            self.here.database,
            Text(table.schema.as_str()),
            Text(table.table.as_str())
        );
        self.read(client, &filter, most).await
    }

    /// The latest runs of a schema, of tables of this name, or of all; also those that other servers
    /// began, whose rows came in a dump.
    ///
    /// # Errors
    /// The server's.
    pub async fn all_runs(
        &self,
        client: &Client,
        schema: Option<&str>,
        table: Option<&str>,
        most: u32,
    ) -> Result<Vec<RunRecord>> {
        let schema = schema.map(|schema| format!("schema_name = {}", Text(schema)));
        let table = table.map(|table| format!("table_name = {}", Text(table)));
        let filter: Vec<String> = schema.into_iter().chain(table).collect();
        let filter = if filter.is_empty() { "true".into() } else { filter.join(" AND ") };
        self.read(client, &filter, most).await
    }

    async fn read(&self, client: &Client, filter: &str, most: u32) -> Result<Vec<RunRecord>> {
        if !self.is_there() {
            return Ok(Vec::new());
        }
        let time = |column: &str| {
            format!("pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')")
        };
        let sql = format!(
            "SELECT run, table_name, clauses, method, phase, result, detail, state, rows_copied, \
             rows_estimate, rows_verified, verification, lock_ms, {}, {}, \
             greatest(extract(epoch FROM pg_catalog.clock_timestamp() - updated), 0)::bigint, \
             {}, carried, schema_name, system, database, \
             greatest(extract(epoch FROM pg_catalog.clock_timestamp() - ended), 0)::bigint \
             FROM {} WHERE {filter} ORDER BY started DESC, run DESC LIMIT {most}",
            time("started"),
            time("updated"),
            time("ended"),
            self.runs
        );
        let found = rows(client, "reading the ledger", &sql).await?;
        found.iter().map(|row| record(self.here, row)).collect()
    }
}

impl Ledger {
    /// Adds to a run of this database how it was when it last stored that, and its last orders.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn add_operation(&self, client: &Client, run: &mut RunRecord) -> Result<()> {
        let (server, id) = (self.server(), run.run);
        let server = Text(&server);
        let sql = format!(
            "SELECT picture FROM {} WHERE server = {server} AND run = {id} AND picture IS NOT NULL \
             ORDER BY at DESC LIMIT 1",
            self.samples
        );
        let picture = value(client, "reading the ledger", &sql).await?;
        run.seen(picture.and_then(|text| serde_json::from_str(&text).ok()));
        let time = |column: &str| {
            format!("pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')")
        };
        let sql = format!(
            "SELECT id, \"left\"(verb, 100), \"left\"(arguments, 200), \"left\"(who, 100), \"left\"(host, 100), \
             \"left\"(why, 200), {}, {}, \"left\"(answer, 1000), {} FROM {} \
             WHERE run = {id} AND coalesce(server, {server}) = {server} ORDER BY id DESC LIMIT {}",
            time("made"),
            time("expires"),
            time("answered"),
            self.orders,
            orders::SHOWN
        );
        let found = rows(client, "reading the ledger", &sql).await?;
        run.orders = found.iter().rev().map(order).collect::<Result<_>>()?;
        Ok(())
    }
}

fn order(row: &SimpleQueryRow) -> Result<OrderRecord> {
    // Others write these: what is no text is not shown.
    let text = |at: usize| row.try_get(at).ok().flatten().map(str::to_owned);
    let known = |at: usize| text(at).unwrap_or_default();
    Ok(OrderRecord {
        order: number(row.get(0))?,
        verb: known(1),
        arguments: text(2),
        who: known(3),
        host: text(4),
        why: text(5),
        made: known(6),
        expires: text(7),
        answer: text(8),
        answered: text(9),
    })
}

fn record(here: Origin, row: &SimpleQueryRow) -> Result<RunRecord> {
    let text = |at: usize| row.get(at).map(str::to_owned);
    let known = |at: usize| text(at).unwrap_or_default();
    let maybe = |at: usize| row.get(at).map(|text| number(Some(text))).transpose();
    let begun = Origin { system: number(row.get(19))?, database: number(row.get(20))? };
    let elsewhere =
        (begun != here).then(|| format!("server {}, database {}", begun.system, begun.database));
    Ok(RunRecord {
        run: number(row.get(0))?,
        elsewhere,
        schema: known(18),
        table: known(1),
        clauses: known(2),
        method: known(3),
        phase: known(4),
        result: row.get(5).map(Outcome::of),
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
        held: None,
        ended: text(16),
        ended_seconds: maybe(21)?,
        carried: text(17),
        kept_wal: None,
        undo: Vec::new(),
        undo_until: None,
        picture: None,
        orders: Vec::new(),
    })
}
