//! Everything about PostgreSQL.

pub mod asked;
pub mod clauses;
pub mod connect;
pub mod name;
