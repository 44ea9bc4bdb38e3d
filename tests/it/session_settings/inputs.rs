//! The inputs of faults that settings were the cause of (`docs/understand/field-bugs.md`).

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server};

async fn exec(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

on_both_servers! {
    a_stored_column_over_a_timestamp_keeps_its_value_under_ansi_quotes
    a_quote_after_a_backslash_is_refused_where_the_login_reads_it_otherwise
    a_row_longer_than_a_packet_is_compared
    zero_dates_stay_as_they_are_on_a_strict_server
    a_later_attempt_converts_as_the_first_did
    a_server_that_turns_read_only_stops_the_run
    the_servers_lists_name_osc
}

/// F2, F2b: with both settings that change how a definition is shown.
async fn a_stored_column_over_a_timestamp_keeps_its_value_under_ansi_quotes(kind: Kind) {
    let server = Server::start(kind);
    for wrong in ["sql_mode = 'ANSI_QUOTES'", "sql_quote_show_create = 0"] {
        server.exec(&format!("SET GLOBAL {wrong}")).await;
        server.exec("SET GLOBAL time_zone = '+02:00'").await;
        let database = support::database(&server).await;
        let mut conn = server.conn_db(&database).await;
        exec(
            &mut conn,
            "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL, d DATE AS (DATE(ts)) STORED, v INT, \
             CONSTRAINT c1 CHECK (v < 10))",
        )
        .await;
        exec(&mut conn, "INSERT INTO t (id, ts, v) VALUES (1, '2024-01-01 00:30:00', 1)").await;
        Run::start(&server, &database, &["t", "MODIFY v BIGINT, DROP CONSTRAINT c1"]).done().await;
        let d: Option<String> = conn.query_first("SELECT CAST(d AS CHAR) FROM t").await.unwrap();
        assert_eq!(d.as_deref(), Some("2024-01-01"), "{wrong}");
    }
}

/// Attack 9.
async fn a_quote_after_a_backslash_is_refused_where_the_login_reads_it_otherwise(kind: Kind) {
    const SMUGGLED: &str =
        r"ADD COLUMN x VARCHAR(90) DEFAULT 'x\', DROP COLUMN victim, COMMENT = ' -- '";
    let server = Server::start(kind);
    let database = support::database(&server).await;
    server.exec_in(&database, "CREATE TABLE t (id INT PRIMARY KEY, victim INT)").await;
    server.exec("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'").await;
    let ended = Run::start(&server, &database, &["t", SMUGGLED]).end().await;
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(ended.error().contains("NO_BACKSLASH_ESCAPES"), "{ended:#?}");
    // Names of a plain session with ANSI_QUOTES are texts to osc.
    server.exec("SET GLOBAL sql_mode = 'ANSI_QUOTES'").await;
    let ended = Run::start(&server, &database, &["t", "ADD COLUMN \"x\" INT"]).end().await;
    assert!(matches!(ended.code, Some(2 | 4)), "{ended:#?}");
    // Without such a setting the server reads it as osc does.
    server.exec("SET GLOBAL sql_mode = ''").await;
    Run::start(&server, &database, &["t", SMUGGLED]).done().await;
    let columns = format!(
        "SELECT GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't'"
    );
    assert_eq!(server.value(&columns).await, "id,victim,x");
}

/// F4: the row's text is longer than a packet may be, and so are two of its columns together only.
async fn a_row_longer_than_a_packet_is_compared(kind: Kind) {
    let server = Server::start_with(kind, &["--max-allowed-packet=4M"]);
    let database = support::database(&server).await;
    let mut conn = server.conn_db(&database).await;
    exec(
        &mut conn,
        "CREATE TABLE t (id INT PRIMARY KEY, a LONGBLOB, b LONGTEXT CHARACTER SET latin1, v INT)",
    )
    .await;
    exec(&mut conn, "INSERT INTO t VALUES (1, REPEAT('x', 3000000), NULL, 5), (2, 's', 's', 6)")
        .await;
    exec(&mut conn, "UPDATE t SET b = REPEAT('y', 3000000) WHERE id = 1").await;
    let clauses = "ADD COLUMN z INT NOT NULL DEFAULT 1, MODIFY b LONGTEXT CHARACTER SET utf8mb4";
    let url = server.url(&database);
    let (run, point) = Run::until(&url, &["t", clauses], "chunk.copied").await;
    // Behind the stream's back.
    exec(&mut conn, "SET SESSION sql_log_bin = 0").await;
    exec(&mut conn, "UPDATE t_osc_new SET v = 999 WHERE id = 1").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(5), "{ended:#?}");
    assert!(ended.error().contains("id = 1"), "{ended:#?}");
}

