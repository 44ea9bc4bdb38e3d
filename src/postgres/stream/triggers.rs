//! The change stream by triggers, for servers and tables without logical decoding.
//!
//! Triggers write the keys of changed rows into a log table, in the transaction that changes them.
//! The log is read in steps, each one statement: it gives what was committed between the snapshot of
//! the step before and its own. So a position is a snapshot; rows come once, in whatever order
//! transactions end, and a row that has been delivered is visible to whoever reads after it. What was
//! applied is deleted by the same rule, never by a range of numbers: a transaction that was slow to
//! commit is not overtaken.
//!
//! A marker is a row of the log. Nothing is pinned and nothing is retained but the log's rows.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::StreamConfig;
use super::names::Names;
use crate::engine::backend::Change;
use crate::error::{AGAIN, Error, Result};
use crate::key::{Key, Position};
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::connection::connect::connect;
use crate::postgres::connection::errors::{
    DEADLOCK, LOCK_NOT_AVAILABLE, UNDEFINED_TABLE, server_error, sqlstate,
};
use crate::postgres::name::{Ident, TableName};
use crate::postgres::trust::own_schema::keep_private;
use crate::testing::mutation::{self, Rule};

/// What is being done, for errors.
const ACTION: &str = "reading the log of changes";

/// From one step to the next.
const STEP: Duration = Duration::from_millis(25);

/// A step that takes longer has lost its connection.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the lock for the triggers is waited for, while writers queue behind it. The longer ones
/// are above the server's `deadlock_timeout`, after which it sends an autovacuum away.
const LOCK_TIMEOUTS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// The snapshot before all others.
const NOTHING: &str = "1:1:";

/// Creates log and triggers, and returns the position before everything that they log. Replaces
/// those of this name. What was changed before is visible to readers on return: the lock that the
/// triggers need waits for its writers, so that no start barrier is needed.
///
/// # Errors
/// `Stopped` when the lock was not granted within `patience`, naming the holders; `Refused`
/// without the rights of the table's owner and to create in the schema of osc's own.
pub async fn create(
    client: &Client,
    original: &TableName,
    key: &KeyColumns,
    names: &Names,
    patience: Duration,
) -> Result<Position> {
    let types = base_types(client, key).await?;
    with_lock(client, original, patience, &definition(original, key, &types, names)).await?;
    Ok(Position(NOTHING.into()))
}

/// The key columns' types, those under their domains: a domain may not allow the NULL of markers.
async fn base_types(client: &Client, key: &KeyColumns) -> Result<Vec<String>> {
    let failed = |error| server_error("reading the key's types", &error);
    let sql = "WITH RECURSIVE base AS (
                 SELECT t.*, 0 AS depth FROM pg_catalog.pg_type t WHERE t.oid = $1
                 UNION ALL
                 SELECT t.*, base.depth + 1 FROM pg_catalog.pg_type t
                 JOIN base ON t.oid = base.typbasetype AND base.typtype = 'd')
               SELECT pg_catalog.format_type(oid, -1) FROM base ORDER BY depth DESC LIMIT 1";
    let mut types = Vec::with_capacity(key.0.len());
    for column in &key.0 {
        let row = client.query_one(sql, &[&column.type_oid]).await.map_err(failed)?;
        types.push(row.try_get(0).map_err(failed)?);
    }
    Ok(types)
}

