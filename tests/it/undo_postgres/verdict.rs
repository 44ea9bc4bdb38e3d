//! What `osc plan` says of the way back is what `osc revert` then does: possible goes back, a condition that is
//! kept lets the table back and one that is broken names the row.

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::place::Place;
use crate::cli_run::printed;
use crate::support::schema;

const ROWS: &str = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2), (3); \
    CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL UNIQUE, v varchar(40), n int, d numeric(12,4), \
    ts timestamptz, p int CONSTRAINT fk_p REFERENCES parent, title text DEFAULT 'none', must int NOT NULL, \
    day date NOT NULL, code text, g int GENERATED ALWAYS AS (id + 1) STORED, r int4range, \
    CONSTRAINT positive CHECK (n >= 0), CONSTRAINT apart EXCLUDE USING gist (r WITH &&)); \
    CREATE UNIQUE INDEX one ON t (lower(v)); CREATE INDEX tn ON t (n); \
    INSERT INTO t (id, u, v, n, d, ts, p, title, must, day, code, r) \
    SELECT i, i, 'v' || i, i, i / 8.0, '2024-01-01 00:00:00.25Z', 1, 'title ' || i, i, '2024-01-01', \
    lpad(i::text, 4, '0'), int4range(i * 10, i * 10 + 5) FROM generate_series(1, 100) i";

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
    /// Arguments of the undo, where it needs some for `keeps`.
    given: &'static [&'static str],
}

const fn case(
    clauses: &'static str,
    outcome: &'static str,
    reason: &'static str,
    keeps: &'static str,
    breaks: &'static str,
) -> Case {
    Case { clauses, outcome, reason, keeps, breaks, given: &[] }
}

const fn possible(clauses: &'static str, reason: &'static str, keeps: &'static str) -> Case {
    case(clauses, "possible", reason, keeps, "")
}

const fn possible_while(
    clauses: &'static str,
    reason: &'static str,
    keeps: &'static str,
    breaks: &'static str,
) -> Case {
    case(clauses, "possible-while", reason, keeps, breaks)
}

