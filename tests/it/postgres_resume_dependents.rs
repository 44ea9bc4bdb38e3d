//! What a run on PostgreSQL survives.

use crate::support;
use std::time::Duration;

use crate::cli_run::Run;
use crate::support::postgres::{Major, Postgres};
use crate::support::proxy::Proxy;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, name text NOT NULL);
    INSERT INTO t SELECT i, i, 'name ' || i FROM generate_series(1, 5000) AS i; ANALYZE t";

/// An attempt goes on after a crash and does not copy again what the server said was committed; with
/// `synchronous_commit = off` the last tenths of a second were gone.
#[tokio::test(flavor = "multi_thread")]
async fn no_chunk_is_lost_when_the_server_crashes_in_the_midst_of_the_copy() {
    // So that only osc's own commits write the log down.
    let mut server = Postgres::start_with(Major::SYSTEM, &[("wal_writer_delay", "10s")]);
    // Without the verification, which would find what is missing.
    let arguments = ["t", "ALTER n TYPE bigint", "--no-verify", "--chunk-size", "20"];
    let arguments = [&arguments[..], &["--chunk-time", "5ms"]].concat();
    for chunk in ["chunk.copied@2", "chunk.copied@20"] {
        let database = support::postgres_database(&server).await;
        server.exec(&database, TABLE).await;
        let url = server.url(&database);
        let (run, point) = Run::until(&url, &arguments, chunk).await;
        server.kill_and_restart();
        drop(point);
        let mut ended = run.end().await;
        while ended.code == Some(3) {
            ended = Run::at(&url, &arguments).end().await;
        }
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let sums = "SELECT count(*) || ' ' || sum(n) || ' ' || pg_typeof(min(n)) FROM t";
        assert_eq!(server.value(&database, sums).await, "5000 12502500 bigint");
    }
}

/// An attempt whose lock was lost may live on beside the one that takes over.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_taken_over_writes_nothing_more() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    let arguments = ["t", "ALTER n TYPE bigint", "--chunk-size", "20", "--threads", "1"];
    let url = server.url(&database);
    let (run, point) = Run::until(&url, &arguments, "chunk.copied@3").await;
    // As one that takes over does: it says so, and waits for those who hold the shadow.
    server.exec(&database, "UPDATE osc.osc_ledger SET owner = 'another'").await;
    server.exec(&database, "BEGIN; LOCK TABLE t_osc_new IN ACCESS EXCLUSIVE MODE; COMMIT").await;
    let rows = "SELECT count(*) FROM t_osc_new";
    let there = server.value(&database, rows).await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.error().contains("taken over this run"), "{}", ended.error());
    assert_eq!(server.value(&database, rows).await, there);
}

/// The network loses a refresh that has read a row and not written it; the server goes on with it. In
/// the meantime the row is deleted, and refreshed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_outlives_its_connection_brings_nothing_back() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    let proxy = Proxy::before(server.port());
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}", proxy.port());
    let file = format!("{}/outlives-{database}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, "cut_over = \"hold\"").unwrap();
    let arguments = ["t", "ALTER n TYPE bigint", "--no-verify", "--control-file", &file];
    let mut run = Run::at(&url, &arguments);
    run.phase("hold").await;
    let blocker = server.client(&database).await;
    blocker.batch_execute("BEGIN; INSERT INTO t_osc_new VALUES (6000, 1, 'stone')").await.unwrap();
    server.exec(&database, "INSERT INTO t VALUES (6000, 1, 'short-lived')").await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event = 'transactionid' AND query LIKE '%INSERT INTO%t_osc_new%'";
    while server.value(&database, waiting).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.exec(&database, "DELETE FROM t WHERE id = 6000").await;
    proxy.cut();
    // By now it was refreshed again, or that waits for the first one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    std::fs::remove_file(&file).unwrap();
    run.done().await;
    let sums = "SELECT count(*) || ' ' || max(id) FROM t";
    assert_eq!(server.value(&database, sums).await, "5000 5000");
}
