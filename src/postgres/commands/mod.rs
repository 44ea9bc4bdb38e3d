//! One file a command: what it does on PostgreSQL.

pub mod arguments;

pub(crate) mod alter;
pub(crate) mod cleanup;
pub(crate) mod order;
pub(crate) mod revert;
pub(crate) mod status;
