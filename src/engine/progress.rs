//! What a run is doing: shared counters that whoever shows it looks at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::holding::Holding;
use super::times::Times;
use crate::throttle::feedback::Pacing;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Checks, shadow, stream, barrier.
    Prepare,
    /// Chunks are being copied.
    Copy,
    /// Secondary indexes are being built on the shadow.
    Index,
    /// Both tables are being compared.
    Verify,
    /// In an undo: the same, and what differs is put into the table that goes back.
    PutBack,
    /// After a change: an undo is ready, and the health checks say whether it is made.
    Watch,
    /// Ready, waiting for leave to cut over.
    Hold,
    /// The swap.
    CutOver,
    /// The swap is done; foreign keys, triggers and names are being settled.
    Finish,
    /// All done.
    Done,
}

impl Phase {
    /// The word for it in output and in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Index => "index",
            Self::Verify => "verify",
            Self::PutBack => "put-back",
            Self::Watch => "watch",
            Self::Hold => "hold",
            Self::CutOver => "cut-over",
            Self::Finish => "finish",
            Self::Done => "done",
        }
    }
}

/// Which server, table and run it is about: what every event names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Host and port, or socket; `None`: not known yet.
    pub server: Option<String>,
    /// The table, as far as it is known.
    pub table: Option<String>,
    /// The run's number in the ledger; `None`: it has none yet.
    pub run: Option<i64>,
}

/// [`About`], filled in as it becomes known. Clones are one place.
#[derive(Debug, Clone, Default)]
pub struct Subject(Arc<Mutex<About>>);

impl Subject {
    /// What is known now.
    pub fn about(&self) -> About {
        locked(&self.0).clone()
    }

    /// The server is known.
    pub fn set_server(&self, server: impl ToString) {
        locked(&self.0).server = Some(server.to_string());
    }

    /// The table is known, or known better.
    pub fn set_table(&self, table: impl Into<String>) {
        locked(&self.0).table = Some(table.into());
    }

    /// The run is in the ledger.
    pub fn set_run(&self, run: i64) {
        locked(&self.0).run = Some(run);
    }
}

/// Numbers of a run as they are at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// What it is about.
    #[serde(flatten)]
    pub about: About,
    /// Where the run is.
    pub phase: Phase,
    /// Rows copied so far, an earlier attempt's included.
    pub rows_copied: u64,
    /// The server's estimate of the table's rows at the start.
    pub rows_estimate: u64,
    /// Rows compared so far by the verification.
    pub rows_verified: u64,
    /// Dirty keys waiting for a refresh.
    pub dirty_keys: u64,
    /// Keys refreshed since the start.
    pub refreshed_keys: u64,
    /// How far the stream lags behind the server, in milliseconds; `None`: the connection is lost.
    pub stream_lag_ms: Option<u64>,
    /// How far the slowest replica that is watched lags behind, in milliseconds; `None`: none is
    /// watched, or it cannot be seen.
    pub replica_lag_ms: Option<u64>,
    /// For how long there has been no connection to the server, in seconds; `None`: there is one.
    pub connection_lost_seconds: Option<f64>,
    /// Why the copy is paused, if it is.
    pub throttled: Option<String>,
    /// Chunks that may be in flight, below one the share of the time in which one may be; `None`:
    /// feedback is off.
    #[serde(rename = "parallel_chunks")]
    pub width: Option<f64>,
    /// Why there are not as many as there could be.
    #[serde(rename = "slowed")]
    pub gives_way: Option<String>,
    /// What the refresher waits for, if it has done so for long.
    pub waiting: Option<String>,
    /// Seconds since this attempt began.
    pub elapsed_seconds: f64,
}

