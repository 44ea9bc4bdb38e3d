//! A column gets another type: for all pairs of types and values at their edges, osc makes of a value
//! what the server's own ALTER does, or refuses: before the copy, naming column and types, where the
//! pair is not one that osc carries; by the copy, naming the row, where the value would be lost in part.
//!
//! A sample by a printed seed (`OSC_TYPE_SEED=17` repeats it), with all pairs that were once wrong;
//! `OSC_TYPE_MATRIX=all` tries every pair.

use crate::matrix;
use crate::matrix::{Matrix, Tally};
use crate::support;
use crate::support::server::Kind;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// Pairs beside those that are always tried.
const SAMPLE: usize = 57;

async fn a_value_gets_another_type_as_the_server_does_it(kind: Kind) {
    let types = matrix::types::all(kind);
    let known = matrix::types::KNOWN;
    let mut pairs = Vec::new();
    for from in &types {
        for to in types.iter().filter(|to| to.name != from.name) {
            pairs.push((*from, *to));
        }
    }
    if std::env::var("OSC_TYPE_MATRIX").is_ok_and(|which| which == "all") {
        println!("all {} pairs", pairs.len());
    } else {
        let seed = support::from_environment("OSC_TYPE_SEED").unwrap_or_else(rand::random);
        println!("seed {seed}");
        let is_known = |(from, to): &(matrix::types::Type, matrix::types::Type)| {
            known.contains(&(from.name, to.name))
        };
        let (always, mut others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(is_known);
        others.shuffle(&mut SmallRng::seed_from_u64(seed));
        others.truncate(SAMPLE);
        pairs = always.into_iter().chain(others).collect();
    }
    let mut tally = Tally::default();
    let mut matrix = Matrix::new(kind).await;
    for part in pairs.chunks(matrix::TOGETHER) {
        matrix.run(part, &mut tally).await;
    }
    println!("{}: {tally}", kind.name());
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(tally.equal > 0, "{tally}");
}

on_both_servers! { a_value_gets_another_type_as_the_server_does_it }
