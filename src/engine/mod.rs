//! The migration itself. Knows no SQL and no server: [`self::backend::Server`] is all it sees of one.

pub mod backend;
pub mod copy;
pub mod coverage;
pub mod dirty;
pub mod progress;

mod backpressure;
mod cutover;
mod key_index;
pub(crate) mod migration;
pub(crate) mod permission;
mod refresh;
pub(crate) mod run;
mod verify;
