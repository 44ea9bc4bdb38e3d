//! What a run tells while it runs: shared counters to look at, and events to log.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::throttle::feedback::Giving;

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
            Self::Hold => "hold",
            Self::CutOver => "cut-over",
            Self::Finish => "finish",
            Self::Done => "done",
        }
    }
}

/// Numbers of a run as they are at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Where the run is.
    pub phase: Phase,
    /// Rows copied so far, an earlier sitting's included.
    pub rows_copied: u64,
    /// The server's estimate of the table's rows at the start.
    pub rows_estimate: u64,
    /// Rows compared so far by the verification.
    pub rows_verified: u64,
    /// Dirty keys waiting for a refresh.
    pub dirty_keys: u64,
    /// Keys refreshed since the start.
    pub refreshed_keys: u64,
    /// How far the stream lags behind the server, in milliseconds.
    pub stream_lag_ms: u64,
    /// Why the copy is paused, if it is.
    pub throttled: Option<String>,
    /// Chunks that may be in flight, below one the share of the time in which one may be; `None`:
    /// feedback is off.
    pub width: Option<f64>,
    /// Why that is not the full width.
    pub gives_way: Option<String>,
    /// What the refresher waits for, if it has done so for long.
    pub waiting: Option<String>,
    /// Seconds since this sitting began.
    pub elapsed_seconds: f64,
}

/// The counters of a run; written by the engine, read by whoever shows them.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    phase: Mutex<Phase>,
    throttled: Mutex<Option<String>>,
    giving: Mutex<Option<Giving>>,
    waiting: Mutex<Option<String>>,
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
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            phase: Mutex::new(Phase::Prepare),
            throttled: Mutex::new(None),
            giving: Mutex::new(None),
            waiting: Mutex::new(None),
            rows_copied: AtomicU64::new(0),
            rows_estimate: AtomicU64::new(0),
            rows_verified: AtomicU64::new(0),
            dirty_keys: AtomicU64::new(0),
            refreshed_keys: AtomicU64::new(0),
            stream_lag_ms: AtomicU64::new(0),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Progress {
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
    pub fn set_giving(&self, giving: Option<Giving>) {
        *locked(&self.giving) = giving;
    }

    /// Says what the refresher has been waiting for, or that it is not.
    pub fn set_waiting(&self, reason: Option<String>) {
        *locked(&self.waiting) = reason;
    }

    /// Time since this sitting began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// All numbers at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let giving = locked(&self.giving).clone();
        Snapshot {
            phase: self.phase(),
            rows_copied: count(&self.rows_copied),
            rows_estimate: count(&self.rows_estimate),
            rows_verified: count(&self.rows_verified),
            dirty_keys: count(&self.dirty_keys),
            refreshed_keys: count(&self.refreshed_keys),
            stream_lag_ms: count(&self.stream_lag_ms),
            throttled: locked(&self.throttled).clone(),
            width: giving.as_ref().map(|giving| (giving.width * 100.0).round() / 100.0),
            gives_way: giving.and_then(|giving| giving.reason),
            waiting: locked(&self.waiting).clone(),
            elapsed_seconds: self.elapsed().as_secs_f64(),
        }
    }
}

/// Something worth a line in a log.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The road was chosen.
    Road {
        /// `instant`, `inplace` or `copy`.
        road: String,
        /// Why.
        reason: String,
    },
    /// A phase begins.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// A dead run's checkpoint was found and is gone on from.
    Resumed {
        /// Rows that the dead run had copied.
        rows: u64,
    },
    /// The copy is paused, for this reason, or goes on (`None`).
    Throttled {
        /// Why.
        reason: Option<String>,
    },
    /// The copy gives way to others on the server, for this reason, or no longer (`None`).
    GivesWay {
        /// Why.
        reason: Option<String>,
    },
    /// A cut-over attempt did not come through and will be tried again.
    CutOverRetry {
        /// Which attempt, from 1.
        attempt: u32,
        /// Why it did not.
        reason: String,
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

/// What a run did, told at its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The table.
    pub table: String,
    /// The clauses.
    pub clauses: String,
    /// The road taken.
    pub road: String,
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
    /// Median and 99th percentile of the chunks' times, in milliseconds.
    pub chunk_ms: Option<(f64, f64)>,
    /// Median and 99th percentile of the refreshes' times, in milliseconds.
    pub refresh_ms: Option<(f64, f64)>,
    /// The retired table.
    pub retired: Option<String>,
    /// Things that the operator should act upon.
    pub warnings: Vec<String>,
}

/// Takes events; implemented by the report module.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event.
    fn event(&self, event: Event);
}
