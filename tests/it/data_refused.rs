//! A change that the data does not allow ends with the rows named, and the original untouched.

use crate::cli_run::streams;
use crate::data::{Case, Pair, all, ended};
use crate::support::server::Kind;

/// Many rows, so that what does not fit lies beyond the first chunk: `id` from 1 to 400, `u`
/// unique, `v` text, `n` a number.
const ROWS: &str = "
CREATE TABLE t (id INT PRIMARY KEY, u INT NOT NULL, v VARCHAR(40), n BIGINT, d DECIMAL(12,4), dt DATETIME(6), UNIQUE KEY u (u));
INSERT INTO t WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 400)
SELECT i, i, CONCAT('v', i), i % 100, i, '2024-01-01 00:00:00.25' FROM r;
";

/// The setup goes on from [`ROWS`]; each makes row 321 the first that does not fit.
const UNFIT: &[Case] = &[
    Case {
        name: "text too long",
        setup: "UPDATE t SET v = 'six__6' WHERE id >= 321",
        clauses: "MODIFY v VARCHAR(5)",
    },
    Case {
        name: "text too long, in bytes",
        setup: "UPDATE t SET v = '😀😀' WHERE id = 321",
        clauses: "MODIFY v VARBINARY(7)",
    },
    Case {
        name: "a number out of range",
        setup: "UPDATE t SET n = 128 WHERE id = 321",
        clauses: "MODIFY n TINYINT",
    },
    Case {
        name: "a negative number",
        setup: "UPDATE t SET n = -1 WHERE id = 321",
        clauses: "MODIFY n BIGINT UNSIGNED",
    },
    Case {
        name: "a decimal out of range",
        setup: "UPDATE t SET d = 1000 WHERE id = 321; UPDATE t SET d = 1 WHERE id <> 321",
        clauses: "MODIFY d DECIMAL(5,2)",
    },
    Case {
        name: "NULL",
        setup: "UPDATE t SET v = NULL WHERE id = 321",
        clauses: "MODIFY v VARCHAR(40) NOT NULL",
    },
    Case {
        name: "NULL, with a default",
        setup: "UPDATE t SET n = NULL WHERE id = 321",
        clauses: "MODIFY n BIGINT NOT NULL DEFAULT 5",
    },
    Case {
        name: "text that is no number",
        setup: "UPDATE t SET v = id; UPDATE t SET v = '12x' WHERE id = 321",
        clauses: "MODIFY v INT",
    },
    Case {
        name: "text that is no date",
        setup: "UPDATE t SET v = '2024-01-01'; UPDATE t SET v = '2024-13-01' WHERE id = 321",
        clauses: "MODIFY v DATE",
    },
    Case {
        name: "text that is no member",
        setup: "UPDATE t SET v = 'a'; UPDATE t SET v = 'c' WHERE id = 321",
        clauses: "MODIFY v ENUM('a','b')",
    },
    Case {
        name: "text that the character set lacks",
        setup: "UPDATE t SET v = 'ж' WHERE id = 321",
        clauses: "MODIFY v VARCHAR(40) CHARACTER SET latin1",
    },
    Case {
        name: "text that is no JSON",
        setup: "UPDATE t SET v = '1'; UPDATE t SET v = '{' WHERE id = 321",
        clauses: "MODIFY v JSON",
    },
    Case {
        name: "a check",
        setup: "UPDATE t SET n = -1 WHERE id = 321",
        clauses: "ADD CONSTRAINT c CHECK (n >= 0)",
    },
    Case {
        name: "no partition",
        setup: "DELETE FROM t WHERE id > 321; ALTER TABLE t DROP KEY u",
        clauses: "PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (321))",
    },
];

/// As [`UNFIT`]; the server takes it without a word, or almost so.
const LOST: &[Case] = &[
    Case {
        name: "a decimal with a fraction, to an integer",
        setup: "UPDATE t SET d = 321.5 WHERE id = 321",
        clauses: "MODIFY d INT",
    },
    Case {
        name: "a number that a DOUBLE has not",
        setup: "UPDATE t SET n = 9007199254740993 WHERE id = 321",
        clauses: "MODIFY n DOUBLE",
    },
    Case {
        name: "text that is a member's number and no member",
        setup: "UPDATE t SET v = 'a'; UPDATE t SET v = '2' WHERE id = 321",
        clauses: "MODIFY v ENUM('a','b')",
    },
];

