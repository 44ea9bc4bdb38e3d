//! Everything about MySQL and MariaDB.

pub mod binlog;
pub mod blockers;
pub mod catalog;
pub mod checks;
pub mod clauses;
pub mod commands;
pub mod connection;
pub mod copy;
pub mod dependents;
pub mod methods;
pub mod name;
pub mod run;
pub mod runs;
pub mod server;
pub mod setting;
pub mod swap;
pub mod throttle;
