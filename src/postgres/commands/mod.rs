//! One file a command: what it does on PostgreSQL.

pub mod alter;
pub mod arguments;
pub mod cleanup;
pub mod status;
