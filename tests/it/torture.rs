//! The twin-table torture: the application writes each transaction to the table and to a twin;
//! meanwhile osc changes the table, is killed, loses its connections, and the server restarts.
//! Afterwards the twin is changed natively, and both are compared row by row.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own.

use crate::support;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the table becomes: a type that grows, a column that comes, one that is renamed, an index.
const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7, \
                       RENAME COLUMN d TO amount, ADD INDEX amount (amount)";

/// How long the application writes as fast as it can.
const PEAK: Duration = Duration::from_secs(100);

struct Torture {
    kills: u32,
    cuts: u32,
    restarts: u32,
}

fn osc(url: &str) -> Child {
    support::osc()
        .args(["alter", "t", CLAUSES, "--url", url, "--strategy", "copy", "--yes"])
        .args(["--chunk-size", "300", "--max-rows-per-second", "2500", "--chunk-time", "50ms"])
        .args(support::torture_flags())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn run(kind: Kind, key: KeyKind, seed: u64, torture: &Torture) {
    eprintln!("torture: {} {key:?} seed {seed}", kind.name());
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(kind);
    let database = support::database(&server).await;
    let url = server.as_osc(&database).await;
    let twin =
        Twin::create(&server, &database, key, support::torture_rows(8_000)).await.sparing("d");
    let writers = Writers::start(&twin, rng.random_range(4..=16), seed);
    writers.wait_for_more(20).await;

    let (mut kills, mut cuts, mut restarts) = (torture.kills, torture.cuts, torture.restarts);
    let began = Instant::now();
    let mut child = osc(&url);
    let (status, said) = loop {
        if began.elapsed() > PEAK {
            writers.ease();
        }
        if began.elapsed() > Duration::from_secs(400) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("seed {seed}: no end: {}", String::from_utf8_lossy(&output.stderr));
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..250))).await;
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if !support::may_try_again(output.status, &said) {
                break (output.status, said);
            }
            child = osc(&url);
            continue;
        }
        match rng.random_range(0..26) {
            0..5 if kills > 0 => {
                kills -= 1;
                child.kill().unwrap();
                child.wait().unwrap();
                child = osc(&url);
            }
            5..25 if cuts > 0 => {
                cuts -= 1;
                server.cut("TRUE").await;
            }
            25 if restarts > 0 => {
                restarts -= 1;
                server.kill_and_restart();
            }
            _ => {}
        }
    };
    assert_eq!(status.code(), Some(0), "seed {seed}: {said}");
    let report = writers.stop().await;
    eprintln!(
        "  {} transactions, longest stall {:?}; left: {kills} kills, {cuts} cuts, {restarts} restarts",
        report.transactions, report.longest_stall
    );
    let happened = kills < torture.kills && cuts < torture.cuts;
    assert!(happened, "seed {seed}: the run ended before there was anything to live through");
    report.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

async fn seeds(kind: Kind, key: KeyKind) {
    for seed in support::torture_seeds() {
        run(kind, key, seed, &Torture { kills: 5, cuts: 20, restarts: 1 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_an_integer_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mariadb, KeyKind::Int).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_a_text_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mariadb, KeyKind::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_a_composite_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mariadb, KeyKind::Composite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_an_integer_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mysql, KeyKind::Int).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_a_text_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mysql, KeyKind::Text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_a_composite_key_ends_equal_whatever_is_killed() {
    seeds(Kind::Mysql, KeyKind::Composite).await;
}
