//! Everything about MySQL and MariaDB.

pub mod connect;
pub mod flavor;
pub mod key;
pub mod name;