/// Duplicates on rows 17 and 321, and on more.
const DUPLICATES: &[Case] = &[
    Case {
        name: "a number",
        setup: "UPDATE t SET n = id; UPDATE t SET n = 17 WHERE id = 321",
        clauses: "ADD UNIQUE KEY n (n)",
    },
    Case {
        name: "a number, beside a column named as osc names keys",
        setup: "UPDATE t SET n = id; UPDATE t SET n = 17 WHERE id = 321; ALTER TABLE t ADD osc_key_0 INT",
        clauses: "ADD UNIQUE KEY n (n)",
    },
    Case {
        name: "text but for case",
        setup: "UPDATE t SET v = 'V17' WHERE id = 321",
        clauses: "ADD UNIQUE (v)",
    },
    Case {
        name: "a prefix",
        setup: "UPDATE t SET v = CONCAT(LPAD(id, 4, '0'), 'x'); UPDATE t SET v = '0017y' WHERE id = 321",
        clauses: "ADD UNIQUE pre (v(4))",
    },
    Case {
        name: "two columns",
        setup: "UPDATE t SET v = 'v17', n = 17 WHERE id = 321",
        clauses: "ADD UNIQUE KEY two (v, n)",
    },
    Case {
        name: "a collation that finds them equal",
        setup: "ALTER TABLE t MODIFY v VARCHAR(40) COLLATE utf8mb4_bin UNIQUE; UPDATE t SET v = 'V17' WHERE id = 321",
        clauses: "MODIFY v VARCHAR(40) COLLATE utf8mb4_general_ci",
    },
    Case {
        name: "rounding",
        setup: "ALTER TABLE t ADD UNIQUE (d); UPDATE t SET d = 17.001 WHERE id = 321",
        clauses: "MODIFY d DECIMAL(10,2), MODIFY n INT",
    },
    Case {
        name: "a generated column",
        setup: "UPDATE t SET n = id * 10; UPDATE t SET n = 171 WHERE id = 321",
        clauses: "ADD g BIGINT AS (FLOOR(n / 10)) VIRTUAL, ADD UNIQUE KEY g (g)",
    },
];

/// Refuses a case on `t`, naming the keys, and leaves nothing behind; as the server does.
async fn stops(kind: Kind, case: &Case, named: &[&str]) -> Result<(), String> {
    match refused(kind, case, named).await?.native("t", case.clauses).await {
        Ok(()) => Err("the server takes it".into()),
        Err(_) => Ok(()),
    }
}

async fn refused(kind: Kind, case: &Case, named: &[&str]) -> Result<Pair, String> {
    let setup = format!("{ROWS}{};", case.setup.replace("; ", ";\n"));
    let mut pair = Pair::new(kind, &setup).await;
    let output = pair.alter("t", case.clauses).await;
    ended(&output, 1)?;
    names(&streams(&output), named)?;
    pair.same("t").await?;
    pair.nothing_left().await?;
    Ok(pair)
}

fn names(printed: &str, named: &[&str]) -> Result<(), String> {
    let missing = named.iter().find(|name| !printed.contains(**name));
    missing.map_or(Ok(()), |name| Err(format!("{name} is not named: {printed}")))
}

async fn what_does_not_fit_is_named_and_the_original_untouched(kind: Kind) {
    all(UNFIT, |case| stops(kind, case, &["id = 321"])).await;
}

async fn what_would_be_lost_in_part_is_named_and_the_original_untouched(kind: Kind) {
    all(LOST, |case| async move {
        refused(kind, case, &["id = 321", "would be lost in part"]).await.map(drop)
    })
    .await;
}

async fn duplicates_are_named_and_the_original_untouched(kind: Kind) {
    all(DUPLICATES, |case| stops(kind, case, &["id = 17", "id = 321"])).await;
}

