//! The migration itself. Knows no SQL and no server: [`server::Server`] is all it sees of one.

pub mod error;
pub mod key;
pub mod progress;
pub mod server;

pub use error::{Error, Result};
