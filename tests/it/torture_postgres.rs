//! The twin-table torture on PostgreSQL: the application writes each transaction to the table and to
//! a twin; meanwhile osc changes the table, is killed, loses its sessions, and the server crashes.
//! Afterwards the twin is changed natively, and both are compared row by row.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own.

use crate::support;
use crate::support::postgres::{Major, Postgres};
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use crate::torture::blows::{self, Victim};
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

struct Place {
    server: Postgres,
    database: String,
    commits: Commits,
    stalled: bool,
    stalls: u32,
}

impl Victim for Place {
    fn url(&self) -> String {
        self.server.url_as("osc:secret", &self.database)
    }

    async fn cut(&self) -> u64 {
        self.server.cut(OURS).await
    }

    fn crash(&mut self) {
        self.server.kill_and_restart();
    }

    async fn swapped(&self) -> bool {
        let added = "SELECT count(*) FROM pg_attribute \
                     WHERE attrelid = 'public.t'::regclass AND attname = 'added'";
        self.server.value(&self.database, added).await == "1"
    }

    async fn trouble(&mut self, rng: &mut SmallRng) {
        if self.commits == Commits::Stalled && (self.stalled || rng.random_ratio(1, 4)) {
            self.stalled = !self.stalled;
            self.stalls += u32::from(self.stalled);
            self.server.set("synchronous_standby_names", self.stalled.then_some("nosuch")).await;
        }
    }
}

async fn run(major: Major, key: KeyKind, commits: Commits, seed: u64) {
    eprintln!("torture: PostgreSQL {} {key:?} seed {seed}", major.number());
    let mut rng = SmallRng::seed_from_u64(seed);
    let server = Postgres::start(major);
    server.exec("postgres", "CREATE ROLE osc SUPERUSER LOGIN PASSWORD 'secret'").await;
    let database = support::postgres_database(&server).await;
    let mut twin = Twin::create(&server, &database, key, blows::rows(8_000)).await.sparing("d");
    if commits == Commits::Early {
        twin = twin.in_sessions_with("SET synchronous_commit = off");
    }
    let writers = Writers::start(&twin, rng.random_range(4..=16), seed);
    writers.wait_for_more(20).await;

    let mut place = Place { server, database, commits, stalled: false, stalls: 0 };
    let (status, printed, blows) =
        blows::to_its_end(&mut place, &blows::alter(CLAUSES), &writers, &mut rng).await;
    place.server.set("synchronous_standby_names", None).await;
    assert_eq!(status.code(), Some(0), "seed {seed}, {blows}: {printed}");
    let report = writers.stop().await;
    eprintln!(
        "  {} transactions, longest stall {:?}, {} stalls of commits; {blows}",
        report.transactions, report.longest_stall, place.stalls
    );
    blows.assert_enough();
    assert!(commits != Commits::Stalled || place.stalls > 0, "seed {seed}: no commit was stalled");
    report.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

async fn seeds(key: KeyKind, commits: Commits) {
    for seed in blows::seeds() {
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
        for seed in blows::seeds() {
            run(major, key, Commits::Stalled, seed).await;
        }
    }
}
