//! A run at one moment, as the ledger keeps it: so that any host can show it, after a crash too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::{self, Pace, View};
use super::progress::{Phase, Progress, Snapshot};
use crate::control::{Directives, Holder, InForce};
use crate::throttle::Sources;

/// The form of what is kept.
const VERSION: u32 = 1;

/// All that there is to show of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Picture {
    /// The form.
    pub v: u32,
    /// Its numbers.
    #[serde(flatten)]
    pub now: Snapshot,
    /// How far the phase is; `None`: it has nothing to count.
    pub percent: Option<f64>,
    /// Rows a second; `None`: not known.
    pub rows_per_second: Option<f64>,
    /// Seconds until the phase is through; `None`: not known.
    pub eta_seconds: Option<u64>,
    /// The settings that can be changed, and where their values come from.
    pub settings: Vec<InForce>,
    /// What keeps the run from copying, or from cutting over, and what would lift it.
    pub held_by: Vec<Holder>,
    /// Why the last attempt to lock the table failed.
    pub blocked: Option<String>,
}

/// The numbers that are kept over time, a row every few seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// Where the run was.
    pub phase: Phase,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// Rows compared so far.
    pub rows_verified: u64,
    /// Rows a second.
    pub rows_per_second: Option<f64>,
    /// Dirty keys waiting.
    pub dirty_keys: u64,
    /// Keys refreshed so far.
    pub refreshed_keys: u64,
    /// The stream's lag in milliseconds.
    pub stream_lag_ms: Option<u64>,
    /// The slowest replica's lag in milliseconds.
    pub replica_lag_ms: Option<u64>,
    /// Chunks that may be in flight.
    pub parallel_chunks: Option<f64>,
    /// Why the copy was paused.
    pub throttled: Option<String>,
    /// Why it was slowed down.
    pub slowed: Option<String>,
}

/// Takes pictures of one run; learns its pace from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Camera {
    pace: Pace,
}

impl Camera {
    /// The run as it is now.
    pub(crate) fn take(&mut self, progress: &Progress, directives: &Directives) -> Picture {
        let now = progress.snapshot();
        let view = self.pace.look(&now);
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let table = now.about.table.clone().unwrap_or_else(|| "TABLE".into());
        Picture {
            v: VERSION,
            percent: view.map(|view| tenths(view.fraction * 100.0)),
            rows_per_second: view
                .filter(|_| now.connection_lost_seconds.is_none())
                .and_then(|view| view.rate)
                .map(tenths),
            eta_seconds: view.and_then(|view| view.eta).map(|eta| eta.as_secs()),
            settings: directives.in_force(),
            held_by: progress.holding.holders(directives, &table),
            blocked: progress.blocked(),
            now,
        }
    }
}

/// What can hold a run back beside the operator, for as long as it takes orders.
#[derive(Debug, Default)]
pub(crate) struct Holding(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    sources: Sources,
    /// The run was begun with `--hold`.
    hold: bool,
}

impl Holding {
    /// The run takes orders from now on. `hold`: it was begun with `--hold`.
    pub(crate) fn begin(&self, sources: Sources, hold: bool) {
        *self.lock() = Some(Held { sources, hold });
    }

    /// It does not any more.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Reasons of the throttle's sources.
    pub(crate) fn sources(&self) -> Vec<String> {
        self.lock().as_ref().map(|held| held.sources.reasons()).unwrap_or_default()
    }

    /// What holds the run back: the operator's sides, and the throttle's sources.
    pub(crate) fn holders(&self, directives: &Directives, table: &str) -> Vec<Holder> {
        let hold = self.lock().as_ref().is_some_and(|held| held.hold);
        let mut holders = directives.holders(hold, table);
        let by_itself = |what| Holder { what, lift: "ends by itself".into() };
        holders.extend(self.sources().into_iter().map(by_itself));
        holders
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picture {
    /// How far the phase is; `None`: it has nothing to count.
    pub(crate) fn view(&self) -> Option<View> {
        let (done, total) = pace::counted(&self.now)?;
        Some(View {
            done,
            total: total.max(done),
            fraction: self.percent.unwrap_or_default() / 100.0,
            rate: self.rows_per_second,
            eta: self.eta_seconds.map(Duration::from_secs),
        })
    }

    /// The part that is kept over time.
    pub(crate) fn series(&self) -> Series {
        let now = &self.now;
        Series {
            phase: now.phase,
            rows_copied: now.rows_copied,
            rows_verified: now.rows_verified,
            rows_per_second: self.rows_per_second,
            dirty_keys: now.dirty_keys,
            refreshed_keys: now.refreshed_keys,
            stream_lag_ms: now.stream_lag_ms,
            replica_lag_ms: now.replica_lag_ms,
            parallel_chunks: now.width,
            throttled: now.throttled.clone(),
            slowed: now.gives_way.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::control::CutOver;
    use crate::throttle::Throttle;

    #[tokio::test]
    async fn a_picture_is_read_as_it_was_written() {
        let hold = Directives { cut_over: CutOver::Hold, ..Directives::default() };
        let sender = watch::Sender::new(hold.clone());
        let throttle = Throttle::new(sender.subscribe(), None, &CancellationToken::new());
        let progress = Progress::default();
        progress.holding.begin(throttle.sources(), true);
        let picture = Camera::default().take(&progress, &hold);
        assert_eq!(picture.held_by.len(), 1);
        let text = serde_json::to_string(&picture).unwrap();
        let read: Picture = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
