//! Everything about PostgreSQL.

pub mod connect;
pub mod name;
