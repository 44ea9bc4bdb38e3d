//! The twin-table torture on PostgreSQL: the application writes each transaction to the table and to
//! a twin; meanwhile osc changes the table, is killed, loses its sessions, and the server crashes.
//! Afterwards the twin is changed natively, and both are compared row by row.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own.

use crate::support;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::postgres::{Major, Postgres};
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the table becomes: a type that grows, a column that comes, one that goes, a check.
const CLAUSES: &str = "ALTER COLUMN n TYPE bigint, ADD COLUMN added integer NOT NULL DEFAULT 7, \
                       DROP COLUMN d, ADD CONSTRAINT n_is_small CHECK (n < 3000000000)";

/// What the sessions of osc are called.
const OURS: &str = "osc%";

/// How the writers commit, which decides when a change is seen in the stream and when in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commits {
    Usual,
    /// Before their WAL is written.
    Early,
    /// Now and then all wait for a standby that is not there; then their changes are in the stream
    /// and not yet to be seen.
    Stalled,
}

/// How long the application writes as fast as it can.
const PEAK: Duration = Duration::from_secs(100);

fn osc(server: &Postgres, database: &str) -> Child {
    support::osc()
        .args(["alter", "t", CLAUSES, "--url", &server.url_as("osc:secret", database)])
        .args(["--strategy", "copy", "--yes"])
        .args(["--chunk-size", "300", "--max-rows-per-second", "2500", "--chunk-time", "50ms"])
        .args(support::torture_flags())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn run(major: Major, key: KeyKind, commits: Commits, seed: u64) {
    eprintln!("torture: PostgreSQL {} {key:?} seed {seed}", major.number());
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut server = Postgres::start(major);
    server.exec("postgres", "CREATE ROLE osc SUPERUSER LOGIN PASSWORD 'secret'").await;
    let database = support::postgres_database(&server).await;
    let mut twin =
        Twin::create(&server, &database, key, support::torture_rows(8_000)).await.sparing("d");
    if commits == Commits::Early {
        twin = twin.in_sessions_with("SET synchronous_commit = off");
    }
    let writers = Writers::start(&twin, rng.random_range(4..=16), seed);
    writers.wait_for_more(20).await;

    let (mut kills, mut cuts, mut crashes, mut stalls) = (5, 20, 1, 0);
    let mut stalled = false;
    let began = Instant::now();
    let mut child = osc(&server, &database);
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
            child = osc(&server, &database);
            continue;
        }
        if commits == Commits::Stalled && (stalled || rng.random_ratio(1, 4)) {
            stalled = !stalled;
            stalls += u32::from(stalled);
            server.set("synchronous_standby_names", stalled.then_some("nosuch")).await;
        }
        match rng.random_range(0..26) {
            0..5 if kills > 0 => {
                kills -= 1;
                child.kill().unwrap();
                child.wait().unwrap();
                child = osc(&server, &database);
            }
            5..25 if cuts > 0 => {
                cuts -= 1;
                server.cut(OURS).await;
            }
            25 if crashes > 0 => {
                crashes -= 1;
                server.kill_and_restart();
            }
            _ => {}
        }
    };
    server.set("synchronous_standby_names", None).await;
    assert_eq!(status.code(), Some(0), "seed {seed}: {said}");
    let report = writers.stop().await;
    eprintln!(
        "  {} transactions, longest stall {:?}, {stalls} stalls of commits; left: {kills} kills, \
         {cuts} cuts, {crashes} crashes",
        report.transactions, report.longest_stall
    );
    let stalled = commits != Commits::Stalled || stalls > 0;
    let happened = kills < 5 && cuts < 20 && stalled;
    assert!(happened, "seed {seed}: the run ended before there was anything to live through");
    report.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

async fn seeds(key: KeyKind, commits: Commits) {
    for seed in support::torture_seeds() {
        run(Major::SYSTEM, key, commits, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_key_ends_equal_whatever_is_killed() {
    seeds(KeyKind::Int, Commits::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_key_ends_equal_whatever_is_killed() {
    seeds(KeyKind::Text, Commits::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_key_that_does_not_tell_case_apart_ends_equal_whatever_is_killed() {
    seeds(KeyKind::CaseInsensitive, Commits::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composite_key_ends_equal_whatever_is_killed() {
    seeds(KeyKind::Composite, Commits::Usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_end_equal_while_commits_wait_for_a_standby_that_is_not_there() {
    seeds(KeyKind::Int, Commits::Stalled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_end_equal_while_commits_return_before_their_wal_is_written() {
    seeds(KeyKind::Int, Commits::Early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_installed_version_ends_equal_whatever_is_killed() {
    for (major, key) in Major::installed().into_iter().zip(KeyKind::ALL.into_iter().cycle()) {
        for seed in support::torture_seeds() {
            run(major, key, Commits::Stalled, seed).await;
        }
    }
}
