//! What the copy is made of: the shadow, its key and projection, and the statements over both tables.

pub mod projection;
pub mod put;
pub mod rows;
pub mod statements;
mod unique_values;

mod always_fits;
mod conversion;
pub(crate) mod deferred_indexes;
mod generated_columns;
mod keys_back;
mod members;
pub(crate) mod shadow;
pub(crate) mod undo_verdict;
#[cfg(test)]
mod undo_verdict_tests;
