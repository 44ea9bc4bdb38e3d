//! Generated columns are compared where both tables must compute the same; rows are named by row
//! images that have the copy key only by the way; a server's own change ends with the run.

use crate::cli_run;
use crate::support;
use std::time::{Duration, Instant};

use crate::cli_run::streams;
use crate::data::{Case, Pair, all, becomes_the_same, ended};
use crate::support::process::signal;
use crate::support::server::{Kind, Server, rows};
use rustix::process::Signal;

const SETUP: &str = "
CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(20), s BIGINT AS (n + 1) STORED, w VARCHAR(30) AS (CONCAT(v, '!')) VIRTUAL);
INSERT INTO t (id, n, v) WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 400) SELECT i, i, CONCAT('v', i) FROM r;
";

/// Somebody changes what the shadow computes; its rows go on being equal but for that.
async fn a_generated_column_that_differs_is_found(kind: Kind) {
    for damage in [
        "ALTER TABLE t_osc_new MODIFY w VARCHAR(30) AS (CONCAT(v, '?')) VIRTUAL",
        "ALTER TABLE t_osc_new MODIFY s BIGINT AS (n + 2) STORED",
    ] {
        let mut pair = Pair::new(kind, SETUP).await;
        let held = pair.held("ADD COLUMN c INT", 150).await;
        pair.first(damage).await;
        let output = held.release().await;
        ended(&output, 5).unwrap();
        assert!(streams(&output).contains("id = "), "{}", streams(&output));
        pair.same("t").await.unwrap();
    }
}

/// What the clauses or the session make of a generated column is no difference.
const CHANGED: &[Case] = &[
    Case {
        name: "another expression",
        setup: SETUP,
        clauses: "MODIFY s BIGINT AS (n + 2) STORED, MODIFY w VARCHAR(30) AS (CONCAT('?', v)) VIRTUAL",
    },
    Case {
        name: "other sources",
        setup: SETUP,
        clauses: "MODIFY n BIGINT, MODIFY v VARCHAR(20) COLLATE utf8mb4_bin",
    },
    Case {
        name: "another type",
        setup: SETUP,
        clauses: "MODIFY s INT AS (n + 1) STORED, MODIFY w VARCHAR(40) AS (CONCAT(v, '!')) VIRTUAL",
    },
    Case { name: "one goes", setup: SETUP, clauses: "DROP COLUMN w, ADD COLUMN c INT" },
    Case {
        name: "one from another",
        setup: "
            CREATE TABLE t (id INT PRIMARY KEY, n INT, a INT AS (n * 2) VIRTUAL, b INT AS (a + 1) VIRTUAL, UNIQUE (b));
            INSERT INTO t (id, n) VALUES (1, 1), (2, NULL), (3, 3);",
        clauses: "ADD COLUMN c INT FIRST",
    },
    Case {
        name: "all kinds of types",
        setup: "
            CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, j JSON, d DATETIME(3), g FLOAT AS (f * 1.1) VIRTUAL, \
            k JSON AS (JSON_EXTRACT(j, '$.a')) VIRTUAL, e DATE AS (CAST(d AS DATE)) STORED, h BIT(9) AS (id) VIRTUAL);
            INSERT INTO t (id, f, j, d) VALUES (1, 1.7, '{\"a\": [1.50]}', '2024-02-29 12:00:00.123'), (2, NULL, NULL, NULL);",
        clauses: "ADD COLUMN c INT FIRST",
    },
];

async fn generated_columns_come_through_whatever_becomes_of_them(kind: Kind) {
    all(CHANGED, |case| becomes_the_same(kind, case)).await;
}

/// MariaDB lets a virtual column be another value each time it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_depends_on_the_moment_is_not_compared() {
    let setup = "
        CREATE TABLE t (id INT PRIMARY KEY, r DOUBLE AS (RAND()) VIRTUAL, u VARCHAR(99) AS (UUID()) VIRTUAL, c BIGINT AS (CONNECTION_ID()) VIRTUAL);
        INSERT INTO t (id) VALUES (1), (2), (3);";
    let pair = Pair::new(Kind::Mariadb, setup).await;
    ended(&pair.alter("t", "ADD COLUMN x INT").await, 0).unwrap();
}

/// The primary key cannot order the copy; the row images have the other key nonetheless.
async fn images_without_large_columns_name_rows_by_any_key(kind: Kind) {
    let server = Server::start_with(kind, &["--binlog-row-image=NOBLOB"]);
    let database = support::database(&server).await;
    let mut conn = server.conn_db(&database).await;
    for sql in [
        "CREATE TABLE t (f FLOAT PRIMARY KEY, u INT NOT NULL UNIQUE, n INT, b TEXT)",
        "INSERT INTO t WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r \
         WHERE i < 400) SELECT i, i, 0, 'b' FROM r",
    ] {
        mysql_async::prelude::Queryable::query_drop(&mut conn, sql).await.unwrap();
    }
    let change = ["t", "ADD COLUMN c INT", "--chunk-size", "20", "--threads", "1"];
    let url = server.url(&database);
    let (run, point) = cli_run::Run::until(&url, &change, "chunk.copied@3").await;
    for sql in [
        "UPDATE t SET n = n + 1",
        "UPDATE t SET u = 1000, b = 'c' WHERE u = 7",
        "DELETE FROM t WHERE u = 8",
        "INSERT INTO t VALUES (500.5, 9000, 1, 'new')",
    ] {
        server.exec_in(&database, sql).await;
    }
    drop(point);
    run.done().await;
    let sum = "SELECT COUNT(*), SUM(n), SUM(u), SUM(CRC32(b)) FROM";
    assert_eq!(
        rows(&mut conn, &format!("{sum} t")).await,
        rows(&mut conn, &format!("{sum} t_osc_old")).await
    );
}

/// A server continues a statement whose client has left.
async fn a_signal_ends_the_servers_own_change_too(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let many = "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900) ";
    server
        .exec_in(&database, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(99))")
        .await;
    let fill = format!(
        "INSERT INTO t (v) {many} SELECT CONCAT(CRC32(a.i * 1000 + b.i), '-', b.i, '-', CRC32(a.i)) FROM r a, r b LIMIT 400000"
    );
    server.exec_in(&database, &fill).await;
    let mut child = support::osc()
        .args(["alter", "t", "ADD INDEX (v), ADD INDEX w (v, id), ADD INDEX x (v DESC)", "--yes"])
        .args(["--strategy", "inplace", "--url", &server.url(&database)])
        .spawn()
        .unwrap();
    let working = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                   WHERE INFO LIKE 'ALTER%' AND STATE NOT LIKE '%lock%'";
    let begun = Instant::now();
    while server.value(working).await == "0" {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(&child, Signal::TERM);
    let code = child.wait().unwrap().code();
    assert_eq!(server.value(working).await, "0", "the server works on");
    assert_eq!(code, Some(3));
    let create = server.rows(&format!("SHOW CREATE TABLE {database}.t")).await.concat();
    assert!(!create[1].contains("KEY `v`"), "{create:?}");
}

on_both_servers! {
    a_generated_column_that_differs_is_found
    generated_columns_come_through_whatever_becomes_of_them
    images_without_large_columns_name_rows_by_any_key
    a_signal_ends_the_servers_own_change_too
}