/// The statements that create log, function and triggers, in one transaction.
fn definition(original: &TableName, key: &KeyColumns, types: &[String], names: &Names) -> String {
    let log = &names.log;
    let name = &log.table;
    let truncate = name.with_suffix("_t");
    let list = |each: &dyn Fn(usize, &Ident) -> String| {
        let parts: Vec<String> =
            key.0.iter().enumerate().map(|(at, column)| each(at, &column.name)).collect();
        parts.join(", ")
    };
    let columns: Vec<String> =
        types.iter().enumerate().map(|(at, base)| format!("k{at} {base}")).collect();
    let columns = columns.join(", ");
    let places = list(&|at, _| format!("k{at}"));
    let (old, new) = (list(&|_, c| format!("OLD.{c}")), list(&|_, c| format!("NEW.{c}")));
    // As text: the type's own operators may be outside the search path. Never by a cast: the type's
    // owner may make one at any time, a function of his that would run as osc's role here. `format` calls
    // the type's output function.
    let as_text = |row: &str| {
        list(&|_, c| match mutation::active(Rule::PgTriggersCastNothing) {
            true => format!("{row}.{c}::text COLLATE \"C\""),
            false => format!("pg_catalog.format('%s', {row}.{c}) COLLATE \"C\""),
        })
    };
    let (old_text, new_text) = (as_text("OLD"), as_text("NEW"));
    // A key of another type would be cast to the log's.
    let other_types: Vec<String> = key
        .0
        .iter()
        .map(|c| format!("pg_catalog.pg_typeof(NEW.{})::oid <> '{}'::oid", c.name, c.type_oid))
        .collect();
    let other_types = other_types.join(" OR ");
    let private_log = keep_private("TABLE", &log.to_string());
    let private_function = keep_private("FUNCTION", &format!("{log}()"));
    format!(
        "DROP TABLE IF EXISTS {log};
         DROP FUNCTION IF EXISTS {log}() CASCADE;
         CREATE TABLE {log} (
           xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
           marker numeric, truncated bool, {columns});
         {private_log};
         CREATE INDEX ON {log} (xid);
         CREATE FUNCTION {log}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
         SET search_path = pg_catalog, pg_temp AS $osc$
         BEGIN
           IF TG_OP = 'TRUNCATE' THEN
             INSERT INTO {log} (truncated) VALUES (true);
             RETURN NULL;
           END IF;
           IF {other_types} THEN
             INSERT INTO {log} (truncated) VALUES (false);
             RETURN NULL;
           END IF;
           IF TG_OP <> 'INSERT' THEN
             INSERT INTO {log} ({places}) VALUES ({old});
           END IF;
           IF TG_OP = 'INSERT' THEN
             INSERT INTO {log} ({places}) VALUES ({new});
           ELSIF TG_OP = 'UPDATE' THEN
             IF ROW({new_text}) IS DISTINCT FROM ROW({old_text}) THEN
               INSERT INTO {log} ({places}) VALUES ({new});
             END IF;
           END IF;
           RETURN NULL;
         END $osc$;
         {private_function};
         CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {original}
           FOR EACH ROW EXECUTE FUNCTION {log}();
         CREATE TRIGGER {truncate} AFTER TRUNCATE ON {original}
           FOR EACH STATEMENT EXECUTE FUNCTION {log}();
         ALTER TABLE {original} ENABLE ALWAYS TRIGGER {name};
         ALTER TABLE {original} ENABLE ALWAYS TRIGGER {truncate}"
    )
}

/// Drops log, function and triggers, if they are there. Short locks only.
///
/// # Errors
/// `Stopped` when the lock was not granted within `patience`, naming the holders.
pub async fn drop(client: &Client, names: &Names, patience: Duration) -> Result<()> {
    let failed = |error| server_error("dropping the triggers", &error);
    let log = &names.log;
    let found = client
        .query_opt(
            "SELECT t.schema, t.name
             FROM pg_catalog.pg_proc p
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
             LEFT JOIN LATERAL (
               SELECT tn.nspname AS schema, c.relname AS name
               FROM pg_catalog.pg_trigger g
               JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
               JOIN pg_catalog.pg_namespace tn ON tn.oid = c.relnamespace
               WHERE g.tgfoid = p.oid LIMIT 1) t ON true
             WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0",
            &[&log.schema.as_str(), &log.table.as_str()],
        )
        .await
        .map_err(failed)?;
    let Some(row) = found else { return Ok(()) };
    let bearer = match (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?) {
        (Some::<String>(schema), Some::<String>(name)) => TableName::new(schema, name),
        _ => log.clone(),
    };
    let sql = format!("DROP FUNCTION IF EXISTS {log}() CASCADE; DROP TABLE IF EXISTS {log}");
    with_lock(client, &bearer, patience, &sql).await
}

