//! Everything about MySQL and MariaDB.

pub mod binlog;
pub mod catalog;
pub mod clauses;
pub mod commands;
pub mod connection;
pub mod copy;
pub mod dependents;
pub mod lexer;
pub mod methods;
pub mod name;
pub mod throttle;

mod blockers;
mod checks;
mod gtid;
mod run;
mod runs;
mod server;
mod setting;
mod swap;
