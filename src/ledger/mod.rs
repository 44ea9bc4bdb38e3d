//! The record of every run: what, when, how far, how it ended.

use serde::Serialize;

/// One run, as the ledger has it.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    /// Its number.
    pub run: i64,
    /// The table.
    pub table: String,
    /// The clauses.
    pub clauses: String,
    /// `instant`, `inplace`, `copy`.
    pub road: String,
    /// The phase it reached.
    pub phase: String,
    /// `done`, `failed`, `stopped`; `None` while it runs, or after a crash.
    pub result: Option<String>,
    /// Why it ended so.
    pub detail: Option<String>,
    /// The engine's checkpoint.
    #[serde(skip)]
    pub state: Option<String>,
    /// Rows copied at the last checkpoint.
    pub rows_copied: u64,
    /// Rows estimated at the start.
    pub rows_estimate: u64,
    /// Rows compared; `None`: not (yet) verified.
    pub rows_verified: Option<u64>,
    /// How the verification stands: `on`, `off`, `passed`.
    pub verification: String,
    /// The cut-over's lock, in milliseconds.
    pub lock_ms: Option<f64>,
    /// When it began, UTC.
    pub started: String,
    /// The last checkpoint, UTC.
    pub updated: String,
    /// Seconds since the last checkpoint.
    pub silent_seconds: u64,
    /// When it ended, UTC.
    pub ended: Option<String>,
    /// Indexes left to after the copy: the text of their definitions.
    #[serde(skip)]
    pub deferred: Vec<String>,
    /// What the new table must have after the swap, in the server module's form.
    #[serde(skip)]
    pub carried: Option<String>,
}

impl RunRecord {
    /// Whether it was stopped, or died, or is under way.
    pub fn is_unfinished(&self) -> bool {
        self.result.as_deref().is_none_or(|result| result == "stopped")
    }
}

/// One run's place in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunId(pub i64);

/// What is recorded when a run begins.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// The table.
    pub table: &'a str,
    /// The clauses.
    pub clauses: &'a str,
    /// The road.
    pub road: &'a str,
    /// Whether the tables will be compared.
    pub verify: bool,
    /// The sitting's token.
    pub owner: &'a str,
}

/// What a checkpoint stores.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The engine's state; `None` leaves the last one.
    pub state: Option<String>,
    /// The phase.
    pub phase: &'static str,
    /// Rows copied.
    pub rows_copied: u64,
    /// Rows estimated.
    pub rows_estimate: u64,
    /// Rows compared.
    pub rows_verified: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, Default)]
pub struct End<'a> {
    /// `done`, `failed` or `stopped`.
    pub result: &'a str,
    /// Why.
    pub detail: Option<String>,
    /// The last phase.
    pub phase: Option<&'a str>,
    /// The cut-over's lock.
    pub lock_ms: Option<f64>,
    /// Rows copied.
    pub rows_copied: Option<u64>,
    /// Rows compared.
    pub rows_verified: Option<u64>,
    /// `passed`, where it did.
    pub verification: Option<&'a str>,
}
