//! Everything about MySQL and MariaDB.

pub mod binlog;
pub mod flavor;
pub mod key;
pub mod name;
