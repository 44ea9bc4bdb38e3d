//! Who stands in the way of the cut-over's locks: on the original, and on the parents and children
//! of its foreign keys.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connection::answer::Answers as _;
use super::connection::errors::connection_error;
use super::connection::process_list::processes;
use super::connection::session::run;
use super::connection::version::Flavor;
use super::name::{TableName, Text};
use super::run::MysqlTable;
use crate::engine::blocker::{Blocker, blocked_by};
use crate::error::Result;
use crate::testing::mutation::{self, Rule};

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
    // Ages are whole seconds here.
    let limit = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX).div_ceil(1000);
    let mut old = holders(conn, table, 0).await?;
    old.retain(|blocker| blocker.is_older_than(Duration::from_secs(limit)));
    if let Some(patience) = table.setting.settings.kill_blockers_after() {
        let patience = Duration::from_secs(patience.as_secs());
        for blocker in old.iter_mut().filter(|blocker| blocker.is_older_than(patience)) {
            tracing::warn!(%blocker, "killing a session that blocks the cut-over");
            kill(conn, blocker).await?;
        }
    }
    Ok(blocked_by(&old))
}

/// Ends a session, if it has not ended by itself (1094); notes where osc may not.
async fn kill(conn: &mut Conn, blocker: &mut Blocker) -> Result<()> {
    match conn.query_drop(&blocker.statement).await {
        Err(mysql_async::Error::Server(error)) => {
            blocker.refusal = (error.code != 1094).then_some(error.message);
            Ok(())
        }
        outcome => outcome.map_err(|error| connection_error("killing a blocker", error)),
    }
}

/// Who holds a table that the cut-over locks, but for the session `but`, as the end of a message; empty
/// when that is not known.
pub(super) async fn who(conn: &mut Conn, table: &MysqlTable, but: u32) -> Result<String> {
    Ok(ending(&holders(conn, table, u64::from(but)).await?))
}

/// The same for a change that locks one table only.
pub(super) async fn of(conn: &mut Conn, table: &TableName, flavor: Flavor) -> Result<String> {
    let sql = locks(flavor.is_mariadb(), [table].into_iter());
    Ok(ending(&holding(conn, &sql, 0).await?))
}

fn ending(blockers: &[Blocker]) -> String {
    blocked_by(blockers).map_or_else(String::new, |why| format!("; {why}"))
}

async fn holders(conn: &mut Conn, table: &MysqlTable, but: u64) -> Result<Vec<Blocker>> {
    let original = &table.setting.original.name;
    let others = table.carried().lock_set(original);
    let sql = locks(table.setting.flavor.is_mariadb(), others.iter().chain([original]));
    holding(conn, &sql, but).await
}

async fn holding(conn: &mut Conn, sql: &str, but: u64) -> Result<Vec<Blocker>> {
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
    let processes = processes(conn, action).await?;
    let mut blockers: Vec<Blocker> = Vec::new();
    for lock in locks {
        let (Some(id), Some(schema), Some(name), age) = lock else { continue };
        let (session, plain) = (format!("session {id}"), TableName::new(schema, name).plain());
        if let Some(known) = blockers.iter_mut().find(|blocker| blocker.session == session) {
            known.tables.push(plain);
        } else if let Some(process) = processes.iter().find(|process| process.id == id)
            && id != but
        {
            blockers.push(Blocker {
                session,
                user: format!("{}@{}", process.user, process.host),
                state: if process.statement.is_empty() { "idle" } else { "active" }.into(),
                // Under LOCK TABLES there may be no transaction: then since its last statement at least.
                age: age.or(process.seconds).map(Duration::from_secs),
                tables: vec![plain],
                statement: format!("KILL {id}"),
                refusal: None,
            });
        }
    }
    Ok(blockers)
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
