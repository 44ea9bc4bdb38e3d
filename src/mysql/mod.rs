//! Everything about MySQL and MariaDB.

pub mod catalog;
pub mod connect;
pub mod flavor;
pub mod foreign_keys;
pub mod histograms;
pub mod key;
pub mod name;
pub mod triggers;
