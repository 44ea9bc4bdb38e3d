//! Everything about MySQL and MariaDB.

pub mod connect;
pub mod executed;
pub mod flavor;
pub mod gauges;
pub mod key;
pub mod lag;
pub mod name;
