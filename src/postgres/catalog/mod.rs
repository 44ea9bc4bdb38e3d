//! What the server's catalog says; names and literals.

pub mod key;
pub mod table;
