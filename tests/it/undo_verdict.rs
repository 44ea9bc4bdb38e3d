//! What `osc plan` says of the way back is what `osc revert` then does: possible goes back, a condition that is
//! kept lets the table back and one that is broken names the row, impossible is refused.

use std::process::Output;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::cli_run::streams;
use crate::data::{Pair, ended};
use crate::support::schema;
use crate::support::server::Kind;

const ROWS: &str = "
CREATE TABLE parent (id INT PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (3);
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, u INT NOT NULL, v VARCHAR(40), n INT, d DECIMAL(12,4), dt DATETIME(6), e ENUM('a','b'), l VARCHAR(10) CHARSET latin1, p INT, title VARCHAR(20) DEFAULT 'none', must INT NOT NULL, day DATE NOT NULL, g INT GENERATED ALWAYS AS (id + 1) STORED, UNIQUE KEY u (u), KEY v (v), CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES parent (id), CONSTRAINT positive CHECK (n >= 0));
INSERT INTO t (id, u, v, n, d, dt, e, l, p, title, must, day) WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 100)
SELECT i, i, CONCAT('v', i), i, i / 8, '2024-01-01 00:00:00.25', IF(i % 2, 'a', 'b'), 'l', 1, CONCAT('title ', i), i, '2024-01-01' FROM r;
";

/// A row that all columns of the setup take.
const BORN: &str =
    "INSERT INTO t (id, u, v, n, p, must, day) VALUES (500, 500, 'born', 1, 2, 1, '2024-01-01')";

/// A change, what the plan says, a write that keeps its conditions, and one that breaks one, on row 7.
struct Case {
    clauses: &'static str,
    outcome: &'static str,
    /// Words of a reason.
    reason: &'static str,
    keeps: &'static str,
    breaks: &'static str,
}

const fn possible(clauses: &'static str, reason: &'static str, keeps: &'static str) -> Case {
    Case { clauses, outcome: "possible", reason, keeps, breaks: "" }
}

const fn possible_while(
    clauses: &'static str,
    reason: &'static str,
    keeps: &'static str,
    breaks: &'static str,
) -> Case {
    Case { clauses, outcome: "possible-while", reason, keeps, breaks }
}

