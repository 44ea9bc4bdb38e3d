//! What the server's catalog says; names and literals.

pub mod name;
pub mod table;
