//! A run at one moment, as the ledger keeps it: so that any host can show it, after a crash too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::{self, Pace, Rates, View};
use super::progress::{Phase, Progress, Snapshot};
use crate::control::{Directives, Holder, InForce};

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
    /// How far and how fast.
    #[serde(flatten)]
    pub rates: Rates,
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
        let rates = self.pace.rates(&now);
        let table = now.about.table.clone().unwrap_or_else(|| "TABLE".into());
        Picture {
            v: VERSION,
            rates,
            settings: directives.in_force(),
            held_by: progress.holding.holders(directives, &table),
            blocked: progress.blocked(),
            now,
        }
    }
}

impl Picture {
    /// How far the phase is; `None`: it has nothing to count.
    pub(crate) fn view(&self) -> Option<View> {
        let (done, total) = pace::counted(&self.now)?;
        Some(View {
            done,
            total: total.max(done),
            fraction: self.rates.percent.unwrap_or_default() / 100.0,
            rate: self.rates.rows_per_second,
            eta: self.rates.eta_seconds.map(Duration::from_secs),
        })
    }

    /// The part that is kept over time.
    pub(crate) fn series(&self) -> Series {
        let now = &self.now;
        Series {
            phase: now.phase,
            rows_copied: now.rows_copied,
            rows_verified: now.rows_verified,
            rows_per_second: self.rates.rows_per_second,
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