const CASES: &[Case] = &[
    possible("ADD COLUMN a INT", "its values stay in the retired table", "UPDATE t SET a = 1"),
    possible("ADD INDEX n (n), DROP INDEX v", "", BORN),
    possible("RENAME COLUMN v TO w", "is called v again", "UPDATE t SET w = 'x'"),
    possible("MODIFY v VARCHAR(20)", "", "UPDATE t SET v = 'x'"),
    possible(
        "MODIFY dt DATETIME",
        "has what datetime holds no more",
        "UPDATE t SET dt = '2024-02-02' WHERE id = 7",
    ),
    possible("MODIFY l VARCHAR(10) CHARSET latin1 NOT NULL", "", "UPDATE t SET l = 'x'"),
    possible("DROP INDEX u, ADD UNIQUE INDEX other (u)", "", "UPDATE t SET u = u + 1000"),
    possible("COMMENT 'x'", "", BORN),
    possible_while(
        "MODIFY n BIGINT",
        "every value written to n fits int",
        "UPDATE t SET n = 2147483646",
        "UPDATE t SET n = 2147483648 WHERE id = 7",
    ),
    possible_while(
        "MODIFY v VARCHAR(100)",
        "fits varchar(40)",
        "UPDATE t SET v = REPEAT('x', 40)",
        "UPDATE t SET v = REPEAT('x', 41) WHERE id = 7",
    ),
    possible_while(
        "MODIFY v TEXT, DROP INDEX v",
        "fits varchar(40)",
        "UPDATE t SET v = REPEAT('x', 40)",
        "UPDATE t SET v = REPEAT('x', 41) WHERE id = 7",
    ),
    possible_while(
        "MODIFY d DECIMAL(20,8)",
        "fits decimal(12,4)",
        "UPDATE t SET d = 1.25",
        "UPDATE t SET d = 0.12345678 WHERE id = 7",
    ),
    possible_while(
        "MODIFY d DECIMAL(20,4)",
        "fits decimal(12,4)",
        "UPDATE t SET d = 1.25",
        "UPDATE t SET d = 1234567890.5 WHERE id = 7",
    ),
    possible_while(
        "MODIFY u INT NULL",
        "no NULL is written to u",
        "UPDATE t SET u = u + 1000",
        "UPDATE t SET u = NULL WHERE id = 7",
    ),
    possible_while(
        "MODIFY e ENUM('c','b','a')",
        "gets no member that enum('a','b') lacks",
        "UPDATE t SET e = 'a'",
        "UPDATE t SET e = 'c' WHERE id = 7",
    ),
    possible_while(
        "MODIFY l VARCHAR(10) CHARSET utf8mb4",
        "in latin1",
        "UPDATE t SET l = 'é'",
        "UPDATE t SET l = 'ж' WHERE id = 7",
    ),
    possible_while(
        "MODIFY n VARCHAR(20)",
        "comes back the same",
        "UPDATE t SET n = '17'",
        "UPDATE t SET n = '017' WHERE id = 7",
    ),
    possible_while(
        "MODIFY dt TIMESTAMP(6) NULL",
        "fits datetime(6)",
        "UPDATE t SET dt = '2024-02-02 00:00:00'",
        "",
    ),
    possible_while(
        "MODIFY day DATETIME NOT NULL",
        "comes back the same",
        "UPDATE t SET day = '2024-02-02'",
        "UPDATE t SET day = '2024-02-02 00:00:01' WHERE id = 7",
    ),
    possible_while(
        "DROP INDEX u",
        "no two rows get the same u",
        "UPDATE t SET u = u + 1000",
        "UPDATE t SET u = 1008 WHERE id = 7",
    ),
    possible_while(
        "DROP PRIMARY KEY, ADD PRIMARY KEY (id, u)",
        "no two rows get the same id",
        BORN,
        "INSERT INTO t (id, u, n, must, day) VALUES (7, 1007, 1, 1, '2024-01-01')",
    ),
    possible_while(
        "DROP FOREIGN KEY fk_p",
        "every p has its row in",
        "UPDATE t SET p = 3",
        "UPDATE t SET p = 9 WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT positive",
        "every row keeps the check",
        "UPDATE t SET n = 0",
        "UPDATE t SET n = -1 WHERE id = 7",
    ),
    Case {
        clauses: "DROP COLUMN title",
        outcome: "loses",
        reason: "title of a row whose id is changed",
        keeps: "UPDATE t SET id = 1007 WHERE id = 7;\nDELETE FROM t WHERE id = 8;\nUPDATE t SET id = 8 WHERE id = 9",
        breaks: "",
    },
    Case {
        clauses: "DROP COLUMN must",
        outcome: "loses",
        reason: "no row is created; else with --fill must=EXPR",
        keeps: "UPDATE t SET v = 'x'",
        breaks: "UPDATE t SET id = 700 WHERE id = 7",
    },
    Case {
        clauses: "DROP COLUMN u",
        outcome: "loses",
        reason: "no row is created",
        keeps: "DELETE FROM t WHERE id = 7",
        breaks: "INSERT INTO t (id, n, must, day) VALUES (700, 1, 1, '2024-01-01')",
    },
    Case {
        clauses: "MODIFY g INT",
        outcome: "possible-while",
        reason: "what is written to g",
        keeps: "UPDATE t SET v = 'x' WHERE id = 7",
        breaks: "UPDATE t SET g = 77 WHERE id = 7",
    },
    Case {
        clauses: "MODIFY n INT GENERATED ALWAYS AS (id + 5) STORED",
        outcome: "possible",
        reason: "its old values again",
        keeps: "UPDATE t SET v = 'x'",
        breaks: "",
    },
    Case {
        clauses: "MODIFY day DOUBLE NOT NULL",
        outcome: "impossible",
        reason: "else with --inverse day=EXPR",
        keeps: "",
        breaks: "",
    },
];

/// `osc plan`, and the reasons and outcome that it gives.
async fn planned(pair: &Pair, clauses: &str) -> Value {
    let plan = schema::read("plan", &text(&pair.plan("t", clauses, "copy").await));
    plan["methods"][0]["undo"].clone()
}

impl Case {
    /// A pair whose first table osc has changed, after it has said what the case expects.
    async fn altered(&self, kind: Kind) -> Result<Pair, String> {
        let pair = Pair::new(kind, ROWS).await;
        let undo = planned(&pair, self.clauses).await;
        let (outcome, text) = (undo["outcome"].as_str().unwrap_or_default(), undo.to_string());
        if outcome != self.outcome || !text.contains(self.reason) || undo["by"] != "revert" {
            return Err(format!("planned {text}"));
        }
        ended(&pair.alter("t", self.clauses).await, 0)?;
        Ok(pair)
    }

    async fn holds(&self, kind: Kind) -> Result<(), String> {
        let mut pair = self.altered(kind).await?;
        pair.script(0, self.keeps).await;
        if self.outcome == "impossible" {
            return ended(&pair.revert("t", &[]).await, 4);
        }
        ended(&pair.revert("t", &[]).await, 0)?;
        if self.breaks.is_empty() {
            return Ok(());
        }
        let mut pair = self.altered(kind).await?;
        pair.script(0, self.keeps).await;
        pair.script(0, self.breaks).await;
        let output = pair.revert("t", &[]).await;
        ended(&output, 5)?;
        match streams(&output).contains("id = 7") {
            true => Ok(()),
            false => Err(format!("the row is not named: {}", streams(&output))),
        }
    }
}

