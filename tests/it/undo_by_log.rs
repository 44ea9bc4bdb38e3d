//! An undo that reads from the binary log what was written since the change, and compares those rows alone;
//! where the log cannot say it, both tables are compared, and osc says why.

use std::process::Stdio;
use std::time::Duration;

use crate::cli_run::point::Point;
use crate::cli_run::streams;
use crate::data::{Pair, ended};
use crate::support;
use crate::support::server::{Kind, Server};

const ROWS: &str = "
CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, u INT NOT NULL, v VARCHAR(40), title VARCHAR(20) DEFAULT 'none', UNIQUE KEY u (u));
INSERT INTO t WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900)
SELECT i, i, CONCAT('v', i), CONCAT('title ', i) FROM r
";

const WRITES: &str = "
UPDATE t SET v = 'new' WHERE id BETWEEN 100 AND 120;
DELETE FROM t WHERE id = 500;
INSERT INTO t (id, u, v) VALUES (5000, 5000, 'born');
UPDATE t SET u = -1 WHERE id = 1;
UPDATE t SET u = 1 WHERE id = 2;
UPDATE t SET u = 2 WHERE id = 1
";

/// Keys that [`WRITES`] names.
const NAMED: &str = "25 rows compared, all equal";

const ALL: &str = "900 rows compared, all equal";

async fn change(pair: &Pair, more: &[&str]) {
    let base = ["alter", "t", "DROP COLUMN title, ADD COLUMN added INT", "--strategy", "copy"];
    ended(&pair.osc(&[&base, more].concat()).await, 0).unwrap();
}

/// Changes the table, writes to both, does `between` to the first, and undoes the change.
async fn undone(mut pair: Pair, between: &str, flags: &[&str]) -> (Pair, String) {
    change(&pair, &[]).await;
    pair.both(WRITES).await;
    pair.script(0, between).await;
    let output = pair.revert("t", flags).await;
    ended(&output, 0).unwrap();
    let printed = streams(&output);
    (pair, printed)
}

async fn what_the_log_names_is_put_and_compared_alone(kind: Kind) {
    let (mut pair, printed) = undone(Pair::new(kind, ROWS).await, "", &[]).await;
    assert!(printed.contains(NAMED), "{printed}");
    pair.same("t").await.unwrap();
    // And forward again, from the place of that swap.
    pair.both("UPDATE t SET v = 'newer' WHERE id BETWEEN 600 AND 609").await;
    let again = pair.revert("t", &[]).await;
    ended(&again, 0).unwrap();
    assert!(streams(&again).contains("10 rows compared, all equal"), "{}", streams(&again));
    pair.both("DELETE FROM t WHERE id = 700").await;
    let back = pair.revert("t", &[]).await;
    ended(&back, 0).unwrap();
    assert!(streams(&back).contains("1 rows compared, all equal"), "{}", streams(&back));
    pair.same("t").await.unwrap();
}

async fn what_is_written_before_the_run_has_ended_is_put(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    let point = Point::new("swap.done").await;
    let mut alter = support::osc();
    alter.env("OSC_FAULT", point.fault()).args(["alter", "t", "DROP COLUMN title", "--yes"]);
    alter.args(["--strategy", "copy", "--url", &pair.url()]);
    let mut alter = alter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waiting = point.reached().await;
    pair.both(WRITES).await;
    drop(waiting);
    assert!(alter.wait().unwrap().success());
    let output = pair.revert("t", &[]).await;
    ended(&output, 0).unwrap();
    assert!(streams(&output).contains(NAMED), "{}", streams(&output));
    pair.same("t").await.unwrap();
}

async fn all_rows_are_compared_where_that_is_wanted(kind: Kind) {
    let (mut pair, printed) = undone(Pair::new(kind, ROWS).await, "", &["--verify", "all"]).await;
    assert!(printed.contains(ALL), "{printed}");
    pair.same("t").await.unwrap();
}

