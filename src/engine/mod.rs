//! The migration itself. Knows no SQL and no server: [`self::backend::Server`] is all it sees of one.

pub mod backend;
mod copy;
pub mod coverage;
pub mod dirty;
pub mod event;
pub mod picture;
pub mod progress;

pub(crate) mod backoff;
mod backpressure;
pub(crate) mod blocker;
mod cutover;
pub(crate) mod health;
mod holding;
mod key_index;
pub(crate) mod migration;
pub mod orders;
pub(crate) mod pace;
pub(crate) mod permission;
mod refresh;
pub(crate) mod run;
pub mod times;
pub(crate) mod under_lock;
pub(crate) mod undo;
pub(crate) mod undo_check;
mod verify;
pub mod walk;
mod watch;
