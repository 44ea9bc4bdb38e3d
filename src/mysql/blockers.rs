//! Who stands in the way of the cut-over's locks: on the original, and on the parents and children
//! of its foreign keys.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connection::answer::Answers as _;
use super::connection::errors::connection_error;
use super::connection::process_list::{Process, processes};
use super::connection::session::run;
use super::connection::version::Flavor;
use super::name::{TableName, Text};
use super::run::MysqlTable;
use crate::error::Result;
use crate::testing::mutation::{self, Rule};

/// A session that holds tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    process: Process,
    /// For how many seconds, at least; `None`: unknown.
    age: Option<u64>,
    /// The tables, for a human.
    tables: Vec<String>,
}

/// Transactions that hold a table that the cut-over locks and are older than it may wait.
/// MySQL tells by its performance schema; MariaDB where the plugin METADATA_LOCK_INFO is installed.
/// `None`: none known.
pub(super) async fn old_transactions(
    conn: &mut Conn,
    table: &MysqlTable,
    older_than: Duration,
) -> Result<Option<String>> {
    if mutation::active(Rule::LockBudget) {
        return Ok(None);
    }
    let holders = holders(conn, table, 0).await?;
    let limit = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX).div_ceil(1000);
    let old: Vec<Holder> =
        holders.into_iter().filter(|holder| holder.age.is_some_and(|age| age >= limit)).collect();
    if old.is_empty() {
        return Ok(None);
    }
    let mut kept = String::new();
    if let Some(patience) = table.setting.settings.kill_blockers_after() {
        for holder in &old {
            if holder.age.is_some_and(|age| age >= patience.as_secs()) {
                tracing::warn!(
                    session = holder.process.id,
                    tables = holder.tables.join(", "),
                    "killing a session that blocks the cut-over"
                );
                if let Some(refusal) = kill(conn, holder.process.id).await? {
                    kept = refusal;
                }
            }
        }
    }
    Ok(Some(format!("blocked by an open transaction: {}{kept}", list(&old))))
}

/// Ends a session, if it has not ended by itself (1094). `Some`: osc may not; why, and who can.
async fn kill(conn: &mut Conn, id: u64) -> Result<Option<String>> {
    match conn.query_drop(format!("KILL {id}")).await {
        Err(mysql_async::Error::Server(error)) if error.code == 1094 => Ok(None),
        Err(mysql_async::Error::Server(error)) => Ok(Some(format!(
            "; osc may not end it ({}), an administrator can: KILL {id}",
            error.message
        ))),
        outcome => {
            outcome.map(|()| None).map_err(|error| connection_error("killing a blocker", error))
        }
    }
}

/// Who holds a table that the cut-over locks, for a message; empty when that is not known.
pub(super) async fn who(conn: &mut Conn, table: &MysqlTable, but: u32) -> Result<String> {
    let holders = holders(conn, table, u64::from(but)).await?;
    Ok(if holders.is_empty() { String::new() } else { format!("; blocked by: {}", list(&holders)) })
}

fn list(holders: &[Holder]) -> String {
    let told = |text: &str| if text.is_empty() { "?".to_owned() } else { text.to_owned() };
    let holders: Vec<String> = holders
        .iter()
        .take(5)
        .map(|Holder { process, age, tables }| {
            let age = age.map_or_else(|| "?".to_owned(), |age| age.to_string());
            // Not its statement: that may hold values of rows.
            let does = if process.statement.is_empty() { "idle" } else { "active" };
            format!(
                "{} by session {id} ({}@{}, {does}, transaction open {age} s); to end it: KILL {id}",
                tables.join(", "),
                told(&process.user),
                told(&process.host),
                id = process.id,
            )
        })
        .collect();
    holders.join("; ")
}

/// The same for a change that locks one table only.
pub(super) async fn of(conn: &mut Conn, table: &TableName, flavor: Flavor) -> Result<String> {
    let sql = locks(flavor.is_mariadb(), [table].into_iter());
    let holders = holding(conn, &sql, 0).await?;
    Ok(if holders.is_empty() { String::new() } else { format!("; blocked by: {}", list(&holders)) })
}

async fn holders(conn: &mut Conn, table: &MysqlTable, but: u64) -> Result<Vec<Holder>> {
    let original = &table.setting.original.name;
    let others = table.carried().lock_set(original);
    let sql = locks(table.setting.flavor.is_mariadb(), others.iter().chain([original]));
    holding(conn, &sql, but).await
}

async fn holding(conn: &mut Conn, sql: &str, but: u64) -> Result<Vec<Holder>> {
    let action = "looking for blockers";
    // trx_started is in the zone of the server's system, whatever the session's is.
    run(conn, action, "SET SESSION time_zone = 'SYSTEM'").await?;
    // The performance schema is read while it changes: anything may have become NULL.
    type Lock = (Option<u64>, Option<String>, Option<String>, Option<u64>);
    let locks: Vec<Lock> = match conn.all(sql).await {
        Ok(rows) => rows,
        // No plugin, no performance schema, no right: not known.
        Err(mysql_async::Error::Server(_)) => return Ok(Vec::new()),
        Err(error) => return Err(connection_error(action, error)),
    };
    let mut holders: Vec<Holder> = Vec::new();
    let processes = processes(conn, action).await?;
    for lock in locks {
        let (Some(id), Some(schema), Some(name), age) = lock else { continue };
        let plain = TableName::new(schema, name).plain();
        if let Some(known) = holders.iter_mut().find(|holder| holder.process.id == id) {
            known.tables.push(plain);
        } else if let Some(process) = processes.iter().find(|process| process.id == id)
            && id != but
        {
            // Under LOCK TABLES there may be no transaction: then since its last statement at least.
            let age = age.or(process.seconds);
            holders.push(Holder { process: process.clone(), age, tables: vec![plain] });
        }
    }
    Ok(holders)
}

/// Selects the sessions that hold one of `tables`, the table, and the age of their transaction in
/// seconds.
fn locks<'a>(mariadb: bool, tables: impl Iterator<Item = &'a TableName>) -> String {
    let (from, id, schema, name) = if mariadb {
        let from = "information_schema.METADATA_LOCK_INFO l".to_owned();
        (from, "l.THREAD_ID", "l.TABLE_SCHEMA", "l.TABLE_NAME")
    } else {
        let from = "performance_schema.metadata_locks l \
             JOIN performance_schema.threads h ON h.THREAD_ID = l.OWNER_THREAD_ID \
             AND l.OBJECT_TYPE = 'TABLE' AND l.LOCK_STATUS = 'GRANTED'";
        (from.to_owned(), "h.PROCESSLIST_ID", "l.OBJECT_SCHEMA", "l.OBJECT_NAME")
    };
    let among: Vec<String> = tables
        .map(|table| {
            let (its_schema, its_name) = (Text(table.schema.as_str()), Text(table.table.as_str()));
            format!("({schema} = {its_schema} AND {name} = {its_name})")
        })
        .collect();
    // NOW() is the statement's begin: a transaction may have started later.
    format!(
        "SELECT DISTINCT {id}, {schema}, {name}, \
           GREATEST(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), 0) \
         FROM {from} LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = {id} \
         WHERE {id} IS NOT NULL AND {id} <> CONNECTION_ID() AND ({}) ORDER BY {id}",
        among.join(" OR ")
    )
}
