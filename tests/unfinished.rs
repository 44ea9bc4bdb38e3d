//! What a run that was not finished means for the next command, whatever road that would take.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod runs;
mod support;

use runs::Run;
use support::server::{Kind, Server};

const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5, DROP COLUMN gone";

async fn table(server: &Server) -> String {
    let database = support::database(server).await;
    server.exec(&format!("CREATE TABLE {database}.t (id INT PRIMARY KEY, v INT, gone INT)")).await;
    server.exec(&format!("INSERT INTO {database}.t VALUES (1, 1, 1), (2, 2, 2)")).await;
    database
}

/// `osc` to its end: exit code and stderr.
fn osc(server: &Server, database: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = support::osc()
        .args(arguments)
        .args(["--url", &server.url(database), "--yes"])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names in the clauses are those from before the swap: the table has them no more.
async fn finishes_a_swap(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    Run::start(server, &database, &["t", CLAUSES]).done().await;
    // As it is when the program dies right after the swap.
    server.exec(&format!("UPDATE {database}.osc_ledger SET result = NULL, ended = NULL")).await;

    let (code, said) = osc(server, &database, &["cleanup", "t"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("died after its swap"), "{said}");

    // With any strategy: an instant change would be made a second time.
    let (code, said) = osc(server, &database, &["alter", "t", CLAUSES]);
    assert_eq!(code, Some(0), "{said}");
    let result = format!("SELECT GROUP_CONCAT(result) FROM {database}.osc_ledger");
    assert_eq!(server.value(&result).await, "done");
    let sum = format!("SELECT CONCAT(COUNT(*), ' ', SUM(v), ' ', SUM(added)) FROM {database}.t");
    assert_eq!(server.value(&sum).await, "2 3 10");
    let (code, said) = osc(server, &database, &["cleanup", "t"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table_on_mariadb() {
    finishes_a_swap(Kind::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table_on_mysql() {
    finishes_a_swap(Kind::Mysql).await;
}

/// An instant change would end a run of hours, and make a dead one's checkpoint worthless.
async fn spares_other_runs(kind: Kind) {
    const INSTANT: [&str; 3] = ["alter", "t", "ADD COLUMN other INT"];
    let server = support::shared(kind);
    let database = table(server).await;
    let mut run = Run::start(server, &database, &["t", CLAUSES, "--hold"]);
    run.phase("hold").await;
    let (code, said) = osc(server, &database, &INSTANT);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("another osc is at work"), "{said}");

    run.kill();
    // The server lets the dead run's lock go when it notices.
    let (code, said) = loop {
        let (code, said) = osc(server, &database, &INSTANT);
        if !said.contains("another osc is at work") {
            break (code, said);
        }
    };
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("was not finished"), "{said}");

    let (code, said) = osc(server, &database, &["alter", "t", CLAUSES]);
    assert_eq!(code, Some(0), "{said}");
    let roads = format!("SELECT GROUP_CONCAT(road, ' ', result) FROM {database}.osc_ledger");
    assert_eq!(server.value(&roads).await, "copy done");
    assert_eq!(osc(server, &database, &INSTANT).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_change_spares_a_run_under_way_and_a_dead_one_on_mariadb() {
    spares_other_runs(Kind::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_change_spares_a_run_under_way_and_a_dead_one_on_mysql() {
    spares_other_runs(Kind::Mysql).await;
}
