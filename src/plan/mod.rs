//! What an ALTER means on this server, by which method it is made, and why.

mod job;
pub(crate) mod method;
pub(crate) mod recognition;
mod request;
pub(crate) mod undo;
pub(crate) mod undo_words;

use serde::Serialize;

use crate::error::{Error, Finding, Result};
use undo::Verdict;

pub(crate) use job::{Ask, Job, UNDOABLE};
pub(crate) use request::{
    Assignment, Opposite, Request, TableArg, UndoRequest, Undoing, WatchRequest,
};

/// What `osc alter` would do.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Plan {
    /// The table.
    pub table: String,
    /// The server's name and version.
    #[serde(rename = "server_version")]
    pub server: String,
    /// What it is beside that: a cluster, a cloud's, an unknown relative.
    pub recognised: Option<String>,
    /// Estimated rows.
    pub rows_estimate: u64,
    /// Bytes of data and indexes.
    pub bytes: u64,
    /// The method is certain; else the server has the last word when it is tried.
    pub decided: bool,
    /// The method; where it is not certain, those that would be tried, in order.
    #[serde(rename = "methods")]
    pub methods: Vec<Step>,
    /// What a copy would run.
    pub statements: Vec<String>,
    /// Things to know.
    pub notes: Vec<String>,
    /// Reasons why a copy would be refused.
    pub refusals: Vec<Finding>,
}

/// One method.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// `instant`, `inplace` or `copy`.
    #[serde(rename = "method")]
    pub what: String,
    /// Why.
    #[serde(rename = "reason")]
    pub why: String,
    /// The statement that tries it.
    pub statement: Option<String>,
    /// Whether the change can be undone when it is made so; `None`: that is not known beforehand.
    pub undo: Option<Verdict>,
}

/// Fails where a change has to be made by a copy, for this reason, and must not be.
///
/// # Errors
/// `Usage`.
pub(crate) fn only_a_copy(reason: &str, not_a_copy: bool) -> Result<()> {
    if !not_a_copy {
        return Ok(());
    }
    Err(Error::Usage {
        message: format!("{reason}; --strategy asks for another method"),
        help: "leave out one of them".into(),
    })
}

/// What a plan says of such a clause.
pub(crate) fn for_good(clause: &str) -> String {
    format!("{clause} cannot be undone by this method: osc asks first; {UNDOABLE}")
}
