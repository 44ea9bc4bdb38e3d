//! What a run reports: events worth a line in a log, and the summary at its end.

use serde::Serialize;

use super::progress::Phase;
use crate::shell;

/// Something worth a line in a log.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The method was chosen.
    #[serde(rename = "method")]
    Method {
        /// `instant`, `inplace` or `copy`.
        #[serde(rename = "method")]
        method: String,
        /// Why.
        reason: String,
    },
    /// The change begins: its checks have passed. Not reported again when it is resumed.
    Started(Box<Start>),
    /// A phase begins.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// The run resumes from the checkpoint of an earlier attempt.
    Resumed {
        /// Rows that were copied by then.
        rows: u64,
    },
    /// The copy is paused, for this reason, or continues (`None`).
    Throttled {
        /// Why.
        reason: Option<String>,
    },
    /// The copy is slowed down for the sake of others on the server, for this reason, or no longer
    /// (`None`).
    #[serde(rename = "slowed")]
    GivesWay {
        /// Why.
        reason: Option<String>,
    },
    /// The server cannot be reached any more; osc keeps trying.
    ConnectionLost {
        /// What the last attempt to reach it met.
        reason: String,
    },
    /// The server can be reached again.
    Reconnected {
        /// For how long it could not, in seconds.
        seconds: f64,
    },
    /// An attempt to lock the table failed and will be tried again.
    CutOverRetry {
        /// Which attempt, from 1.
        attempt: u32,
        /// How many are made.
        attempts: u32,
        /// When the next is made, in seconds from now; `None`: soon.
        retry_seconds: Option<f64>,
        /// Why it did not.
        reason: String,
    },
    /// An order was answered.
    Order {
        /// Its number.
        order: i64,
        /// What it asks for.
        verb: String,
        /// With what.
        arguments: String,
        /// The account that made it.
        who: String,
        /// From where.
        host: String,
        /// Why.
        why: String,
        /// `accepted`, `refused`, `expired`.
        outcome: &'static str,
        /// What that means, or why not.
        answer: String,
    },
    /// Anything else that an operator should read.
    Note {
        /// The text.
        text: String,
    },
    /// Anything that an operator should act upon.
    Warning {
        /// The text.
        text: String,
    },
    /// The run is done.
    Summary(Box<Summary>),
}

/// What is known when a change begins.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Start {
    /// The clauses.
    pub clauses: String,
    /// The method.
    pub method: String,
    /// The server's estimate of the table's rows.
    pub rows_estimate: u64,
    /// Data and indexes, in bytes; `None`: not known.
    pub bytes: Option<u64>,
    /// How long the change will take, in seconds; `None`: not known.
    pub estimated_seconds: Option<u64>,
    /// Whether and how the change can be undone; `None`: not known beforehand.
    pub undo: Option<String>,
    /// The same in a word of `osc plan`.
    pub undo_outcome: Option<&'static str>,
}

impl Start {
    /// Of an undo, which can be undone itself.
    pub(crate) fn of_an_undo(table: &str, clauses: String, bytes: u64) -> Self {
        Self {
            clauses,
            bytes: Some(bytes),
            undo: Some(format!("osc revert {}; possible", shell::word(table))),
            undo_outcome: Some("possible"),
            ..Self::default()
        }
    }
}

/// Of many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// What a run did, reported at its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The table; in JSON it is what every event says of it.
    #[serde(skip)]
    pub table: String,
    /// The clauses.
    pub clauses: String,
    /// The method.
    #[serde(rename = "method")]
    pub method: String,
    /// Rows copied.
    pub rows: u64,
    /// Keys refreshed from the stream.
    pub refreshed: u64,
    /// Rows compared; `None`: verification was switched off or not needed.
    pub verified_rows: Option<u64>,
    /// The whole run, in seconds.
    pub seconds: f64,
    /// How long the original was locked by the cut-over, in milliseconds.
    pub lock_ms: Option<f64>,
    /// Cut-over attempts needed.
    pub attempts: u32,
    /// How long chunks took, in milliseconds.
    pub chunk_ms: Option<Quantiles>,
    /// How long refreshes took, in milliseconds.
    pub refresh_ms: Option<Quantiles>,
    /// The retired table.
    pub retired: Option<String>,
    /// Until when it is kept, UTC.
    pub undo_until: Option<String>,
    /// Whether and how the change can be undone; `None`: that is not known.
    pub undo: Option<String>,
    /// Things that the operator should act upon.
    pub warnings: Vec<String>,
    /// The first rows that an undo left behind, by their keys, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
}

impl Summary {
    /// The same for those who are to know what happened, and no row.
    pub(crate) fn without_rows(&self) -> Self {
        Self { left_behind: Vec::new(), ..self.clone() }
    }
}

/// Takes events; implemented by the report module.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event.
    fn event(&self, event: Event);
}
