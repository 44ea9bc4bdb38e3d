//! Everything about PostgreSQL.

pub mod catalog;
pub mod checks;
pub mod clauses;
pub mod commands;
pub mod connection;
pub mod copy;
pub mod dependents;
pub mod methods;
pub mod run;
pub mod runs;
pub mod stream;
pub mod swap;
pub mod throttle;
