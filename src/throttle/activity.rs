//! What feedback sees of the server: what a look at it shows, and what the run itself feels.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// A statement that has been under way for longer, in seconds, waits for no one's answer: a report,
/// a backup, a lock that serves as a queue.
pub const LONGEST_STATEMENT: u64 = 10;

/// A session that did something so many seconds ago is at work.
pub const RECENTLY: u64 = 2;

/// The server at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivitySample {
    /// Sessions other than osc's are at work, or may be: osc has no right to look into them.
    pub others: bool,
    /// Their statements that are under way, those older than [`LONGEST_STATEMENT`] not counted;
    /// `None` where that is not known.
    pub working: Option<u32>,
    /// How full the redo log is, or how far checkpoints are behind, 1.0 being too much, and in words;
    /// `None` where that is not known.
    pub log: Option<(f64, String)>,
}

/// Takes the sample; implemented by the server's module.
pub trait ActivityProbe: Send + 'static {
    /// Looks at the server.
    fn sample(&mut self) -> impl Future<Output = Result<ActivitySample>> + Send;
}

/// What the run felt since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// How long its own small commits took, on average.
    pub(super) commit: Option<Duration>,
    /// The lag of the slowest replica, and its limit.
    pub(super) lag: Option<(Duration, Duration)>,
}

#[derive(Debug, Default)]
struct Inner {
    commits: u32,
    time: Duration,
    lag: Option<(Duration, Duration)>,
}

/// Where the run leaves what it feels. Clones are one place.
#[derive(Debug, Clone, Default)]
pub struct LatencyFeed(Arc<Mutex<Inner>>);

impl LatencyFeed {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time that a small commit of the run's own took.
    pub(super) fn commit(&self, took: Duration) {
        self.with(|inner| {
            inner.commits += 1;
            inner.time += took;
        });
    }

    /// The slowest replica is so far behind, where `limit` is too much.
    pub(super) fn lag(&self, lag: Option<Duration>, limit: Duration) {
        self.with(|inner| inner.lag = lag.map(|lag| (lag, limit)));
    }

    /// How far the slowest replica was behind when last seen.
    pub(super) fn latest_lag(&self) -> Option<Duration> {
        self.with(|inner| inner.lag.map(|(lag, _)| lag))
    }

    /// What was felt since the last call.
    pub(super) fn take(&self) -> Observed {
        self.with(|inner| {
            let commit = inner.time.checked_div(inner.commits);
            (inner.commits, inner.time) = (0, Duration::ZERO);
            Observed { commit, lag: inner.lag }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_averaged_and_forgotten_and_the_lag_stays() {
        let latencies = LatencyFeed::default();
        assert_eq!(latencies.take(), Observed::default());
        let (second, limit) = (Duration::from_secs(1), Duration::from_secs(2));
        latencies.commit(second);
        latencies.clone().commit(3 * second);
        latencies.lag(Some(second), limit);
        let lag = Some((second, limit));
        assert_eq!(latencies.take(), Observed { commit: Some(2 * second), lag });
        assert_eq!(latencies.take(), Observed { commit: None, lag });
        latencies.lag(None, limit);
        assert_eq!(latencies.take(), Observed::default());
    }
}
