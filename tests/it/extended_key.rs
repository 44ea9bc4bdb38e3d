//! A primary key that is extended, `(id)` to `(id, k)`: the step that partitioning needs. The original's key
//! names the rows of both tables, though the shadow alone would take a second row under it.

use crate::held_run;
use crate::support;
use std::time::Duration;

use crate::cli_run::{Ended, Run};
use crate::held_run::{Control, SLOWLY, heartbeats, settled, wait_for};
use crate::support::postgres_twin;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use mysql_async::prelude::Queryable;

const EXTENDED: &str = "DROP PRIMARY KEY, ADD PRIMARY KEY (id, k)";
const PARTITIONED: &str = "DROP PRIMARY KEY, ADD PRIMARY KEY (id, k), DROP INDEX u, ADD INDEX u (u) PARTITION BY HASH (k) PARTITIONS 3";

const HOLD: &str = "cut_over = \"hold\"";
const NOW: &str = "cut_over = \"now\"";

fn small<'a>(clauses: &'a str, control: &'a Control) -> [&'a str; 6] {
    ["t", clauses, "--chunk-size", "100", "--control-file", control.path()]
}

/// Writers change `k`, which becomes part of the key, all the while; up to the cut-over, since after it
/// the table takes rows that its twin refuses.
async fn under_writers(kind: Kind, key: KeyKind, clauses: &str) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, key, 3000).await;
    let writers = Writers::paced(&twin, 4, 1, Duration::from_millis(5));
    writers.wait_for_more(50).await;
    let control = Control::new(&database, kind, HOLD);
    let mut run = Run::start(server, &database, &small(clauses, &control));
    run.phase("hold").await;
    writers.wait_for_more(50).await;
    writers.stop().await.assert_undisturbed();
    control.say(NOW);
    run.done().await;
    twin.assert_equal(clauses).await;
}

async fn the_key_is_extended_under_writers(kind: Kind) {
    under_writers(kind, KeyKind::Int, EXTENDED).await;
}

async fn a_text_key_is_extended_under_writers(kind: Kind) {
    under_writers(kind, KeyKind::Text, EXTENDED).await;
}

async fn the_table_is_partitioned_by_a_column_of_the_longer_key(kind: Kind) {
    under_writers(kind, KeyKind::Int, PARTITIONED).await;
}

const ROWS: u64 = 2000;

async fn table(server: &Server) -> String {
    let database = support::database(server).await;
    let mut conn = server.conn_db(&database).await;
    conn.query_drop(
        "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL, v INT NULL, UNIQUE KEY one (v))",
    )
    .await
    .unwrap();
    let ids: Vec<u64> = (1..=ROWS).collect();
    for ids in ids.chunks(1000) {
        let rows: Vec<String> = ids.iter().map(|id| format!("({id}, 0, {id})")).collect();
        conn.query_drop(format!("INSERT INTO t VALUES {}", rows.join(", "))).await.unwrap();
    }
    database
}

/// A run in small chunks, one at a time, that is paused in the middle of the copy.
async fn paused(server: &Server, database: &str, control: &Control, broken: Option<&str>) -> Run {
    let mut command = support::osc();
    if let Some(rule) = broken {
        command.env("OSC_BROKEN_RULE", rule);
    }
    let small = ["t", EXTENDED, "--chunk-size", "200", "--threads", "1", "--control-file"];
    let arguments = [&small[..], &[control.path(), "--strategy", "copy", "--yes"]].concat();
    let mut run = Run::spawn(command, &server.url(database), &arguments);
    run.phase("copy").await;
    wait_for(server, &format!("(SELECT COUNT(*) >= 200 FROM {database}.t_osc_new)")).await;
    control.say("pause = true");
    run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
    let copied = settled(server, &format!("SELECT COUNT(*) FROM {database}.t_osc_new")).await;
    assert!(copied.parse::<u64>().unwrap() < ROWS, "all was copied before the pause");
    run
}

