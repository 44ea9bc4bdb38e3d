//! The migration itself. Knows no SQL and no server: [`self::backend::Server`] is all it sees of one.

pub mod backend;
mod copy;
pub mod coverage;
pub mod dirty;
pub mod progress;

pub(crate) mod backoff;
mod backpressure;
pub(crate) mod blocker;
mod cutover;
mod key_index;
pub(crate) mod migration;
pub(crate) mod permission;
mod refresh;
pub(crate) mod run;
pub(crate) mod under_lock;
pub(crate) mod undo;
mod verify;
pub mod walk;
