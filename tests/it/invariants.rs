//! What a run never does, whatever it finds: swap in a damaged table, lock the application's rows,
//! bend values, copy a chunk twice.

use crate::support;
use std::time::Duration;

use crate::cli_run::Run;
use crate::held_run::{CLAUSES, ROWS, table, wait_for};
use crate::support::server::Kind;
use mysql_async::prelude::Queryable;

/// A copy in chunks of 200 rows, one at a time.
const ONE_BY_ONE: [&str; 6] = ["t", CLAUSES, "--chunk-size", "200", "--threads", "1"];

async fn verification_finds(kind: Kind, damage: &[&str], keys: &[&str]) {
    let server = support::shared(kind);
    let database = table(server).await;
    let (run, point) = Run::until(&server.url(&database), &ONE_BY_ONE, "chunk.copied").await;
    let sum = format!("SELECT CONCAT(COUNT(*), SUM(v), SUM(CRC32(w))) FROM {database}.t");
    let before = server.value(&sum).await;
    for statement in damage {
        server.exec_in(&database, statement).await;
    }
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(5), "{damage:?}: {ended:#?}");
    for key in keys {
        assert!(ended.error().contains(key), "{damage:?}: {}", ended.error());
    }
    assert_eq!(server.value(&sum).await, before, "the original is untouched");
    let swapped = format!(
        "SELECT COUNT(*) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'"
    );
    assert_eq!(server.value(&swapped).await, "0", "it was swapped");
}

async fn a_damaged_shadow_is_never_swapped_in(kind: Kind) {
    tokio::join!(
        verification_finds(kind, &["UPDATE t_osc_new SET v = v + 1 WHERE id = 17"], &["id = 17"]),
        verification_finds(kind, &["UPDATE t_osc_new SET v = NULL WHERE id = 18"], &["id = 18"]),
        verification_finds(kind, &["DELETE FROM t_osc_new WHERE id = 19"], &["id = 19"]),
        verification_finds(kind, &["INSERT INTO t_osc_new VALUES (-5, 1, 'x', 7)"], &["id = -5"]),
        verification_finds(
            kind,
            &["UPDATE t_osc_new SET v = IF(id = 20, 21, 20), w = w WHERE id IN (20, 21)"],
            &["id = 20", "id = 21"],
        ),
    );
}

async fn the_copy_waits_for_no_row_lock(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let mut application = server.conn_db(&database).await;
    application.query_drop("BEGIN").await.unwrap();
    application.query_drop("UPDATE t SET v = -1 WHERE id = 1000").await.unwrap();
    application.query_drop("SELECT * FROM t WHERE id > 3900 FOR UPDATE").await.unwrap();
    let mut run = Run::start(server, &database, &["t", CLAUSES, "--cut-over-attempts", "1000"]);
    // Copied and compared, though the rows are locked all the time.
    run.event(|event| event["event"] == "cut-over-retry").await;
    application.query_drop("COMMIT").await.unwrap();
    run.done().await;
    let value = server.value(&format!("SELECT v FROM {database}.t WHERE id = 1000")).await;
    assert_eq!(value, "-1");
}

/// The row of the shadow that another session has locked holds a chunk up; meanwhile the rows of
/// the original that it reads must be free.
async fn the_application_waits_for_no_chunk(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let (mut run, point) = Run::until(&server.url(&database), &ONE_BY_ONE, "chunk.copied").await;
    let next = "SELECT MAX(id) + 1 FROM";
    let next = server.value(&format!("{next} {database}.t_osc_new")).await;
    let mut other_session = server.conn_db(&database).await;
    other_session.query_drop("BEGIN").await.unwrap();
    // In the middle of the next chunk.
    let blocker = format!("INSERT INTO t_osc_new VALUES ({next} + 100, 1, 'x', 7)");
    other_session.query_drop(blocker).await.unwrap();
    drop(point);
    let stuck = match kind {
        Kind::Mysql => format!(
            "(SELECT COUNT(*) > 0 FROM performance_schema.data_locks \
             WHERE OBJECT_SCHEMA = '{database}' AND LOCK_STATUS = 'WAITING')"
        ),
        // Its tables of locks are not read again while someone asks for them all the time.
        Kind::Mariadb => format!(
            "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
             WHERE COMMAND = 'Query' AND TIME_MS > 500 AND INFO LIKE '%`{database}`%osc_new%' \
             AND ID <> CONNECTION_ID())"
        ),
    };
    wait_for(server, &stuck).await;
    if kind == Kind::Mysql {
        let locks = format!(
            "SELECT COUNT(*) FROM performance_schema.data_locks WHERE LOCK_TYPE = 'RECORD' \
             AND OBJECT_SCHEMA = '{database}' AND OBJECT_NAME = 't'"
        );
        assert_eq!(server.value(&locks).await, "0", "the chunk locks rows of the original");
    }
    let mut application = server.conn_db(&database).await;
    application.query_drop("SET innodb_lock_wait_timeout = 1").await.unwrap();
    let write = format!("UPDATE t SET v = -v WHERE id BETWEEN {next} AND {next} + 99");
    application.query_drop(write).await.expect("the application waits for the chunk");
    assert_eq!(
        server.value(&format!("SELECT {stuck}")).await,
        "1",
        "it was not stuck all the time"
    );
    other_session.query_drop("ROLLBACK").await.unwrap();
    run.phase("cut-over").await;
    run.done().await;
    let wrong = format!(
        "SELECT COUNT(*) FROM {database}.t \
         WHERE v <> IF(id BETWEEN {next} AND {next} + 99, -id, id)"
    );
    assert_eq!(server.value(&wrong).await, "0");
}

