//! `osc revert --check`: what an undo would meet now. Nothing is changed, and nothing is claimed.

use std::process::Stdio;
use std::time::Duration;

use super::place::Place;
use crate::cli_run::printed;
use crate::support::{self, schema};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(9), u int NOT NULL UNIQUE, title text DEFAULT 'none'); \
                     INSERT INTO t SELECT i, 'v' || i, i, 't' || i FROM generate_series(1, 3000) i";

const CHANGE: &str =
    "DROP COLUMN title, ALTER v TYPE varchar(100), DROP CONSTRAINT t_u_key, ADD COLUMN a int";

/// Tables, functions, runs and their numbers, slots, advisory locks, and the retired table's rows with the
/// transactions that wrote them.
const EVERYTHING: &str = "SELECT concat_ws(';', \
    (SELECT string_agg(concat_ws(' ', c.oid, c.relname, c.relfilenode), ',' ORDER BY c.oid) FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'osc')), \
    (SELECT count(*) FROM pg_trigger), (SELECT string_agg(l::text, ',') FROM osc.osc_ledger l), \
    (SELECT last_value FROM osc.osc_ledger_run_seq), (SELECT count(*) FROM pg_replication_slots \
     WHERE database = current_database()), (SELECT count(*) FROM pg_publication), \
    (SELECT md5(string_agg(concat_ws(' ', xmin, o), ',' ORDER BY id)) FROM t_osc_old o), \
    (SELECT md5(string_agg(concat_ws(' ', xmin, o), ',' ORDER BY id)) FROM t o))";

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_an_undo_would_and_changes_nothing() {
    let place = Place::new(TABLE).await;
    place.alter(CHANGE);
    place.exec("UPDATE t SET v = 'new' WHERE id BETWEEN 100 AND 139").await;
    place
        .exec("UPDATE t SET v = repeat('x', 10) WHERE id = 139; DELETE FROM t WHERE id = 1500")
        .await;
    place
        .exec("UPDATE t SET u = 5 WHERE id = 1234; INSERT INTO t (id, u) VALUES (9000, 9000)")
        .await;
    // Values that move between rows are no duplicates.
    place.exec("UPDATE t SET u = 5001 - u WHERE id > 2000 AND id <= 3000").await;
    let before = place.value(EVERYTHING).await;
    let output = place.osc(&["revert", "t", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", printed(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = schema::read("revert --check", text.lines().next().unwrap());
    assert_eq!((&found["rows"], &found["touched"]), (&3000.into(), &1043.into()), "{text}");
    assert_eq!(found["misfits"], 2, "{text}");
    let misfits = found["misfit_rows"].to_string();
    assert!(misfits.contains("id = 139: value too long"), "{misfits}");
    assert!(misfits.contains("id = 1234: ") && misfits.contains("the same value"), "{misfits}");
    assert_eq!(place.value(EVERYTHING).await, before);

    place.exec("UPDATE t SET v = 'fits', u = id WHERE id IN (139, 1234)").await;
    let text = printed(&place.osc(&["revert", "t", "--check"]));
    assert!(text.contains("every row can go back"), "{text}");
    place.reverts();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_an_unfinished_undo_would_still_meet() {
    let place = Place::new(TABLE).await;
    place.alter("ALTER v TYPE varchar(100)");
    place.exec("UPDATE t SET v = 'new' WHERE id <= 1200").await;
    let killed = support::osc()
        .args(["revert", "t", "--yes", "--url", &place.server.url(&place.database)])
        .env("OSC_FAULT", "refresh.written@1=kill")
        .output()
        .unwrap();
    assert_eq!(killed.status.code(), None, "{}", printed(&killed));
    let output = place.osc(&["revert", "t", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = schema::read("revert --check", text.lines().next().unwrap());
    let touched = found["touched"].as_u64().unwrap();
    assert!(touched > 0 && touched < 1200, "{text}");
    place.reverts();
    assert_eq!(place.value("SELECT count(*) FROM t WHERE v = 'new'").await, "1200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_waits_while_the_throttle_says_so_and_refuses_what_an_undo_would() {
    let place = Place::new(TABLE).await;
    place.alter("ALTER v TYPE varchar(100)");
    place.exec("CREATE TABLE busy AS SELECT 9 AS load").await;
    let url = place.server.url(&place.database);
    let check = support::osc()
        .args(["revert", "t", "--check", "--url", &url])
        .args(["--throttle-query", "SELECT load - 5 FROM public.busy"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let check = tokio::task::spawn_blocking(move || check.wait_with_output().unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!check.is_finished(), "{}", printed(&check.await.unwrap()));
    place.exec("UPDATE busy SET load = 1").await;
    let ended = check.await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", printed(&ended));

    place.exec("ALTER TABLE t ADD COLUMN by_hand int").await;
    let output = place.osc(&["revert", "t", "--check"]);
    assert_eq!(output.status.code(), Some(4), "{}", printed(&output));
    assert!(printed(&output).contains("[undo-definition-changed]"), "{}", printed(&output));
}
