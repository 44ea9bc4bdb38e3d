//! One file a command: what it does on MySQL and MariaDB.

pub mod alter;
pub mod cleanup;
pub mod status;
