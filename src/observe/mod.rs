//! Who hears of what a run does, beside whoever started it, and where it can be watched.

pub(crate) mod http;
pub(crate) mod notify;
pub(crate) mod plot;

mod failure;
mod pace;
