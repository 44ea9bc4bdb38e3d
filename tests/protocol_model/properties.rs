//! What always holds, and what must happen somewhere lest the model show nothing.

use stateright::Property;

use super::model::Protocol;
use super::state::{CutOver, Cycle, Run, State};

/// What is to hold whatever happens.
pub const LOSES_NOTHING: &str = "the swap loses nothing";

/// All of them.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(LOSES_NOTHING, |_, state: &State| {
            state.run != Run::Swapped || state.shadow == state.log.rows(state.log.len())
        }),
        Property::always("the last refresh clashes with nothing", |_, state: &State| {
            !state.is_up(|attempt| attempt.cut_over == CutOver::Clashed)
        }),
        Property::always("no row is written twice", |_, state: &State| !state.doubled),
        Property::sometimes("the tables are swapped", |_, state: &State| state.run == Run::Swapped),
        Property::sometimes("they are swapped after all writes and deaths", |_, state: &State| {
            state.run == Run::Swapped && state.writes_left + state.deaths_left == 0
        }),
        Property::sometimes("a key is named before its change is visible", |_, state: &State| {
            state.is_up(|attempt| attempt.read > state.visible && !attempt.dirty.is_empty())
        }),
        Property::sometimes(
            "a key is dirty while its chunk is in flight, and waits",
            |model: &Protocol, state: &State| {
                state.is_up(|attempt| match attempt.cycle {
                    Cycle::Refreshing { keys, write: None, .. } => {
                        !model.waiting(attempt, keys).is_empty()
                    }
                    _ => false,
                })
            },
        ),
        Property::sometimes("a chunk meets a stale row", |_, state: &State| {
            state.is_up(|attempt| attempt.in_flight().any(|chunk| !chunk.stale.is_empty()))
        }),
        Property::sometimes("a transaction outlives osc", |_, state: &State| state.dead.is_some()),
    ]
}
