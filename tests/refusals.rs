//! What tables and clauses are refused for before the start, and that nothing is changed by it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod refused;
mod support;

use refused::Place;
use support::server::Kind;

const ADD: &str = "ADD COLUMN c INT";

async fn place(kind: Kind) -> Place<'static> {
    Place::new(support::shared(kind)).await
}

async fn what_is_no_table_of_innodb_is_refused(kind: Kind) {
    let place = place(kind).await;
    place.run("CREATE VIEW v AS SELECT id FROM t").await;
    place.refuses("v", ADD, "table", &["v is a view"]).await;
    place.refuses("gone", ADD, "table", &["there is no table"]).await;
    place.refuses("`t😀`", ADD, "table", &["there is no table"]).await;
    place.run("CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM").await;
    place.refuses("m", ADD, "engine", &["MyISAM", "InnoDB"]).await;
    if kind == Kind::Mariadb {
        place.run("CREATE TABLE s (id INT PRIMARY KEY) WITH SYSTEM VERSIONING").await;
        place.refuses("s", ADD, "system-versioning", &["history"]).await;
        place.run("CREATE SEQUENCE q").await;
        place.refuses("q", ADD, "table", &["q is a sequence"]).await;
    }
}

async fn a_table_without_a_key_to_copy_by_is_refused(kind: Kind) {
    let place = place(kind).await;
    for (table, columns) in [
        ("none", "a INT, KEY (a)"),
        ("nullable", "a INT, UNIQUE (a)"),
        ("half", "a INT NOT NULL, b INT, UNIQUE (a, b)"),
        ("prefix", "a VARCHAR(90) NOT NULL, UNIQUE (a(5))"),
        ("floats", "a FLOAT PRIMARY KEY, b DOUBLE NOT NULL UNIQUE"),
    ] {
        place.run(&format!("CREATE TABLE {table} ({columns})")).await;
        place.refuses(table, ADD, "copy-key", &["not-null", "add a primary key"]).await;
    }
}

async fn what_other_runs_and_tools_left_is_refused(kind: Kind) {
    for (left, check) in [
        ("_t_gho", "other-tool"),
        ("_t_ghc", "other-tool"),
        ("_t_new", "other-tool"),
        ("_t_chkpnt", "other-tool"),
        ("t_osc_new", "leftovers"),
        ("t_osc_old", "leftovers"),
    ] {
        let place = place(kind).await;
        place.run(&format!("CREATE TABLE {left} (id INT PRIMARY KEY)")).await;
        place.refuses("t", ADD, check, &[left]).await;
    }
}

async fn clauses_that_osc_is_not_for_are_refused(kind: Kind) {
    let place = place(kind).await;
    for (clauses, check) in [
        ("RENAME TO other", "rename-table"),
        ("RENAME other", "rename-table"),
        ("ADD COLUMN c INT, RENAME AS `other`", "rename-table"),
        ("DISCARD TABLESPACE", "tablespace"),
        ("EXCHANGE PARTITION p WITH TABLE other", "partition-exchange"),
        ("DROP PARTITION p", "partition-maintenance"),
        ("ENGINE=MyISAM", "engine"),
        ("ORDER BY a", "order-by"),
        ("DISABLE KEYS", "keys"),
        ("ADD SYSTEM VERSIONING", "system-versioning"),
        ("FROBNICATE a", "unknown-clause"),
    ] {
        place.refuses("t", clauses, check, &[]).await;
    }
}

/// What only the server can tell is tried on an empty shadow, so that `osc plan` cannot.
async fn clauses_that_the_server_does_not_take_are_refused(kind: Kind) {
    let place = place(kind).await;
    for clauses in [
        "ADD COLUMN c NOTYPE",
        "DROP INDEX gone",
        "ADD INDEX (gone)",
        "ADD COLUMN c INT DEFAULT 'x'",
    ] {
        // But for the ledger, which tells of the attempt.
        let tables = "SHOW CREATE TABLE t";
        let before = place.rows(tables).await;
        let answer = place.ask(&["alter", "t", clauses, "--yes"]).await;
        assert_eq!(answer.code, Some(4), "{clauses}: {}", answer.said);
        assert!(answer.said.contains("help:"), "{clauses}: {}", answer.said);
        assert_eq!(place.rows(tables).await, before, "{clauses}");
        let left = place.rows("SHOW TABLES LIKE 't\\_osc\\_%'").await;
        assert!(left.is_empty(), "{clauses}: {left:?}");
    }
}

async fn clauses_that_cannot_be_read_are_wrong_usage(kind: Kind) {
    let place = place(kind).await;
    for clauses in [
        "",
        " \n",
        ";",
        ",",
        "ADD COLUMN",
        "ADD COLUMN c INT,",
        "ADD COLUMN c INT DEFAULT 'x",
        "ADD COLUMN c INT; DROP TABLE t",
        "ADD COLUMN (c INT",
        "ADD COLUMN a INT",
        "DROP COLUMN gone",
        "ALTER TABLE other ADD COLUMN c INT",
        "ALTER TABLE t",
        "DROP TABLE t",
    ] {
        let before = place.everything().await;
        for command in ["plan", "alter"] {
            let answer = place.ask(&[command, "t", clauses]).await;
            assert!(matches!(answer.code, Some(2 | 4)), "{clauses:?}: {}", answer.said);
            assert_eq!(place.everything().await, before, "{clauses:?}");
        }
    }
    let statement = "ALTER TABLE t ADD COLUMN c INT";
    place.declines(statement, "ADD COLUMN d INT", 2, &["followed by nothing"]).await;
}

/// Names are at the server's limits: 64 characters, reserved words, anything in backticks.
async fn any_name_works(kind: Kind) {
    let server = support::shared(kind);
    let long = "x".repeat(64);
    let wide = "é".repeat(64);
    let names =
        [long.as_str(), &wide, "select", "1st", "a-b.c", "it's `quo\"ted`", "день", " a%_\\"];
    for name in names {
        let place = Place::new(server).await;
        let quoted = format!("`{}`", name.replace('`', "``"));
        place.run(&format!("CREATE TABLE {quoted} ({quoted} INT PRIMARY KEY, a INT)")).await;
        place.run(&format!("INSERT INTO {quoted} VALUES (1, 1), (2, 2)")).await;
        let clauses =
            format!("MODIFY a BIGINT, ADD COLUMN c INT DEFAULT 7, ADD INDEX {quoted} (a)");
        let answer = place.ask(&["alter", &quoted, &clauses, "--yes"]).await;
        assert_eq!(answer.code, Some(0), "{name}: {}", answer.said);
        let sum = format!("SELECT SUM(c) + SUM({quoted}) FROM {}.{quoted}", place.database);
        assert_eq!(server.value(&sum).await, "17", "{name}");
        let answer = place.ask_plainly(&["cleanup", &quoted, "--yes"]).await;
        assert_eq!(answer.code, Some(0), "{name}: {}", answer.said);
    }
}

on_both_servers! {
    what_is_no_table_of_innodb_is_refused
    a_table_without_a_key_to_copy_by_is_refused
    what_other_runs_and_tools_left_is_refused
    clauses_that_osc_is_not_for_are_refused
    clauses_that_the_server_does_not_take_are_refused
    clauses_that_cannot_be_read_are_wrong_usage
    any_name_works
}
