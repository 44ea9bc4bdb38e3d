//! The twin-table torture: the application writes each transaction to the table and to a twin;
//! meanwhile osc changes the table, is killed, loses its connections, and the server restarts.
//! Afterwards the twin is changed natively, and both are compared row by row.
//!
//! `OSC_TORTURE_SEEDS=30` runs that many seeds; each run prints its own.

pub mod blows;

use crate::support;
use crate::support::server::{Kind, Server};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use blows::Victim;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the table becomes: a type that grows, a column that comes, one that is renamed, an index.
const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7, \
                       RENAME COLUMN d TO amount, ADD INDEX amount (amount)";

struct Place {
    server: Server,
    database: String,
    url: String,
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
        let added = format!(
            "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' \
             AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'",
            self.database
        );
        self.server.value(&added).await == "1"
    }

    async fn trouble(&mut self, _: &mut SmallRng) {}
}

async fn run(kind: Kind, key: KeyKind, seed: u64) {
    eprintln!("torture: {} {key:?} seed {seed}", kind.name());
    let mut rng = SmallRng::seed_from_u64(seed);
    let server = Server::start(kind);
    let database = support::database(&server).await;
    let url = server.as_osc(&database).await;
    let twin = Twin::create(&server, &database, key, blows::rows(8_000)).await.sparing("d");
    let writers = Writers::start(&twin, rng.random_range(4..=16), seed);
    writers.wait_for_more(20).await;

    let mut place = Place { server, database, url };
    let (status, printed, blows) =
        blows::to_its_end(&mut place, &blows::alter(CLAUSES), &writers, &mut rng).await;
    assert_eq!(status.code(), Some(0), "seed {seed}, {blows}: {printed}");
    blows.end(writers).await;
    twin.assert_equal(CLAUSES).await;
}

async fn seeds(kind: Kind, key: KeyKind) {
    for seed in blows::seeds() {
        run(kind, key, seed).await;
    }
}

async fn an_integer_key_ends_equal_whatever_is_killed(kind: Kind) {
    seeds(kind, KeyKind::Int).await;
}

async fn a_text_key_ends_equal_whatever_is_killed(kind: Kind) {
    seeds(kind, KeyKind::Text).await;
}

async fn a_composite_key_ends_equal_whatever_is_killed(kind: Kind) {
    seeds(kind, KeyKind::Composite).await;
}

on_both_servers! {
    an_integer_key_ends_equal_whatever_is_killed
    a_text_key_ends_equal_whatever_is_killed
    a_composite_key_ends_equal_whatever_is_killed
}
