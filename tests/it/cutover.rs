//! The cut-over under load, before blockers, and beside readers of the shadow.

use crate::support;
use std::time::Duration;

use crate::cli_run::Run;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use mysql_async::prelude::Queryable;

const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7";

async fn twin(server: &Server) -> (String, Twin) {
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 3000).await;
    (database, twin)
}

/// A writer's pace that leaves the machine time for osc.
fn paced(twin: &Twin) -> Writers {
    Writers::paced(twin, 4, 1, Duration::from_millis(5))
}

fn start(server: &Server, database: &str, more: &[&str]) -> Run {
    Run::start(server, database, &[&["t", CLAUSES], more].concat())
}

async fn the_application_sees_no_error_at_the_cut_over(kind: Kind) {
    let server = support::shared(kind);
    let (database, twin) = twin(server).await;
    let writers = paced(&twin);
    writers.wait_for_more(50).await;
    let summary = start(server, &database, &[]).done().await;
    writers.wait_for_more(50).await;
    let report = writers.stop().await;
    eprintln!(
        "{}: locked for {} ms in attempt {}; the longest stall was {:?}",
        kind.name(),
        summary["lock_ms"],
        summary["attempts"],
        report.longest_stall
    );
    report.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

/// A transaction that has read the table and stays open.
async fn blocker(server: &Server, database: &str) -> mysql_async::Conn {
    let mut conn = server.conn_db(database).await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("SELECT * FROM t LIMIT 1").await.unwrap();
    conn
}

async fn retried(run: &mut Run) -> String {
    let event = run.event(|event| event["event"] == "cut-over-retry").await;
    event["reason"].as_str().unwrap().to_owned()
}

async fn an_open_transaction_puts_the_cut_over_off_and_no_session_waits_for_it(kind: Kind) {
    let server = support::shared(kind);
    let (database, twin) = twin(server).await;
    let writers = paced(&twin);
    let mut blocker = blocker(server, &database).await;
    // A lock that is waited for without a budget would be waited for so long.
    let waits = ["--cut-over-attempts", "1000", "--cut-over-timeout", "10s"];
    let mut run = start(server, &database, &waits);
    for _ in 0..4 {
        let reason = retried(&mut run).await;
        if kind == Kind::Mysql {
            assert!(reason.contains(&format!("session {}", blocker.id())), "{reason}");
        }
        // osc took the request back; the server would have ended it after a whole second at the earliest.
        assert!(!reason.contains("Lock wait timeout exceeded"), "{reason}");
        // The application gets on between the attempts.
        writers.wait_for_more(10).await;
    }
    blocker.query_drop("COMMIT").await.unwrap();
    let summary = run.done().await;
    assert!(summary["attempts"].as_u64().unwrap() > 4, "{summary}");
    let report = writers.stop().await;
    eprintln!("{}: the longest stall was {:?}", kind.name(), report.longest_stall);
    report.assert_undisturbed();
    // Generous for a loaded machine; a request that stays queued stalls for the whole wait.
    assert!(report.longest_stall < Duration::from_secs(3), "{report:#?}");
    twin.assert_equal(CLAUSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocker_is_killed_only_when_that_was_asked_for_on_mysql() {
    let server = support::shared(Kind::Mysql);
    let (database, twin) = twin(server).await;
    let mut blocker = blocker(server, &database).await;
    start(server, &database, &["--kill-blockers-after", "1s", "--cut-over-attempts", "50"])
        .done()
        .await;
    assert!(blocker.query_drop("SELECT 1").await.is_err(), "the blocker lives");
    twin.assert_equal(CLAUSES).await;
}

async fn after_the_last_attempt_the_run_stops_and_the_same_command_finishes(kind: Kind) {
    let server = support::shared(kind);
    let (database, twin) = twin(server).await;
    let mut blocker = blocker(server, &database).await;
    let ended = start(server, &database, &["--cut-over-attempts", "2"]).end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.error().contains("could not get the table lock in 2 attempts"), "{ended:#?}");
    let left = format!(
        "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME LIKE 't\\_osc%'"
    );
    assert_eq!(server.value(&left).await, "t_osc_new", "no sentry is left");
    // The session was not killed: it still has its transaction.
    blocker.query_drop("COMMIT").await.unwrap();
    let ended = start(server, &database, &[]).end().await;
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.tells("resumed", "3000"), "the copy is not done again: {ended:#?}");
    twin.assert_equal(CLAUSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_shadow_cost_no_write_at_the_swap_on_mariadb() {
    let server = support::shared(Kind::Mariadb);
    let (database, twin) = twin(server).await;
    let writers = Writers::start(&twin, 6, 3);
    writers.wait_for_more(20).await;
    let mut run = start(server, &database, &["--cut-over-attempts", "1000"]);
    run.phase("verify").await;
    let shadow = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME LIKE '%t\\_osc\\_new'"
    );
    let shadow = server.value(&shadow).await;
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..3_u64 {
        let mut conn = server.conn_db(&database).await;
        let shadow = shadow.clone();
        readers.spawn(async move {
            let nap = format!("SELECT SLEEP(0.0{}) FROM {shadow} LIMIT 1", 2 + reader);
            // Until the shadow is gone.
            let mut reads = 0_u64;
            while conn.query_drop(&nap).await.is_ok() {
                reads += 1;
                // Or no lock of the shadow would ever be granted.
                tokio::time::sleep(Duration::from_millis(60 + 20 * reader)).await;
            }
            reads
        });
    }
    run.done().await;
    assert!(readers.join_all().await.into_iter().sum::<u64>() > 0, "no reader read the shadow");
    writers.wait_for_more(50).await;
    writers.stop().await.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

/// A closed window, lag and load hold the swap back as they hold the copy.
async fn no_swap_while_the_throttle_is_shut(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server.exec(&format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)")).await;
    server.exec(&format!("CREATE TABLE {database}.gate (shut INT)")).await;
    server.exec(&format!("INSERT INTO {database}.gate VALUES (0)")).await;
    let control = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "gate-{}-{}",
        std::process::id(),
        kind.name()
    ));
    std::fs::write(&control, "cut_over = 'hold'").unwrap();
    let query = format!("SELECT MAX(shut) FROM {database}.gate");
    let steering = ["--throttle-query", &query, "--control-file", control.to_str().unwrap()];
    let arguments = [&["t", "ADD COLUMN added INT"], &steering[..]].concat();
    let mut run = Run::start(server, &database, &arguments);
    run.phase("hold").await;
    server.exec(&format!("UPDATE {database}.gate SET shut = 1")).await;
    run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;

    std::fs::write(&control, "cut_over = 'now'").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let swapped = format!(
        "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' \
         AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'"
    );
    assert_eq!(server.value(&swapped).await, "0");

    server.exec(&format!("UPDATE {database}.gate SET shut = 0")).await;
    run.done().await;
    assert_eq!(server.value(&swapped).await, "1");
    std::fs::remove_file(&control).unwrap();
}

on_both_servers! {
    the_application_sees_no_error_at_the_cut_over
    an_open_transaction_puts_the_cut_over_off_and_no_session_waits_for_it
    after_the_last_attempt_the_run_stops_and_the_same_command_finishes
    no_swap_while_the_throttle_is_shut
}
