//! Everything about MySQL and MariaDB.

pub mod alter;
pub mod binlog;
pub mod blockers;
pub mod change;
pub mod checks;
pub mod clauses;
pub mod cleanup;
pub mod connect;
pub mod dependents;
pub mod flavor;
pub mod inspect;
pub mod key;
pub mod ledger;
pub mod name;
pub mod native;
pub mod projection;
pub mod rows;
pub mod session;
pub mod shadow;
pub mod statements;
pub mod status;
pub mod swap;
pub mod table;
pub mod throttle;
