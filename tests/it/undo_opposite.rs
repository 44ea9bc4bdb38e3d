//! The undo of a change that the server made itself: there is no retired table, and osc makes the opposite change.

use crate::cli_run::streams;
use crate::data::{Pair, ended};
use crate::support::schema;
use crate::support::server::Kind;

const ROWS: &str = "
CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, u INT NOT NULL, v VARCHAR(40) DEFAULT 'x,y' COMMENT 'it''s', title VARCHAR(20), UNIQUE KEY u (u), KEY v (v)) COMMENT 'was';
INSERT INTO t (id, u, v, title) VALUES (1, 1, 'a', 't1'), (2, 2, 'b', 't2')
";

/// Clauses of changes that need no copy, and the methods that the servers take.
const CHANGES: &[&str] = &[
    "ADD COLUMN added INT NOT NULL DEFAULT 7",
    "DROP INDEX v",
    "RENAME INDEX v TO w",
    "RENAME COLUMN v TO w",
    "ALTER v SET DEFAULT 'other'",
    "MODIFY v VARCHAR(60) DEFAULT 'x,y' COMMENT 'it''s'",
    "COMMENT 'is'",
    "ADD COLUMN a INT, ADD COLUMN b INT AFTER id, RENAME COLUMN title TO headline",
];

