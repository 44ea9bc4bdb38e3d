//! From a target to a session: connecting, what the server is, how its sessions are set up.

pub mod connect;
pub mod errors;
pub mod settings;

mod certificates;
pub(crate) mod guarded;
pub(crate) mod recognise;
pub(crate) mod session;
