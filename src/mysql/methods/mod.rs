//! By which method a change is made: the server's own, or the copy.

pub mod run;

pub(crate) mod choose;
mod inplace;
pub(crate) mod probe;