async fn a_plan_says_what_an_undo_then_does(kind: Kind) {
    let wrong: Vec<String> = stream::iter(CASES)
        .map(|case| async {
            case.holds(kind).await.err().map(|why| format!("— {}: {why}", case.clauses))
        })
        .buffer_unordered(2)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn what_rows_lose_by_their_keys_is_what_was_said(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    ended(&pair.alter("t", "DROP COLUMN title").await, 0).unwrap();
    let moved = "UPDATE t SET id = 1007 WHERE id = 7;\nDELETE FROM t WHERE id = 8;\n\
                 UPDATE t SET id = 8 WHERE id = 9";
    pair.script(0, moved).await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    let titles = pair.column("SELECT title FROM t WHERE id IN (8, 10, 1007) ORDER BY id").await;
    assert_eq!(titles, ["title 8", "title 10", "none"]);
}

async fn what_is_computed_now_has_its_old_values_again(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    let clauses = "MODIFY g INT, MODIFY n INT GENERATED ALWAYS AS (id + 5) STORED";
    ended(&pair.alter("t", clauses).await, 0).unwrap();
    pair.both("UPDATE t SET v = 'x' WHERE id IN (7, 8)").await;
    ended(&pair.revert("t", &[]).await, 0).unwrap();
    pair.same("t").await.unwrap();
}

/// Clauses that the server does itself, what is said of the way back, and a write after which the opposite fails.
const NATIVE: &[(&str, &str, &str)] = &[
    ("ADD COLUMN a INT", "loses", ""),
    ("RENAME COLUMN v TO w", "possible", ""),
    ("ADD INDEX n (n)", "possible", ""),
    ("MODIFY v VARCHAR(60)", "possible-while", "UPDATE t SET v = REPEAT('x', 41)"),
    ("MODIFY e ENUM('a','b','c')", "possible-while", "UPDATE t SET e = 'c'"),
    ("DROP INDEX u", "impossible", ""),
];

async fn a_servers_own_method_is_undone_by_the_opposite(kind: Kind) {
    for (clauses, outcome, breaks) in NATIVE {
        let mut pair = Pair::new(kind, ROWS).await;
        let plan = schema::read("plan", &text(&pair.plan("t", clauses, "auto").await));
        let (method, undo) = (&plan["methods"][0], &plan["methods"][0]["undo"]);
        if method["method"] == "copy" {
            continue;
        }
        assert_eq!(undo["outcome"], *outcome, "{clauses}: {undo}");
        assert_eq!(undo["by"], "opposite-change", "{clauses}");
        ended(&pair.osc(&["alter", "t", clauses, "--yes"]).await, 0).unwrap();
        if !breaks.is_empty() {
            pair.first(&format!("{breaks} WHERE id = 7")).await;
            ended(&pair.revert("t", &[]).await, 1).unwrap();
            pair.first("UPDATE t SET v = 'x', e = 'a' WHERE id = 7").await;
        }
        ended(&pair.revert("t", &[]).await, 0).unwrap_or_else(|why| panic!("{clauses}: {why}"));
    }
}

async fn a_run_keeps_its_verdict_until_the_retired_table_is_gone(kind: Kind) {
    let mut pair = Pair::new(kind, ROWS).await;
    let clauses = "MODIFY u INT NULL";
    let output = pair.alter("t", clauses).await;
    ended(&output, 0).unwrap();
    let verdict = "t; possible while no NULL is written to u";
    assert!(streams(&output).contains(verdict), "{}", streams(&output));
    let status = async |pair: &Pair| text(&pair.osc(&["status", "t", "--json"]).await);
    let line = schema::read("status", status(&pair).await.lines().next().unwrap());
    assert!(line["undo"][0].as_str().unwrap().ends_with(verdict), "{line}");
    assert_eq!(line["undo"][1], "u: possible while no NULL is written to u");
    pair.first("DROP TABLE t_osc_old").await;
    let line = schema::read("status", status(&pair).await.lines().next().unwrap());
    assert!(
        line["undo"][0].as_str().unwrap().starts_with("impossible: the table that run"),
        "{line}"
    );
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

on_both_servers! {
    a_plan_says_what_an_undo_then_does
    what_rows_lose_by_their_keys_is_what_was_said
    what_is_computed_now_has_its_old_values_again
    a_servers_own_method_is_undone_by_the_opposite
    a_run_keeps_its_verdict_until_the_retired_table_is_gone
}
