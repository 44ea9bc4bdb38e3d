//! The protocol of copy, refresh and cut-over as a model, explored to its end: with all rules the
//! swap loses nothing in any order of steps; without any one of them there is an order in which it
//! does. What is modelled, what is not, and what each of these orders is: `docs/understand/protocol-model.md`.
#![allow(unreachable_pub, missing_docs, reason = "the model is this test's own")]

#[path = "protocol_model/model.rs"]
mod model;
#[path = "protocol_model/properties.rs"]
mod properties;
#[path = "protocol_model/rules.rs"]
mod rules;
#[path = "protocol_model/state.rs"]
mod state;
#[path = "protocol_model/table.rs"]
mod table;
#[path = "protocol_model/writes.rs"]
mod writes;

use std::collections::BTreeSet;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use model::{App, Order, Protocol};
use properties::LOSES_NOTHING;
use rules::Rule;

/// One transaction of the application on two keys, whatever it does; osc never dies.
fn world() -> Protocol {
    Protocol {
        keys: 2,
        app: App::any(1, 2, 2, 3),
        deaths: 0,
        attempts: 1,
        room: 8,
        order: Order::Bytes,
        late_key: false,
        without: None,
    }
}

/// The same, where osc dies once, and has two attempts at the cut-over.
fn mortal_world() -> Protocol {
    Protocol { deaths: 1, attempts: 2, ..world() }
}

/// Two rows; the value of the first moves to the second; the first comes again, and goes again.
fn scripted_world() -> Protocol {
    Protocol { app: App::Script(&[[1, 2, 0], [0, 1, 0], [3, 1, 0], [0, 1, 0]]), ..world() }
}

/// The copy key's index comes late; no unique value moves, since other indexes come later still.
fn late_world() -> Protocol {
    Protocol { app: App::apart(1), late_key: true, ..mortal_world() }
}

/// Explores everything: at least `states` of it. Each event that would show that the model does
/// something occurs, but those named `never`.
fn holds(world: Protocol, states: usize, never: &[&str]) {
    let properties = world.properties();
    let events = properties.iter().filter(|it| it.expectation == Expectation::Sometimes);
    let checker = world.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done());
    let explored = checker.unique_state_count();
    println!("{explored} states, {} steps deep", checker.max_depth());
    let found = checker.discoveries();
    for property in properties.iter().filter(|it| it.expectation == Expectation::Always) {
        let path = found.get(property.name).map(|path| path.clone().into_actions());
        assert!(path.is_none(), "not always {}: {path:#?}", property.name);
    }
    let missed: BTreeSet<&str> =
        events.map(|event| event.name).filter(|name| !found.contains_key(name)).collect();
    assert_eq!(missed, never.iter().copied().collect());
    assert!(explored > states, "only {explored} states");
}

/// Finds the shortest way in which the swap loses something without this rule.
fn loses(world: Protocol, rule: Rule) {
    let without = Protocol { without: Some(rule), ..world };
    let enough = HasDiscoveries::AnyOf([LOSES_NOTHING].into());
    let checker = without.checker().finish_when(enough).spawn_bfs().join();
    let path = checker.discovery(LOSES_NOTHING).map(|path| {
        let rows = path.clone().into_states().first().map(|state| state.log.rows(0));
        (rows, path.into_actions())
    });
    println!("{path:?}");
    assert!(path.is_some(), "nothing is lost without {rule:?}");
}

const DEATH: &str = "a transaction outlives osc";

#[test]
fn any_two_transactions_on_two_rows_are_kept() {
    holds(Protocol { app: App::any(2, 2, 2, 2), ..world() }, 500_000, &[DEATH]);
}

#[test]
fn any_transaction_is_kept_when_osc_dies() {
    holds(mortal_world(), 100_000, &[]);
}

#[test]
fn a_change_of_any_two_of_three_rows_is_kept() {
    holds(Protocol { keys: 3, app: App::any(1, 2, 3, 4), ..world() }, 100_000, &[DEATH]);
}

#[test]
fn a_set_that_is_full_at_one_key_loses_none() {
    holds(Protocol { room: 1, ..mortal_world() }, 100_000, &[]);
}

