//! Everything about PostgreSQL.

pub mod connect;
pub mod dependents;
pub mod fate;
pub mod guards;
pub mod name;
