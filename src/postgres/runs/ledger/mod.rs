//! The ledger's tables on PostgreSQL, in the schema of osc's own: `osc_ledger` has a row for every run,
//! `osc_order` the orders for runs, `osc_sample` their figures over time.
//!
//! A row's key begins with the identity of the server and its database: in a restored dump, and on a
//! server that another one was made from by a dump, it is known as another's.

mod records;
mod tables;

use std::time::Duration;

use tokio_postgres::Client;

use crate::error::{Error, Finding, Result};
use crate::fnv::fnv1a;
use crate::ledger::refusals::{earlier_ledger, taken_over, untrusted};
use crate::ledger::{Checkpoint, End, FencingToken, NewRun, REVERT, RunId};
use crate::postgres::catalog::table::number;
use crate::postgres::connection::errors::{TAKEN_OVER, server_error};
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::trust::own_schema::{Function, keep_private};
use crate::postgres::trust::roles::{self, Plain, There};
use tables::{ORDERS, RUNS, SAMPLES, TABLES};

const LOOK: &str = "looking for the ledger";

/// How long the creation may wait for another osc that creates it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// The advisory lock under which the schema is made: "osc" and a number that no table has.
const CREATE_LOCK: i64 = 0x006f_7363_i64 << 32 | 0xffff_ffff;

/// What a row's key begins with: where the run was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    /// `system_identifier` of the control file.
    system: i64,
    /// The database's OID.
    database: u32,
}

/// The ledger of a database.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The schema of osc's own.
    pub schema: Ident,
    /// The table of runs.
    pub runs: TableName,
    /// The table of orders.
    pub orders: TableName,
    /// The table of figures over time.
    pub samples: TableName,
    here: Origin,
    there: There,
}

fn optional<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "NULL".into(), |value| value.to_string())
}

fn text(value: Option<&str>) -> String {
    optional(value.map(|value| Text(value).to_string()))
}

impl Ledger {
    /// The ledger in `schema`, looked at before anything of it is read; it need not be there.
    ///
    /// # Errors
    /// `Refused` where others could write there, or had a hand in it; the server's.
    pub async fn open(client: &Client, schema: &str) -> Result<Self> {
        let schema = Ident::new(schema);
        if schema.0.is_empty() || schema.0.len() > Ident::MAX_BYTES || schema.0.starts_with("pg_") {
            return Err(Error::Usage {
                message: format!("{schema} cannot be the ledger's schema"),
                help: format!(
                    "give --ledger a name of at most {} bytes that does not begin with pg_",
                    Ident::MAX_BYTES
                ),
            });
        }
        let (there, findings) = roles::look(client, &schema, TABLES).await?;
        if !findings.is_empty() {
            return Err(Error::Refused(findings));
        }
        Self::of(client, schema, there).await
    }

    /// The ledger in `schema` for a role that may only make orders.
    ///
    /// # Errors
    /// `Refused` where the role sees no plain tables there; the server's.
    pub async fn for_orders(client: &Client, schema: &str) -> Result<Self> {
        let schema = Ident::new(schema);
        let (there, mut findings) = roles::look_as_operator(client, &schema, TABLES).await?;
        if findings.is_empty() && !there.tables.iter().any(|table| table == ORDERS.name) {
            findings.push(untrusted(
                format!("there is no table osc_order in the schema {schema}"),
                "a run of osc makes it; name another schema with --ledger",
            ));
        }
        if !findings.is_empty() {
            return Err(Error::Refused(findings));
        }
        Self::of(client, schema, there).await
    }

    async fn of(client: &Client, schema: Ident, there: There) -> Result<Self> {
        let sql = "SELECT s.system_identifier, d.oid FROM pg_catalog.pg_control_system() s, \
                   pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
        let found = rows(client, "asking which server this is", sql).await?;
        let row = found.first().ok_or_else(|| Error::Internal("the server has no name".into()))?;
        let here = Origin { system: number(row.get(0))?, database: number(row.get(1))? };
        let named =
            |table: &Plain| TableName { schema: schema.clone(), table: Ident::new(table.name) };
        let (runs, orders, samples) = (named(&RUNS), named(&ORDERS), named(&SAMPLES));
        Ok(Self { schema, runs, orders, samples, here, there })
    }