async fn a_value_that_does_not_fit_is_named_and_never_bent(kind: Kind) {
    let server = support::shared(kind);
    for (clauses, printed) in [
        ("MODIFY w VARCHAR(4)", "id = 1000"),
        ("MODIFY v TINYINT", "id = 128"),
        // The server does not tell which row it was.
        ("MODIFY v INT NOT NULL", "'v' cannot be null"),
        ("MODIFY w INT", "id = 1"),
    ] {
        let database = table(server).await;
        if clauses.contains("NOT NULL") {
            server.exec_in(&database, "UPDATE t SET v = NULL WHERE id = 4000").await;
        }
        let checksum = format!("CHECKSUM TABLE {database}.t");
        let before = server.rows(&checksum).await;
        // One chunk after another: the first of these rows is found first.
        let ended = Run::start(server, &database, &["t", clauses, "--threads", "1"]).end().await;
        assert_eq!(ended.code, Some(1), "{clauses}: {ended:#?}");
        assert!(ended.error().contains(printed), "{clauses}: {}", ended.error());
        assert_eq!(server.rows(&checksum).await, before);
    }
}

/// The sessions that copy are ended again and again, each maybe just after its commit.
async fn a_chunk_whose_connection_is_killed_is_copied_once(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let run = Run::start(
        server,
        &database,
        &["t", CLAUSES, "--chunk-size", "100", "--max-rows-per-second", "2000"],
    );
    let ended = tokio::spawn(run.end());
    let mut conn = server.conn().await;
    let mut killed = 0;
    while !ended.is_finished() {
        let chunks: Vec<u64> = conn
            .query(format!(
                "SELECT ID FROM information_schema.PROCESSLIST \
                 WHERE INFO LIKE 'INSERT INTO `{database}`.`t\\_osc\\_new`%'"
            ))
            .await
            .unwrap();
        for id in chunks.into_iter().take(usize::from(killed < 20)) {
            killed += u32::from(conn.query_drop(format!("KILL {id}")).await.is_ok());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(killed > 0, "no chunk was met");
    let same = format!("SELECT CONCAT(COUNT(*), ' ', SUM(v)) FROM {database}.t");
    assert_eq!(server.value(&same).await, format!("{ROWS} {}", ROWS * (ROWS + 1) / 2));
}

/// An attempt whose lock was lost may live on beside the one that takes over.
async fn an_attempt_that_was_taken_over_writes_nothing_more(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let arguments = ["t", CLAUSES, "--chunk-size", "50", "--threads", "1"];
    let (run, point) = Run::until(&server.url(&database), &arguments, "chunk.copied@3").await;
    // As one that takes over does: it says so, and waits for those who hold the shadow.
    let mut other = server.conn_db(&database).await;
    for sql in [
        "UPDATE osc.osc_ledger SET owner = 'another' WHERE schema_name = DATABASE()",
        "LOCK TABLES t_osc_new WRITE",
        "UNLOCK TABLES",
    ] {
        other.query_drop(sql).await.unwrap();
    }
    let rows = format!("SELECT COUNT(*) FROM {database}.t_osc_new");
    let there = server.value(&rows).await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.error().contains("taken over this run"), "{}", ended.error());
    assert_eq!(server.value(&rows).await, there);
}

/// Whoever holds the shadow for a while, as an index build does, holds the copy up and does not end
/// it.
async fn the_copy_waits_for_a_lock_on_the_shadow(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let slow = ["t", CLAUSES, "--chunk-size", "50", "--max-rows-per-second", "1500"];
    let mut run = Run::start(server, &database, &slow);
    run.phase("copy").await;
    let mut other = server.conn_db(&database).await;
    other.query_drop("LOCK TABLES t_osc_new WRITE").await.unwrap();
    // Longer than osc's sessions wait for a lock.
    tokio::time::sleep(Duration::from_secs(7)).await;
    other.query_drop("UNLOCK TABLES").await.unwrap();
    run.done().await;
}

on_both_servers! {
    a_damaged_shadow_is_never_swapped_in
    the_copy_waits_for_no_row_lock
    the_application_waits_for_no_chunk
    a_value_that_does_not_fit_is_named_and_never_bent
    a_chunk_whose_connection_is_killed_is_copied_once
    an_attempt_that_was_taken_over_writes_nothing_more
    the_copy_waits_for_a_lock_on_the_shadow
}
