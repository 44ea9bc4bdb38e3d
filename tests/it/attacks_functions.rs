//! What an account of PostgreSQL makes so that osc, a superuser, may run it: functions, operators and casts that
//! the table, the clauses and what they imply lead to.

use crate::attacks_postgres::{COPIED, Scenario, done, refused};

/// The table's owner writes the functions that a copy runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_owners_functions_are_not_run_by_a_superuser() {
    let scenario = Scenario::new().await;
    scenario.payload("public.taken(int)", "int").await;
    scenario
        .attack(
            "CREATE FUNCTION steady(int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
             AS 'BEGIN RETURN public.taken($1); END'; \
             CREATE DOMAIN odd AS int CHECK (taken(VALUE) IS NULL); \
             CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE plpgsql \
             AS 'BEGIN RETURN taken($1) IS NULL; END'; \
             CREATE OPERATOR === (FUNCTION = same, LEFTARG = int, RIGHTARG = int)",
        )
        .await;
    for (at, part) in [
        "n int CHECK (taken(n) IS NULL)",
        "n int DEFAULT taken(1)",
        "n int, g int GENERATED ALWAYS AS (steady(n)) STORED",
        "n odd",
        "n int CHECK (n === 1)",
    ]
    .iter()
    .enumerate()
    {
        let table = format!("own_{at}");
        scenario.attack(&format!("CREATE TABLE {table} (id int PRIMARY KEY, {part})")).await;
        for command in ["plan", "alter"] {
            let output = scenario.osc(&[command, &table, "ADD c text", "--strategy", "copy"]);
            refused(&output, &["--trust-owner", &scenario.mallory]);
        }
    }
    scenario
        .attack(
            "CREATE TABLE plain (id int PRIMARY KEY, n int); \
             CREATE TABLE indexed (id int PRIMARY KEY, n int); \
             CREATE INDEX ON indexed (steady(n)) WHERE steady(n) IS NULL; \
             INSERT INTO indexed VALUES (1, 1)",
        )
        .await;
    refused(&scenario.osc(&["alter", "indexed", "ALTER n TYPE bigint"]), &["steady(integer)"]);
    for clauses in [
        "ADD c int DEFAULT public.steady(1)",
        "ALTER n TYPE bigint USING public.steady(n)",
        "ADD CHECK (public.taken(n) IS NULL)",
        "ADD c public.odd DEFAULT 1",
    ] {
        refused(&scenario.osc(&["alter", "plain", clauses]), &["--trust-owner", &scenario.mallory]);
    }
    scenario.assert_harmless("the owner's functions").await;
    // Their owner may, and one who trusts him.
    let url = scenario.server.url_as(&scenario.mallory, &scenario.database);
    let owners = ["--ledger", "osc_of_owner"];
    let arguments = ["alter", "own_1", "ALTER id TYPE bigint"];
    done(&scenario.osc_at(&url, &[&arguments[..], &owners].concat()));
    done(&scenario.osc(&["alter", "own_0", "ALTER id TYPE bigint", "--trust-owner"]));
    done(&scenario.osc(&["alter", "plain", "ALTER id TYPE bigint"]));
}

/// Operators and functions that clauses call without naming them as such are found in the search path
/// like those that are written, and one that fits better hides the server's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_clauses_imply_is_not_run_by_a_superuser() {
    let scenario = Scenario::new().await;
    scenario
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    let operators =
        [("equal", "="), ("other", "<>"), ("least", ">="), ("like", "~~"), ("ilike", "~~*")];
    for (name, operator) in operators {
        scenario.payload(&format!("public.of_{name}(varchar, varchar)"), "boolean").await;
        scenario
            .attack(&format!(
                "ALTER FUNCTION of_{name} IMMUTABLE; CREATE OPERATOR public.{operator} \
                 (FUNCTION = of_{name}, LEFTARG = varchar, RIGHTARG = varchar)"
            ))
            .await;
    }
    scenario.payload("public.lower(varchar)", "text").await;
    scenario.payload("public.of_row(pt)", "boolean").await;
    for clauses in [
        "ADD CHECK (vc IN ('x', 'y'))",
        "ADD CHECK (vc NOT IN ('x', 'y'))",
        "ADD CHECK (vc != 'x')",
        "ADD CHECK (vc BETWEEN 'a' AND 'z')",
        "ADD CHECK (vc LIKE 'x%')",
        "ADD CHECK (vc ILIKE 'x%')",
        "ADD g text GENERATED ALWAYS AS (NULLIF(vc, 'x')) STORED",
        "ADD CHECK (vc IS DISTINCT FROM 'x')",
        "ALTER n TYPE bigint USING CASE vc WHEN 'x' THEN 1 ELSE 2 END",
        "ADD CHECK (pt.of_row IS NULL)",
        "ADD CHECK (lower/* of what? */(vc) IS NULL)",
        "ADD CHECK (n <> ascii('\"') AND lower(vc) IS NULL AND n <> ascii('\"'))",
        "ADD CHECK (U&\"\\006Cower\"(vc) IS NULL)",
        "CREATE INDEX ix ON pt (id) WHERE vc IN ('x', 'y')",
    ] {
        let index = clauses.starts_with("CREATE");
        for more in [&["--strategy", "copy"][..], &[]].iter().skip(usize::from(index)) {
            for command in ["plan", "alter"] {
                let whose = if clauses.contains("U&") { "U&" } else { &scenario.mallory };
                let arguments = [&[command, "pt", clauses], *more].concat();
                scenario.assert_refused(&arguments, &[whose]).await;
            }
        }
    }
    // What calls none of them.
    scenario.attack("DROP FUNCTION of_row(pt)").await;
    done(&scenario.osc(&["alter", "pt", "ADD CHECK (n > 0), ALTER n TYPE bigint"]));
    scenario.assert_harmless("a change that calls nothing of theirs").await;
}

