//! Random tables, random changes, random writes meanwhile: what osc makes of a table is what the
//! server makes of its twin; or osc says why not, and the table is as it was.
//!
//! `OSC_RANDOM_CASES=500` tries that many on each server, `OSC_RANDOM_FROM=17` begins with that
//! seed; each prints its own. A case that found something is kept by name in `data_*.rs` or
//! `postgres_*.rs`, since seeds make other tables when this program changes.

use crate::random;
use crate::random::mysql::MySql;
use crate::random::postgres::Postgres;
use crate::random::{Tally, cases};
use crate::support::server::Kind;

async fn a_random_change_of_a_random_table_is_the_servers_own(kind: Kind) {
    let mut tally = Tally::default();
    for seed in cases() {
        let made = random::mysql::random(kind, seed);
        tally.count(seed, &made, MySql::new(kind, &made).await).await;
    }
    tally.assert_sound();
}

async fn a_random_change_goes_back_as_its_verdict_says(kind: Kind) {
    let mut tally = random::undo::Tally::default();
    for seed in cases() {
        let made = random::mysql::random(kind, seed);
        tally.count(seed, &made, MySql::new(kind, &made).await).await;
    }
    tally.assert_sound();
}

on_both_servers! {
    a_random_change_of_a_random_table_is_the_servers_own
    a_random_change_goes_back_as_its_verdict_says
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_change_of_a_random_table_is_the_servers_own_on_postgres() {
    let mut tally = Tally::default();
    for seed in cases() {
        let made = random::postgres::random(seed);
        tally.count(seed, &made, Postgres::new(&made).await).await;
    }
    tally.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_change_goes_back_as_its_verdict_says_on_postgres() {
    let mut tally = random::undo::Tally::default();
    for seed in cases() {
        let made = random::postgres::random(seed);
        tally.count(seed, &made, Postgres::new(&made).await).await;
    }
    tally.assert_sound();
}
