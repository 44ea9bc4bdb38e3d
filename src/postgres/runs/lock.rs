//! The locks of runs: one a table, and one for each pair of tables that a foreign key joins.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::fnv::fnv1a;
use crate::ledger::refusals::{locked_by, other_run, related_run};
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::{ActionKind, Clauses, Constraint};
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::name::{TableName, Text};

/// The advisory lock of a table: "osc" in the upper half, the name in the lower.
pub(crate) fn lock_number(table: &TableName) -> i64 {
    0x006f_7363_i64 << 32 | i64::from(fnv1a(table.plain().as_bytes()))
}

/// The tables that foreign keys join with `original`, those that the clauses add included. A run on one of
/// them changes these keys: two runs side by side would each find its tables altered by the other.
pub(crate) async fn related(
    client: &Client,
    change: &Change,
    original: &TableName,
) -> Result<Vec<TableName>> {
    let own = format!("to_regclass({})", Text(&original.to_string()));
    let mut others = vec![format!(
        "SELECT CASE WHEN k.conrelid = {own} THEN k.confrelid ELSE k.conrelid END AS oid \
         FROM pg_constraint k WHERE k.contype = 'f' AND {own} IN (k.conrelid, k.confrelid)"
    )];
    let added = change.clauses().into_iter().flat_map(Clauses::foreign_keys);
    others.extend(added.filter_map(|action| match &action.kind {
        ActionKind::AddConstraint(Constraint { parent: Some(parent), .. }) => {
            Some(format!("SELECT to_regclass({})::oid", Text(parent.as_str())))
        }
        _ => None,
    }));
    let sql = format!(
        "SELECT DISTINCT n.nspname, c.relname FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN ({}) AND c.oid <> {own}",
        others.join(" UNION ")
    );
    let found = rows(client, "looking for related tables", &sql).await?;
    Ok(found.iter().filter_map(|row| Some(TableName::new(row.get(0)?, row.get(1)?))).collect())
}

/// The locks of a run: its table's, and one for each pair of tables that a foreign key joins, so that of
/// two runs on such a pair one has it. In an order that all runs share, so that one always gets all.
pub(crate) fn lock_numbers<'a>(
    table: &TableName,
    related: &'a [TableName],
) -> Vec<(i64, Option<&'a TableName>)> {
    let pair = |other: &TableName| {
        let mut names = [table.plain(), other.plain()];
        names.sort();
        0x0066_6b6f_i64 << 32 | i64::from(fnv1a(names.join("|").as_bytes()))
    };
    let mut pairs: Vec<_> = related.iter().map(|other| (pair(other), Some(other))).collect();
    pairs.sort_by_key(|(number, _)| *number);
    std::iter::once((lock_number(table), None)).chain(pairs).collect()
}

/// The refusal where another session has the lock `number`, which every login can take: with who it is,
/// as far as the server shows it.
pub(crate) async fn taken(
    client: &Client,
    number: i64,
    table: &TableName,
    by: Option<&TableName>,
) -> Error {
    if let Some(other) = by {
        return related_run(&table.plain(), &other.plain());
    }
    let sql = format!(
        "SELECT l.pid, pg_catalog.quote_ident(a.usename), a.application_name {} LIMIT 1",
        holders(number)
    );
    let found = match rows(client, "looking for who has the lock", &sql).await {
        Ok(found) => found,
        Err(error) => return error,
    };
    let Some(row) = found.first() else { return other_run(&table.plain()) };
    let text = |at, none: &'static str| {
        row.get(at).filter(|text| !text.is_empty()).unwrap_or(none).to_owned()
    };
    let pid = text(0, "0");
    let holder = format!(
        "pid {pid}, role {}, application {:?}",
        text(1, "not shown to osc's role"),
        text(2, "")
    );
    locked_by(&table.plain(), &holder, &format!("SELECT pg_terminate_backend({pid})"))
}

/// The sessions that have an advisory lock, as the server splits its number; 1: it is one and not two.
pub(crate) fn holders(number: i64) -> String {
    format!(
        "FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         AND l.classid::bigint = {} AND l.objid::bigint = {} AND l.objsubid = 1",
        number >> 32,
        number & 0xffff_ffff
    )
}

/// Takes a run's locks, each within `patience`.
pub(crate) async fn take(
    client: &Client,
    table: &TableName,
    related: &[TableName],
    patience: Duration,
) -> Result<()> {
    let begun = Instant::now();
    for (number, other) in lock_numbers(table, related) {
        let sql = format!("SELECT pg_try_advisory_lock({number})");
        while value(client, "claiming the table", &sql).await?.as_deref() != Some("t") {
            if begun.elapsed() >= patience {
                return Err(taken(client, number, table, other).await);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// Gives the session's locks back before it ends: the server may see its end only after the next command has
/// asked for them.
pub(crate) async fn release(client: &Client) {
    let _ = run(client, "giving the table back", "SELECT pg_advisory_unlock_all()").await;
}

/// Fails where another run has one of these locks.
pub(crate) async fn look(client: &Client, table: &TableName, related: &[TableName]) -> Result<()> {
    for (number, other) in lock_numbers(table, related) {
        let sql = format!("SELECT EXISTS (SELECT {})", holders(number));
        if value(client, "looking for other runs", &sql).await?.as_deref() == Some("t") {
            return Err(taken(client, number, table, other).await);
        }
    }
    Ok(())
}
