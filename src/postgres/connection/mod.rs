//! From a target to a session: connecting, what the server is, how its sessions are set up.

pub mod connect;
pub mod recognise;
pub mod session;
pub mod settings;

pub(crate) mod certificates;
pub(crate) mod guarded;
