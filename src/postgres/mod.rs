//! Everything about PostgreSQL.

pub mod catalog;
pub mod clauses;
pub mod commands;
pub mod connection;
pub mod copy;
pub mod dependents;
pub mod methods;
pub mod name;
pub mod runs;
pub mod stream;
pub mod throttle;
pub mod trust;

mod blockers;
mod checks;
mod run;
mod server;
mod setting;
mod swap;
mod undo;