/// Runs `sql` in one transaction, under short lock timeouts, until `patience` is over.
async fn with_lock(
    client: &Client,
    table: &TableName,
    patience: Duration,
    sql: &str,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    for wait in LOCK_TIMEOUTS.iter().cycle() {
        let sql = format!("SET LOCAL lock_timeout = {}; {sql}", wait.as_millis());
        match client.batch_execute(&sql).await {
            Ok(()) => return Ok(()),
            Err(error) if matches!(sqlstate(&error), Some(LOCK_NOT_AVAILABLE | DEADLOCK)) => {
                if Instant::now() > deadline {
                    let holders = holders(client, table).await?;
                    return Err(Error::Stopped {
                        reason: format!(
                            "no lock on {} for its triggers; blocked by {holders}",
                            table.plain()
                        ),
                        help: format!("end what blocks it, then {AGAIN}"),
                    });
                }
                // Writers that queued behind us go on meanwhile.
                tokio::time::sleep(*wait * 2).await;
            }
            Err(error) => return Err(server_error("changing the triggers", &error)),
        }
    }
    Ok(())
}

/// The sessions that hold a lock on `table` with which it cannot be given triggers.
async fn holders(client: &Client, table: &TableName) -> Result<String> {
    let failed = |error| server_error("looking for who holds the table", &error);
    let rows = client
        .query(
            "SELECT DISTINCT coalesce('the session ' || l.pid, 'a prepared transaction')
             FROM pg_catalog.pg_locks l
             JOIN pg_catalog.pg_class c ON c.oid = l.relation
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database()
             WHERE l.granted AND n.nspname = $1 AND c.relname = $2
               AND l.pid IS DISTINCT FROM pg_backend_pid()",
            &[&table.schema.as_str(), &table.table.as_str()],
        )
        .await
        .map_err(failed)?;
    let names: std::result::Result<Vec<String>, _> =
        rows.iter().map(|row| row.try_get(0)).collect();
    Ok(names.map_err(failed)?.join(", "))
}

/// Commits marker `number`, so that the stream by triggers delivers it. Does not wait for standbys.
/// `client` must not be in a transaction.
///
/// # Errors
/// Those of the connection.
pub async fn emit_marker(client: &Client, log: &TableName, number: u64) -> Result<()> {
    let sql = format!(
        "SET LOCAL synchronous_commit = local; INSERT INTO {log} (marker) VALUES ({number})"
    );
    client.batch_execute(&sql).await.map_err(|error| server_error("writing a marker", &error))
}

/// The stream.
pub(super) struct TriggerStream {
    client: Client,
    config: StreamConfig,
    log: TableName,
    /// What was delivered: everything that this snapshot shows.
    position: Position,
    deleted: Option<Position>,
    ready: std::collections::VecDeque<Change>,
    /// When the log was read last, and when it will be.
    read: Instant,
    next: Instant,
}

impl fmt::Debug for TriggerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerStream").field("position", &self.position).finish_non_exhaustive()
    }
}

