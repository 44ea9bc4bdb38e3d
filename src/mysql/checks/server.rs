//! Whether the server's settings allow an online copy.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::Checked;
use crate::error::{Error, Finding, Findings, Result};
use crate::mysql::catalog::table::Table;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::texts::texts;
use crate::mysql::name::Ident;

/// The short columns of a row (64 KiB) in the longest form in which they are compared are below this.
const LEAST_PACKET: u64 = 1 << 20;

async fn variables(conn: &mut Conn) -> Result<HashMap<String, String>> {
    let names = [
        "log_bin",
        "binlog_format",
        "binlog_order_commits",
        "binlog_row_image",
        "server_id",
        "read_only",
        "super_read_only",
        "log_slave_updates",
        "log_replica_updates",
        "wsrep_on",
        "group_replication_single_primary_mode",
        "innodb_read_only",
        "max_allowed_packet",
        "innodb_log_writer_threads",
    ];
    let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let rows: Vec<(String, String)> = conn
        .all(format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", list.join(", ")))
        .await
        .map_err(|error| connection_error("reading the server's settings", error))?;
    Ok(rows.into_iter().map(|(name, value)| (name.to_lowercase(), value.to_uppercase())).collect())
}

/// The binlog is there, in row format, in commit order, and has this schema.
pub(crate) async fn binlog(
    conn: &mut Conn,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let variables = variables(conn).await?;
    let is = |name: &str, value: &str| variables.get(name).is_some_and(|found| found == value);
    if !is("log_bin", "ON") {
        findings.refuse(
            "log-bin",
            "the server writes no binlog (log_bin is OFF), so changes cannot be followed",
            "start the server with log_bin",
        );
        return Ok(());
    }
    if let Some(format) = variables.get("binlog_format").filter(|format| *format != "ROW") {
        findings.refuse(
            "binlog-format",
            format!("binlog_format is {format}: the binlog does not name the rows that change"),
            "SET GLOBAL binlog_format = ROW, and let sessions that were open before reconnect",
        );
    }
    if is("binlog_order_commits", "OFF") {
        findings.refuse(
            "binlog-order-commits",
            "binlog_order_commits is OFF: a change could be read in the binlog long before it is \
             visible to readers",
            "SET GLOBAL binlog_order_commits = ON",
        );
    }
    if is("binlog_row_image", "MINIMAL")
        && let Some(finding) = unnamed(checked)
    {
        findings.refusals.push(finding);
    }
    if is("server_id", "0") {
        findings.refuse(
            "server-id",
            "server_id is 0: the server refuses to send its binlog",
            "SET GLOBAL server_id to a number of its own",
        );
    }
    let packet = variables.get("max_allowed_packet").and_then(|bytes| bytes.parse().ok());
    if packet.is_some_and(|bytes: u64| bytes < LEAST_PACKET) {
        findings.refuse(
            "max-allowed-packet",
            "max_allowed_packet is below 1 MiB: rows could not be compared, and lists of keys not be sent",
            "SET GLOBAL max_allowed_packet = 67108864",
        );
    }
    for name in ["super_read_only", "innodb_read_only"] {
        if is(name, "ON") {
            findings.refuse(
                "read-only",
                format!("the server is read only ({name} is ON)"),
                "connect to the primary",
            );
        }
    }
    // Without these threads a commit that waits for another's redo can miss its being woken, and then
    // waits 100 ms (seen on 9.7). Off is the default of machines with few cores since 8.4.
    if is("innodb_log_writer_threads", "OFF") {
        findings.notes.push(
            "innodb_log_writer_threads is OFF: while rows are copied some commits, the application's too, \
             wait 100 ms for the redo log; SET GLOBAL innodb_log_writer_threads = ON for that time ends it"
                .into(),
        );
    }
    filters(conn, checked, findings).await?;
    Ok(())
}

/// Why minimal images of rows would not name them by a key that can order the copy, as far as the
/// clauses say; `None`: they may.
fn unnamed(checked: &Checked<'_>) -> Option<Finding> {
    let original = checked.original;
    let key = original.clustered()?;
    let kept = |name: &Ident| checked.change.kept.iter().any(|(old, _)| old.same(name));
    let stays = key.parts.iter().filter_map(|part| part.column.as_ref()).all(kept);
    let keys = original.copy_keys();
    let orders = keys.iter().any(|index| index.name.same(&key.name));
    // Without any key to copy by there is a finding already.
    (!keys.is_empty() && (!orders || !stays)).then(|| minimal_image(&key.name))
}

fn minimal_image(key: &Ident) -> Finding {
    Finding::new(
        "row-image",
        format!(
            "binlog_row_image is MINIMAL: the binlog names changed rows by {key} only, and that \
             key cannot order this copy"
        ),
        "SET GLOBAL binlog_row_image = NOBLOB or FULL, and let sessions that were open before \
         reconnect",
    )
}

/// Refuses a copy in the order of `index` where the binlog has the columns of another key only.
///
/// # Errors
/// `Refused`, and those of `connection_error`.
pub(crate) async fn row_image(conn: &mut Conn, original: &Table, index: &Ident) -> Result<()> {
    match original.clustered() {
        Some(key) if !key.name.same(index) => {
            let minimal = variables(conn).await?;
            let minimal = minimal.get("binlog_row_image").is_some_and(|image| image == "MINIMAL");
            if minimal { Err(Error::Refused(vec![minimal_image(&key.name)])) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

async fn filters(conn: &mut Conn, checked: &Checked<'_>, findings: &mut Findings) -> Result<()> {
    let new_words = !checked.flavor.is_mariadb() && checked.flavor.at_least(8, 2, 0);
    let sql = if new_words { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let status: Option<Row> = match conn.query_first(sql).await {
        Ok(status) => status,
        // The missing right is a finding of its own.
        Err(mysql_async::Error::Server(_)) => None,
        Err(error) => return Err(connection_error("reading the binlog's status", error)),
    };
    let Some(status) = status else { return Ok(()) };
    let texts = texts(status)?;
    let names = |at: usize| -> Vec<String> {
        let list = texts.get(at).map(String::as_str).unwrap_or_default();
        list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let (only, ignored) = (names(2), names(3));
    let kept_out = |schema: &str| {
        let named = |list: &[String]| list.iter().any(|name| name == schema);
        !only.is_empty() && !named(&only) || named(&ignored)
    };
    let schema = checked.original.name.schema.as_str();
    if kept_out(schema) {
        findings.refuse(
            "binlog-filter",
            format!("changes in schema {schema} are kept out of the binlog (binlog_do_db, binlog_ignore_db)"),
            "take the filter away: osc must see every change",
        );
    }
    let ledger = checked.schema.as_str();
    if kept_out(ledger) && ledger != schema {
        findings.refuse(
            "binlog-filter",
            format!(
                "the ledger's schema {ledger} is kept out of the binlog (binlog_do_db, binlog_ignore_db): \
                 osc's markers would never come"
            ),
            format!("have {ledger} in the binlog, or name a schema that is: --ledger"),
        );
    }
    Ok(())
}

/// Galera, group replication with several primaries, a replica that does not log what it applies.
pub(crate) async fn topology(
    conn: &mut Conn,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let variables = variables(conn).await?;
    let is = |name: &str, value: &str| variables.get(name).is_some_and(|found| found == value);
    if is("wsrep_on", "ON") {
        findings.refuse(
            "galera",
            "the server is a Galera node: LOCK TABLES locks one node only, so that writes on the \
             others would be lost at the cut-over",
            "use a rolling upgrade, or the server's own ALTER with total order isolation",
        );
    }
    if is("group_replication_single_primary_mode", "OFF") {
        findings.refuse(
            "group-replication",
            "group replication runs with several primaries: LOCK TABLES locks one of them only",
            "switch the group to a single primary while osc works",
        );
    }
    let logs = is("log_slave_updates", "ON") || is("log_replica_updates", "ON");
    if !logs && is_replica(conn, checked).await? {
        findings.refuse(
            "log-replica-updates",
            "the server is a replica that does not log what it applies: changes would be missed",
            "connect to the primary, or set log_replica_updates (log_slave_updates)",
        );
    }
    if is("read_only", "ON") && !is("super_read_only", "ON") {
        findings.notes.push("the server is read only for ordinary users (read_only is ON)".into());
    }
    Ok(())
}

async fn is_replica(conn: &mut Conn, checked: &Checked<'_>) -> Result<bool> {
    let sql = if checked.flavor.is_mariadb() {
        "SHOW ALL SLAVES STATUS"
    } else if checked.flavor.at_least(8, 0, 22) {
        "SHOW REPLICA STATUS"
    } else {
        "SHOW SLAVE STATUS"
    };
    match conn.all::<Row>(sql).await {
        Ok(rows) => Ok(!rows.is_empty()),
        Err(mysql_async::Error::Server(_)) => Ok(false),
        Err(error) => Err(connection_error("asking whether the server is a replica", error)),
    }
}

/// The space that a copy needs against what is free, where the server shows it (MariaDB's DISKS
/// plugin).
pub(crate) async fn disk(
    conn: &mut Conn,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let needed = checked.original.bytes.saturating_mul(11) / 10;
    let shown = bytesize::ByteSize(needed);
    let free: std::result::Result<Option<Option<u64>>, _> = conn
        .query_first(
            "SELECT Available * 1024 FROM information_schema.DISKS \
             WHERE @@datadir LIKE CONCAT(TRIM(TRAILING '/' FROM Path), '/%') \
             ORDER BY LENGTH(Path) DESC LIMIT 1",
        )
        .await;
    match free {
        Ok(Some(Some(free))) if free < needed => findings.refuse(
            "disk-space",
            format!(
                "the shadow needs about {shown}, and as much again for the binlog; the server has {} free",
                bytesize::ByteSize(free)
            ),
            "make room first: a full disk stops the whole server",
        ),
        Ok(Some(Some(_))) => {}
        Ok(_) | Err(mysql_async::Error::Server(_)) => findings.notes.push(format!(
            "the shadow needs about {shown} of disk, and its rows pass through the binlog; this server \
             does not show how much is free"
        )),
        Err(error) => return Err(connection_error("asking for free disk space", error)),
    }
    Ok(())
}