    /// This server and database, as the rows of orders and samples name them.
    pub(crate) fn server(&self) -> String {
        format!("{}/{}", self.here.system, self.here.database)
    }

    /// Whether there are orders and samples to read.
    pub(crate) fn has_orders(&self) -> bool {
        self.there.tables.len() == TABLES.len()
    }

    /// Whether there are runs to read.
    pub fn is_there(&self) -> bool {
        self.there.tables.iter().any(|table| table == RUNS.name)
    }

    fn is_whole(&self) -> bool {
        self.has_orders() && self.there.functions.len() == Function::ALL.len()
    }

    /// Why it cannot be created, if so.
    ///
    /// # Errors
    /// The server's.
    pub async fn obstacle(&self, client: &Client) -> Result<Option<Finding>> {
        if self.is_whole() {
            return Ok(None);
        }
        let right = match self.there.schema {
            true => format!("has_schema_privilege({}, 'CREATE')", Text(self.schema.as_str())),
            false => "has_database_privilege(pg_catalog.current_database(), 'CREATE')".into(),
        };
        let sql = format!(
            "SELECT pg_catalog.{right}, pg_catalog.quote_ident(current_user), \
             pg_catalog.quote_ident(pg_catalog.current_database())"
        );
        let found = rows(client, LOOK, &sql).await?;
        let Some(row) = found.first().filter(|row| row.get(0) != Some("t")) else {
            return Ok(None);
        };
        let (role, database) = (row.get(1).unwrap_or_default(), row.get(2).unwrap_or_default());
        let schema = &self.schema;
        Ok(Some(match self.there.schema {
            true => untrusted(
                format!(
                    "{role} may not create in the schema {schema}, which osc's ledger is to be in"
                ),
                format!("ALTER SCHEMA {schema} OWNER TO {role}; or name another with --ledger"),
            ),
            false => untrusted(
                format!("{role} may not create the schema {schema} in {database} for osc's ledger"),
                format!(
                    "as an administrator: CREATE SCHEMA {schema} AUTHORIZATION {role}; \
                     REVOKE ALL ON SCHEMA {schema} FROM PUBLIC; or GRANT CREATE ON DATABASE \
                     {database} TO {role}"
                ),
            ),
        }))
    }

