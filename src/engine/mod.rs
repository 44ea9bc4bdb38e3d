//! The migration itself. Knows no SQL and no server: [`self::backend::Server`] is all it sees of one.

pub mod backend;
pub mod copy;
pub mod coverage;
pub mod dirty;
pub mod progress;

pub(crate) mod migration;
pub(crate) mod permission;
pub(crate) mod run;

mod backpressure;
mod cutover;
mod key_index;
mod refresh;
mod verify;
