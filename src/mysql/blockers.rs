//! Who stands in the way of the cut-over's lock.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::engine::Result;
use crate::mysql::connect::connection_error;
use crate::mysql::name::Text;
use crate::mysql::session::run;
use crate::mysql::table::MysqlTable;

type Holder = (u64, Option<String>, Option<String>, Option<u64>, Option<String>);

/// Transactions that hold the original's metadata lock and are older than the cut-over may wait.
/// MySQL tells by its performance schema; MariaDB where the plugin METADATA_LOCK_INFO is installed.
/// `None`: none known.
pub async fn old_transactions(
    conn: &mut Conn,
    table: &MysqlTable,
    older_than: Duration,
) -> Result<Option<String>> {
    let holders = holders(conn, table, 0).await?;
    let limit = u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX).div_ceil(1000);
    let old: Vec<&Holder> =
        holders.iter().filter(|holder| holder.3.is_some_and(|age| age >= limit)).collect();
    if old.is_empty() {
        return Ok(None);
    }
    if let Some(patience) = table.setting.kill_blockers_after {
        for holder in &old {
            if holder.3.is_some_and(|age| age >= patience.as_secs()) {
                tracing::warn!(session = holder.0, "killing a session that blocks the cut-over");
                run(conn, "killing a blocker", &format!("KILL {}", holder.0)).await?;
            }
        }
    }
    Ok(Some(format!("an open transaction holds the table: {}", list(&old))))
}

/// Who holds the original, for a message; empty when that is not known.
pub async fn who(conn: &mut Conn, table: &MysqlTable, but: u32) -> Result<String> {
    let holders = holders(conn, table, u64::from(but)).await?;
    if holders.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("; held by {}", list(&holders.iter().collect::<Vec<_>>())))
}

fn list(holders: &[&Holder]) -> String {
    let holders: Vec<String> = holders
        .iter()
        .take(5)
        .map(|(id, user, host, age, query)| {
            let age = age.map_or_else(|| "?".to_owned(), |age| age.to_string());
            let query: String = query.as_deref().unwrap_or("idle").chars().take(80).collect();
            format!(
                "session {id} ({}@{}, {age} s: {query})",
                user.as_deref().unwrap_or("?"),
                host.as_deref().unwrap_or("?")
            )
        })
        .collect();
    holders.join(", ")
}

async fn holders(conn: &mut Conn, table: &MysqlTable, but: u64) -> Result<Vec<Holder>> {
    let name = &table.setting.original.name;
    let (schema, table_name) = (Text(name.schema.as_str()), Text(name.table.as_str()));
    let sql = if table.setting.flavor.is_mariadb() {
        format!(
            "SELECT l.THREAD_ID, p.USER, p.HOST, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), p.INFO \
             FROM information_schema.METADATA_LOCK_INFO l \
             JOIN information_schema.PROCESSLIST p ON p.ID = l.THREAD_ID \
             LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = l.THREAD_ID \
             WHERE l.TABLE_SCHEMA = {schema} AND l.TABLE_NAME = {table_name} AND l.THREAD_ID <> {but}"
        )
    } else {
        format!(
            "SELECT DISTINCT p.ID, p.USER, p.HOST, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), p.INFO \
             FROM performance_schema.metadata_locks l \
             JOIN performance_schema.threads h ON h.THREAD_ID = l.OWNER_THREAD_ID \
             JOIN information_schema.PROCESSLIST p ON p.ID = h.PROCESSLIST_ID \
             LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID \
             WHERE l.OBJECT_TYPE = 'TABLE' AND l.LOCK_STATUS = 'GRANTED' \
               AND l.OBJECT_SCHEMA = {schema} AND l.OBJECT_NAME = {table_name} AND p.ID <> {but} \
               AND p.ID <> CONNECTION_ID()"
        )
    };
    // trx_started is in the zone of the server's system, whatever the session's is.
    run(conn, "looking for blockers", "SET SESSION time_zone = 'SYSTEM'").await?;
    match conn.query(sql).await {
        Ok(rows) => Ok(rows),
        // No plugin, no performance schema, no right: not known.
        Err(mysql_async::Error::Server(_)) => Ok(Vec::new()),
        Err(error) => Err(connection_error("looking for blockers", error)),
    }
}