    /// Creates what is missing of it, in one transaction, and looks at all of it again.
    ///
    /// # Errors
    /// `Refused` without the rights, and as [`Ledger::open`]; the server's.
    pub async fn create(&self, client: &Client) -> Result<()> {
        let mut now = Self::open(client, self.schema.as_str()).await?;
        if now.is_whole() {
            return Ok(());
        }
        if let Some(finding) = now.obstacle(client).await? {
            return Err(Error::Refused(vec![finding]));
        }
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; \
             SELECT pg_catalog.pg_advisory_xact_lock({CREATE_LOCK})",
            CREATE_TIMEOUT.as_millis()
        );
        run(client, "creating the ledger", &begin).await?;
        let made = now.complete(client).await;
        let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
        run(client, "creating the ledger", end).await?;
        made?;
        now = Self::open(client, self.schema.as_str()).await?;
        match now.is_whole() {
            true => Ok(()),
            false => Err(Error::Internal("the ledger was created and is not there".into())),
        }
    }

    async fn complete(&mut self, client: &Client) -> Result<()> {
        let (there, findings) = roles::look(client, &self.schema, TABLES).await?;
        if !findings.is_empty() {
            return Err(Error::Refused(findings));
        }
        let schema = &self.schema;
        let mut sql = Vec::new();
        if !there.schema {
            sql.push(format!("CREATE SCHEMA {schema}"));
            sql.push(keep_private("SCHEMA", &schema.to_string()));
        }
        let missing = |table: &&Plain| !there.tables.iter().any(|name| name == table.name);
        sql.extend(TABLES.iter().filter(missing).map(|table| table.create(schema)));
        let missing =
            |function: &&Function| !there.functions.iter().any(|name| name == function.name());
        sql.extend(Function::ALL.iter().filter(missing).map(|function| function.create(schema)));
        client
            .batch_execute(&sql.join("; "))
            .await
            .map_err(|error| server_error("creating the ledger", &error))
    }

    /// Refuses where the schema of an application has the ledger of an earlier build, which it can
    /// write.
    ///
    /// # Errors
    /// `Refused`; the server's.
    pub async fn no_earlier(&self, client: &Client, schema: &Ident) -> Result<()> {
        if *schema == self.schema {
            return Ok(());
        }
        let sql = format!(
            "SELECT c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = 'osc_ledger' \
             AND c.relkind IN ('r', 'v', 'p', 'm', 'f')",
            Text(schema.as_str())
        );
        let Some(kind) = value(client, LOOK, &sql).await? else { return Ok(()) };
        let earlier = TableName { schema: schema.clone(), table: self.runs.table.clone() };
        let kind = if kind == "v" { "VIEW" } else { "TABLE" };
        let drop = format!("DROP {kind} {earlier}");
        Err(Error::Refused(vec![earlier_ledger(&earlier.plain(), self.schema.as_str(), &drop)]))
    }

    /// Records that a run begins.
    ///
    /// # Errors
    /// The server's.
    pub async fn begin(&self, client: &Client, new: &NewRun<'_>) -> Result<RunId> {
        let sql = format!(
            "INSERT INTO {} (system, database, schema_name, table_name, clauses, method, phase, \
             rows_copied, rows_estimate, verification, owner, started, updated) \
             VALUES ({}, {}, {}, {}, {}, {}, 'prepare', 0, 0, {}, {}, \
             pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()) RETURNING run",
            self.runs,
            self.here.system,
            self.here.database,
            Text(new.schema),
            Text(new.table),
            Text(new.clauses),
            Text(new.method),
            Text(if new.verify { "on" } else { "off" }),
            Text(new.token.as_str())
        );
        let run = value(client, "recording the run", &sql).await?;
        Ok(RunId(number(run.as_deref())?))
    }

    /// A statement that records an unfinished undo of `table` whose tables are `carried`, in a transaction that is
    /// rolled back: its number is none that a run gets, and no number is used up.
    pub(crate) fn as_if_begun(
        &self,
        table: &TableName,
        token: &FencingToken,
        carried: &str,
    ) -> String {
        let number = -i64::from(fnv1a(token.as_str().as_bytes())) - 1;
        format!(
            "INSERT INTO {} (system, database, run, schema_name, table_name, clauses, method, phase, \
             rows_copied, rows_estimate, verification, owner, carried, started, updated) \
             OVERRIDING SYSTEM VALUE VALUES ({}, {}, {number}, {}, {}, '', {}, 'prepare', 0, 0, 'on', {}, {}, \
             pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp())",
            self.runs,
            self.here.system,
            self.here.database,
            Text(table.schema.as_str()),
            Text(table.table.as_str()),
            Text(REVERT),
            Text(token.as_str()),
            Text(carried)
        )
    }

    /// The condition for the row of a run of ours.
    pub(super) fn row(&self, id: RunId) -> String {
        format!(
            "system = {} AND database = {} AND run = {}",
            self.here.system, self.here.database, id.0
        )
    }

    /// Makes an unfinished run one of ours.
    ///
    /// # Errors
    /// The server's.
    pub async fn take_over(&self, client: &Client, id: RunId, token: &FencingToken) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET owner = {}, result = NULL, detail = NULL, ended = NULL, \
             updated = pg_catalog.clock_timestamp() WHERE {}",
            self.runs,
            Text(token.as_str()),
            self.row(id)
        );
        run(client, "taking over the unfinished run", &sql).await
    }

    /// A statement of PL/pgSQL that fails with `TAKEN_OVER` when the run is no longer this token's.
    pub fn fence(&self, id: RunId, token: &FencingToken) -> String {
        let (runs, owner) = (&self.runs, Text(token.as_str()));
        format!(
            "IF NOT EXISTS (SELECT FROM {runs} WHERE {} AND owner = {owner}) THEN \
             RAISE EXCEPTION USING ERRCODE = '{TAKEN_OVER}', MESSAGE = 'taken over'; END IF;",
            self.row(id)
        )
    }

    /// Stores a checkpoint, and makes it last: everything that this run committed before is on disk
    /// when this returns.
    ///
    /// # Errors
    /// `Stopped` when the run is no longer this token's; the server's.
    pub async fn checkpoint(
        &self,
        client: &Client,
        id: RunId,
        token: &FencingToken,
        now: &Checkpoint,
    ) -> Result<()> {
        let sql = format!(
            "BEGIN; SET LOCAL synchronous_commit = local; \
             UPDATE {} SET updated = pg_catalog.clock_timestamp(), state = coalesce({}, state), phase = {}, \
             rows_copied = {}, rows_estimate = {}, rows_verified = {} \
             WHERE {} AND owner = {} RETURNING 1; COMMIT",
            self.runs,
            text(now.state.as_deref()),
            Text(now.phase),
            now.rows_copied,
            now.rows_estimate,
            optional(now.rows_verified),
            self.row(id),
            Text(token.as_str())
        );
        if rows(client, "storing the checkpoint", &sql).await?.is_empty() {
            return Err(taken_over());
        }
        Ok(())
    }

    /// Records what was made for the run: typed values, never statements.
    ///
    /// # Errors
    /// The server's.
    pub async fn carry(
        &self,
        client: &Client,
        id: RunId,
        token: &FencingToken,
        carried: &str,
    ) -> Result<()> {
        let (runs, carried, row) = (&self.runs, Text(carried), self.row(id));
        let sql = format!(
            "UPDATE {runs} SET carried = {carried} WHERE {row} AND owner = {}",
            Text(token.as_str())
        );
        run(client, "recording what was made", &sql).await
    }

    /// A statement of the swap's transaction: records which foreign keys the table has beside those of `before`.
    pub(crate) fn note_added_keys(
        &self,
        id: RunId,
        token: &FencingToken,
        table: &TableName,
        before: &[&Ident],
    ) -> String {
        let before: Vec<String> = before.iter().map(|key| Text(key.as_str()).to_string()).collect();
        format!(
            "UPDATE {} SET carried = pg_catalog.jsonb_set(carried::pg_catalog.jsonb, '{{tables,added}}', \
             (SELECT coalesce(pg_catalog.jsonb_agg(k.conname::pg_catalog.text), '[]') \
             FROM pg_catalog.pg_constraint k WHERE k.conrelid = {}::pg_catalog.regclass \
             AND k.contype = 'f' AND k.conparentid = 0 \
             AND k.conname <> ALL (ARRAY[{}]::pg_catalog.text[])))::pg_catalog.text WHERE {} AND owner = {}",
            self.runs,
            Text(&table.to_string()),
            before.join(", "),
            self.row(id),
            Text(token.as_str())
        )
    }

    /// Records how a run ended that is this token's; `false`: it is not any more. `None`: whoever's it was, it
    /// is dead; the caller has the table's lock.
    ///
    /// # Errors
    /// The server's.
    pub async fn end(
        &self,
        client: &Client,
        id: RunId,
        token: Option<&FencingToken>,
        end: &End<'_>,
    ) -> Result<bool> {
        let owned = token
            .map_or_else(String::new, |token| format!(" AND owner = {}", Text(token.as_str())));
        let sql = format!(
            "UPDATE {} SET result = {}, detail = {}, ended = pg_catalog.clock_timestamp(), \
             updated = pg_catalog.clock_timestamp(), phase = coalesce({}, phase), \
             lock_ms = coalesce({}, lock_ms), rows_copied = coalesce({}, rows_copied), \
             rows_verified = coalesce({}, rows_verified), \
             verification = coalesce({}, verification) WHERE {}{owned} RETURNING 1",
            self.runs,
            Text(end.result.word()),
            text(end.detail.as_deref()),
            text(end.phase),
            optional(end.lock_ms),
            optional(end.rows_copied),
            optional(end.rows_verified),
            text(end.verification),
            self.row(id)
        );
        Ok(!rows(client, "recording the end of the run", &sql).await?.is_empty())
    }
}
