//! Each kind of clause: values that fit, that do not, and that fit only after they were rounded.

use super::place::Place;
use crate::cli_run::printed;

/// One column `c`, the change, what is written then, and what there is afterwards; or why a row cannot go back.
struct Case {
    column: &'static str,
    first: &'static str,
    clauses: &'static str,
    write: &'static str,
    more: &'static [&'static str],
    outcome: Result<&'static [&'static str], &'static str>,
}

const NONE: &[&str] = &[];

/// Rows 1, 2 and 3 have `first`, `first`, NULL where that is taken; row 2 is written.
const CASES: &[Case] = &[
    Case {
        column: "c int",
        first: "5",
        clauses: "ALTER c TYPE bigint",
        write: "UPDATE t SET c = 2147483647 WHERE id = 2",
        more: NONE,
        outcome: Ok(&["1|5", "2|2147483647", "3|NULL"]),
    },
    Case {
        column: "c int",
        first: "5",
        clauses: "ALTER c TYPE bigint",
        write: "UPDATE t SET c = 2147483648 WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: integer out of range"),
    },
    Case {
        column: "c varchar(4)",
        first: "'abcd'",
        clauses: "ALTER c TYPE varchar(9)",
        write: "UPDATE t SET c = 'abcde' WHERE id = 2",
        more: &["--no-feedback"],
        outcome: Err("id = 2: value too long for type character varying(4)"),
    },
    Case {
        column: "c varchar(4)",
        first: "'abcd'",
        clauses: "ALTER c TYPE text",
        write: "UPDATE t SET c = 'xyz' WHERE id = 2; INSERT INTO t VALUES (4, 'new')",
        more: NONE,
        outcome: Ok(&["1|abcd", "2|xyz", "3|NULL", "4|new"]),
    },
    Case {
        column: "c char(4)",
        first: "'ab'",
        clauses: "ALTER c TYPE text",
        write: "UPDATE t SET c = 'abcde' WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: value too long for type character(4)"),
    },
    // What the change has rounded off comes back where the column was left alone.
    Case {
        column: "c timestamptz, d int DEFAULT 0",
        first: "'2001-02-03 04:05:06.789Z'",
        clauses: "ALTER c TYPE timestamptz(0)",
        write: "UPDATE t SET d = 1 WHERE id = 1; UPDATE t SET c = '2001-02-03 04:05:09Z' WHERE id = 2",
        more: NONE,
        outcome: Ok(&[
            "1|2001-02-03 09:35:06.789+05:30|1",
            "2|2001-02-03 09:35:09+05:30|0",
            "3|NULL|0",
        ]),
    },
    // The server would round these without a word.
    Case {
        column: "c timestamp(0)",
        first: "'2001-02-03 04:05:06'",
        clauses: "ALTER c TYPE timestamp(3)",
        write: "UPDATE t SET c = '2001-02-03 04:05:06.7' WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: a value of c would not be the same after its way back"),
    },
    Case {
        column: "c numeric(8,2)",
        first: "1.25",
        clauses: "ALTER c TYPE numeric(10,4)",
        write: "UPDATE t SET c = 1.2599 WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: a value of c would not be the same after its way back"),
    },
    Case {
        column: "c numeric(8,2)",
        first: "1.25",
        clauses: "ALTER c TYPE numeric(10,4)",
        write: "UPDATE t SET c = 1.3000 WHERE id = 2",
        more: NONE,
        outcome: Ok(&["1|1.25", "2|1.30", "3|NULL"]),
    },
    Case {
        column: "c real",
        first: "1.5",
        clauses: "ALTER c TYPE double precision",
        write: "UPDATE t SET c = 0.1 WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: a value of c would not be the same after its way back"),
    },
    Case {
        column: "c int NOT NULL DEFAULT 1",
        first: "5",
        clauses: "ALTER c DROP NOT NULL, ALTER c TYPE bigint",
        write: "UPDATE t SET c = NULL WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: null value in column \"c\""),
    },
    Case {
        column: "c int CHECK (c < 10)",
        first: "5",
        clauses: "DROP CONSTRAINT t_c_check, ALTER c TYPE bigint",
        write: "UPDATE t SET c = 10 WHERE id = 2",
        more: NONE,
        outcome: Err(
            "id = 2: new row for relation \"t_osc_old\" violates check constraint \"t_c_check\"",
        ),
    },
    // A dropped column: its values come back, and rows that are new get its default, or what is given.
    Case {
        column: "c text DEFAULT 'none', d int DEFAULT 0",
        first: "'x'",
        clauses: "DROP COLUMN c",
        write: "UPDATE t SET d = 1 WHERE id = 2; INSERT INTO t VALUES (4, 4); DELETE FROM t WHERE id = 1",
        more: NONE,
        outcome: Ok(&["2|x|1", "3|NULL|0", "4|none|4"]),
    },
    Case {
        column: "c text DEFAULT 'none', d int DEFAULT 0",
        first: "'x'",
        clauses: "DROP COLUMN c",
        write: "UPDATE t SET d = 1 WHERE id = 2; INSERT INTO t VALUES (4, 4)",
        more: &["--fill", "c='d is ' || d"],
        outcome: Ok(&["1|x|0", "2|x|1", "3|NULL|0", "4|d is 4|4"]),
    },
    Case {
        column: "c text NOT NULL, d int DEFAULT 0",
        first: "'x'",
        clauses: "DROP COLUMN c",
        write: "INSERT INTO t VALUES (4, 4)",
        more: NONE,
        outcome: Err("id = 4: the retired table needs a value of c: --fill c=EXPR"),
    },
    Case {
        column: "c int, d int DEFAULT 0",
        first: "7",
        clauses: "ADD COLUMN e int DEFAULT 9, ALTER d TYPE bigint",
        write: "UPDATE t SET e = 1 WHERE id = 1; INSERT INTO t VALUES (4, 4, 4, 4)",
        more: NONE,
        outcome: Ok(&["1|7|0", "2|7|0", "3|NULL|0", "4|4|4"]),
    },
    // USING: the old value stays where the new one still comes of it.
    Case {
        column: "c text, d int DEFAULT 0",
        first: "'007'",
        clauses: "ALTER c TYPE int USING c::int",
        write: "UPDATE t SET d = 1 WHERE id = 2",
        more: NONE,
        outcome: Ok(&["1|007|0", "2|007|1", "3|NULL|0"]),
    },
    Case {
        column: "c text, d int DEFAULT 0",
        first: "'007'",
        clauses: "ALTER c TYPE int USING c::int",
        write: "UPDATE t SET c = 8 WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: nothing is known to convert the row back; it needs --inverse c=EXPR"),
    },
    Case {
        column: "c text, d int DEFAULT 0",
        first: "'007'",
        clauses: "ALTER c TYPE int USING c::int",
        write: "UPDATE t SET c = 8, d = 1 WHERE id = 2",
        more: &["--inverse", "c=lpad(c::text, 3, '0')"],
        outcome: Ok(&["1|007|0", "2|008|1", "3|NULL|0"]),
    },
    Case {
        column: "c text, d int DEFAULT 0",
        first: "'007'",
        clauses: "ALTER c TYPE int USING c::int",
        write: "UPDATE t SET c = 8, d = 1 WHERE id = 2",
        more: &["--inverse", "c=(c + 1)::text"],
        outcome: Err("id = 2: a value of c would not be the same after its way back"),
    },
    // Generated columns are the server's.
    Case {
        column: "c int, d int GENERATED ALWAYS AS (c * 2) STORED",
        first: "7",
        clauses: "ALTER d DROP EXPRESSION, ALTER c TYPE bigint",
        write: "UPDATE t SET c = 8, d = 16 WHERE id = 2",
        more: NONE,
        outcome: Ok(&["1|7|14", "2|8|16", "3|NULL|NULL"]),
    },
    Case {
        column: "c int, d int GENERATED ALWAYS AS (c * 2) STORED",
        first: "7",
        clauses: "ALTER d DROP EXPRESSION, ALTER c TYPE bigint",
        write: "UPDATE t SET d = 15 WHERE id = 2",
        more: NONE,
        outcome: Err("id = 2: a value of c would not be the same after its way back"),
    },
    Case {
        column: "c int, d int DEFAULT 0",
        first: "7",
        clauses: "RENAME COLUMN c TO e",
        write: "UPDATE t SET e = 8 WHERE id = 2; INSERT INTO t VALUES (4, 9)",
        more: NONE,
        outcome: Ok(&["1|7|0", "2|8|0", "3|NULL|0", "4|9|0"]),
    },
    // Values of a unique key that move between rows.
    Case {
        column: "c int UNIQUE, d int DEFAULT 0",
        first: "NULL",
        clauses: "ALTER d TYPE bigint",
        write: "UPDATE t SET c = id; UPDATE t SET c = -c; UPDATE t SET c = 14 + c",
        more: NONE,
        outcome: Ok(&["1|13|0", "2|12|0", "3|11|0"]),
    },
    Case {
        column: "c int UNIQUE, d int DEFAULT 0",
        first: "NULL",
        clauses: "DROP CONSTRAINT t_c_key, ALTER d TYPE bigint",
        write: "UPDATE t SET c = 5 WHERE id > 1",
        more: NONE,
        outcome: Err("have the same value"),
    },
];

