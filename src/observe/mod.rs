//! Who hears of what a run does, beside whoever started it.

pub(crate) mod notify;
#[allow(dead_code, reason = "the page and the report draw with it")]
pub(crate) mod plot;
