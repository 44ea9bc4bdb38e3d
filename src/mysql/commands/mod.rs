//! One file a command: what it does on MySQL and MariaDB.

pub(crate) mod alter;
pub(crate) mod arguments;
pub(crate) mod cleanup;
mod prepare;
pub(crate) mod status;
