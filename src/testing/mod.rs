//! Doors for tests only: failpoints and mutations. Without the feature `faults` both are empty.

pub mod failpoint;
pub mod mutation;
