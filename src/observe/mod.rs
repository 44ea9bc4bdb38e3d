//! Who hears of what a run does, beside whoever started it.

pub(crate) mod notify;
