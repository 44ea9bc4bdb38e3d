//! What the server's catalog says, and how it is read; names and literals.

pub mod key;
pub mod query;
pub mod table;

pub(crate) mod kind;
