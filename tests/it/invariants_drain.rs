//! The cut-over drains the stream to a marker that was committed under the lock: what was written
//! just before the lock is refreshed, however late the stream brings it, and nothing is written
//! between that and the rename.

use crate::support;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli_run::Run;
use crate::held_run::gate::Gate;
use crate::held_run::late_stream::{LATE, late_stream};
use crate::held_run::{CLAUSES, Control, ROWS, assert_nothing_lost, run_all, table};
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;

/// A session that counts rows up, one commit after the other; returns how many it changed.
async fn writer(server: &Server, database: &str, seed: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut conn = server.conn_db(database).await;
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = (done * 37 + seed * 501) % ROWS + 1;
        conn.query_drop(format!("UPDATE t SET v = v + 1 WHERE id = {id}")).await.unwrap();
        done += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done
}

async fn writes_just_before_the_lock_are_drained(kind: Kind) {
    drained(kind, false).await;
}

/// As the next attempt reads it that goes on after a kill in the cut-over.
async fn a_marker_of_an_earlier_attempt_ends_no_drain(kind: Kind) {
    drained(kind, true).await;
}

async fn drained(kind: Kind, earlier_marker: bool) {
    let server: &'static Server = support::shared(kind);
    let database = table(server).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|seed| {
            let (database, stop) = (database.clone(), Arc::clone(&stop));
            tokio::spawn(async move { writer(server, &database, seed, stop).await })
        })
        .collect();
    let url = late_stream(server, &database);
    let control = Control::new(&database, kind, "cut_over = \"hold\"");
    let arguments = ["t", CLAUSES, "--no-verify", "--control-file", control.path()];
    let mut run = Run::at(&url, &arguments);
    run.phase("hold").await;
    if earlier_marker {
        let marker = "INSERT INTO osc.osc_marker (server, run, marker) \
                      SELECT server, run, 9000000000000000000 FROM osc.osc_ledger \
                      WHERE schema_name =";
        server.exec(&format!("{marker} '{database}'")).await;
        tokio::time::sleep(2 * LATE).await;
    }
    control.let_go();
    let summary = run.done().await;
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let sum = server.value(&format!("SELECT SUM(v) FROM {database}.t")).await;
    assert_eq!(sum, (ROWS * (ROWS + 1) / 2 + written).to_string(), "of {written} writes");
    assert!(written > 200, "{written} writes only");
    // Under the lock the run waited for the late stream.
    assert!(summary["lock_ms"].as_f64().unwrap() > 300.0, "{summary}");
}

/// A key that a cycle has taken, and not refreshed yet, is in no drain.
async fn no_cycle_is_under_way_beside_the_cut_over(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let mut gate = Gate::before(server);
    let control = Control::new(&database, kind, "cut_over = \"hold\"");
    let arguments = ["t", CLAUSES, "--no-verify", "--control-file", control.path()];
    let mut run = Run::at(&gate.url(&database), &arguments);
    run.phase("hold").await;
    gate.shut();
    control.let_go();
    // The session that prepares the shadow, the one that records where the swap will stand; and the first one
    // of the attempt, which has the refresher stand still, and asks for its lock next.
    drop(gate.visitor().await);
    drop(gate.visitor().await);
    let attempt = gate.visitor().await;
    // Whoever begins a cycle now gets as far as its checkpoint.
    let mut blocker = server.conn_db(&database).await;
    let hold = "SELECT * FROM osc.osc_ledger WHERE schema_name = DATABASE() FOR UPDATE";
    run_all(&mut blocker, &["BEGIN", hold]).await;
    server.exec_in(&database, "UPDATE t SET v = -1 WHERE id IN (5, 4000)").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    gate.open();
    drop(attempt);
    run.phase("finish").await;
    run_all(&mut blocker, &["ROLLBACK"]).await;
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

on_both_servers! {
    writes_just_before_the_lock_are_drained
    a_marker_of_an_earlier_attempt_ends_no_drain
    no_cycle_is_under_way_beside_the_cut_over
}
