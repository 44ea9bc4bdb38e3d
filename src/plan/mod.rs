//! What an ALTER means on this server, which road it takes, and why.

mod inplace;
mod job;
pub mod road;

use serde::Serialize;

use crate::engine::error::Finding;

pub use job::Job;

/// What `osc alter` would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// The table.
    pub table: String,
    /// The server's name and version.
    pub server: String,
    /// Estimated rows.
    pub rows_estimate: u64,
    /// Bytes of data and indexes.
    pub bytes: u64,
    /// The roads that would be tried, in order.
    pub roads: Vec<Step>,
    /// What a copy would run.
    pub statements: Vec<String>,
    /// Things to know.
    pub notes: Vec<String>,
    /// Reasons why a copy would be refused.
    pub refusals: Vec<Finding>,
}

/// One road.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `instant`, `inplace` or `copy`.
    pub what: String,
    /// Why.
    pub why: String,
    /// The statement that tries it.
    pub statement: Option<String>,
}
