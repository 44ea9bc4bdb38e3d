//! The torture of an undo: the twin is never changed, and gets every transaction in the old schema, before the
//! change, after it and while it is undone. Meanwhile osc is killed, loses its sessions, and the server crashes.
//! In the end both are equal.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own, and draws its key from it.

use crate::support;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use crate::torture::blows::{self, Hold, Victim};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the table becomes, and whether rows then have something that only the retired table knows: writers leave
/// their keys alone then, for it is the key that says which row is which.
const CHANGES: [(&str, bool); 3] = [
    (
        "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7, CHANGE d amount DECIMAL(24,8), \
         ADD INDEX amount (amount)",
        false,
    ),
    ("DROP COLUMN d, MODIFY v VARCHAR(400), ADD COLUMN added INT NULL FIRST", true),
    ("MODIFY ts TIMESTAMP(0) NULL, DROP INDEX k", true),
];

struct Place {
    server: Server,
    database: String,
    url: String,
    hold: Hold,
}

impl Victim for Place {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn cut(&self) -> u64 {
        self.server.cut("TRUE").await
    }

    fn crash(&mut self) {
        self.server.kill_and_restart();
    }

    async fn swapped(&self) -> bool {
        // The first retired name is free again.
        let retired = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{}' \
             AND TABLE_NAME = 't_osc_old'",
            self.database
        );
        self.server.value(&retired).await == "0"
    }

    fn struck(&mut self, blows: usize) {
        self.hold.struck(blows);
    }

    async fn trouble(&mut self, _: &mut SmallRng) {
        self.hold.look();
    }
}

async fn run(kind: Kind, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let key = KeyKind::ALL[rng.random_range(0..KeyKind::ALL.len())];
    let (clauses, steady) = CHANGES[rng.random_range(0..CHANGES.len())];
    eprintln!("undo: {} {key:?} seed {seed}: {clauses}", kind.name());
    let server = Server::start(kind);
    let database = support::database(&server).await;
    let url = server.as_osc(&database).await;
    let mut twin = Twin::create(&server, &database, key, blows::rows(8_000)).await.sparing("d");
    if clauses.contains("ts ") {
        twin = twin.sparing("ts");
    }
    if steady {
        twin = twin.with_steady_keys();
    }
    let writers = Writers::start(&twin, rng.random_range(4..=12), seed);
    writers.wait_for_more(20).await;

    // The torture is the undo's: the change itself must come to its lock.
    writers.ease();
    let altered = tokio::task::spawn_blocking({
        let url = url.clone();
        move || {
            let alter = ["alter", "t", clauses, "--strategy", "copy", "--yes", "--url", &url];
            support::osc().args(alter).args(["--cut-over-attempts", "60"]).output().unwrap()
        }
    });
    let altered = altered.await.unwrap();
    assert_eq!(altered.status.code(), Some(0), "seed {seed}: {altered:?}");
    writers.press();
    writers.wait_for_more(200).await;

    let hold = Hold::new(&server.port().to_string());
    // Every other seed compares both tables, the others go by the log.
    let verify = if seed.is_multiple_of(2) { "--verify=touched" } else { "--verify=all" };
    let command: Vec<String> = hold.command().into_iter().chain([verify.to_owned()]).collect();
    let mut place = Place { server, database, url, hold };
    let (status, printed, blows) =
        blows::to_its_end(&mut place, &command, &writers, &mut rng).await;
    assert_eq!(status.code(), Some(0), "seed {seed}, {blows}: {printed}");
    blows.end(writers).await;
    twin.assert_equal("").await;
}

async fn what_is_undone_ends_equal_whatever_is_killed(kind: Kind) {
    for seed in blows::seeds() {
        run(kind, seed).await;
    }
}

on_both_servers! { what_is_undone_ends_equal_whatever_is_killed }