#[test]
fn keys_that_only_the_server_can_compare_are_kept() {
    // They wait for all chunks.
    let never = ["a key is dirty while its chunk is in flight, and waits"];
    holds(Protocol { order: Order::Server, ..mortal_world() }, 100_000, &never);
}

#[test]
fn a_value_that_moves_and_a_row_that_comes_and_goes_are_kept() {
    holds(Protocol { deaths: 1, ..scripted_world() }, 100_000, &[]);
}

/// Nothing clashes there.
const STALE: &str = "a chunk meets a stale row";

#[test]
fn keys_that_wait_for_their_index_are_kept() {
    holds(late_world(), 100_000, &[STALE]);
}

#[test]
fn keys_that_only_the_server_can_compare_and_that_wait_for_their_index_are_kept() {
    let never = ["a key is dirty while its chunk is in flight, and waits", STALE];
    holds(Protocol { order: Order::Server, ..late_world() }, 100_000, &never);
}

#[test]
fn applied_while_it_is_deferred_a_change_is_lost_by_a_death() {
    loses(late_world(), Rule::DeferredHoldPosition);
}

#[test]
fn deferred_for_good_a_change_is_lost() {
    loses(late_world(), Rule::DeferredComeBack);
}

#[test]
fn without_the_stream_before_the_copy_a_row_is_lost() {
    loses(world(), Rule::StreamBeforeCopy);
}

#[test]
fn without_the_barrier_of_the_start_a_row_is_lost() {
    loses(world(), Rule::StartBarrier);
}

#[test]
fn refreshed_before_it_is_visible_a_change_is_lost() {
    loses(world(), Rule::VisibleBeforeRefreshed);
}

#[test]
fn without_refreshes_behind_the_copy_a_change_is_lost() {
    loses(world(), Rule::BehindIsRefreshed);
}

#[test]
fn without_refreshes_beyond_the_last_row_a_row_is_lost() {
    loses(world(), Rule::BeyondIsRefreshed);
}

#[test]
fn without_refreshes_of_chunks_in_flight_a_change_is_lost() {
    loses(world(), Rule::InFlightIsRefreshed);
}

#[test]
fn applied_before_it_is_refreshed_a_change_is_lost_by_a_death() {
    loses(mortal_world(), Rule::AppliedWhenRefreshed);
}

#[test]
fn refreshed_while_its_chunk_is_in_flight_a_row_comes_back() {
    loses(world(), Rule::InFlightWaits);
}

#[test]
fn repaired_beside_a_cycle_a_row_comes_back() {
    loses(scripted_world(), Rule::RepairsAlone);
}

#[test]
fn without_turns_a_row_comes_back() {
    loses(Protocol { order: Order::Server, ..world() }, Rule::TakingTurns);
}

#[test]
fn with_clashes_ignored_a_row_is_lost() {
    loses(world(), Rule::NothingIsIgnored);
}

#[test]
fn read_on_without_room_a_key_is_lost() {
    loses(Protocol { room: 1, ..world() }, Rule::NoRoomNoReading);
}

#[test]
fn not_cleared_after_a_death_a_row_comes_back() {
    loses(mortal_world(), Rule::ResumedChunksClear);
}

#[test]
fn not_waited_for_the_dead_bring_a_row_back() {
    loses(mortal_world(), Rule::TheDeadAreGone);
}

#[test]
fn with_chunks_in_flight_counted_as_copied_a_row_is_lost_by_a_death() {
    loses(mortal_world(), Rule::EdgeOfEndedChunks);
}

#[test]
fn beside_a_cycle_the_cut_over_loses_a_change() {
    loses(world(), Rule::CutOverAlone);
}

#[test]
fn with_the_lock_let_go_the_cut_over_loses_a_change() {
    loses(world(), Rule::LockIsHeld);
}

#[test]
fn without_the_marker_the_cut_over_loses_a_change() {
    loses(world(), Rule::MarkerIsAwaited);
}

#[test]
fn with_an_earlier_attempts_marker_the_cut_over_loses_a_change() {
    loses(Protocol { attempts: 2, ..world() }, Rule::MarkerIsOwn);
}

#[test]
fn a_failed_attempt_that_keeps_its_keys_loses_a_change() {
    loses(Protocol { attempts: 2, ..world() }, Rule::TakenComesBack);
}