/// The issue's item 7.
async fn zero_dates_stay_as_they_are_on_a_strict_server(kind: Kind) {
    const STRICT: &str =
        "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO";
    let server = Server::start(kind);
    let database = support::database(&server).await;
    let mut conn = server.conn_db(&database).await;
    exec(&mut conn, "SET SESSION sql_mode = ''").await;
    exec(
        &mut conn,
        "CREATE TABLE t (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00', \
         s DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00', p DATE, v INT)",
    )
    .await;
    exec(&mut conn, "INSERT INTO t (id, p, v) VALUES (1, '0000-00-00', 1), (2, '2020-00-00', 2)")
        .await;
    server.exec(&format!("SET GLOBAL sql_mode = '{STRICT}'")).await;
    let rows = "SELECT GROUP_CONCAT(id, ' ', d, ' ', s, ' ', p, ' ', v ORDER BY id) FROM t";
    let before: Option<String> = conn.query_first(rows).await.unwrap();
    // By copy, and as the server itself can.
    Run::start(&server, &database, &["t", "MODIFY v BIGINT"]).done().await;
    server.exec_in(&database, "DROP TABLE t_osc_old").await;
    let output = support::osc()
        .args([
            "alter",
            "t",
            "ADD COLUMN added INT, ADD INDEX (v)",
            "--yes",
            "--url",
            &server.url(&database),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after: Option<String> = conn.query_first(rows).await.unwrap();
    assert_eq!(before, after);
    let defaults = "SELECT GROUP_CONCAT(TRIM(BOTH '''' FROM COLUMN_DEFAULT) ORDER BY ORDINAL_POSITION) \
                    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't' \
                    AND COLUMN_NAME IN ('d', 's')";
    let defaults: Option<String> = conn.query_first(defaults).await.unwrap();
    assert_eq!(defaults.as_deref(), Some("0000-00-00,0000-00-00 00:00:00"));
}

/// The zone of plain sessions changes between two attempts: half of the rows would be in each.
async fn a_later_attempt_converts_as_the_first_did(kind: Kind) {
    let server = Server::start(kind);
    server.exec("SET GLOBAL time_zone = '+02:00'").await;
    let database = support::database(&server).await;
    let mut conn = server.conn_db(&database).await;
    exec(&mut conn, "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL)").await;
    let rows: Vec<String> = (1..=1000).map(|id| format!("({id}, '2024-01-01 12:00:00')")).collect();
    exec(&mut conn, "SET SESSION time_zone = '+00:00'").await;
    exec(&mut conn, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    let change = ["t", "MODIFY ts DATETIME NOT NULL", "--chunk-size", "100", "--threads", "1"];
    let killed = Run::faulty(&server.url(&database), &change, "chunk.copied@3=kill").end().await;
    assert_eq!(killed.code, None, "{killed:#?}");
    server.exec("SET GLOBAL time_zone = '+05:00'").await;
    Run::start(&server, &database, &change).done().await;
    let seen = "SELECT GROUP_CONCAT(DISTINCT ts) FROM t";
    let seen: Option<String> = conn.query_first(seen).await.unwrap();
    assert_eq!(seen.as_deref(), Some("2024-01-01 14:00:00"));
}

/// F20.
async fn a_server_that_turns_read_only_stops_the_run(kind: Kind) {
    let (on, off, user) = match kind {
        Kind::Mysql => ("super_read_only = 1", "read_only = 0", "root"),
        Kind::Mariadb => ("read_only = 1", "read_only = 0", "plain"),
    };
    let server = Server::start(kind);
    let database = support::database(&server).await;
    let mut conn = server.conn_db(&database).await;
    if user == "plain" {
        exec(&mut conn, "CREATE USER plain@'%'").await;
        exec(
            &mut conn,
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, TRIGGER, REFERENCES, \
             RELOAD, PROCESS, CREATE VIEW, SHOW VIEW, EVENT, REPLICATION SLAVE, BINLOG MONITOR, CONNECTION ADMIN \
             ON *.* TO plain@'%'",
        )
        .await;
    }
    exec(&mut conn, "CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    exec(&mut conn, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)").await;
    let url = server.url(&database).replace("root@", &format!("{user}@"));
    let (run, point) = Run::until(&url, &["t", "MODIFY v BIGINT"], "checkpoint.first").await;
    exec(&mut conn, &format!("SET GLOBAL {on}")).await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    exec(&mut conn, &format!("SET GLOBAL {off}")).await;
    Run::at(&url, &["t", "MODIFY v BIGINT"]).done().await;
}

/// What the on-call engineer sees of osc's sessions.
async fn the_servers_lists_name_osc(kind: Kind) {
    let server = Server::start_with(kind, &["--performance-schema=ON"]);
    let database = support::database(&server).await;
    server.exec_in(&database, "CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
    let mut run = Run::start(
        &server,
        &database,
        &["t", "MODIFY v BIGINT", "--hold", "--control-file", "none"],
    );
    run.phase("hold").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let named = "SELECT COUNT(DISTINCT PROCESSLIST_ID) FROM performance_schema.session_connect_attrs \
                 WHERE ATTR_NAME = 'program_name' AND ATTR_VALUE = 'osc'";
    let all = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{database}' OR COMMAND LIKE 'Binlog%'"
    );
    let (named, all) = (server.value(named).await, server.value(&all).await);
    run.kill();
    assert_eq!(named, all);
    assert!(named.parse::<u32>().unwrap() >= 2, "{named}");
}