impl TriggerStream {
    /// Opens the stream after `from`.
    pub(super) async fn open(config: StreamConfig, from: &Position) -> Result<Self> {
        let client = connect(&config.options, ACTION).await?;
        // What is deleted twice is deleted.
        let sql = "SET synchronous_commit = off";
        client.batch_execute(sql).await.map_err(|error| server_error(ACTION, &error))?;
        let log = config.names.log.clone();
        let there: bool = client
            .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&log.to_string()])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(|error| server_error(ACTION, &error))?;
        if !there {
            let reason = format!("the log {} is gone", log.plain());
            return Err(Error::StreamGap { position: from.clone(), reason });
        }
        let now = Instant::now();
        Ok(Self {
            client,
            config,
            log,
            position: from.clone(),
            deleted: None,
            ready: std::collections::VecDeque::new(),
            read: now,
            next: now,
        })
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            sleep_until(self.next).await;
            let step = timeout(SILENCE, self.step()).await;
            step.map_err(|_| Error::silence(ACTION, SILENCE))??;
        }
    }

    /// One step. Cancel-safe: what it read counts only at its end.
    async fn step(&mut self) -> Result<()> {
        self.delete().await?;
        let begun = Instant::now();
        // As the type's output function has it, which a cast to text need not use.
        let keys: String = (0..self.config.key.0.len())
            .map(|at| {
                format!(
                    ", CASE WHEN log.xid IS NOT NULL AND log.marker IS NULL
                             AND log.truncated IS NULL THEN format('%s', log.k{at}) END"
                )
            })
            .collect();
        let bound = if mutation::active(Rule::LateCommits) { "xmax" } else { "xmin" };
        let sql = format!(
            "SELECT DISTINCT pg_catalog.pg_current_snapshot()::text,
                    log.truncated, log.marker::text{keys}
             FROM (SELECT) one LEFT JOIN {log} log
               ON log.xid >= pg_catalog.pg_snapshot_{bound}($1::text::pg_snapshot)
              AND NOT pg_catalog.pg_visible_in_snapshot(log.xid, $1::text::pg_snapshot)
             ORDER BY 3 NULLS FIRST",
            log = self.log
        );
        let rows = self.query(&sql, &[&self.position.0]).await?;
        let mut changes = Vec::with_capacity(rows.len() + 1);
        let mut snapshot = None;
        for row in &rows {
            let (at, change) = self.change(row)?;
            snapshot = Some(at);
            changes.extend(change);
        }
        self.position = Position(
            snapshot.ok_or_else(|| Error::Internal("a step of the log gave no snapshot".into()))?,
        );
        // What came is younger than the step before.
        let age = if changes.is_empty() { Duration::ZERO } else { self.read.elapsed() };
        changes.push(Change::Commit { position: self.position.clone(), age });
        self.ready.extend(changes);
        self.read = begun;
        self.next = begun + STEP;
        Ok(())
    }

    /// A row's snapshot and change; a step without changes has one row of NULLs.
    fn change(&self, row: &Row) -> Result<(String, Option<Change>)> {
        let failed = |error| server_error(ACTION, &error);
        let snapshot = row.try_get(0).map_err(failed)?;
        let truncated: Option<bool> = row.try_get(1).map_err(failed)?;
        let marker: Option<&str> = row.try_get(2).map_err(failed)?;
        let texts: std::result::Result<Vec<Option<&str>>, _> =
            (0..self.config.key.0.len()).map(|at| row.try_get(at + 3)).collect();
        let texts = texts.map_err(failed)?;
        let change = if let Some(truncated) = truncated {
            let what = if truncated { "it was truncated" } else { "its key's type was changed" };
            Some(Change::Foreign(format!("{}: {what}", self.config.original.plain())))
        } else if let Some(marker) = marker {
            marker.parse().ok().map(Change::Marker)
        } else if texts.iter().all(Option::is_none) {
            None
        } else {
            let key: Key = self.config.key.encode(&texts)?;
            Some(Change::Keys(vec![key]))
        };
        Ok((snapshot, change))
    }

    /// Deletes what was confirmed since.
    async fn delete(&mut self) -> Result<()> {
        let confirmed = self.config.seen.confirmed();
        if confirmed.is_none() || confirmed == self.deleted {
            return Ok(());
        }
        if let Some(position) = &confirmed {
            let sql = format!(
                "DELETE FROM {} WHERE xid < pg_catalog.pg_snapshot_xmax($1::text::pg_snapshot)
                   AND pg_catalog.pg_visible_in_snapshot(xid, $1::text::pg_snapshot)",
                self.log
            );
            self.query(&sql, &[&position.0]).await?;
        }
        self.deleted = confirmed;
        Ok(())
    }

    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.client.query(sql, values).await.map_err(|error| match sqlstate(&error) {
            // The log was dropped.
            Some(UNDEFINED_TABLE) => {
                Error::StreamGap { position: self.position.clone(), reason: error.to_string() }
            }
            _ => server_error(ACTION, &error),
        })
    }
}
