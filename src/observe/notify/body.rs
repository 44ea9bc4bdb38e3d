//! What a message says beside the facts that all messages have.

use serde::Serialize;

use crate::config::notify::Topic;
use crate::engine::event::{Start, Summary};
use crate::output::json::Failure;

/// The command that a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `osc alter`.
    Alter,
    /// `osc revert`.
    Revert,
    /// `osc cleanup`.
    Cleanup,
}

/// A table that is to be dropped, or was.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Dropped {
    /// Its name.
    pub table: String,
    /// What it is.
    pub what: &'static str,
    /// Data and indexes, in bytes.
    pub bytes: u64,
}

/// How a change was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Validation {
    /// Both tables were compared, and are equal.
    Passed,
    /// Switched off.
    Off,
    /// The server made the change itself: there is nothing to compare.
    ByTheServer,
}

/// What a message is about, with what is known of it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    Started {
        #[serde(flatten)]
        start: Box<Start>,
        /// What the operator states.
        backup: Option<String>,
    },
    Resumed {
        rows: u64,
    },
    Hold {
        reason: Option<String>,
    },
    ThrottledLong {
        reason: String,
        seconds: u64,
    },
    ThrottleCleared {
        seconds: u64,
    },
    CutOverBlocked {
        attempt: u32,
        attempts: u32,
        retry_seconds: Option<f64>,
        reason: String,
    },
    Ended {
        /// It was an undo.
        #[serde(skip)]
        undo: bool,
        #[serde(flatten)]
        summary: Box<Summary>,
        validation: Validation,
        exit_code: u8,
    },
    Failed {
        /// The same command resumes it.
        #[serde(skip)]
        resumable: bool,
        #[serde(flatten)]
        failure: Failure,
    },
    Cleaned {
        dropped: Vec<Dropped>,
        bytes: u64,
    },
    /// A hook is asked.
    Asked {},
}

impl Body {
    /// Of a run that ended well; without keys of rows, as all messages.
    pub(super) fn ended(kind: Kind, summary: &Summary) -> Self {
        let summary = Box::new(summary.without_rows());
        let validation = match (summary.verified_rows, summary.lock_ms) {
            (Some(_), _) => Validation::Passed,
            (None, Some(_)) => Validation::Off,
            (None, None) => Validation::ByTheServer,
        };
        Self::Ended { undo: kind == Kind::Revert, summary, validation, exit_code: 0 }
    }

    /// Its topic; `None`: a question to a hook.
    pub(super) fn topic(&self) -> Option<Topic> {
        Some(match self {
            Self::Started { .. } => Topic::Started,
            Self::Resumed { .. } => Topic::Resumed,
            Self::Hold { .. } => Topic::Hold,
            Self::ThrottledLong { .. } => Topic::ThrottledLong,
            Self::ThrottleCleared { .. } => Topic::ThrottleCleared,
            Self::CutOverBlocked { .. } => Topic::CutOverBlocked,
            Self::Ended { undo: false, .. } => Topic::Done,
            Self::Ended { undo: true, .. } => Topic::Reverted,
            Self::Failed { resumable: true, .. } => Topic::Stopped,
            Self::Failed { resumable: false, .. } => Topic::Failed,
            Self::Cleaned { .. } => Topic::Cleaned,
            Self::Asked {} => return None,
        })
    }
}
