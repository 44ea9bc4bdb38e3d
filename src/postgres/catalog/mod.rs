//! What the server's catalog says; names and literals.

pub mod key;

pub(crate) mod table;
