//! From a target to a session: connecting, what the server is, how its sessions are set up.

pub mod connect;
pub mod session;
pub mod settings;
pub mod version;

pub(crate) mod answer;
pub(crate) mod errors;
pub(crate) mod own_sessions;
pub(crate) mod privileges;
pub(crate) mod process_list;
pub(crate) mod recognise;
pub(crate) mod single;
pub(crate) mod texts;