async fn another_sessions_rows_in_the_retired_table_are_put_right(kind: Kind) {
    let behind = "UPDATE t_osc_old SET v = 'wrong' WHERE id IN (1, 300);\n\
                  DELETE FROM t_osc_old WHERE id = 301;\n\
                  INSERT INTO t_osc_old (id, u) VALUES (4000, 4000)";
    let (mut pair, printed) = undone(Pair::new(kind, ROWS).await, behind, &[]).await;
    assert!(printed.contains("another session"), "{printed}");
    assert!(printed.contains("28 rows compared, all equal"), "{printed}");
    // What only the retired table knew of a row that was deleted there is gone.
    pair.script(1, "UPDATE t SET title = DEFAULT WHERE id = 301").await;
    pair.same("t").await.unwrap();
}

async fn a_definition_that_was_changed_since_means_that_all_rows_are_compared(kind: Kind) {
    let cases = [
        ("CREATE INDEX by_hand ON t (v)", "another's CREATE"),
        ("ALTER TABLE t_osc_old COMMENT 'mine'", "another's ALTER"),
    ];
    for (between, why) in cases {
        let pair = Pair::new(kind, ROWS).await;
        let (mut pair, printed) = undone(pair, between, &[]).await;
        assert!(printed.contains("both tables are compared"), "{between}: {printed}");
        assert!(printed.contains(why), "{between}: {printed}");
        if between.starts_with("ALTER") {
            pair.script(1, "ALTER TABLE t COMMENT 'mine'").await;
        }
        pair.same("t").await.unwrap();
    }
}

async fn a_run_that_compared_nothing_is_not_built_upon(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    change(&pair, &["--no-verify"]).await;
    pair.both(WRITES).await;
    let output = pair.revert("t", &[]).await;
    ended(&output, 0).unwrap();
    assert!(streams(&output).contains("both tables are compared"), "{}", streams(&output));
    assert!(streams(&output).contains(ALL), "{}", streams(&output));
    pair.same("t").await.unwrap();
}

/// Forgets the log but for a file that has just begun.
async fn purge(server: &Server) {
    server.exec("FLUSH BINARY LOGS").await;
    // MariaDB keeps files until their transactions are on the disk.
    for _ in 0..100 {
        let files = server.rows("SHOW BINARY LOGS").await;
        if files.len() < 2 {
            return;
        }
        let last = &files.last().unwrap()[0];
        server.exec(&format!("PURGE BINARY LOGS TO '{last}'")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the log was not purged");
}

async fn a_purged_log_means_that_all_rows_are_compared(kind: Kind) {
    let server: &'static Server = Box::leak(Box::new(Server::start(kind)));
    let mut pair = Pair::on(server, ROWS).await;
    change(&pair, &[]).await;
    purge(server).await;
    let output = pair.revert("t", &[]).await;
    ended(&output, 0).unwrap();
    let printed = streams(&output);
    assert!(printed.contains("it was purged past the change"), "{printed}");
    assert!(printed.contains(ALL), "{printed}");

    // The same while the undo is on its way to it.
    pair.script(0, "UPDATE t SET v = 'x' WHERE id < 4").await;
    let point = Point::new("checkpoint.first").await;
    let mut revert = support::osc();
    revert.env("OSC_FAULT", point.fault()).args(["revert", "t", "--yes", "--url", &pair.url()]);
    let revert = revert.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = point.reached().await;
    purge(server).await;
    drop(waiting);
    let output = revert.wait_with_output().unwrap();
    ended(&output, 0).unwrap();
    assert!(streams(&output).contains("both tables are compared"), "{}", streams(&output));
    assert!(streams(&output).contains(ALL), "{}", streams(&output));
}

on_both_servers! {
    what_the_log_names_is_put_and_compared_alone
    what_is_written_before_the_run_has_ended_is_put
    all_rows_are_compared_where_that_is_wanted
    another_sessions_rows_in_the_retired_table_are_put_right
    a_definition_that_was_changed_since_means_that_all_rows_are_compared
    a_run_that_compared_nothing_is_not_built_upon
    a_purged_log_means_that_all_rows_are_compared
}
