//! The locks of runs: one a table, and one for each pair of tables that a foreign key joins.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::error::{Error, Result};
use crate::fnv::fnv1a;
use crate::ledger::refusals::{locked_by, other_run, related_run};
use crate::mysql::clauses::same;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::process_list::processes;
use crate::mysql::dependents::Dependents;
use crate::mysql::name::{TableName, Text};

/// The server-wide lock that one run on a table holds: at most 64 characters.
pub(crate) fn lock_name(table: &TableName) -> String {
    let plain = table.plain();
    let short: String = plain.chars().take(40).collect();
    format!("osc:{:08x}:{short}", fnv1a(plain.as_bytes()))
}

/// The tables that foreign keys join with `original`, those that the clauses add included. A run on one of
/// them changes these keys: two runs side by side would each find its tables altered by the other.
pub(crate) fn related(
    dependents: &Dependents,
    clauses: &str,
    original: &TableName,
) -> Vec<TableName> {
    let outgoing = dependents.outgoing.iter().map(|key| key.referenced.clone());
    let incoming = dependents.incoming.iter().map(|key| key.table.clone());
    let added = same::referenced(clauses, &original.schema);
    let mut related: Vec<TableName> = Vec::new();
    for table in outgoing.chain(incoming).chain(added) {
        if table != *original && !related.contains(&table) {
            related.push(table);
        }
    }
    related
}

/// The locks of a run: its table's, and one for each pair of tables that a foreign key joins, so that of
/// two runs on such a pair one has it. In an order that all runs share, so that one always gets all.
pub(crate) fn lock_names<'a>(
    table: &TableName,
    related: &'a [TableName],
) -> Vec<(String, Option<&'a TableName>)> {
    let hash = |table: &TableName| fnv1a(table.plain().to_lowercase().as_bytes());
    let mut pairs: Vec<_> = related
        .iter()
        .map(|other| {
            let (one, two) = (hash(table).min(hash(other)), hash(table).max(hash(other)));
            (format!("osc:fk:{one:08x}:{two:08x}"), Some(other))
        })
        .collect();
    pairs.sort_by(|one, two| one.0.cmp(&two.0));
    std::iter::once((lock_name(table), None)).chain(pairs).collect()
}

/// The refusal where another session has a lock of a run on `table`.
pub(crate) async fn taken(conn: &mut Conn, table: &TableName, by: Option<&TableName>) -> Error {
    match by {
        None => held(conn, table).await,
        Some(other) => related_run(&table.plain(), &other.plain()),
    }
}

/// Takes a run's locks, waiting for each `seconds` at most.
pub(crate) async fn take(
    conn: &mut Conn,
    table: &TableName,
    related: &[TableName],
    seconds: u64,
) -> Result<()> {
    let action = "claiming the table";
    for (name, other) in lock_names(table, related) {
        let got: Option<Option<i64>> = conn
            .query_first(format!("SELECT GET_LOCK({}, {seconds})", Text(&name)))
            .await
            .map_err(|error| connection_error(action, error))?;
        if got.flatten() != Some(1) {
            return Err(taken(conn, table, other).await);
        }
    }
    Ok(())
}

/// Whether the session holds the lock of runs on the table.
pub(crate) async fn holds(conn: &mut Conn, table: &TableName) -> Result<bool> {
    let sql = format!("SELECT IS_USED_LOCK({}) = CONNECTION_ID()", Text(&lock_name(table)));
    let held: Option<Option<i64>> = conn
        .query_first(sql)
        .await
        .map_err(|error| connection_error("looking whether the table is still claimed", error))?;
    Ok(held.flatten() == Some(1))
}

/// Gives the session's locks back before it ends: the server may see its end only after the next command has
/// asked for them.
pub(crate) async fn release(conn: &mut Conn) {
    let _ = conn.query_drop("DO RELEASE_ALL_LOCKS()").await;
}

/// How long a lock is given to go away: a busy server sees late that a killed osc's session is gone.
const DEAD_FOR: Duration = Duration::from_secs(2);

/// Fails where another run has one of these locks, or where one on a related table was not finished.
pub(crate) async fn look(conn: &mut Conn, table: &TableName, related: &[TableName]) -> Result<()> {
    let started = Instant::now();
    for (name, other) in lock_names(table, related) {
        while is_used(conn, &name).await? {
            if started.elapsed() > DEAD_FOR {
                return Err(taken(conn, table, other).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn is_used(conn: &mut Conn, name: &str) -> Result<bool> {
    let holder: Option<Option<u64>> = conn
        .query_first(format!("SELECT IS_USED_LOCK({})", Text(name)))
        .await
        .map_err(|error| connection_error("looking for other runs", error))?;
    Ok(holder.flatten().is_some())
}

/// The refusal where another session has the lock of runs on `table`. Every login can take it, so the
/// session is named, as far as the server shows it; who writes for a run is settled by its token.
pub(crate) async fn held(conn: &mut Conn, table: &TableName) -> Error {
    let action = "looking who holds the lock of runs";
    let sql = format!("SELECT IS_USED_LOCK({})", Text(&lock_name(table)));
    let holder: Option<Option<u64>> = conn.query_first(sql).await.ok().flatten();
    let Some(id) = holder.flatten() else { return other_run(&table.plain()) };
    let known = processes(conn, action).await.unwrap_or_default();
    let who = match known.iter().find(|process| process.id == id) {
        Some(process) => format!("session {id} of {}@{}", process.user, process.host),
        None => format!("session {id}"),
    };
    locked_by(&table.plain(), &who, &format!("KILL {id}"))
}
