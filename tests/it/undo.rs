//! A change that is undone: the table is what it would be had it never been changed, with all that was
//! written since. The twin in the second database is never altered, and gets the same writes in the old schema.

use std::process::Stdio;

use crate::cli_run::point::Point;
use crate::cli_run::streams;
use crate::data::{Pair, ended};
use crate::support;
use crate::support::schema;
use crate::support::server::Kind;

/// `id` from 1 to 3000, and a column of each kind that the cases change.
const ROWS: &str = "
CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, u INT NOT NULL, v VARCHAR(40), n INT, d DECIMAL(12,4), dt DATETIME(6), e ENUM('a','b'), title VARCHAR(20) DEFAULT 'none', w DATETIME DEFAULT '2024-01-01 00:00:00', UNIQUE KEY u (u), KEY v (v));
INSERT INTO t WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900)
SELECT i, i, CONCAT('v', i), i % 100, i / 7, '2024-01-01 00:00:00.25', IF(i % 2, 'a', 'b'), CONCAT('title ', i), '2024-01-01 00:00:00' FROM r;
INSERT INTO t (id, u, v) SELECT id + 900, u + 900, v FROM t;
";

/// A change, what is written afterwards, and these writes in the old schema where they are others there.
struct Undo {
    name: &'static str,
    clauses: &'static str,
    live: &'static str,
    twin: Option<&'static str>,
    flags: &'static [&'static str],
}

const UNDOS: &[Undo] = &[
    Undo {
        name: "a column that came goes",
        clauses: "ADD COLUMN added INT NOT NULL DEFAULT 7 FIRST, ADD INDEX added (added)",
        live: "
UPDATE t SET v = 'new', added = 8 WHERE id BETWEEN 100 AND 120;
DELETE FROM t WHERE id = 500;
INSERT INTO t (id, u, v, added) VALUES (5000, 5000, 'born', 9)",
        twin: Some(
            "
UPDATE t SET v = 'new' WHERE id BETWEEN 100 AND 120;
DELETE FROM t WHERE id = 500;
INSERT INTO t (id, u, v) VALUES (5000, 5000, 'born')",
        ),
        flags: &[],
    },
    Undo {
        name: "a dropped column has its values again, and new rows its default",
        clauses: "DROP COLUMN title, DROP COLUMN e",
        live: "
UPDATE t SET v = 'new' WHERE id BETWEEN 100 AND 700;
DELETE FROM t WHERE id BETWEEN 300 AND 310;
INSERT INTO t (id, u, v) VALUES (5000, 5000, 'born')",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "new rows get what is given",
        clauses: "DROP COLUMN title",
        live: "INSERT INTO t (id, u, v) VALUES (5000, 5000, 'born')",
        twin: Some("INSERT INTO t (id, u, v, title) VALUES (5000, 5000, 'born', 'of born')"),
        flags: &["--fill", "title=CONCAT('of ', v)"],
    },
    Undo {
        name: "a renamed column has its writes under its old name",
        clauses: "CHANGE v label VARCHAR(40), RENAME COLUMN n TO amount",
        live: "UPDATE t SET label = 'new', amount = 3 WHERE id IN (1, 900, 1800)",
        twin: Some("UPDATE t SET v = 'new', n = 3 WHERE id IN (1, 900, 1800)"),
        flags: &[],
    },
    Undo {
        name: "types that grew shrink again",
        clauses: "MODIFY n BIGINT, MODIFY v VARCHAR(100), MODIFY d DECIMAL(20,8), MODIFY e ENUM('a','b','c')",
        live: "UPDATE t SET n = 2147483647, v = REPEAT('x', 40), d = 1.25, e = 'b' WHERE id < 50",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "digits that the new type has not come back, where nothing was written",
        clauses: "MODIFY dt DATETIME(0), MODIFY d DOUBLE",
        live: "
UPDATE t SET v = 'new' WHERE id < 50;
UPDATE t SET dt = '2025-05-05 05:05:05' WHERE id BETWEEN 40 AND 60",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "unique values move between rows",
        clauses: "DROP COLUMN title, ADD COLUMN added INT",
        live: "
UPDATE t SET u = -1 WHERE id = 1;
UPDATE t SET u = 1 WHERE id = 2;
UPDATE t SET u = 2 WHERE id = 3;
UPDATE t SET u = 3 WHERE id = 1;
DELETE FROM t WHERE id = 1700;
UPDATE t SET u = 1700 WHERE id = 20",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "a longer primary key is short again",
        clauses: "DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)",
        live: "UPDATE t SET v = 'new' WHERE id < 20",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "a unique key that was dropped is there again",
        clauses: "DROP INDEX u, ADD INDEX u (u), DROP INDEX v",
        live: "UPDATE t SET u = u + 100000 WHERE id < 20",
        twin: None,
        flags: &[],
    },
    Undo {
        name: "every row was written",
        clauses: "DROP COLUMN title, MODIFY n BIGINT",
        live: "UPDATE t SET n = id",
        twin: None,
        flags: &[],
    },
];

