//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod projection;
pub mod rows;
pub mod statements;

pub(crate) mod deferred_indexes;
pub(crate) mod shadow;

mod conversion;
mod generated_columns;
mod members;