const CASES: &[Case] = &[
    possible("ADD COLUMN a int", "its values stay in the retired table", "UPDATE t SET a = 1"),
    possible("RENAME COLUMN n TO m", "is called n again", "UPDATE t SET m = 5"),
    possible("ALTER v TYPE varchar(20)", "", "UPDATE t SET v = 'x' || id"),
    possible(
        "ALTER ts TYPE timestamptz(0)",
        "has what timestamp(0) with time zone holds no more",
        "UPDATE t SET ts = '2024-02-02' WHERE id = 7",
    ),
    possible("ALTER n SET NOT NULL, ADD UNIQUE (n)", "", "UPDATE t SET n = n + 1000"),
    possible(
        "DROP CONSTRAINT t_u_key, ADD CONSTRAINT other UNIQUE (u)",
        "",
        "UPDATE t SET u = u + 1000",
    ),
    possible("DROP CONSTRAINT positive, ADD CONSTRAINT named CHECK (n >= 0)", "", BORN),
    possible("ALTER n TYPE smallint", "holds no more", "UPDATE t SET n = 3 WHERE id = 7"),
    possible("ADD CONSTRAINT later CHECK (n > 50) NOT VALID, ALTER title SET DEFAULT 'x'", "", ""),
    possible_while(
        "ALTER n TYPE bigint",
        "every value written to n fits integer",
        "UPDATE t SET n = 2147483646",
        "UPDATE t SET n = 2147483648 WHERE id = 7",
    ),
    possible_while(
        "ALTER v TYPE varchar(100)",
        "fits character varying(40)",
        "UPDATE t SET v = rpad(id::text, 40, 'x')",
        "UPDATE t SET v = repeat('x', 41) WHERE id = 7",
    ),
    possible_while(
        "ALTER v TYPE text",
        "fits character varying(40)",
        "UPDATE t SET v = rpad(id::text, 40, 'x')",
        "UPDATE t SET v = repeat('x', 41) WHERE id = 7",
    ),
    possible_while(
        "ALTER d TYPE numeric(20,8)",
        "fits numeric(12,4)",
        "UPDATE t SET d = 1.25",
        "UPDATE t SET d = 0.12345678 WHERE id = 7",
    ),
    possible_while(
        "ALTER d TYPE numeric",
        "fits numeric(12,4)",
        "UPDATE t SET d = 1.25",
        "UPDATE t SET d = 1234567890.5 WHERE id = 7",
    ),
    possible_while(
        "ALTER must DROP NOT NULL, ALTER n TYPE bigint",
        "no NULL is written to must",
        "UPDATE t SET must = 5",
        "UPDATE t SET must = NULL WHERE id = 7",
    ),
    possible_while(
        "ALTER n TYPE text, DROP CONSTRAINT positive",
        "goes into integer and comes back the same",
        "UPDATE t SET n = '17'",
        "UPDATE t SET n = '017' WHERE id = 7",
    ),
    possible_while(
        "ALTER day TYPE timestamp",
        "comes back the same",
        "UPDATE t SET day = '2024-02-02'",
        "UPDATE t SET day = '2024-02-02 00:00:01' WHERE id = 7",
    ),
    // The server casts integers to money, and no money to integers.
    Case {
        given: &["--inverse", "n=n::numeric::int"],
        ..possible_while(
            "ALTER n TYPE money, DROP CONSTRAINT positive",
            "nothing is written to n and no row is created; else with --inverse n=EXPR",
            "UPDATE t SET n = 5 WHERE id = 8",
            "",
        )
    },
    possible_while(
        "ALTER n TYPE money, DROP CONSTRAINT positive",
        "nothing is written to n",
        "UPDATE t SET v = 'w' || id",
        "UPDATE t SET n = 5 WHERE id = 7",
    ),
    possible_while(
        "ALTER code TYPE int USING code::int",
        "else with --inverse code=EXPR",
        "UPDATE t SET v = 'w' || id",
        "UPDATE t SET code = 8 WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT t_u_key",
        "no two rows get the same u",
        "UPDATE t SET u = u + 1000",
        "UPDATE t SET u = 1008 WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT t_u_key, ADD UNIQUE (u, n)",
        "no two rows get the same u",
        "UPDATE t SET u = u + 1000",
        "UPDATE t SET u = 1008 WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT apart",
        "no two rows conflict in apart",
        "UPDATE t SET r = int4range(id * 10, id * 10 + 7)",
        "UPDATE t SET r = int4range(1, 1000) WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, u)",
        "no two rows get the same id",
        BORN,
        "INSERT INTO t (id, u, n, must, day) VALUES (7, 1007, 1, 1, '2024-01-01')",
    ),
    possible_while(
        "DROP CONSTRAINT fk_p",
        "every p has its row in public.parent",
        "UPDATE t SET p = 3; UPDATE t SET p = NULL WHERE id = 9",
        "UPDATE t SET p = 9 WHERE id = 7",
    ),
    possible_while(
        "DROP CONSTRAINT positive",
        "every row keeps the check ((n >= 0))",
        "UPDATE t SET n = 0",
        "UPDATE t SET n = -1 WHERE id = 7",
    ),
    case(
        "DROP COLUMN title",
        "loses",
        "title of a row whose id is changed",
        "UPDATE t SET id = 1007 WHERE id = 7; DELETE FROM t WHERE id = 8; UPDATE t SET id = 8 WHERE id = 9",
        "",
    ),
    case(
        "DROP COLUMN must",
        "loses",
        "no row is created; else with --fill must=EXPR",
        "UPDATE t SET v = 'x' || id",
        "UPDATE t SET id = 700 WHERE id = 7",
    ),
    case(
        "DROP COLUMN u",
        "loses",
        "no row is created",
        "DELETE FROM t WHERE id = 7",
        "INSERT INTO t (id, n, must, day) VALUES (700, 1, 1, '2024-01-01')",
    ),
    // The keys of a column go with it.
    case(
        "DROP COLUMN p",
        "loses",
        "every p has its row in public.parent",
        "DELETE FROM parent WHERE id = 3",
        "DELETE FROM parent WHERE id = 1",
    ),
    possible_while(
        "ALTER g DROP EXPRESSION",
        "what is written to g is what would be computed",
        "UPDATE t SET v = 'x' WHERE id = 7; UPDATE t SET g = 9 WHERE id = 8",
        "UPDATE t SET g = 77 WHERE id = 7",
    ),
    case(
        "ADD COLUMN k uuid NOT NULL DEFAULT gen_random_uuid(), DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (k), \
         ADD UNIQUE (id)",
        "impossible",
        "k names the rows of public.t, and the retired table does not have it",
        "",
        "",
    ),
];

