//! The migration itself. Knows no SQL and no server: [`server::Server`] is all it sees of one.

pub mod copy;
pub mod coverage;
pub mod cutover;
pub mod dirty;
pub mod error;
pub mod giving;
pub mod key;
pub mod key_index;
pub mod migration;
pub mod permission;
pub mod progress;
pub mod refresh;
pub mod run;
pub mod server;
pub mod verify;

pub use error::{Error, Result};
