//! Everything about MySQL and MariaDB.

pub mod connect;
pub mod flavor;
pub mod inspect;
pub mod key;
pub mod name;
pub mod projection;
pub mod statements;
