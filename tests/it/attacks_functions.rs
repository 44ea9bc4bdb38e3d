//! What an account of PostgreSQL makes so that osc, a superuser, may run it: functions, operators and casts that
//! the table, the clauses and what they imply lead to.

use crate::attacks_postgres::{COPIED, Scene, done, refused};

/// The table's owner writes the functions that a copy runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_owners_functions_are_not_run_by_a_superuser() {
    let scene = Scene::new().await;
    scene.payload("public.taken(int)", "int").await;
    scene
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
        scene.attack(&format!("CREATE TABLE {table} (id int PRIMARY KEY, {part})")).await;
        for command in ["plan", "alter"] {
            let output = scene.osc(&[command, &table, "ADD c text", "--strategy", "copy"]);
            refused(&output, &["--trust-owner", &scene.mallory]);
        }
    }
    scene
        .attack(
            "CREATE TABLE plain (id int PRIMARY KEY, n int); \
             CREATE TABLE indexed (id int PRIMARY KEY, n int); \
             CREATE INDEX ON indexed (steady(n)) WHERE steady(n) IS NULL; \
             INSERT INTO indexed VALUES (1, 1)",
        )
        .await;
    refused(&scene.osc(&["alter", "indexed", "ALTER n TYPE bigint"]), &["steady(integer)"]);
    for clauses in [
        "ADD c int DEFAULT public.steady(1)",
        "ALTER n TYPE bigint USING public.steady(n)",
        "ADD CHECK (public.taken(n) IS NULL)",
        "ADD c public.odd DEFAULT 1",
    ] {
        refused(&scene.osc(&["alter", "plain", clauses]), &["--trust-owner", &scene.mallory]);
    }
    scene.assert_harmless("the owner's functions").await;
    // Their owner may, and one who trusts him.
    let url = scene.server.url_as(&scene.mallory, &scene.database);
    let owners = ["--ledger", "osc_of_owner"];
    let arguments = ["alter", "own_1", "ALTER id TYPE bigint"];
    done(&scene.osc_at(&url, &[&arguments[..], &owners].concat()));
    done(&scene.osc(&["alter", "own_0", "ALTER id TYPE bigint", "--trust-owner"]));
    done(&scene.osc(&["alter", "plain", "ALTER id TYPE bigint"]));
}

/// Operators and functions that clauses call without naming them as such are found in the search path
/// like those that are written, and one that fits better hides the server's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_clauses_imply_is_not_run_by_a_superuser() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    let operators =
        [("equal", "="), ("other", "<>"), ("least", ">="), ("like", "~~"), ("ilike", "~~*")];
    for (name, operator) in operators {
        scene.payload(&format!("public.of_{name}(varchar, varchar)"), "boolean").await;
        scene
            .attack(&format!(
                "ALTER FUNCTION of_{name} IMMUTABLE; CREATE OPERATOR public.{operator} \
                 (FUNCTION = of_{name}, LEFTARG = varchar, RIGHTARG = varchar)"
            ))
            .await;
    }
    scene.payload("public.lower(varchar)", "text").await;
    scene.payload("public.of_row(pt)", "boolean").await;
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
                let whose = if clauses.contains("U&") { "U&" } else { &scene.mallory };
                let arguments = [&[command, "pt", clauses], *more].concat();
                scene.assert_refused(&arguments, &[whose]).await;
            }
        }
    }
    // What calls none of them.
    scene.attack("DROP FUNCTION of_row(pt)").await;
    done(&scene.osc(&["alter", "pt", "ADD CHECK (n > 0), ALTER n TYPE bigint"]));
    scene.assert_harmless("a change that calls nothing of theirs").await;
}

/// Between osc's look at the words and the server's there is time to make an operator. An event trigger
/// makes it here, at the very moment: what the draft of the shadow then hangs on is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_after_the_words_were_looked_at_is_not_run() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE pt (id int PRIMARY KEY, n int, vc varchar(20)); \
             INSERT INTO pt SELECT i, i, 'x' || i FROM generate_series(1, 50) i; ANALYZE pt",
        )
        .await;
    scene.payload("public.of_equal(varchar, varchar)", "boolean").await;
    scene
        .attack(
            "CREATE FUNCTION public.now_then() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ \
             BEGIN CREATE OPERATOR public.= (FUNCTION = public.of_equal, LEFTARG = varchar, \
             RIGHTARG = varchar); END $f$",
        )
        .await;
    scene.attack_at_the_draft().await;
    let words = ["of_equal", &scene.mallory, "--trust-owner"];
    for command in ["plan", "alter"] {
        let clauses = "ADD CHECK (vc IN ('x', 'y') OR n > 0)";
        scene.assert_refused(&[command, "pt", clauses, "--strategy", "copy"], &words).await;
    }
    // USING leaves nothing in the draft, and is looked at when it is told back.
    let using = "ALTER n TYPE bigint USING CASE vc WHEN 'x' THEN 1 ELSE 2 END";
    scene.assert_refused(&["alter", "pt", using], &words).await;
    scene.exec("DROP OPERATOR public.= (varchar, varchar)").await;
    // What calls none of it is not held up.
    done(&scene.osc(&["alter", "pt", "ALTER n TYPE bigint"]));
    scene.exec("DROP EVENT TRIGGER at_schema").await;
}

