//! Rules 1 and 2: what the stream names is read only when it is visible, and nothing is changed
//! before the stream that the copy does not see.

use crate::support;
use std::time::{Duration, Instant};

use crate::cli_run::Run;
use crate::held_run::{
    CLAUSES, Control, SLOWLY, assert_nothing_lost, heartbeats, paused_unverified, run_all, start,
    table, wait_for,
};
use crate::support::server::{Kind, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Runs `change` in an XA transaction and prepares it.
async fn prepare(conn: &mut Conn, change: &str, name: &str) {
    let start = format!("XA START '{name}'");
    let (end, prepare) = (format!("XA END '{name}'"), format!("XA PREPARE '{name}'"));
    run_all(conn, &[&start, change, &end, &prepare]).await;
}

/// Its rows are in the log before the run's position, and no reader sees them yet.
async fn a_prepared_transaction_is_waited_for(kind: Kind) {
    // Its own server: a run waits for all prepared transactions that there are.
    let server = Server::start(kind);
    let database = table(&server).await;
    let mut application = server.conn_db(&database).await;
    prepare(&mut application, "UPDATE t SET v = -1 WHERE id IN (1, 2000, 4000)", "early").await;
    let mut run = Run::start(&server, &database, &["t", CLAUSES, "--no-verify"]);
    wait_for(
        &server,
        &format!(
            "(SELECT COUNT(*) > 0 FROM information_schema.TABLES \
        WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't_osc_new')"
        ),
    )
    .await;
    tokio::select! {
        () = run.phase("copy") => panic!("the copy did not wait for the prepared transaction"),
        () = tokio::time::sleep(Duration::from_millis(1500)) => {}
    }
    application.query_drop("XA COMMIT 'early'").await.unwrap();
    run.done().await;
    assert_nothing_lost(&server, &database).await;
    let seen = server.value(&format!("SELECT COUNT(*) FROM {database}.t WHERE v = -1")).await;
    assert_eq!(seen, "3");
}

/// The run is held up after it has looked for the table's last row and before its first chunk.
async fn the_stream_begins_before_the_copy(kind: Kind) {
    let server = Server::start(kind);
    let database = table(&server).await;
    server.exec_in(&database, "CREATE TABLE other (id INT PRIMARY KEY)").await;
    let mut barrier = server.conn_db(&database).await;
    prepare(&mut barrier, "INSERT INTO other VALUES (1)", "barrier").await;
    let run = Run::start(&server, &database, &["t", CLAUSES, "--no-verify"]);
    let marked = format!(
        "(SELECT COUNT(*) > 0 FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't_osc_new')"
    );
    wait_for(&server, &marked).await;
    wait_for(&server, "(SELECT COUNT(*) > 0 FROM osc.osc_marker)").await;
    let mut blocker = server.conn_db(&database).await;
    run_all(&mut blocker, &["BEGIN", "SELECT * FROM osc.osc_ledger FOR UPDATE"]).await;
    barrier.query_drop("XA COMMIT 'barrier'").await.unwrap();
    let held = "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
                WHERE INFO LIKE 'UPDATE%osc\\_ledger%state%')";
    wait_for(&server, held).await;
    let mut application = server.conn_db(&database).await;
    run_all(
        &mut application,
        &[
            "INSERT INTO t VALUES (4100, 1, 'beyond the last row')",
            "UPDATE t SET v = -1 WHERE id IN (1, 4000)",
            "UPDATE t SET id = 4101 WHERE id = 2",
            "DELETE FROM t WHERE id = 3",
        ],
    )
    .await;
    blocker.query_drop("ROLLBACK").await.unwrap();
    run.done().await;
    assert_nothing_lost(&server, &database).await;
    assert_eq!(server.value(&format!("SELECT MAX(id) FROM {database}.t")).await, "4101");
}

