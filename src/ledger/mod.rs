//! The record of every run: what, when, how far, how it ended.
//!
//! It lives in a schema of osc's own, and what stands there is data (`docs/decisions/0011-ledger.md`): the
//! server modules check its tables before they read them, and prove by the catalog what a row says.

pub(crate) mod claim;
mod detail;
pub(crate) mod orders;
pub(crate) mod refusals;
pub(crate) mod undo_window;
pub(crate) mod unfinished;

use serde::Serialize;

use crate::engine::backend::COPY;
pub(crate) use crate::engine::backend::REVERT;
use crate::engine::event::Summary;
use crate::engine::picture::Picture;
use crate::engine::progress::{Phase, Progress};
use crate::error::Error;

/// Runs that `osc status` shows at most.
pub(crate) const SHOWN: u32 = 50;

/// Orders that a run reads at a time.
pub(crate) const MOST_ORDERS: u32 = 50;

/// How long samples are kept, in days; a run's own are its last 10,000, one each ten seconds.
pub(crate) const SAMPLES_DAYS: u32 = 30;
pub(crate) const SAMPLES_SECONDS: u32 = 100_000;

/// What stands for the clauses of a run that undoes `run`.
pub(crate) fn undo_text(run: i64) -> String {
    format!("undo of run {run}")
}

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
    /// How it ended; `None` while it runs, or after a crash.
    pub result: Option<Outcome>,
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
    /// Seconds since then.
    #[serde(skip)]
    pub ended_seconds: Option<u64>,
    /// Bytes of WAL that the run's slot makes PostgreSQL keep, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_wal: Option<u64>,
    /// Whether and how its change can be undone, and below it the reasons; empty where that is not known, or
    /// not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<String>,
    /// Until when its retired table is kept, UTC; `None`: nothing keeps it, or it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_until: Option<String>,
    /// How it was a moment ago, or at its end; `None`: not known, or not looked at.
    #[serde(rename = "snapshot")]
    pub picture: Option<Picture>,
    /// The last orders for it; empty: none, or not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<orders::OrderRecord>,
    /// What the run made and what the new table must have after the swap, in the server module's
    /// form: typed values, never statements.
    #[serde(skip)]
    pub carried: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it was for.
    Done,
    /// It can never be resumed.
    Failed,
    /// The same command resumes it.
    Stopped,
}

impl Outcome {
    /// Its word in the ledger.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// What a word of the ledger means. What no osc writes is taken for a failure, which cannot be resumed.
    pub(crate) fn of(word: &str) -> Self {
        [Self::Done, Self::Stopped].into_iter().find(|it| it.word() == word).unwrap_or(Self::Failed)
    }
}

