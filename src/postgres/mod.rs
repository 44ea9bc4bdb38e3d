//! Everything about PostgreSQL.

pub mod asked;
pub mod clauses;
pub mod connect;
pub mod dependents;
pub mod fate;
pub mod guards;
pub mod name;