/// What the row's change is to a chunk that has read the row and not written it yet.
async fn changed_in_flight(kind: Kind, broken: Option<&str>) -> (Ended, u64, String) {
    let server = support::shared(kind);
    let database = table(server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused(server, &database, &control, broken).await;
    let last = format!("SELECT MAX(id) FROM {database}.t_osc_new");
    let next = server.value(&last).await.parse::<u64>().unwrap() + 1;
    let changed = next + 30;
    // Its unique value is in the next chunk, which so comes to a stop in its midst.
    let mut blocker = server.conn_db(&database).await;
    let held = format!("INSERT INTO t_osc_new VALUES (-1, 0, {})", next + 20);
    held_run::run_all(&mut blocker, &["BEGIN", &held]).await;
    control.let_go();
    let chunk = format!(
        "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
         WHERE INFO LIKE 'INSERT INTO `{database}`.`t\\_osc\\_new`%' AND TIME >= 1)"
    );
    wait_for(server, &chunk).await;
    let mut application = server.conn_db(&database).await;
    let change = format!("UPDATE t SET k = 1, v = NULL WHERE id = {changed}");
    held_run::run_all(&mut application, &[&change]).await;
    heartbeats(server, &database, 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    blocker.query_drop("ROLLBACK").await.unwrap();
    (run.end().await, changed, database)
}

async fn a_row_whose_longer_key_changes_in_flight_is_there_once(kind: Kind) {
    let (ended, changed, database) = changed_in_flight(kind, None).await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let server = support::shared(kind);
    let rows = format!("SELECT GROUP_CONCAT(k) FROM {database}.t WHERE id = {changed}");
    assert_eq!(server.value(&rows).await, "1");
    let all = format!("SELECT COUNT(*) FROM {database}.t");
    assert_eq!(server.value(&all).await, ROWS.to_string());
}

/// Without rule 4 one id has two rows in the shadow, and no key of the shadow objects.
async fn without_rule_4_the_verification_finds_the_second_row(kind: Kind) {
    let (ended, changed, database) = changed_in_flight(kind, Some("in-flight-waits")).await;
    let server = support::shared(kind);
    let rows = format!("SELECT COUNT(*) FROM {database}.t_osc_new WHERE id = {changed}");
    assert_eq!(ended.code, Some(5), "{ended:#?}");
    assert_eq!(server.value(&rows).await, "2", "the rule made no difference");
    assert!(ended.error().contains(&format!("id = {changed}")), "{}", ended.error());
}

/// Whatever makes a second row: it is found, also where its digest is the first one's.
async fn a_second_row_under_one_id_is_never_swapped_in(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused(server, &database, &control, None).await;
    for damage in [
        "INSERT INTO t_osc_new SELECT id, k + 1, NULL FROM t WHERE id = 17",
        "UPDATE t_osc_new SET v = NULL WHERE id IN (18, 19)",
        "DELETE FROM t_osc_new WHERE id = 19",
        "INSERT INTO t_osc_new SELECT 20, 5, NULL",
    ] {
        server.exec_in(&database, damage).await;
    }
    control.let_go();
    let ended = run.end().await;
    assert_eq!(ended.code, Some(5), "{ended:#?}");
    for id in [17, 18, 19, 20] {
        assert!(ended.error().contains(&format!("id = {id}")), "{}", ended.error());
    }
}

on_both_servers! {
    the_key_is_extended_under_writers
    a_text_key_is_extended_under_writers
    the_table_is_partitioned_by_a_column_of_the_longer_key
    a_row_whose_longer_key_changes_in_flight_is_there_once
    without_rule_4_the_verification_finds_the_second_row
    a_second_row_under_one_id_is_never_swapped_in
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_extended_under_writers_on_postgres() {
    let server = support::shared_postgres();
    for (key, clauses) in [
        (postgres_twin::KeyKind::Int, "DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, k)"),
        (
            postgres_twin::KeyKind::Text,
            "DROP CONSTRAINT t_pkey, ADD CONSTRAINT wide PRIMARY KEY (id, k)",
        ),
    ] {
        let database = support::postgres_database(server).await;
        let twin = postgres_twin::Twin::create(server, &database, key, 3000).await;
        let writers = Writers::paced(&twin, 4, 1, Duration::from_millis(5));
        writers.wait_for_more(50).await;
        let control = Control::new(&format!("{database}-{key:?}"), Kind::Mysql, HOLD);
        let mut run = Run::at(&server.url(&database), &small(clauses, &control));
        run.phase("hold").await;
        writers.wait_for_more(50).await;
        writers.stop().await.assert_undisturbed();
        control.say(NOW);
        run.done().await;
        twin.assert_equal(clauses).await;
    }
}