/// With semi-synchronous replication and no replica, a commit is in the log, and osc reads it,
/// long before any reader sees it.
async fn a_change_is_refreshed_when_it_is_visible(kind: Kind) {
    let server = Server::start(kind);
    let database = table(&server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(&server, &database, &control).await;
    let mut application = server.conn_db(&database).await;
    let (enable, settings): (&str, &[&str]) = match kind {
        Kind::Mariadb => (
            "SET GLOBAL rpl_semi_sync_master_enabled = ON",
            &[
                "SET GLOBAL rpl_semi_sync_master_timeout = 4000",
                "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
            ],
        ),
        Kind::Mysql => (
            "SET GLOBAL rpl_semi_sync_source_enabled = ON",
            &[
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
                "SET GLOBAL rpl_semi_sync_source_timeout = 4000",
                "SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC",
            ],
        ),
    };
    run_all(&mut application, settings).await;
    // The next commit waits; when its time is over the server gives up waiting for good.
    let begun = Instant::now();
    run_all(&mut application, &[enable, "UPDATE t SET v = -1 WHERE id IN (5, 50)"]).await;
    assert!(begun.elapsed() > Duration::from_secs(3), "the commit was not held back");
    heartbeats(&server, &database, 2).await;
    control.let_go();
    run.done().await;
    assert_nothing_lost(&server, &database).await;
    let seen = server.value(&format!("SELECT COUNT(*) FROM {database}.t WHERE v = -1")).await;
    assert_eq!(seen, "2");
}

/// `killed`: between the XA PREPARE and the XA COMMIT.
async fn committed_later(kind: Kind, killed: bool) {
    let server = Server::start(kind);
    let database = table(&server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let mut run = paused_unverified(&server, &database, &control).await;
    let mut application = server.conn_db(&database).await;
    prepare(&mut application, "UPDATE t SET v = -1 WHERE id IN (5, 50, 4000)", "late").await;
    // Other changes, so that there is a later place to go on from.
    server.exec_in(&database, "UPDATE t SET v = -2 WHERE id = 6").await;
    heartbeats(&server, &database, 3).await;
    if killed {
        run.kill();
        run = start(&server, &database, &control, &["--no-verify"]);
        run.phase("copy").await;
        heartbeats(&server, &database, 2).await;
    }
    application.query_drop("XA COMMIT 'late'").await.unwrap();
    control.let_go();
    run.done().await;
    assert_nothing_lost(&server, &database).await;
    let seen = server.value(&format!("SELECT COUNT(*) FROM {database}.t WHERE v = -1")).await;
    assert_eq!(seen, "3");
}

async fn a_prepared_transaction_is_refreshed_at_its_commit(kind: Kind) {
    committed_later(kind, false).await;
}

async fn a_prepared_transaction_is_read_again_by_the_next_attempt(kind: Kind) {
    committed_later(kind, true).await;
}

/// A checkpoint must not be ahead of what is refreshed.
async fn a_key_that_was_not_refreshed_is_named_again_after_a_kill(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused_unverified(server, &database, &control).await;
    let mut blocker = server.conn_db(&database).await;
    run_all(&mut blocker, &["BEGIN", "SELECT * FROM t_osc_new WHERE id = 5 FOR UPDATE"]).await;
    server.exec_in(&database, "UPDATE t SET v = -1 WHERE id = 5").await;
    // The refresh begins, right after its cycle's checkpoint, and waits for the row.
    let waits = format!(
        "(SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST \
         WHERE INFO LIKE 'DELETE FROM `{database}`.`t\\_osc\\_new`%')"
    );
    wait_for(server, &waits).await;
    run.kill();
    blocker.query_drop("ROLLBACK").await.unwrap();
    control.let_go();
    start(server, &database, &control, &["--no-verify"]).done().await;
    assert_nothing_lost(server, &database).await;
}

on_both_servers! {
    a_prepared_transaction_is_waited_for
    the_stream_begins_before_the_copy
    a_change_is_refreshed_when_it_is_visible
    a_prepared_transaction_is_refreshed_at_its_commit
    a_prepared_transaction_is_read_again_by_the_next_attempt
    a_key_that_was_not_refreshed_is_named_again_after_a_kill
}
