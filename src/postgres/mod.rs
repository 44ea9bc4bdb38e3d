//! Everything about PostgreSQL.

pub mod connect;
pub mod key;
pub mod name;
pub mod stream;
