//! Everything about MySQL and MariaDB.

pub mod clauses;
pub mod flavor;
pub mod key;
pub mod name;
