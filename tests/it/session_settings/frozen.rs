//! A frozen osc under the cut-over's lock, and one that the network cut off: the server ends the lock, and the
//! application goes on.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use rustix::process::Signal;

use crate::cli_run::Run;
use crate::support;
use crate::support::proxy::Proxy;
use crate::support::server::Kind;

/// The budget, one second that the server adds, and a generous margin for a busy machine; without the
/// server's own deadline the application would wait until osc is thawed.
const LONGEST: Duration = Duration::from_secs(20);

const CHANGE: [&str; 4] = ["t", "MODIFY v BIGINT", "--cut-over-timeout", "2s"];

/// The points under the lock.
fn points(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Mysql => &["swap.locked", "swap.drained", "swap.installed", "swap.renamed"],
        Kind::Mariadb => {
            &["swap.locked", "swap.drained", "swap.installed", "swap.waits", "swap.unguarded"]
        }
    }
}

on_both_servers! {
    a_frozen_osc_does_not_hold_the_application_up
    a_network_that_falls_silent_does_not_hold_the_application_up
}

/// Nothing is carried any more, and nothing is cut: neither side learns of it from the other.
async fn a_network_that_falls_silent_does_not_hold_the_application_up(kind: Kind) {
    let server = support::shared(kind);
    for point in points(kind) {
        let database = support::database(server).await;
        let mut app = server.conn_db(&database).await;
        app.query_drop("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)").await.unwrap();
        app.query_drop("INSERT INTO t (v) VALUES (1), (2), (3)").await.unwrap();
        let proxy = Proxy::start(server);
        let url = proxy.url(&database);
        let (run, waiting) = Run::until(&url, &CHANGE, point).await;
        proxy.silence();
        let begun = Instant::now();
        drop(waiting);
        let insert = app.query_drop("INSERT INTO t (v) VALUES (4)");
        let outcome = tokio::time::timeout(Duration::from_secs(60), insert).await;
        let stalled = begun.elapsed();
        proxy.up();
        assert!(matches!(outcome, Ok(Ok(()))), "{point}: {outcome:?}");
        assert!(stalled < LONGEST, "{point}: the application waited {stalled:?}");

        // It goes on, or the same command does, and the table is whole.
        let ended = run.end().await;
        if ended.code != Some(0) {
            assert_eq!(ended.code, Some(3), "{point}: {ended:#?}");
            Run::at(&url, &CHANGE).done().await;
        }
        let sum = format!("SELECT CONCAT(COUNT(*), ' ', SUM(v)) FROM {database}.t");
        assert_eq!(server.value(&sum).await, "4 10", "{point}");
        let kind_of = format!(
            "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' \
             AND TABLE_NAME = 't' AND COLUMN_NAME = 'v'"
        );
        assert_eq!(server.value(&kind_of).await, "bigint", "{point}");
        let _ = app.disconnect().await;
    }
}

async fn a_frozen_osc_does_not_hold_the_application_up(kind: Kind) {
    let server = support::shared(kind);
    for point in points(kind) {
        let database = support::database(server).await;
        let mut app = server.conn_db(&database).await;
        app.query_drop("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)").await.unwrap();
        app.query_drop("INSERT INTO t (v) VALUES (1), (2), (3)").await.unwrap();
        let (run, waiting) = Run::until(&server.url(&database), &CHANGE, point).await;
        run.signal(Signal::STOP);
        let begun = Instant::now();
        let waited = tokio::time::timeout(
            Duration::from_secs(60),
            app.query_drop("INSERT INTO t (v) VALUES (4)"),
        );
        let outcome = waited.await;
        let stalled = begun.elapsed();
        run.signal(Signal::CONT);
        drop(waiting);
        assert!(matches!(outcome, Ok(Ok(()))), "{point}: {outcome:?}");
        assert!(stalled < LONGEST, "{point}: the application waited {stalled:?}");

        // It goes on by itself, and the table is whole.
        let ended = run.end().await;
        assert_eq!(ended.code, Some(0), "{point}: {ended:#?}");
        let sum = format!("SELECT CONCAT(COUNT(*), ' ', SUM(v)) FROM {database}.t");
        assert_eq!(server.value(&sum).await, "4 10", "{point}");
        let kind_of = format!(
            "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' \
             AND TABLE_NAME = 't' AND COLUMN_NAME = 'v'"
        );
        assert_eq!(server.value(&kind_of).await, "bigint", "{point}");
        let _ = app.disconnect().await;
    }
}