/// The counters of a run; written by the engine, read by whoever shows them.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    phase: Mutex<Phase>,
    throttled: Mutex<Option<String>>,
    pacing: Mutex<Option<Pacing>>,
    waiting: Mutex<Option<String>>,
    blocked: Mutex<Option<String>>,
    subject: Subject,
    lost: Mutex<Option<Instant>>,
    replica_lag: Mutex<Option<Duration>>,
    /// Rows copied so far.
    pub rows_copied: AtomicU64,
    /// Estimated rows of the original.
    pub rows_estimate: AtomicU64,
    /// Rows compared so far.
    pub rows_verified: AtomicU64,
    /// Dirty keys waiting.
    pub dirty_keys: AtomicU64,
    /// Keys refreshed.
    pub refreshed_keys: AtomicU64,
    /// Stream lag in milliseconds.
    pub stream_lag_ms: AtomicU64,
    /// Keys that other sessions wrote in the shadow after the verification began.
    pub strangers: AtomicU64,
    /// How long chunks of the copy took.
    pub chunk_times: Times,
    /// How long refreshes took.
    pub refresh_times: Times,
    /// What can hold the run, while it takes orders.
    pub(crate) holding: Holding,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            phase: Mutex::new(Phase::Prepare),
            throttled: Mutex::new(None),
            pacing: Mutex::new(None),
            waiting: Mutex::new(None),
            blocked: Mutex::new(None),
            subject: Subject::default(),
            lost: Mutex::new(None),
            replica_lag: Mutex::new(None),
            rows_copied: AtomicU64::new(0),
            rows_estimate: AtomicU64::new(0),
            rows_verified: AtomicU64::new(0),
            dirty_keys: AtomicU64::new(0),
            refreshed_keys: AtomicU64::new(0),
            stream_lag_ms: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            chunk_times: Times::default(),
            refresh_times: Times::default(),
            holding: Holding::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Progress {
    /// Of a run that is about this.
    pub fn of(subject: Subject) -> Self {
        Self { subject, ..Self::default() }
    }

    /// What it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The connection to the server is lost; true: until now it was not.
    pub fn lose(&self) -> bool {
        let mut lost = locked(&self.lost);
        let first = lost.is_none();
        lost.get_or_insert_with(Instant::now);
        first
    }

    /// The server answers; how long it had not, if so.
    pub fn regain(&self) -> Option<Duration> {
        locked(&self.lost).take().map(|since| since.elapsed())
    }

    /// Says how far the slowest replica lags behind.
    pub fn set_replica_lag(&self, lag: Option<Duration>) {
        *locked(&self.replica_lag) = lag;
    }

    /// The same process begins another run: what was counted was the last one's.
    pub fn begin_again(&self) {
        let counters = [
            &self.rows_copied,
            &self.rows_estimate,
            &self.rows_verified,
            &self.dirty_keys,
            &self.refreshed_keys,
            &self.strangers,
        ];
        counters.into_iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.set_blocked(None);
        self.set_phase(Phase::Prepare);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *locked(&self.phase)
    }

    /// Enters `phase`.
    pub fn set_phase(&self, phase: Phase) {
        *locked(&self.phase) = phase;
    }

    /// Says why the copy is paused, or that it is not.
    pub fn set_throttled(&self, reason: Option<String>) {
        *locked(&self.throttled) = reason;
    }

    /// Says how wide the copy is, and why it is not wider.
    pub fn set_pacing(&self, pacing: Option<Pacing>) {
        *locked(&self.pacing) = pacing;
    }

    /// Says what the refresher has been waiting for, or that it is not.
    pub fn set_waiting(&self, reason: Option<String>) {
        *locked(&self.waiting) = reason;
    }

    /// Says why the last attempt to lock the table failed, and who was in the way as far as that is known.
    pub fn set_blocked(&self, reason: Option<String>) {
        *locked(&self.blocked) = reason;
    }

    /// Why the last attempt to lock the table failed; `None`: none has.
    pub fn blocked(&self) -> Option<String> {
        locked(&self.blocked).clone()
    }

    /// What the summary says of other sessions that wrote the shadow.
    pub fn strangers(&self) -> Option<String> {
        match self.strangers.load(Ordering::Relaxed) {
            0 => None,
            keys => Some(format!(
                "other sessions wrote the shadow after it had been compared ({keys} keys of its rows); osc \
                 wrote these again from the original. Find out who writes it"
            )),
        }
    }

    /// Time since this attempt began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// All numbers at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let pacing = locked(&self.pacing).clone();
        let lost = locked(&self.lost).map(|since| since.elapsed().as_secs_f64());
        let millis = |lag: Duration| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        Snapshot {
            about: self.subject.about(),
            phase: self.phase(),
            rows_copied: count(&self.rows_copied),
            rows_estimate: count(&self.rows_estimate),
            rows_verified: count(&self.rows_verified),
            dirty_keys: count(&self.dirty_keys),
            refreshed_keys: count(&self.refreshed_keys),
            stream_lag_ms: Some(count(&self.stream_lag_ms)).filter(|_| lost.is_none()),
            replica_lag_ms: locked(&self.replica_lag).filter(|_| lost.is_none()).map(millis),
            connection_lost_seconds: lost.map(|seconds| (seconds * 10.0).round() / 10.0),
            throttled: locked(&self.throttled).clone(),
            width: pacing.as_ref().map(|pacing| (pacing.width * 100.0).round() / 100.0),
            gives_way: pacing.and_then(|pacing| pacing.reason),
            waiting: locked(&self.waiting).clone(),
            elapsed_seconds: self.elapsed().as_secs_f64(),
        }
    }
}
