//! The protocol of an undo as a model, explored to its end: with all rules the swap back keeps every write
//! made since the change, and what only the retired rows have; without any one of them there is an order in
//! which it does not. What is modelled, and what is not: `docs/understand/protocol-model.md`.
#![allow(unreachable_pub, missing_docs, reason = "the model is this test's own")]

#[path = "undo_model/model.rs"]
mod model;
#[path = "undo_model/properties.rs"]
mod properties;
#[path = "undo_model/state.rs"]
mod state;
#[allow(dead_code, reason = "the copy's model uses the rest")]
#[path = "protocol_model/table.rs"]
mod table;

use std::collections::BTreeSet;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use model::{Rule, Undo};
use properties::{KEEPS_ITS_OWN, LOSES_NOTHING};

/// A change whose retired table has two rows; osc never dies, and the log is never purged.
fn world() -> Undo {
    Undo {
        writes: 2,
        values: 2,
        deaths: 0,
        purges: 0,
        logged: true,
        verified: true,
        strangers: 0,
        without: None,
    }
}

/// The same on a server whose log does not reach back.
fn compared_world() -> Undo {
    Undo { logged: false, ..world() }
}

/// A change that is undone by the log, where osc dies once.
fn mortal_world() -> Undo {
    Undo { deaths: 1, ..world() }
}

/// The same, where the log is purged at some moment, before the undo or during it.
fn purged_world() -> Undo {
    Undo { purges: 1, ..world() }
}

/// A change that was not verified, and left one row out.
fn unverified_world() -> Undo {
    Undo { verified: false, writes: 1, ..world() }
}

/// Someone tries to write to the retired table.
fn meddled_world() -> Undo {
    Undo { strangers: 1, writes: 1, ..world() }
}

/// Explores everything: at least `states` of it. Each event that would show that the model does something
/// occurs, but those named `never`.
fn holds(world: Undo, states: usize, never: &[&str]) {
    let properties = world.properties();
    let checker = world.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done());
    let explored = checker.unique_state_count();
    println!("{explored} states, {} steps deep", checker.max_depth());
    let found = checker.discoveries();
    for property in properties.iter().filter(|it| it.expectation == Expectation::Always) {
        let path = found.get(property.name).map(|path| path.clone().into_actions());
        assert!(path.is_none(), "not always {}: {path:#?}", property.name);
    }
    let events = properties.iter().filter(|it| it.expectation == Expectation::Sometimes);
    let missed: BTreeSet<&str> =
        events.map(|event| event.name).filter(|name| !found.contains_key(name)).collect();
    assert_eq!(missed, never.iter().copied().collect());
    assert!(explored > states, "only {explored} states");
}

/// Finds the shortest way in which `property` fails without this rule.
fn fails(world: Undo, rule: Rule, property: &'static str) {
    let without = Undo { without: Some(rule), ..world };
    let enough = HasDiscoveries::AnyOf([property].into());
    let checker = without.checker().finish_when(enough).spawn_bfs().join();
    let path = checker.discovery(property).map(stateright::Path::into_actions);
    println!("{path:?}");
    assert!(path.is_some(), "{property}, without {rule:?} too");
}

const DIES: &str = "osc dies and its undo ends well";
const OUTLIVES: &str = "a transaction outlives osc";
const FALLS_BACK: &str = "the log ends, and the tables are compared";
const BY_LOG: &str = "an undo by the log ends well, with rows put";

#[test]
fn any_two_transactions_go_back() {
    holds(world(), 50_000, &[DIES, OUTLIVES, FALLS_BACK]);
}

#[test]
fn any_two_transactions_go_back_by_comparing() {
    holds(compared_world(), 50_000, &[DIES, OUTLIVES, FALLS_BACK, BY_LOG]);
}

#[test]
fn any_two_transactions_go_back_when_osc_dies() {
    holds(mortal_world(), 50_000, &[FALLS_BACK]);
}

#[test]
fn any_transaction_goes_back_by_comparing_when_osc_dies() {
    let world = Undo { writes: 1, deaths: 1, ..compared_world() };
    holds(world, 20_000, &[FALLS_BACK, BY_LOG]);
}

#[test]
fn any_two_transactions_go_back_when_the_log_is_purged() {
    holds(purged_world(), 50_000, &[DIES, OUTLIVES]);
}

#[test]
fn any_transaction_goes_back_when_osc_dies_and_the_log_is_purged() {
    holds(Undo { purges: 1, writes: 1, ..mortal_world() }, 50_000, &[]);
}

#[test]
fn what_an_unverified_change_left_out_goes_back() {
    holds(unverified_world(), 1_000, &[DIES, OUTLIVES, FALLS_BACK, BY_LOG]);
}

#[test]
fn a_guarded_table_is_not_meddled_with() {
    holds(meddled_world(), 1_000, &[DIES, OUTLIVES, FALLS_BACK]);
}

#[test]
fn with_the_swaps_position_taken_after_unlocking_a_write_is_lost() {
    fails(world(), Rule::SwapInLog, LOSES_NOTHING);
}

#[test]
fn with_the_position_taken_after_comparing_a_write_is_lost() {
    fails(compared_world(), Rule::PositionBeforeComparing, LOSES_NOTHING);
}

#[test]
fn compared_before_the_barrier_a_write_is_lost() {
    fails(compared_world(), Rule::BarrierBeforeComparing, LOSES_NOTHING);
}

#[test]
fn put_before_it_is_visible_a_write_is_lost() {
    fails(world(), Rule::VisibleBeforePut, LOSES_NOTHING);
}

#[test]
fn swapped_before_the_log_is_read_a_write_is_lost() {
    fails(world(), Rule::MarkerIsAwaited, LOSES_NOTHING);
}

#[test]
fn without_differences_put_a_write_is_lost() {
    fails(compared_world(), Rule::DifferencesCount, LOSES_NOTHING);
}

#[test]
fn an_unverified_change_undone_by_the_log_loses_a_row() {
    fails(unverified_world(), Rule::LogAfterVerified, LOSES_NOTHING);
}

#[test]
fn read_on_behind_a_gap_the_log_loses_a_write() {
    fails(purged_world(), Rule::GapEndsTheLog, LOSES_NOTHING);
}

#[test]
fn applied_before_it_is_put_a_write_is_lost_by_a_death() {
    fails(mortal_world(), Rule::AppliedWhenPut, LOSES_NOTHING);
}

#[test]
fn not_waited_for_the_dead_undo_a_write() {
    fails(mortal_world(), Rule::TheDeadAreGone, LOSES_NOTHING);
}

#[test]
fn rows_deleted_and_inserted_lose_what_only_they_have() {
    fails(world(), Rule::PutNotRewritten, KEEPS_ITS_OWN);
}

#[test]
fn without_its_guard_the_retired_table_goes_back_with_what_others_wrote() {
    fails(meddled_world(), Rule::GuardStays, LOSES_NOTHING);
}
