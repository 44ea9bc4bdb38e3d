//! The record of every run: what, when, how far, how it ended.
//!
//! It lives in a schema of osc's own, and what stands there is data (`docs/decisions/0011-ledger.md`): the
//! server modules check its tables before they read them, and prove by the catalog what a row says.

mod detail;

use serde::Serialize;

use crate::engine::progress::{Progress, Summary};
use crate::error::Error;
use crate::error::Finding;

/// One run, as the ledger has it.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    /// Its number, on the server that began it.
    pub run: i64,
    /// The server that began it, where that is not this one: the row came by replication, with a
    /// promotion or in a dump, and nothing that it says of tables and logs is so here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// The table's schema (MySQL, MariaDB: database).
    pub schema: String,
    /// The table; in JSON with its schema before it, as in every event.
    #[serde(skip)]
    pub table: String,
    /// The clauses.
    pub clauses: String,
    /// `instant`, `inplace`, `copy`.
    #[serde(rename = "method")]
    pub method: String,
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
    #[serde(rename = "last_seen_seconds")]
    pub silent_seconds: u64,
    /// Whether an osc holds the run's lock now; `None`: not looked at.
    #[serde(skip)]
    pub held: Option<bool>,
    /// When it ended, UTC.
    pub ended: Option<String>,
    /// Bytes of WAL that the run's slot makes PostgreSQL keep, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_wal: Option<u64>,
    /// What the run made and what the new table must have after the swap, in the server module's
    /// form: typed values, never statements.
    #[serde(skip)]
    pub carried: Option<String>,
}

/// What becomes of a run at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// An osc is at work on it.
    Running,
    /// The same, but the copy is paused.
    Paused,
    /// Ready, waiting for permission to cut over.
    Holding,
    /// It was killed, or its host died: the same command resumes it.
    NotRunning,
    /// It ended in order, and the same command resumes it.
    Stopped,
    /// It failed.
    Failed,
    /// It did what it was for.
    Done,
}

impl RunRecord {
    /// What becomes of it at this moment.
    pub fn state(&self) -> RunState {
        match self.result.as_deref() {
            Some("done") => RunState::Done,
            Some("stopped") => RunState::Stopped,
            Some(_) => RunState::Failed,
            None if self.held == Some(false) => RunState::NotRunning,
            None if self.phase == "hold" => RunState::Holding,
            None if self.paused().is_some() => RunState::Paused,
            None => RunState::Running,
        }
    }

    /// Why the copy was paused at the last checkpoint, if it was.
    pub fn paused(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Paused {
            #[serde(default)]
            paused: Option<String>,
        }
        // What cannot be read says nothing.
        serde_json::from_str::<Paused>(self.state.as_deref()?).ok()?.paused
    }

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
    /// The table's schema.
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
    /// The clauses.
    pub clauses: &'a str,
    /// The method.
    pub method: &'a str,
    /// Whether the tables will be compared.
    pub verify: bool,
    /// The attempt's token.
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

/// What an attempt of a run is known by: random, so that no two share it.
pub(crate) fn new_owner() -> String {
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
        let result = if error.is_resumable() { "stopped" } else { "failed" };
        Self { result, detail: Some(detail::of(error)), ..Self::default() }
    }

    /// The end of a run that can never be resumed.
    pub fn failed(detail: &str) -> Self {
        Self { result: "failed", detail: Some(detail.to_owned()), ..Self::default() }
    }
}

/// Whether the shadow of a run that ended so is of no use to anybody: a resumed run
/// needs it, and differing tables are evidence.
pub(crate) fn is_waste(error: &Error) -> bool {
    !error.is_resumable() && !matches!(error, Error::Verification { .. } | Error::Internal(_))
}

/// The end of an attempt whose run another one has taken over.
pub(crate) fn taken_over() -> Error {
    Error::Stopped {
        reason: "another osc has taken over this run, or its record is gone".into(),
        help: "look at `osc status`".into(),
    }
}

/// The refusal where another run is under way on `table`.
pub(crate) fn other_run(table: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "other-run",
        format!("another osc is already changing {table}"),
        "wait for it to end; `osc status` shows how far it is",
    )])
}

/// The refusal where a session holds the lock of runs on `table`, which every login can take: the
/// `holder`, as far as the server shows it, and what ends it.
pub(crate) fn locked_by(table: &str, holder: &str, cure: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "other-run",
        format!("another osc is already changing {table}, or a session holds its lock: {holder}"),
        format!(
            "wait for it to end (`osc status` shows how far a run is); if it is no osc: {cure}"
        ),
    )])
}

/// Something about the ledger's own schema that osc does not trust, and the statement that cures it.
pub(crate) fn untrusted(problem: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding::new("ledger", problem, cure)
}

