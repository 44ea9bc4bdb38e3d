//! By which method a change is made: the server's own, or the copy.

pub mod choose;
pub mod facts;
pub mod run;

pub(crate) mod inplace;
pub(crate) mod probe;