/// A place whose table osc has changed, after it has said what the case expects.
async fn altered(case: &Case) -> Result<Place, String> {
    let place = Place::new(ROWS).await;
    let plan = place.osc(&["plan", "t", case.clauses, "--strategy", "copy", "--json"]);
    let text = String::from_utf8_lossy(&plan.stdout).trim().to_owned();
    let plan: Value = schema::read("plan", &text);
    let undo = &plan["methods"][0]["undo"];
    let (outcome, text) = (undo["outcome"].as_str().unwrap_or_default(), undo.to_string());
    if outcome != case.outcome || !text.contains(case.reason) || undo["by"] != "revert" {
        return Err(format!("planned {plan}"));
    }
    place.alter(case.clauses);
    Ok(place)
}

fn ended(output: &std::process::Output, code: i32) -> Result<(), String> {
    match output.status.code() == Some(code) {
        true => Ok(()),
        false => Err(format!("not {code}: {}", printed(output))),
    }
}

async fn holds(case: &Case) -> Result<(), String> {
    let place = altered(case).await?;
    place.exec(case.keeps).await;
    if case.outcome == "impossible" {
        return ended(&place.revert(&[]), 4);
    }
    let more = [case.given, &["--check"]].concat();
    ended(&place.revert(&more), 0)?;
    ended(&place.revert(case.given), 0)?;
    if case.breaks.is_empty() {
        return Ok(());
    }
    let place = altered(case).await?;
    place.exec(case.keeps).await;
    place.exec(case.breaks).await;
    ended(&place.revert(&["--check"]), 4)?;
    let output = place.revert(&[]);
    ended(&output, 5)?;
    let text = printed(&output);
    // One parent is every row's; and of two rows that are one to a key, the other may be the misfit.
    let rows = match case.breaks.contains("parent") {
        true => ["id = 100: the foreign key fk_p finds no row"; 2],
        false => ["id = 7", "(7)"],
    };
    match rows.iter().any(|row| text.contains(row)) {
        true => Ok(()),
        false => Err(format!("the row is not named: {text}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_an_undo_then_does() {
    let wrong: Vec<String> = stream::iter(CASES)
        .map(|case| async {
            holds(case).await.err().map(|why| format!("— {}: {why}", case.clauses))
        })
        .buffer_unordered(2)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_verdict_until_the_retired_table_is_gone() {
    let place = Place::new(ROWS).await;
    let clauses = "ALTER u DROP NOT NULL, ALTER must DROP NOT NULL";
    let output = place.osc(&["alter", "t", clauses, "--strategy", "copy", "--yes"]);
    let verdict = "t; possible while no NULL is written to u, and while no NULL is written to must";
    assert!(printed(&output).contains(verdict), "{}", printed(&output));
    let status = || {
        let output = place.osc(&["status", "t", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        schema::read("status", text.lines().next().unwrap())
    };
    let line = status();
    assert!(line["undo"][0].as_str().unwrap().ends_with(verdict), "{line}");
    assert_eq!(line["undo"][1], "u: possible while no NULL is written to u");
    place.reverts();
    // The undo is undone by the change itself.
    assert!(status()["undo"][0].as_str().unwrap().ends_with("t; possible"), "{}", status());
    place.reverts();
    assert!(status()["undo"][0].as_str().unwrap().ends_with(verdict), "{}", status());
    place.exec("DROP TABLE t_osc_old").await;
    let line = status();
    assert!(line["undo"][0].as_str().unwrap().starts_with("impossible: "), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_said_to_stay() {
    let place = Place::new("CREATE TABLE t (id int PRIMARY KEY)").await;
    let clauses = "PARTITION BY RANGE (id) (PARTITION p FOR VALUES FROM (MINVALUE) TO (MAXVALUE))";
    let text = printed(&place.osc(&["plan", "t", clauses]));
    assert!(text.contains("Undo: impossible: the new table is partitioned"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_computed_instead_has_its_old_values_again() {
    let place = Place::new("CREATE TABLE t (id int PRIMARY KEY, n int, v text)").await;
    place.exec("INSERT INTO t SELECT i, i * 7, 'v' FROM generate_series(1, 3) i").await;
    let clauses = "DROP COLUMN n, ADD COLUMN n int GENERATED ALWAYS AS (id + 5) STORED";
    place.alter(clauses);
    place.exec("UPDATE t SET v = 'x' WHERE id = 2; INSERT INTO t (id) VALUES (4)").await;
    place.reverts();
    let rows = place.rows("SELECT id, n, v FROM t ORDER BY id").await;
    assert_eq!(rows, ["1|7|v", "2|14|x", "3|21|v", "4|NULL|NULL"]);
}