/// What becomes of a run at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// An osc is at work on it.
    Running,
    /// The same, but the copy is paused.
    Paused,
    /// The change is made, and watched: an undo is ready.
    Watching,
    /// A watch that had its time: nothing was undone.
    Watched,
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
        match self.result {
            Some(Outcome::Done) => RunState::Done,
            Some(Outcome::Failed | Outcome::Stopped) if self.is_watch() => RunState::Watched,
            Some(Outcome::Stopped) => RunState::Stopped,
            Some(Outcome::Failed) => RunState::Failed,
            None if self.held == Some(false) && self.is_watch() => RunState::Watched,
            None if self.held == Some(false) => RunState::NotRunning,
            None if self.is_watch() => RunState::Watching,
            None if self.phase == Phase::Hold.word() => RunState::Holding,
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
        let Some(state) = &self.state else {
            // A method without checkpoints.
            return self.picture.as_ref()?.now.throttled.clone();
        };
        // What cannot be read says nothing.
        serde_json::from_str::<Paused>(state).ok()?.paused
    }

    /// What was last stored of how it is doing. A method without checkpoints has its phase there.
    pub(crate) fn seen(&mut self, picture: Option<Picture>) {
        if let Some(picture) = &picture
            && self.state.is_none()
            && self.result.is_none()
        {
            picture.now.phase.word().clone_into(&mut self.phase);
        }
        self.picture = picture;
    }

    /// Whether an osc may be at work on it here: its lock shows.
    pub(crate) fn may_be_under_way(&self) -> bool {
        self.result.is_none() && self.elsewhere.is_none()
    }

    /// Whether it is unfinished, and has a copy that the same command resumes.
    pub(crate) fn has_copy(&self) -> bool {
        self.is_unfinished() && self.state.is_some()
    }

    /// Whether it was not finished and left nothing behind: it was one statement of the server's, which the server
    /// makes whole or takes back.
    pub(crate) fn left_nothing(&self) -> bool {
        self.is_unfinished() && self.state.is_none() && self.method == "instant"
    }

    /// Whether it is one of those that retire a table.
    pub(crate) fn retires(&self) -> bool {
        [COPY, REVERT].contains(&self.method.as_str())
    }

    /// Whether it watched a change that was made, and had undone nothing when it was last seen.
    pub(crate) fn is_watch(&self) -> bool {
        self.phase == Phase::Watch.word()
    }

    /// Whether it was stopped, or died, or is under way.
    pub fn is_unfinished(&self) -> bool {
        self.result.is_none_or(|result| result == Outcome::Stopped)
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
    pub token: &'a FencingToken,
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
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// How.
    pub result: Outcome,
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

/// What an attempt of a run is known by: random, so that no two share it. Whatever an attempt commits
/// proves in the same transaction that its token is still the run's, which the next attempt replaces.
#[derive(Debug, Clone)]
pub struct FencingToken(String);

impl FencingToken {
    /// A new attempt's.
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// As the ledger has it, in its column `owner`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
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
    /// The end of a run that did what it was for, and copied nothing.
    pub(crate) fn done_natively() -> Self {
        Self { phase: Some("done"), ..Self::of(Outcome::Done, None) }
    }

    /// The end of a run that did what it was for.
    pub fn done(summary: &Summary) -> Self {
        Self {
            lock_ms: summary.lock_ms,
            rows_copied: (summary.rows > 0).then_some(summary.rows),
            rows_verified: summary.verified_rows,
            verification: summary.verified_rows.is_some().then_some("passed"),
            detail: (!summary.warnings.is_empty()).then(|| summary.warnings.join("; ")),
            ..Self::done_natively()
        }
    }

    /// The end of a run by this error.
    pub fn by(error: &Error) -> Self {
        let result = if error.is_resumable() { Outcome::Stopped } else { Outcome::Failed };
        Self::of(result, Some(detail::of(error)))
    }

    /// The end of a run that can never be resumed.
    pub fn failed(detail: &str) -> Self {
        Self::of(Outcome::Failed, Some(detail.to_owned()))
    }

    fn of(result: Outcome, detail: Option<String>) -> Self {
        Self {
            result,
            detail,
            phase: None,
            lock_ms: None,
            rows_copied: None,
            rows_verified: None,
            verification: None,
        }
    }
}

/// An error without values of rows, as the ledger keeps it.
pub(crate) fn shown(error: &Error) -> String {
    detail::of(error)
}

/// Whether the shadow of a run that ended so is of no use to anybody: a resumed run
/// needs it, and differing tables are evidence.
pub(crate) fn is_waste(error: &Error) -> bool {
    !error.is_resumable() && !matches!(error, Error::Verification { .. } | Error::Internal(_))
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(
        result: Option<Outcome>,
        phase: &str,
        state: &str,
        held: bool,
    ) -> RunRecord {
        RunRecord {
            run: 1,
            elsewhere: None,
            schema: "shop".into(),
            table: "users".into(),
            clauses: String::new(),
            method: "copy".into(),
            phase: phase.into(),
            result,
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
            ended_seconds: None,
            kept_wal: None,
            undo: Vec::new(),
            undo_until: None,
            picture: None,
            orders: Vec::new(),
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
        assert_eq!(state(None, "watch", "{}", true), RunState::Watching);
        assert_eq!(state(None, "watch", "{}", false), RunState::Watched);
        let failed = Some(Outcome::Failed);
        assert_eq!(state(failed, "watch", "{}", false), RunState::Watched);
        assert_eq!(state(None, "copy", paused, false), RunState::NotRunning);
        assert_eq!(state(Some(Outcome::Stopped), "copy", "{}", false), RunState::Stopped);
        assert_eq!(state(Some(Outcome::Failed), "copy", "{}", false), RunState::Failed);
        assert_eq!(state(Some(Outcome::Done), "done", "no JSON", false), RunState::Done);
    }

    #[test]
    fn a_word_that_no_osc_writes_is_a_failure() {
        for outcome in [Outcome::Done, Outcome::Failed, Outcome::Stopped] {
            assert_eq!(Outcome::of(outcome.word()), outcome);
        }
        assert_eq!(Outcome::of("Done "), Outcome::Failed);
    }
}
