//! One file a command: what it does on MySQL and MariaDB.

pub mod arguments;

pub(crate) mod alter;
pub(crate) mod cleanup;
pub(crate) mod order;
mod prepare;
pub(crate) mod revert;
pub(crate) mod status;