async fn checked(case: &Case) -> Result<(), String> {
    let place = Place::new(&format!("CREATE TABLE t (id int PRIMARY KEY, {})", case.column)).await;
    let third = if case.column.contains("NOT NULL") { case.first } else { "NULL" };
    let rows = format!("INSERT INTO t (id, c) VALUES (1, {0}), (2, {0}), (3, {third})", case.first);
    place.exec(&rows).await;
    place.alter(case.clauses);
    place.exec(case.write).await;
    let live = "SELECT t::text FROM t ORDER BY id";
    let before = place.rows(live).await;
    let output = place.revert(case.more);
    let (code, printed) = (output.status.code(), printed(&output));
    let after = place.rows("SELECT * FROM t ORDER BY id").await;
    match case.outcome {
        Ok(wanted) if code == Some(0) && after == wanted => Ok(()),
        Ok(wanted) => Err(format!("{code:?} {after:?}, not {wanted:?}: {printed}")),
        Err(why) if code == Some(5) && printed.contains(why) => {
            let now = place.rows(live).await;
            // The retired table is the user's: no failed undo drops it.
            let there = place.value("SELECT to_regclass('t_osc_old') IS NOT NULL").await;
            match now == before && there == "t" {
                true => Ok(()),
                false => Err(format!("something was changed: {now:?}, {there}")),
            }
        }
        Err(why) => Err(format!("{code:?}, not {why}: {printed}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_back_or_are_listed() {
    let mut wrong = Vec::new();
    for case in CASES {
        if let Err(error) = checked(case).await {
            wrong.push(format!("— {} {} {}: {error}", case.column, case.clauses, case.write));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_misfits_are_listed_and_the_rest_goes_back_when_they_are_mended() {
    let place = Place::new("CREATE TABLE t (id int PRIMARY KEY, c int)").await;
    place.exec("INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i").await;
    place.alter("ALTER c TYPE bigint");
    place.exec("UPDATE t SET c = 5000000000 + c WHERE id % 100 = 0").await;
    place.exec("UPDATE t SET c = -c WHERE id % 100 = 1").await;
    let output = place.revert(&[]);
    assert_eq!(output.status.code(), Some(5), "{}", printed(&output));
    let text = printed(&output);
    assert!(text.contains("30 rows cannot go back") && text.contains("id = 3000: "), "{text}");
    place.exec("UPDATE t SET c = 0 WHERE c > 5000000000").await;
    place.reverts();
    let sums =
        "SELECT count(*) FILTER (WHERE c = 0), count(*) FILTER (WHERE c < 0), count(*) FROM t";
    assert_eq!(place.rows(sums).await, ["30|30|3000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn misfits_that_are_left_behind_stay_as_they_were() {
    let place = Place::new("CREATE TABLE t (id int PRIMARY KEY, c int)").await;
    place.exec("INSERT INTO t SELECT i, i FROM generate_series(1, 10) i").await;
    place.alter("ALTER c TYPE bigint");
    place.exec("UPDATE t SET c = 5000000000 WHERE id = 3; UPDATE t SET c = 44 WHERE id = 4").await;
    let output = place.revert(&["--on-misfit", "leave"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(place.rows("SELECT * FROM t WHERE id IN (3, 4) ORDER BY id").await, ["3|3", "4|44"]);
    assert_eq!(place.value("SELECT c FROM t_osc_old_2 WHERE id = 3").await, "5000000000");
}
