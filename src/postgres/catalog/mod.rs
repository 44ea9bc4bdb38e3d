//! What the server's catalog says; names and literals.

pub(crate) mod checks;
pub mod key;

pub(crate) mod table;
