//! What tables and clauses are refused for before the start, and that nothing is changed by it.

use crate::refusal::Place;
use crate::support;
use crate::support::server::Kind;

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

/// What only the server can tell is tried on an empty copy of the table.
async fn clauses_that_the_server_does_not_take_are_refused(kind: Kind) {
    let place = place(kind).await;
    for clauses in [
        "ADD COLUMN c NOTYPE",
        "DROP INDEX gone",
        "ADD INDEX (gone)",
        "ADD COLUMN c INT DEFAULT 'x'",
    ] {
        let words = ["the server does not take these clauses"];
        place.refuses("t", clauses, "clauses", &words).await;
        for command in ["plan", "alter"] {
            let answer = place.ask_plainly(&[command, "t", clauses, "--yes"]).await;
            assert_eq!(answer.code, Some(4), "{clauses}: {}", answer.printed);
            assert!(answer.printed.contains("[clauses]"), "{clauses}: {}", answer.printed);
        }
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
            assert!(matches!(answer.code, Some(2 | 4)), "{clauses:?}: {}", answer.printed);
            assert_eq!(place.everything().await, before, "{clauses:?}");
        }
    }
    let statement = "ALTER TABLE t ADD COLUMN c INT";
    place.declines(statement, "ADD COLUMN d INT", 2, &["followed by nothing"]).await;
}

/// On MySQL a CHECK, a foreign key and a unique key may share a name; its own ALTER then refuses to
/// choose (3939). The shadow has no foreign keys, so that osc would choose without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_several_constraints_have_is_not_dropped_by_it() {
    let place = place(Kind::Mysql).await;
    place.run("CREATE TABLE p (id INT PRIMARY KEY)").await;
    for constraint in ["UNIQUE (a)", "FOREIGN KEY (a) REFERENCES p (id)"] {
        let table = format!(
            "CREATE TABLE c (id INT PRIMARY KEY, a INT, b INT, CONSTRAINT same {constraint}, \
             CONSTRAINT same CHECK (b > 0))"
        );
        place.run(&table).await;
        for clauses in [
            "DROP CONSTRAINT same, ADD COLUMN c INT CHECK (c > 0)",
            "DROP CONSTRAINT SAME, MODIFY b BIGINT",
        ] {
            let says = ["more than one constraint with the name `same`", "DROP CHECK `same`"];
            let says = says.map(|text| {
                if clauses.contains("SAME") { text.replace("same", "SAME") } else { text.into() }
            });
            place.refuses("c", clauses, "ambiguous-constraint", &[&says[0], &says[1]]).await;
        }
        place.run("DROP TABLE c").await;
    }
}

/// MySQL's own ALTER refuses that (1553); MariaDB's does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_that_a_child_references_is_not_dropped() {
    let place = place(Kind::Mysql).await;
    place.run("CREATE TABLE u (id INT PRIMARY KEY, u INT, UNIQUE KEY uu (u))").await;
    place.run("CREATE TABLE c (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES u (u))").await;
    place.refuses("u", "DROP INDEX uu, ADD INDEX uu2 (u)", "referenced-key", &["unique key"]).await;
    let clauses = "DROP INDEX uu, ADD UNIQUE INDEX uu2 (u)";
    let answer = place.ask(&["alter", "u", clauses, "--yes"]).await;
    assert_eq!(answer.code, Some(0), "{}", answer.printed);
}

/// The checks are off while keys are tried, so that the server itself does not mind.
async fn a_foreign_key_to_no_table_is_refused_before_the_copy(kind: Kind) {
    let place = place(kind).await;
    let answer =
        place.ask(&["alter", "t", "ADD FOREIGN KEY (a) REFERENCES nowhere (id)", "--yes"]).await;
    assert_eq!(answer.code, Some(4), "{}", answer.printed);
    for word in ["[foreign-key-parent]", "there is no table", "nowhere"] {
        assert!(answer.printed.contains(word), "{word}: {}", answer.printed);
    }
    assert!(place.rows("SHOW TABLES LIKE 't\\_osc\\_%'").await.is_empty());
}

/// MySQL's check names are unique in a schema, and the original keeps its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_check_names_on_mysql_is_reported() {
    let place = place(Kind::Mysql).await;
    place.run("CREATE TABLE n (id INT PRIMARY KEY, a INT, CONSTRAINT lim CHECK (a < 100))").await;
    let clauses = "DROP CHECK lim, ADD CONSTRAINT lim CHECK (a < 200), MODIFY id BIGINT";
    place.refuses("n", clauses, "clauses", &["give the new CHECK another name"]).await;
    for command in ["plan", "alter"] {
        let answer = place.ask(&[command, "n", "MODIFY id BIGINT", "--yes"]).await;
        assert_eq!(answer.code, Some(0), "{}", answer.printed);
        assert!(answer.printed.contains("names that MySQL generates"), "{}", answer.printed);
    }
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
        assert_eq!(answer.code, Some(0), "{name}: {}", answer.printed);
        let sum = format!("SELECT SUM(c) + SUM({quoted}) FROM {}.{quoted}", place.database);
        assert_eq!(server.value(&sum).await, "17", "{name}");
        let answer = place.ask_plainly(&["cleanup", &quoted, "--yes", "--now"]).await;
        assert_eq!(answer.code, Some(0), "{name}: {}", answer.printed);
    }
}

on_both_servers! {
    what_is_no_table_of_innodb_is_refused
    a_table_without_a_key_to_copy_by_is_refused
    what_other_runs_and_tools_left_is_refused
    clauses_that_osc_is_not_for_are_refused
    clauses_that_the_server_does_not_take_are_refused
    clauses_that_cannot_be_read_are_wrong_usage
    a_foreign_key_to_no_table_is_refused_before_the_copy
    any_name_works
}
