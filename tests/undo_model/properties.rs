//! What always holds, and what must happen somewhere lest the model show nothing.

use stateright::Property;

use super::model::Undo;
use super::state::{Stage, State};
use super::table::present;

/// What is to hold whatever happens.
pub const LOSES_NOTHING: &str = "the swap back keeps every write";
pub const KEEPS_ITS_OWN: &str = "rows that were never away keep what only they have";

/// All of them.
pub fn all() -> Vec<Property<Undo>> {
    vec![
        Property::always(LOSES_NOTHING, |_, state: &State| {
            state.stage != Stage::Back || state.retired.rows == state.live()
        }),
        Property::always(KEEPS_ITS_OWN, |_, state: &State| {
            let stayed = present(&state.retired.rows).but(state.gone);
            state.stage != Stage::Back || stayed.but(state.retired.own).is_empty()
        }),
        Property::sometimes("an undo ends well after all writes", |_, state: &State| {
            state.stage == Stage::Back && state.writes_left == 0
        }),
        Property::sometimes("an undo by the log ends well, with rows put", |_, state: &State| {
            state.stage == Stage::Back && state.put_by_log
        }),
        Property::sometimes("the log ends, and the tables are compared", |_, state: &State| {
            state.stage == Stage::Back && state.fell_back
        }),
        Property::sometimes("osc dies and its undo ends well", |model: &Undo, state: &State| {
            state.stage == Stage::Back && state.deaths_left < model.deaths
        }),
        Property::sometimes("a transaction outlives osc", |_, state: &State| state.dead.is_some()),
        Property::sometimes("a key is named before its change is visible", |_, state: &State| {
            matches!(state.stage, Stage::Up(attempt)
                if attempt.read > state.visible && !attempt.dirty.is_empty())
        }),
    ]
}