/// Alters, and fails where that does.
async fn alter(pair: &Pair, clauses: &str) {
    ended(&pair.alter("t", clauses).await, 0).unwrap();
}

async fn an_undo_without_writes_leaves_the_table_as_it_was(kind: Kind) {
    for Undo { name, clauses, .. } in UNDOS {
        let mut pair = Pair::new(kind, ROWS).await;
        alter(&pair, clauses).await;
        ended(&pair.revert("t", &[]).await, 0).unwrap_or_else(|why| panic!("{name}: {why}"));
        pair.same("t").await.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

async fn an_undo_keeps_what_was_written_since(kind: Kind) {
    for Undo { name, clauses, live, twin, flags } in UNDOS {
        let mut pair = Pair::new(kind, ROWS).await;
        alter(&pair, clauses).await;
        pair.script(0, live).await;
        pair.script(1, twin.unwrap_or(live)).await;
        ended(&pair.revert("t", flags).await, 0).unwrap_or_else(|why| panic!("{name}: {why}"));
        pair.same("t").await.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

async fn an_undo_is_undone_and_undone_again(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    alter(&pair, "DROP COLUMN title, ADD COLUMN added INT NOT NULL DEFAULT 7").await;
    pair.script(0, "UPDATE t SET added = id WHERE id < 100").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.script(0, "UPDATE t SET v = 'old', title = 'changed' WHERE id BETWEEN 50 AND 150").await;
    // Forward again: what was written to the new column is still there, and so is what was written since.
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    let kept = "SELECT COUNT(*) FROM t WHERE id < 100 AND added = id";
    assert_eq!(pair.column(kept).await, ["99"]);
    let written = "SELECT COUNT(*) FROM t WHERE v = 'old'";
    assert_eq!(pair.column(written).await, ["101"]);
    pair.script(0, "UPDATE t SET v = 'newer' WHERE id = 60").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.script(
        1,
        "UPDATE t SET v = 'old', title = 'changed' WHERE id BETWEEN 50 AND 150;\n\
         UPDATE t SET v = 'newer' WHERE id = 60",
    )
    .await;
    pair.same("t").await.unwrap();
}

async fn what_the_change_rounded_is_rounded_again(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    alter(&pair, "MODIFY dt DATETIME(0), MODIFY d DOUBLE, DROP COLUMN e").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    let write = "UPDATE t SET dt = '2025-05-05 05:05:05.75', e = 'b' WHERE id < 50";
    pair.both(write).await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    // MariaDB cuts off what MySQL rounds.
    let rounded = "SELECT COUNT(*) FROM t WHERE dt > '2025-01-01' AND MICROSECOND(dt) = 0";
    assert_eq!(pair.column(rounded).await, ["49"]);
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.same("t").await.unwrap();
}

/// Clauses, a write that the old table cannot hold on rows 7 and 1234, and words of the reason.
const MISFITS: &[(&str, &str, &str)] = &[
    ("MODIFY v VARCHAR(100)", "UPDATE t SET v = REPEAT('x', 41)", "too long"),
    ("MODIFY n BIGINT", "UPDATE t SET n = 2147483648", "Out of range"),
    ("MODIFY u INT NULL", "UPDATE t SET u = NULL", "null"),
    ("MODIFY e ENUM('a','b','c')", "UPDATE t SET e = 'c'", "lost in part"),
    ("MODIFY w DATETIME(6)", "UPDATE t SET w = '2024-01-01 00:00:00.5'", "changed on the way"),
    ("MODIFY d DECIMAL(20,8)", "UPDATE t SET d = 0.12345678", "d"),
    ("DROP INDEX u, ADD INDEX u (u)", "UPDATE t SET u = 1", "same value"),
    (
        "DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)",
        "INSERT INTO t (id, u, v) SELECT id, u + 100000, v FROM t",
        "Duplicate",
    ),
];

async fn rows_that_cannot_go_back_are_all_listed_and_nothing_is_swapped(kind: Kind) {
    for (clauses, write, why) in MISFITS {
        let mut pair = Pair::new(kind, ROWS).await;
        alter(&pair, clauses).await;
        pair.script(0, &format!("{write} WHERE id IN (7, 1234)")).await;
        let create = pair.column("SELECT MAX(CREATE_TIME) FROM information_schema.TABLES").await;
        let output = pair.revert("t", &[]).await;
        let printed = streams(&output);
        assert_eq!(output.status.code(), Some(5), "{clauses}: {printed}");
        assert!(printed.contains("2 rows cannot go back"), "{clauses}: {printed}");
        for row in ["id = 7", "id = 1234", why] {
            assert!(printed.contains(row), "{clauses}, {row}: {printed}");
        }
        let live = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
                    AND TABLE_NAME IN ('t', 't_osc_old')";
        assert_eq!(pair.column(live).await, ["2"], "{clauses}: {create:?}");
        // With the rows mended the same command goes through.
        let mend = match write.starts_with("INSERT") {
            true => "DELETE FROM t WHERE u > 100000",
            false => {
                "UPDATE t SET v = 'fits', n = 1, u = id, e = 'a', d = 1, \
                      dt = '2024-01-01 00:00:00.25', \
                      w = '2024-01-01 00:00:01' WHERE id IN (7, 1234)"
            }
        };
        pair.script(0, mend).await;
        ended(&pair.revert("t", &[]).await, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
    }
}

async fn rows_that_cannot_go_back_can_be_left_behind(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    alter(&pair, "MODIFY v VARCHAR(100)").await;
    pair.script(0, "UPDATE t SET v = REPEAT('x', 41), n = 5 WHERE id IN (7, 1234)").await;
    pair.script(0, "UPDATE t SET v = 'fits' WHERE id = 8").await;
    let output = pair.revert("t", &["--on-misfit", "leave"]).await;
    ended(&output, 0).unwrap();
    assert!(streams(&output).contains("2 rows could not go back"), "{}", streams(&output));
    pair.script(1, "UPDATE t SET v = 'fits' WHERE id = 8").await;
    pair.same("t").await.unwrap();
    let kept = "SELECT COUNT(*) FROM t_osc_old_2 WHERE LENGTH(v) = 41";
    assert_eq!(pair.column(kept).await, ["2"]);
}

async fn a_row_without_a_value_for_a_dropped_column_needs_one(kind: Kind) {
    let setup =
        "CREATE TABLE t (id INT PRIMARY KEY, must INT NOT NULL);\nINSERT INTO t VALUES (1, 1)";
    let mut pair = Pair::new(kind, setup).await;
    alter(&pair, "DROP COLUMN must").await;
    pair.script(0, "INSERT INTO t VALUES (2)").await;
    let output = pair.revert("t", &[]).await;
    ended(&output, 5).unwrap();
    let printed = streams(&output);
    assert!(printed.contains("--fill") && printed.contains("id = 2"), "{printed}");
    ended(&pair.revert("t", &["--fill", "must=id * 10"]).await, 0).unwrap();
    pair.script(1, "INSERT INTO t VALUES (2, 20)").await;
    pair.same("t").await.unwrap();
}

async fn what_hangs_on_the_table_goes_back_with_it(kind: Kind) {
    let setup = "
CREATE TABLE parent (id INT PRIMARY KEY);
INSERT INTO parent VALUES (1), (2);
CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, p INT, q INT, v VARCHAR(20), CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES parent (id), CONSTRAINT fk_q FOREIGN KEY (q) REFERENCES parent (id));
INSERT INTO t (id, p, q, v) VALUES (1, 1, 1, 'a'), (2, 2, NULL, 'b');
CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT fk_t FOREIGN KEY (t) REFERENCES t (id));
INSERT INTO child VALUES (1, 1);
CREATE TRIGGER t_bi BEFORE INSERT ON t FOR EACH ROW SET NEW.v = CONCAT(NEW.v, '!')";
    let mut pair = Pair::new(kind, setup).await;
    alter(
        &pair,
        "DROP FOREIGN KEY fk_q, ADD COLUMN added INT, \
         ADD CONSTRAINT fk_new FOREIGN KEY (added) REFERENCES parent (id)",
    )
    .await;
    let write = "INSERT INTO t (p, q, v) VALUES (1, 2, 'c')";
    pair.both(write).await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.both("INSERT INTO t (p, q, v) VALUES (2, 1, 'd')").await;
    for table in ["t", "child", "parent"] {
        pair.same(table).await.unwrap();
    }
    for (orphan, key) in [
        ("INSERT INTO t (p, v) VALUES (9, 'x')", "fk_p"),
        ("INSERT INTO t (q, v) VALUES (9, 'x')", "fk_q"),
        ("INSERT INTO child VALUES (2, 99)", "fk_t"),
    ] {
        let refused = pair.refused(orphan).await;
        assert!(refused.contains(key), "{orphan}: {refused}");
    }
}

async fn a_check_finds_what_an_undo_would_and_changes_nothing(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    alter(&pair, "DROP COLUMN title, MODIFY v VARCHAR(100), DROP INDEX u, ADD INDEX u (u)").await;
    pair.script(
        0,
        "UPDATE t SET v = 'new' WHERE id BETWEEN 100 AND 139;\n\
         UPDATE t SET v = REPEAT('x', 41) WHERE id = 139;\n\
         UPDATE t SET u = 5 WHERE id = 1234;\n\
         DELETE FROM t WHERE id = 1500;\n\
         INSERT INTO t (id, u) VALUES (9000, 9000)",
    )
    .await;
    let tables = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES \
                  WHERE TABLE_SCHEMA = DATABASE()";
    let old =
        "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS(',', id, u, v, title)))) FROM t_osc_old";
    let before = [pair.column(tables).await, pair.column(old).await];
    let output = pair.revert("t", &["--check", "--json"]).await;
    ended(&output, 4).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = schema::read("revert --check", printed.lines().next().unwrap());
    assert_eq!((&found["rows"], &found["touched"]), (&1800.into(), &43.into()), "{printed}");
    assert_eq!(found["misfits"], 2, "{printed}");
    for row in ["id = 139", "id = 1234"] {
        assert!(found["misfit_rows"].to_string().contains(row), "{row}: {printed}");
    }
    assert_eq!([pair.column(tables).await, pair.column(old).await], before);
    pair.script(0, "UPDATE t SET v = 'fits', u = id WHERE id IN (139, 1234)").await;
    let output = pair.revert("t", &["--check"]).await;
    ended(&output, 0).unwrap();
    assert!(streams(&output).contains("every row can go back"), "{}", streams(&output));
    ended(&pair.revert("t", &[]).await, 0).unwrap();
}

async fn an_undo_that_is_discarded_leaves_the_retired_table(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    alter(&pair, "DROP COLUMN title, ADD COLUMN added INT").await;
    let write = "UPDATE t SET v = 'new' WHERE id < 50";
    pair.both(write).await;
    let url = pair.url();
    let point = Point::new("refresh.written@1").await;
    let mut revert = support::osc();
    revert.env("OSC_FAULT", point.fault()).args(["revert", "t", "--yes", "--url", &url]);
    let mut killed = revert.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _waiting = point.reached().await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let osc = |arguments: &[&str]| {
        support::osc().args(arguments).args(["--url", &url, "--yes"]).output().unwrap()
    };
    let other = osc(&["alter", "t", "ADD COLUMN other INT", "--strategy", "copy"]);
    ended(&other, 4).unwrap();
    assert!(streams(&other).contains("osc revert t"), "{}", streams(&other));
    let discarded = osc(&["cleanup", "t"]);
    ended(&discarded, 0).unwrap();
    assert!(streams(&discarded).contains("t_osc_old stays"), "{}", streams(&discarded));
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.same("t").await.unwrap();
}

async fn what_cannot_be_undone_is_refused(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    let refused = async |pair: &Pair, flags: &[&str], code: i32, words: &str| {
        let output = pair.revert("t", flags).await;
        ended(&output, code).unwrap();
        assert!(streams(&output).contains(words), "{words}: {}", streams(&output));
    };
    refused(&pair, &[], 4, "no run of osc on this server has changed").await;
    alter(&pair, "DROP COLUMN title, ADD COLUMN added INT").await;
    refused(&pair, &["--fill", "v=1"], 2, "not a column that the change dropped").await;
    refused(&pair, &["--inverse", "title=1"], 2, "not a column of the retired table").await;
    refused(&pair, &["--fill", "title=1)"], 2, "a parenthesis too many").await;
    refused(&pair, &["--fill", "title=nothing"], 2, "nothing").await;
    refused(&pair, &["--strategy", "copy"], 2, "has no meaning for an undo").await;
    // A change by hand: of the live table, then of the retired one.
    pair.first("ALTER TABLE t ADD COLUMN byhand INT, ALGORITHM=INSTANT").await;
    refused(&pair, &[], 4, "t are not what run").await;
    pair.first("ALTER TABLE t DROP COLUMN byhand, ALGORITHM=INSTANT").await;
    pair.first("ALTER TABLE t_osc_old ADD COLUMN byhand INT, ALGORITHM=INSTANT").await;
    refused(&pair, &[], 4, "new: `byhand` int").await;
    pair.first("DROP TABLE t_osc_old").await;
    refused(&pair, &[], 4, "retired is gone, or was rebuilt since").await;
    pair.first("ALTER TABLE t FORCE, ALGORITHM=COPY").await;
    refused(&pair, &[], 4, "is not the table that run").await;
    pair.alter_freely("t", "ADD COLUMN quick INT").await;
    let output = pair.osc(&["revert", "t"]).await;
    ended(&output, 2).unwrap();
    assert!(streams(&output).contains("kept no retired table"), "{}", streams(&output));
}

on_both_servers! {
    an_undo_without_writes_leaves_the_table_as_it_was
    an_undo_keeps_what_was_written_since
    an_undo_is_undone_and_undone_again
    what_the_change_rounded_is_rounded_again
    rows_that_cannot_go_back_are_all_listed_and_nothing_is_swapped
    rows_that_cannot_go_back_can_be_left_behind
    a_row_without_a_value_for_a_dropped_column_needs_one
    what_hangs_on_the_table_goes_back_with_it
    a_check_finds_what_an_undo_would_and_changes_nothing
    an_undo_that_is_discarded_leaves_the_retired_table
    what_cannot_be_undone_is_refused
}
