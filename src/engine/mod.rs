//! The migration itself. Knows no SQL and no server: [`self::backend::Server`] is all it sees of one.

pub mod backend;
pub mod backpressure;
pub mod copy;
pub mod coverage;
pub mod cutover;
pub mod dirty;
pub mod key_index;
pub mod migration;
pub mod permission;
pub mod progress;
pub mod refresh;
pub mod run;
pub mod verify;