/// What comes while the copy is under way: behind it, ahead of it, and after it.
async fn a_run_is_stopped(kind: Kind, clauses: &str, writes: &[&str], named: &[&str]) {
    let mut pair = Pair::new(kind, &format!("{ROWS}UPDATE t SET n = id;")).await;
    let held = pair.held(clauses, 200).await;
    for write in writes {
        pair.both(write).await;
    }
    let output = held.release().await;
    ended(&output, 1).unwrap();
    names(&streams(&output), named).unwrap();
    pair.same("t").await.unwrap();
    pair.nothing_left().await.unwrap();
}

/// The name of a key goes into a text with its values, whose character set may lack its letters.
async fn a_key_with_a_foreign_name_is_named(kind: Kind) {
    let setup = "CREATE TABLE t (ключ VARCHAR(9) CHARACTER SET latin1 PRIMARY KEY, n INT);\n\
                 INSERT INTO t VALUES ('é', 1), ('b', 1)";
    let mut pair = Pair::new(kind, setup).await;
    let output = pair.alter("t", "ADD UNIQUE KEY n (n)").await;
    ended(&output, 1).unwrap();
    names(&streams(&output), &["ключ = é", "ключ = b"]).unwrap();
    pair.same("t").await.unwrap();
}

async fn duplicates_that_come_during_the_run_stop_it(kind: Kind) {
    let unique = "ADD UNIQUE KEY n (n)";
    // A new row after all others, with a value of the first; and both rows copied already.
    let insert = "INSERT INTO t (id, u, n) VALUES (1000, 1000, 3)";
    a_run_is_stopped(kind, unique, &[insert], &["id = 3", "id = 1000"]).await;
    let update = "UPDATE t SET n = 5 WHERE id = 4";
    a_run_is_stopped(kind, unique, &[update], &["id = 4", "id = 5"]).await;
}

async fn values_that_do_not_fit_and_come_during_the_run_stop_it(kind: Kind) {
    let update = "UPDATE t SET n = 100000 WHERE id = 2";
    a_run_is_stopped(kind, "MODIFY n SMALLINT", &[update], &["id = 2"]).await;
}

async fn unique_values_that_move_between_rows_end_right(kind: Kind) {
    let mut pair = Pair::new(kind, &format!("{ROWS}UPDATE t SET n = id;")).await;
    let clauses = "ADD UNIQUE KEY n (n), MODIFY v VARCHAR(99)";
    let held = pair.held(clauses, 150).await;
    for round in 1..=40 {
        let (here, there) = (round, 401 - round);
        // Both unique keys: one value moves to the other end of the table, all of a part move on.
        for column in ["u", "n"] {
            pair.both("START TRANSACTION").await;
            pair.both(&format!("UPDATE t SET {column} = -1 WHERE id = {here}")).await;
            pair.both(&format!("UPDATE t SET {column} = {} WHERE id = {there}", 1000 + round))
                .await;
            pair.both(&format!("UPDATE t SET {column} = {} WHERE id = {here}", 2000 - round)).await;
            pair.both("COMMIT").await;
        }
        if round % 8 == 0 {
            // All values of a part of the table move on by one row, and next time back.
            let by = if round % 16 == 0 { 999_999 } else { 1_000_001 };
            pair.both("START TRANSACTION").await;
            pair.both("UPDATE t SET u = 5000, n = 5000 WHERE id = 201").await;
            let part = "WHERE id BETWEEN 100 AND 200";
            pair.both(&format!("UPDATE t SET u = u - 1000000, n = n - 1000000 {part}")).await;
            pair.both(&format!("UPDATE t SET u = u + {by}, n = n + {by} {part}")).await;
            pair.both("COMMIT").await;
        }
    }
    ended(&held.release().await, 0).unwrap();
    pair.native("t", clauses).await.unwrap();
    pair.same("t").await.unwrap();
}

on_both_servers! {
    a_key_with_a_foreign_name_is_named
    what_does_not_fit_is_named_and_the_original_untouched
    what_would_be_lost_in_part_is_named_and_the_original_untouched
    duplicates_are_named_and_the_original_untouched
    duplicates_that_come_during_the_run_stop_it
    values_that_do_not_fit_and_come_during_the_run_stop_it
    unique_values_that_move_between_rows_end_right
}
