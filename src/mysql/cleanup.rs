//! `osc cleanup` on MySQL and MariaDB: the retired table, and what dead runs left.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::config::target::Target;
use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::ledger::{End, Leftover, RunId, unsettled};
use crate::mysql::claim::lock_name;
use crate::mysql::connect::{connect, connection_error, opts};
use crate::mysql::inspect::Table;
use crate::mysql::ledger::Ledger;
use crate::mysql::name::{Helpers, TableName, Text};
use crate::mysql::session::run;
use crate::mysql::shadow;
use crate::mysql::swap::is_swapped;

/// What there is to drop, and the session that found it.
pub struct Cleanup {
    conn: Conn,
    ledger: Ledger,
    name: TableName,
    /// The tables to drop, with the reason and size of each.
    pub tables: Vec<Leftover<TableName>>,
    unfinished: Vec<RunId>,
}

impl Cleanup {
    /// Finds what can be dropped. Takes the table's lock, so that a run under way is never touched.
    pub async fn find(target: &Target, schema: Option<&str>, table: &str) -> Result<Self> {
        let schema = schema.or(target.database.as_deref()).ok_or_else(|| Error::Usage {
            message: format!("in which schema is {table}?"),
            help: "name it: shop.users, or in the URL: mysql://host/shop".into(),
        })?;
        let mut conn = connect(&opts(target)?, "connecting").await?;
        let asked = TableName::new(schema, table);
        let name = Table::read(&mut conn, &asked).await?.map_or(asked, |found| found.name);
        let got: Option<Option<i64>> = conn
            .query_first(format!("SELECT GET_LOCK({}, 0)", Text(&lock_name(&name))))
            .await
            .map_err(|error| connection_error("claiming the table", error))?;
        if got.flatten() != Some(1) {
            return Err(Error::Refused(vec![Finding::new(
                "other-run",
                format!("a run is under way on {}", name.plain()),
                "wait for it to end, or stop it",
            )]));
        }
        let ledger = Ledger::of(&name.schema);
        let mut unfinished = Vec::new();
        let mut known = false;
        if ledger.exists(&mut conn).await? {
            let runs = ledger.runs(&mut conn, Some(&name.table), 100).await?;
            known = !runs.is_empty();
            let open = |result: Option<&str>| result.is_none_or(|result| result == "stopped");
            if let Some(dead) =
                runs.first().filter(|run| run.is_unfinished() && run.state.is_some())
                && is_swapped(&mut conn, &name).await?
            {
                let why = ": keys and triggers may still hang on the retired table";
                return Err(unsettled(dead, &name.plain(), why));
            }
            unfinished = runs
                .iter()
                .filter(|run| open(run.result.as_deref()))
                .map(|run| RunId(run.run))
                .collect();
        }
        let mut cleanup = Self { conn, ledger, name, tables: Vec::new(), unfinished };
        if known {
            cleanup.find_tables().await?;
        }
        Ok(cleanup)
    }

    async fn find_tables(&mut self) -> Result<()> {
        let helpers = Helpers::of(&self.name);
        if Table::read(&mut self.conn, &self.name).await?.is_none() {
            return Err(Error::Refused(vec![Finding::new(
                "table",
                format!(
                    "there is no table {}: nothing of its helpers is dropped",
                    self.name.plain()
                ),
                "look for where its rows are before anything is dropped",
            )]));
        }
        for (table, what) in
            [(helpers.shadow, "the shadow of a dead run"), (helpers.retired, "the retired table")]
        {
            if let Some(found) = Table::read(&mut self.conn, &table).await? {
                self.tables.push(Leftover { table, what, bytes: found.bytes });
            }
        }
        Ok(())
    }

    /// Drops what was found, and closes the records of dead runs.
    pub async fn drop_all(mut self) -> Result<()> {
        run(&mut self.conn, "dropping tables", "SET SESSION foreign_key_checks = 0").await?;
        run(&mut self.conn, "dropping tables", "SET SESSION lock_wait_timeout = 5").await?;
        for leftover in &self.tables {
            shadow::drop_table(&mut self.conn, &leftover.table).await?;
        }
        for id in self.unfinished {
            let end = End::failed("forgotten by osc cleanup");
            self.ledger.end(&mut self.conn, id, &end).await?;
        }
        Ok(())
    }
}