/// Tables of an earlier build in the schema of the application, which can write them: they are not
/// read. `drop` is the statement that ends this.
pub(crate) fn earlier_ledger(tables: &str, ledger: &str, drop: &str) -> Finding {
    Finding::new(
        "ledger",
        format!("{tables}: the ledger of an earlier build of osc, which is no longer read"),
        format!("osc keeps its ledger in {ledger} now; when no run of that build is left: {drop}"),
    )
}

/// The refusal where a run is under way on a table that a foreign key joins with `table`.
pub(crate) fn related_run(table: &str, related: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "related-run",
        format!("another osc is changing {related}, which a foreign key joins with {table}"),
        "wait for it to end (osc status), then run this command again",
    )])
}

/// The refusal where a run on such a table was not finished: it could not be resumed after this one.
pub(crate) fn related_unfinished(earlier: &RunRecord, table: &str, related: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "related-run",
        format!(
            "run {} on {related}, which a foreign key joins with {table}, was not finished",
            earlier.run
        ),
        format!("resume it with its own command, or discard it: osc cleanup {related}"),
    )])
}

/// The refusal of a strategy that an unfinished copy cannot be resumed by.
pub(crate) fn other_strategy(earlier: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "strategy",
        format!("run {} of this change is a copy that was not finished", earlier.run),
        "resume it with --strategy auto or copy, or discard it first: osc cleanup TABLE",
    )])
}

/// The checks by which a resumed run finds that its tables are not what they were. Others tell of the login
/// and its rights, which come back.
const ALTERED: [&str; 6] =
    ["column-outcomes", "conversion", "copy-key", "new-column-default", "referenced-key", "table"];

/// What ends a run that finds, when it is resumed, that its tables are not what they were; anything else
/// leaves the copy as it is.
pub(crate) fn altered_meanwhile(error: Error, table: &str, run: i64) -> Error {
    let altered = match &error {
        Error::Refused(findings) => findings.iter().any(|found| ALTERED.contains(&found.check)),
        Error::Internal(_) | Error::Foreign(_) => true,
        _ => false,
    };
    match altered {
        true => Error::Foreign(format!(
            "{table} was altered by another session while run {run} was not running, so its copy cannot be used ({})",
            error.problem()
        )),
        false => error.keeping_the_copy(),
    }
}

/// What a run ends with that has lost its lock and was not given it again.
pub(crate) fn lock_lost(error: Error) -> Error {
    match error {
        Error::Refused(_) => Error::Stopped {
            reason: "the run's lock was lost, and another osc holds it now".into(),
            help: "look at `osc status`".into(),
        },
        error => error,
    }
}

/// The refusal where a run with other clauses was not finished.
pub(crate) fn other_clauses(earlier: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "unfinished-run",
        format!("run {} on this table was not finished; it was: {}", earlier.run, earlier.clauses),
        format!(
            "rerun with the same clauses to resume it, or discard it with: osc cleanup {}",
            earlier.table
        ),
    )])
}

/// The refusal of a cleanup behind a swap that is not settled.
pub(crate) fn unsettled(dead: &RunRecord, table: &str, why: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "unsettled",
        format!("run {} on {table} died after its swap{why}", dead.run),
        format!("finish it first, with the same command: osc alter … {:?}", dead.clauses),
    )])
}

/// A table that `osc cleanup` can drop.
#[derive(Debug, Clone)]
pub(crate) struct Leftover<T> {
    /// The table.
    pub table: T,
    /// What it is.
    pub what: &'static str,
    /// Bytes of data and indexes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(result: Option<&str>, phase: &str, state: &str, held: bool) -> RunRecord {
        RunRecord {
            run: 1,
            elsewhere: None,
            schema: "shop".into(),
            table: "users".into(),
            clauses: String::new(),
            method: "copy".into(),
            phase: phase.into(),
            result: result.map(Into::into),
            detail: None,
            state: Some(state.into()),
            rows_copied: 0,
            rows_estimate: 0,
            rows_verified: None,
            verification: "on".into(),
            lock_ms: None,
            started: String::new(),
            updated: String::new(),
            silent_seconds: 0,
            held: Some(held),
            ended: None,
            kept_wal: None,
            carried: None,
        }
    }

    #[test]
    fn a_state_is_what_the_lock_the_phase_and_the_checkpoint_say() {
        let paused = r#"{"paused":"replica lag","rows":1}"#;
        let state = |result, phase, text, held| record(result, phase, text, held).state();
        assert_eq!(state(None, "copy", "{}", true), RunState::Running);
        assert_eq!(state(None, "copy", paused, true), RunState::Paused);
        assert_eq!(state(None, "hold", "{}", true), RunState::Holding);
        assert_eq!(state(None, "copy", paused, false), RunState::NotRunning);
        assert_eq!(state(Some("stopped"), "copy", "{}", false), RunState::Stopped);
        assert_eq!(state(Some("failed"), "copy", "{}", false), RunState::Failed);
        assert_eq!(state(Some("done"), "done", "no JSON", false), RunState::Done);
    }
}
