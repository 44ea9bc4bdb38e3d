//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod conversion;
pub mod deferred_indexes;
pub mod members;
pub mod projection;
pub mod rows;
pub mod shadow;
pub mod statements;

pub(crate) mod generated_columns;