/// Between osc's look at the words and the server's there is time to make an operator. An event trigger
/// makes it here, at the very moment: what the draft of the shadow then hangs on is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_after_the_words_were_looked_at_is_not_run() {
    let scenario = Scenario::new().await;
    scenario
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    scenario.payload("public.of_equal(varchar, varchar)", "boolean").await;
    scenario
        .attack(
            "CREATE FUNCTION public.now_then() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ \
             BEGIN CREATE OPERATOR public.= (FUNCTION = public.of_equal, LEFTARG = varchar, \
             RIGHTARG = varchar); END $f$",
        )
        .await;
    scenario.attack_at_the_draft().await;
    let words = ["of_equal", &scenario.mallory, "--trust-owner"];
    for command in ["plan", "alter"] {
        let clauses = "ADD CHECK (vc IN ('x', 'y') OR n > 0)";
        scenario.assert_refused(&[command, "pt", clauses, "--strategy", "copy"], &words).await;
    }
    // USING leaves nothing in the draft, and is looked at when it is returned.
    let using = "ALTER n TYPE bigint USING CASE vc WHEN 'x' THEN 1 ELSE 2 END";
    scenario.assert_refused(&["alter", "pt", using], &words).await;
    scenario.exec("DROP OPERATOR public.= (varchar, varchar)").await;
    // What calls none of it is not held up.
    done(&scenario.osc(&["alter", "pt", "ALTER n TYPE bigint"]));
    scenario.exec("DROP EVENT TRIGGER at_schema").await;
}

/// An operator in a schema that no clause leads to, or for a type that the change does not have, stops no
/// other session.
#[tokio::test(flavor = "multi_thread")]
async fn operators_that_cannot_be_meant_stop_no_one() {
    let scenario = Scenario::new().await;
    scenario.attack("CREATE SCHEMA own_{m}; CREATE TYPE public.wen AS ENUM ('a', 'b')").await;
    scenario.payload("own_{m}.same(int, int)", "boolean").await;
    scenario.payload("public.same(wen, wen)", "boolean").await;
    scenario
        .attack(
            "CREATE OPERATOR own_{m}.= (FUNCTION = own_{m}.same, LEFTARG = int, RIGHTARG = int); \
             CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = wen, RIGHTARG = wen)",
        )
        .await;
    let clauses = "ADD CHECK (n IN (1, 2) OR name = 'x' OR n > 0)";
    done(&scenario.osc(&["alter", "t", clauses, "--strategy", "copy"]));
    scenario.assert_harmless(clauses).await;
    let clauses = scenario.fill("ADD CHECK (n OPERATOR(own_{m}.=) 1 IS NULL)");
    refused(&scenario.osc(&["alter", "t", &clauses]), &["--trust-owner"]);
    scenario.exec("CREATE TABLE own (id int PRIMARY KEY, e wen)").await;
    refused(&scenario.osc(&["alter", "own", "ADD CHECK (e = 'a')"]), &["--trust-owner"]);
    scenario.assert_harmless("operators").await;
}

/// A cast counts where the change may use it: one that leads from every integer to a type of the
/// attacker's stops no other session.
#[tokio::test(flavor = "multi_thread")]
async fn casts_count_where_the_type_is_used() {
    let scenario = Scenario::new().await;
    scenario.attack("CREATE TYPE wen AS ENUM ('a', 'b')").await;
    scenario.payload("public.from_int(int)", "wen").await;
    scenario.payload("public.to_text(wen)", "text").await;
    scenario.attack("CREATE CAST (int AS wen) WITH FUNCTION from_int(int) AS IMPLICIT").await;
    done(&scenario.osc(&["alter", "t", "ALTER n TYPE bigint", "--strategy", "copy"]));
    scenario.exec("CREATE TABLE own (id int PRIMARY KEY, n int, e wen)").await;
    for clauses in ["ADD c text", "ADD c wen DEFAULT 'a'", "ALTER e TYPE text"] {
        refused(&scenario.osc(&["alter", "own", clauses]), &["from_int", &scenario.mallory]);
    }
    scenario.attack("DROP CAST (int AS wen)").await;
    // He may make one while rows are converted.
    for clauses in ["ALTER e TYPE text", "ALTER n TYPE wen USING 'a'"] {
        for command in ["plan", "alter"] {
            let output = scenario.osc(&[command, "own", clauses]);
            refused(&output, &["at any time", "wen of", &scenario.mallory]);
        }
    }
    done(&scenario.osc(&["alter", "own", "ALTER n TYPE bigint"]));
    done(&scenario.osc(&["cleanup", "own", "--yes", "--now"]));
    done(&scenario.osc(&["alter", "own", "ALTER e TYPE text", "--trust-owner"]));
    scenario.assert_harmless("casts").await;
}

/// What the throttle's query calls can turn no transaction into one that writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_throttles_query_writes_nothing_whatever_it_calls() {
    let scenario = Scenario::new().await;
    scenario
        .exec(
            "CREATE TABLE seen (n int); CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN \
             PERFORM set_config('default_transaction_read_only', 'off', false); \
             IF current_setting('transaction_read_only') = 'off' THEN INSERT INTO public.seen VALUES (1); END IF; \
             RETURN 0; END $f$",
        )
        .await;
    let slow = ["--max-rows-per-second", "100", "--strategy", "copy", "--chunk-size", "50"];
    let query = ["alter", "t", COPIED, "--throttle-query", "SELECT public.sly()"];
    done(&scenario.osc(&[&query[..], &slow].concat()));
    assert_eq!(scenario.value("SELECT count(*) FROM seen").await, "0", "the query wrote");
}
