//! The record of every run: what, when, how far, how it ended.

use serde::Serialize;

use crate::engine::Error;
use crate::engine::error::Finding;
use crate::engine::progress::{Progress, Summary};

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
    /// Bytes of WAL that the run's slot makes PostgreSQL keep, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_wal: Option<u64>,
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

/// What a sitting of a run is known by: random, so that no two share it.
pub fn new_owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Checkpoint {
    /// How far the run is now.
    pub fn now(state: Option<String>, progress: &Progress) -> Self {
        let snapshot = progress.snapshot();
        Self {
            state,
            phase: snapshot.phase.word(),
            rows_copied: snapshot.rows_copied,
            rows_estimate: snapshot.rows_estimate,
            rows_verified: (snapshot.rows_verified > 0).then_some(snapshot.rows_verified),
        }
    }
}

impl End<'_> {
    /// The end of a run that did what it was for.
    pub fn done(summary: &Summary) -> Self {
        Self {
            result: "done",
            phase: Some("done"),
            lock_ms: summary.lock_ms,
            rows_copied: (summary.rows > 0).then_some(summary.rows),
            rows_verified: summary.verified_rows,
            verification: summary.verified_rows.is_some().then_some("passed"),
            detail: (!summary.warnings.is_empty()).then(|| summary.warnings.join("; ")),
        }
    }

    /// The end of a run by this error.
    pub fn by(error: &Error) -> Self {
        let result = if is_resumable(error) { "stopped" } else { "failed" };
        Self { result, detail: Some(error.to_string()), ..Self::default() }
    }

    /// The end of a run that can never be gone on with.
    pub fn failed(detail: &str) -> Self {
        Self { result: "failed", detail: Some(detail.to_owned()), ..Self::default() }
    }
}

/// Whether the same command goes on with a run that ended so.
pub fn is_resumable(error: &Error) -> bool {
    error.exit_code() == 3
}

/// Whether the shadow of a run that ended so is of no use to anybody: a run that is gone on with
/// needs it, and differing tables are evidence.
pub fn is_waste(error: &Error) -> bool {
    !is_resumable(error) && !matches!(error, Error::Verification { .. } | Error::Internal(_))
}

/// The end of a sitting whose run another one has taken over.
pub fn taken_over() -> Error {
    Error::Stopped {
        reason: "another osc has taken this run over, or its record is gone".into(),
        help: "look at `osc status`".into(),
    }
}

/// The refusal where another run is under way on `table`.
pub fn other_run(table: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "other-run",
        format!("another osc is at work on {table}"),
        "wait for it to end; `osc status` tells how far it is",
    )])
}

/// What a run ends with that has lost its lock and was not given it again.
pub fn lock_lost(error: Error) -> Error {
    match error {
        Error::Refused(_) => Error::Stopped {
            reason: "the run's lock was lost, and another osc holds it now".into(),
            help: "look at `osc status`".into(),
        },
        error => error,
    }
}

/// The refusal where a run with other clauses was not finished.
pub fn other_clauses(earlier: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "dead-run",
        format!("run {} on this table was not finished; it was: {}", earlier.run, earlier.clauses),
        "give the same clauses to go on with it, or `osc cleanup TABLE` to forget it",
    )])
}

/// The refusal of a cleanup behind a swap that is not settled.
pub fn unsettled(dead: &RunRecord, table: &str, why: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "unsettled",
        format!("run {} on {table} died after its swap{why}", dead.run),
        format!("finish it first, with the same command: osc alter … {:?}", dead.clauses),
    )])
}

/// A table that `osc cleanup` can drop.
#[derive(Debug, Clone)]
pub struct Leftover<T> {
    /// The table.
    pub table: T,
    /// What it is.
    pub what: &'static str,
    /// Bytes of data and indexes.
    pub bytes: u64,
}