/// An operator in a schema that nobody's words lead to, or for a type that the change does not have, stops no
/// other session.
#[tokio::test(flavor = "multi_thread")]
async fn operators_that_cannot_be_meant_stop_no_one() {
    let scene = Scene::new().await;
    scene.attack("CREATE SCHEMA own_{m}; CREATE TYPE public.wen AS ENUM ('a', 'b')").await;
    scene.payload("own_{m}.same(int, int)", "boolean").await;
    scene.payload("public.same(wen, wen)", "boolean").await;
    scene
        .attack(
            "CREATE OPERATOR own_{m}.= (FUNCTION = own_{m}.same, LEFTARG = int, RIGHTARG = int); \
             CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = wen, RIGHTARG = wen)",
        )
        .await;
    let clauses = "ADD CHECK (n IN (1, 2) OR name = 'x' OR n > 0)";
    done(&scene.osc(&["alter", "t", clauses, "--strategy", "copy"]));
    scene.assert_harmless(clauses).await;
    let clauses = scene.fill("ADD CHECK (n OPERATOR(own_{m}.=) 1 IS NULL)");
    refused(&scene.osc(&["alter", "t", &clauses]), &["--trust-owner"]);
    scene.exec("CREATE TABLE own (id int PRIMARY KEY, e wen)").await;
    refused(&scene.osc(&["alter", "own", "ADD CHECK (e = 'a')"]), &["--trust-owner"]);
    scene.assert_harmless("operators").await;
}

/// A cast counts where the change may use it: one that leads from every integer to a type of the
/// attacker's stops no other session.
#[tokio::test(flavor = "multi_thread")]
async fn casts_count_where_the_type_is_used() {
    let scene = Scene::new().await;
    scene.attack("CREATE TYPE wen AS ENUM ('a', 'b')").await;
    scene.payload("public.from_int(int)", "wen").await;
    scene.payload("public.to_text(wen)", "text").await;
    scene.attack("CREATE CAST (int AS wen) WITH FUNCTION from_int(int) AS IMPLICIT").await;
    done(&scene.osc(&["alter", "t", "ALTER n TYPE bigint", "--strategy", "copy"]));
    scene.exec("CREATE TABLE own (id int PRIMARY KEY, n int, e wen)").await;
    for clauses in ["ADD c text", "ADD c wen DEFAULT 'a'", "ALTER e TYPE text"] {
        refused(&scene.osc(&["alter", "own", clauses]), &["from_int", &scene.mallory]);
    }
    scene.attack("DROP CAST (int AS wen)").await;
    // He may make one while rows are converted.
    for clauses in ["ALTER e TYPE text", "ALTER n TYPE wen USING 'a'"] {
        for command in ["plan", "alter"] {
            let output = scene.osc(&[command, "own", clauses]);
            refused(&output, &["at any time", "wen of", &scene.mallory]);
        }
    }
    done(&scene.osc(&["alter", "own", "ALTER n TYPE bigint"]));
    done(&scene.osc(&["cleanup", "own", "--yes"]));
    done(&scene.osc(&["alter", "own", "ALTER e TYPE text", "--trust-owner"]));
    scene.assert_harmless("casts").await;
}

/// What the throttle's query calls can turn no transaction into one that writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_throttles_query_writes_nothing_whatever_it_calls() {
    let scene = Scene::new().await;
    scene
        .exec(
            "CREATE TABLE seen (n int); CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN \
             PERFORM set_config('default_transaction_read_only', 'off', false); \
             IF current_setting('transaction_read_only') = 'off' THEN INSERT INTO public.seen VALUES (1); END IF; \
             RETURN 0; END $f$",
        )
        .await;
    let slow = ["--max-rows-per-second", "100", "--strategy", "copy", "--chunk-size", "50"];
    let query = ["alter", "t", COPIED, "--throttle-query", "SELECT public.sly()"];
    done(&scene.osc(&[&query[..], &slow].concat()));
    assert_eq!(scene.value("SELECT count(*) FROM seen").await, "0", "the query wrote");
}
