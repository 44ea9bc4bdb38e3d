//! What can end a run, and the exit code each end has (design §5).

use std::fmt;

use crate::engine::key::Position;

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

/// One thing that the checks before the start found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Stable short name of the check, such as `binlog-format`.
    pub check: &'static str,
    /// What is wrong, and where.
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    /// A finding of `check`: the `problem` and what helps.
    pub fn new(check: &'static str, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, problem: problem.into(), help: help.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.problem, self.check)?;
        if !self.help.is_empty() {
            write!(f, "\n    help: {}", self.help)?;
        }
        Ok(())
    }
}

/// What the checks before the start found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Reasons not to start.
    pub refusals: Vec<Finding>,
    /// Things to know.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a refusal.
    pub fn refuse(
        &mut self,
        check: &'static str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.refusals.push(Finding::new(check, problem, help));
    }
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  - {finding}")).collect()
}

/// What ends a run other than success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line, a setting or the clauses make no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The checks before the start found reasons not to begin.
    #[error("refused before the start; nothing was changed:{}", list(.0))]
    Refused(Vec<Finding>),
    /// Stopped in a state from which the same command goes on.
    #[error("stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
        /// What to do next.
        help: String,
    },
    /// The two tables differ; nothing was swapped.
    #[error(
        "verification failed: {} differing {}; not swapped. Keys: {}",
        .count, if *.count == 1 { "row" } else { "rows" }, .keys.join(", ")
    )]
    Verification {
        /// How many rows differ (at least).
        count: u64,
        /// The first few, for a human.
        keys: Vec<String>,
    },
    /// The data cannot become what the clauses ask for: duplicates, values that do not fit.
    #[error("the data does not allow this change: {reason}{}", .rows.iter().map(|r| format!("\n  - {r}")).collect::<String>())]
    Data {
        /// What does not fit.
        reason: String,
        /// The offending rows, for a human.
        rows: Vec<String>,
    },
    /// Somebody changed a table under the run (DDL, TRUNCATE), so its result would be wrong.
    #[error("stopped, the original is as its users left it: {0}")]
    Foreign(String),
    /// The stream cannot go on from where it must.
    #[error("the change stream has a gap after {position}: {reason}")]
    StreamGap {
        /// From where it should have gone on.
        position: Position,
        /// What the server says.
        reason: String,
    },
    /// A statement failed for good.
    #[error("{action} failed: {message}")]
    Server {
        /// What osc was doing.
        action: String,
        /// The server's words.
        message: String,
        /// The server's error number, where it gave one.
        code: Option<u16>,
    },
    /// The connection broke or could not be made.
    #[error("connection lost while {action}: {message}")]
    Connection {
        /// What osc was doing.
        action: String,
        /// The cause.
        message: String,
    },
    /// Something in osc contradicts itself: a defect.
    #[error("internal error: {0}; please report this")]
    Internal(String),
}

impl Error {
    /// The exit code of the program that ends with this error (design §5).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Stopped { .. } | Self::Connection { .. } => 3,
            Self::Refused(_) => 4,
            Self::Verification { .. } => 5,
            _ => 1,
        }
    }

    /// What the operator can do, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Usage { help, .. } | Self::Stopped { help, .. } if !help.is_empty() => {
                Some(help.clone())
            }
            Self::Connection { .. } => {
                Some("nothing is lost: the same command line again goes on from the checkpoint".into())
            }
            Self::Data { .. } => Some(
                "the original is untouched; mend the rows or the clauses, then run the command again".into(),
            ),
            Self::Foreign(_) | Self::StreamGap { .. } => Some(
                "the original is untouched; `osc cleanup TABLE` drops what this run left, then start anew".into(),
            ),
            Self::Verification { .. } => Some(
                "the original is untouched; look at the rows named, then `osc cleanup TABLE` and start anew".into(),
            ),
            _ => None,
        }
    }

    /// Whether the same step may succeed when it is tried again on a new connection.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}
