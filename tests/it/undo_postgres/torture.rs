//! The torture of an undo: the twin is never changed, and gets every transaction in the old schema, before the
//! change, while it is made, after it, and while it is undone. Meanwhile osc is killed, loses its sessions, and
//! the server crashes. In the end both are equal; after a redo the twin is altered by the server, and they are again.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own, and draws its key and its change from it.

use crate::support;
use crate::support::postgres::{Major, Postgres};
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use crate::torture::blows::{self, Hold, Victim};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the table becomes, the column that writers leave alone, and whether rows then have something that only
/// the retired table knows: writers leave their keys alone then, for it is the key that says which row is which.
const CHANGES: [(&str, &str, bool); 3] = [
    (
        "ALTER n TYPE bigint, ALTER v TYPE varchar(400), ADD COLUMN added integer NOT NULL DEFAULT 7, \
         ADD CONSTRAINT n_is_small CHECK (n < 3000000000)",
        "",
        false,
    ),
    ("DROP COLUMN d, ALTER n TYPE numeric, ADD COLUMN added integer DEFAULT 7", "d", true),
    ("ALTER ts TYPE timestamptz(0), DROP CONSTRAINT t_u_key, ADD COLUMN added text", "ts", true),
];

struct Place {
    server: Postgres,
    database: String,
    hold: Hold,
}

impl Victim for Place {
    fn url(&self) -> String {
        self.server.url(&self.database)
    }

    async fn cut(&self) -> u64 {
        self.server.cut("osc%").await
    }

    fn crash(&mut self) {
        self.server.kill_and_restart();
    }

    async fn swapped(&self) -> bool {
        // The first retired name is free again.
        let retired = "SELECT to_regclass('public.t_osc_old') IS NULL";
        self.server.value(&self.database, retired).await == "t"
    }

    fn struck(&mut self, blows: usize) {
        self.hold.struck(blows);
    }

    async fn trouble(&mut self, _: &mut SmallRng) {
        self.hold.look();
    }
}

/// Runs a command that nothing is done to.
async fn succeeds(server: &Postgres, database: &str, arguments: &[&str]) {
    let url = server.url(database);
    let mut command = support::osc();
    command.args(arguments).args(["--url", &url, "--yes"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
}

async fn run(seed: u64, change: usize) {
    let mut rng = SmallRng::seed_from_u64(seed * CHANGES.len() as u64 + change as u64);
    let key = KeyKind::ALL[rng.random_range(0..KeyKind::ALL.len())];
    let (clauses, spared, steady) = CHANGES[change];
    eprintln!("undo: PostgreSQL {key:?} seed {seed}: {clauses}");
    let server = Postgres::start(Major::SYSTEM);
    let database = support::postgres_database(&server).await;
    let mut twin = Twin::create(&server, &database, key, blows::rows(8_000)).await.sparing(spared);
    if steady {
        twin = twin.with_steady_keys();
    }
    let writers = Writers::start(&twin, rng.random_range(4..=12), seed);
    writers.wait_for_more(20).await;
    // The torture is the undo's: the change itself must come to its lock.
    writers.ease();
    succeeds(&server, &database, &["alter", "t", clauses, "--strategy", "copy"]).await;
    writers.press();
    writers.wait_for_more(200).await;

    let hold = Hold::new(&server.port().to_string());
    let command = hold.command();
    let mut place = Place { server, database, hold };
    let (status, printed, blows) =
        blows::to_its_end(&mut place, &command, &writers, &mut rng).await;
    assert_eq!(status.code(), Some(0), "seed {seed}, {blows}: {printed}");
    blows.end(writers).await;
    twin.assert_equal("").await;

    // Redo: the new schema, with what was written in all three times.
    let Place { server, database, .. } = place;
    succeeds(&server, &database, &["revert", "t"]).await;
    if !steady {
        twin.assert_equal(clauses).await;
    }
}

async fn seeds(change: usize) {
    for seed in blows::seeds() {
        run(seed, change).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_widened_column_is_undone_whatever_is_killed() {
    seeds(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_is_undone_whatever_is_killed() {
    seeds(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_column_is_undone_whatever_is_killed() {
    seeds(2).await;
}