async fn a_change_without_a_retired_table_is_taken_back_by_its_opposite(kind: Kind) {
    for clauses in CHANGES {
        let mut pair = Pair::new(kind, ROWS).await;
        let changed = pair.osc(&["alter", "t", clauses, "--yes", "--json"]).await;
        ended(&changed, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
        let printed = String::from_utf8_lossy(&changed.stdout).into_owned();
        let summary = schema::read("alter", printed.lines().last().unwrap());
        assert_ne!(summary["method"], "copy", "{clauses}");
        pair.both("INSERT INTO t (id, u) VALUES (3, 3)").await;
        let output = pair.revert("t", &[]).await;
        ended(&output, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
        let said = streams(&output);
        assert!(said.contains("its opposite is: ALTER TABLE "), "{clauses}: {said}");
        if clauses.contains("DEFAULT 'other'") {
            pair.script(0, "UPDATE t SET v = 'x,y' WHERE id = 3").await;
        }
        pair.same("t").await.unwrap_or_else(|why| panic!("{clauses}: {why}"));
        // And forward again.
        ended(&pair.revert("t", &[]).await, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
        pair.both("INSERT INTO t (id, u) VALUES (4, 4)").await;
        ended(&pair.revert("t", &[]).await, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
    }
}

async fn what_is_lost_is_said_and_asked_for(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    ended(&pair.osc(&["alter", "t", "DROP COLUMN title", "--yes"]).await, 0).unwrap();
    let asked = pair.osc(&["revert", "t"]).await;
    ended(&asked, 2).unwrap();
    assert!(streams(&asked).contains("keeps nothing of what was there"), "{}", streams(&asked));
    assert!(streams(&asked).contains("pass --yes"), "{}", streams(&asked));
    let shown = pair.osc(&["revert", "t", "--check"]).await;
    ended(&shown, 0).unwrap();
    assert!(streams(&shown).contains("ADD COLUMN `title` varchar(20)"), "{}", streams(&shown));
    let wrong = pair.osc(&["revert", "t", "--yes", "--fill", "title=1"]).await;
    ended(&wrong, 2).unwrap();
    let columns = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
                   AND TABLE_NAME = 't' AND COLUMN_NAME = 'title'";
    assert_eq!(pair.column(columns).await, ["0"]);
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    assert_eq!(pair.column(columns).await, ["1"]);
    assert_eq!(pair.column("SELECT COUNT(title) FROM t").await, ["0"]);
}

async fn a_later_change_is_in_the_way(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    ended(&pair.osc(&["alter", "t", "ADD COLUMN a INT", "--yes"]).await, 0).unwrap();
    pair.script(0, "ALTER TABLE t ADD COLUMN b INT").await;
    let output = pair.revert("t", &[]).await;
    ended(&output, 4).unwrap();
    assert!(streams(&output).contains("[undo-definition-changed]"), "{}", streams(&output));
    pair.script(0, "ALTER TABLE t DROP COLUMN b").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.same("t").await.unwrap();
    // What has nothing to take back says so.
    ended(&pair.osc(&["alter", "t", "AUTO_INCREMENT = 100", "--yes"]).await, 0).unwrap();
    let output = pair.revert("t", &[]).await;
    ended(&output, 4).unwrap();
    assert!(streams(&output).contains("[undo-nothing]"), "{}", streams(&output));
}

async fn a_change_that_is_to_be_undoable_is_copied(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    let plain = pair.osc(&["plan", "t", "DROP COLUMN title", "--json"]).await;
    let plan = schema::read("plan", String::from_utf8_lossy(&plain.stdout).trim());
    assert_ne!(plan["methods"][0]["method"], "copy", "{plan}");
    let output = pair.osc(&["alter", "t", "DROP COLUMN title", "--undoable"]).await;
    ended(&output, 0).unwrap();
    pair.both("UPDATE t SET v = 'new' WHERE id = 1").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.same("t").await.unwrap();
    let cannot =
        pair.osc(&["alter", "t", "DROP COLUMN title", "--undoable", "--strategy", "instant"]).await;
    ended(&cannot, 2).unwrap();
    assert!(streams(&cannot).contains("only a copy keeps"), "{}", streams(&cannot));
    // What takes nothing away may be instant.
    let added = pair.osc(&["plan", "t", "ADD COLUMN a INT", "--undoable", "--json"]).await;
    let plan = schema::read("plan", String::from_utf8_lossy(&added.stdout).trim());
    assert_eq!(plan["methods"][0]["method"], "instant", "{plan}");
}

mod postgres {
    use super::streams;
    use crate::undo_postgres::place::Place;

    const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(40) DEFAULT 'x,y', n int NOT NULL DEFAULT 1, \
                         title text, CONSTRAINT n_is_small CHECK (n < 1000)); CREATE INDEX v ON t (v); \
                         INSERT INTO t VALUES (1, 'a', 1, 't1'), (2, 'b', 2, 't2')";

    /// What the catalog says of the table.
    async fn picture(place: &Place) -> Vec<String> {
        place
            .rows(
                "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || \
                 coalesce(pg_get_expr(d.adbin, d.adrelid), '') FROM pg_attribute a LEFT JOIN pg_attrdef d \
                 ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 't'::regclass \
                 AND a.attnum > 0 AND NOT a.attisdropped \
                 UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
                 WHERE conrelid = 't'::regclass AND contype <> 'n' \
                 UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 't'::regclass \
                 ORDER BY 1",
            )
            .await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_without_a_retired_table_is_taken_back_by_its_opposite() {
        let place = Place::new(TABLE).await;
        let before = picture(&place).await;
        for clauses in [
            "ADD COLUMN added int NOT NULL DEFAULT 7",
            "RENAME COLUMN v TO w",
            "RENAME CONSTRAINT n_is_small TO n_is_little",
            "ALTER COLUMN v SET DEFAULT 'other'",
            "ALTER COLUMN v TYPE varchar(60)",
            "ALTER COLUMN v SET NOT NULL",
            "DROP CONSTRAINT n_is_small",
            "ADD CONSTRAINT v_is_long CHECK (length(v) > 0)",
            "DROP COLUMN title",
            "CREATE INDEX made ON t (n)",
            "DROP INDEX v",
        ] {
            let whole = clauses.starts_with("CREATE") || clauses.starts_with("DROP INDEX");
            match whole {
                true => place.succeeds(&["alter", clauses, "--yes"]),
                false => place.succeeds(&["alter", "t", clauses, "--yes"]),
            }
            assert_ne!(picture(&place).await, before, "{clauses}");
            let asked = place.osc(&["revert", "t"]);
            assert_eq!(asked.status.code(), Some(2), "{clauses}: {}", streams(&asked));
            let said = streams(&asked);
            assert!(said.contains("its opposite is: "), "{clauses}: {said}");
            place.succeeds(&["revert", "t", "--yes"]);
            assert_eq!(picture(&place).await, before, "{clauses}");
        }
        place.succeeds(&["alter", "t", "ADD COLUMN a int", "--yes"]);
        place.exec("ALTER TABLE t ADD COLUMN b int").await;
        let output = place.osc(&["revert", "t", "--yes"]);
        assert_eq!(output.status.code(), Some(4), "{}", streams(&output));
        assert!(streams(&output).contains("[undo-definition-changed]"), "{}", streams(&output));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_that_is_to_be_undoable_is_copied() {
        let place = Place::new(TABLE).await;
        place.succeeds(&["alter", "t", "DROP COLUMN title", "--undoable"]);
        place.succeeds(&["revert", "t", "--yes"]);
        assert_eq!(place.value("SELECT string_agg(title, ' ' ORDER BY id) FROM t").await, "t1 t2");
    }
}

on_both_servers! {
    a_change_without_a_retired_table_is_taken_back_by_its_opposite
    what_is_lost_is_said_and_asked_for
    a_later_change_is_in_the_way
    a_change_that_is_to_be_undoable_is_copied
}
