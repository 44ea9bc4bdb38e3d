//! The sources of the throttle, one a file, and the one place that combines them.
//!
//! A [`Source`] looks at one thing at its own pace. [`Throttle`] runs them all, adds the
//! operator's directives and the row rate, and lets the copy through a chunk at a time. It fails
//! closed: what has not been seen, or cannot be, pauses the copy. [`feedback`] is no source: it
//! narrows the copy by what the server has to spare, and never stops it.

pub mod activity;
pub mod lag;
pub mod load;
pub mod probe;
pub mod query;

mod concurrency;
pub(crate) mod feedback;
pub(crate) mod from_settings;
mod gate;
mod http;
mod rate_limit;
mod signals;
pub(crate) mod sound;
#[cfg(test)]
mod tests;
mod verdicts;
mod window;

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use feedback::Pacing;
use gate::{Admission, Gate};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::control::Directives;
use crate::error::{Error, Result};
use crate::testing::failpoint::{self, Point};
use activity::{ActivityProbe, LatencyFeed};
use rate_limit::Meter;
use verdicts::{VerdictSlot, Verdicts};

pub use gate::Permit;

/// Chunks that give way take at least this part of their usual time: shorter ones cost more than
/// they spare.
const LEAST_SHARE: f64 = 0.5;

/// What a source says of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may continue.
    Run,
    /// It must wait, for this reason, with its numbers:
    /// `replica 127.0.0.1:3307 lags 4.2s (limit 1.5s)`.
    Pause(String),
    /// The run must end, resumably, for this reason.
    End(String),
}

/// One thing that can hold the copy back.
pub trait Source: Send + 'static {
    /// A short name for logs and for reasons: `replica lag`.
    fn name(&self) -> &str;

    /// How often to look.
    fn period(&self) -> Duration;

    /// How long one look may take; the copy pauses when it takes longer.
    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Looks. What cannot be seen is [`Verdict::Pause`]. Dropped when it takes too long, or when
    /// the run ends.
    fn check(&mut self, directives: &Directives) -> impl Future<Output = Verdict> + Send;
}

/// Says when the copy may continue. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct Throttle {
    board: Arc<Verdicts>,
    held: VerdictSlot,
    directives: watch::Receiver<Directives>,
    rate: Option<NonZeroU32>,
    meter: Mutex<Meter>,
    unused: AtomicU32,
    gate: Arc<Gate>,
    feedback: bool,
    latencies: LatencyFeed,
    pacing: watch::Sender<Option<Pacing>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What holds a copy back beside the operator.
#[derive(Debug, Clone)]
pub(crate) struct Sources(Arc<Verdicts>);

impl Sources {
    /// One reason a source.
    pub(crate) fn reasons(&self) -> Vec<String> {
        // The operator has the first place.
        self.0.reasons(1)
    }
}

impl Throttle {
    /// A throttle that obeys the operator's `directives`, copies at most `rate` rows a second
    /// unless they name another rate, and ends with `stop`.
    pub fn new(
        directives: watch::Receiver<Directives>,
        rate: Option<NonZeroU32>,
        stop: &CancellationToken,
    ) -> Self {
        let board = Arc::new(Verdicts::new(stop.child_token()));
        let throttle = Self {
            held: board.slot(Verdict::Run),
            board,
            rate,
            meter: Mutex::new(Meter::default()),
            unused: AtomicU32::default(),
            gate: Arc::default(),
            feedback: false,
            latencies: LatencyFeed::default(),
            pacing: watch::Sender::default(),
            stop: stop.child_token(),
            tasks: TaskTracker::new(),
            directives: directives.clone(),
        };
        let slot = throttle.board.slot(operator(&directives.borrow()));
        throttle.spawn("operator", obey(slot, directives));
        throttle
    }

    /// Adds a source and starts to watch it. The copy waits for its first verdict.
    #[must_use]
    pub fn with<S: Source>(self, source: S) -> Self {
        let name = source.name().to_owned();
        let slot = self.board.slot(Verdict::Pause(format!("{name}: waiting for the first check")));
        self.spawn(&name, watch_source(source, slot, self.directives.clone()));
        self
    }

    /// Steers how many chunks are in flight by what `activity` show of the server and by what the run
    /// feels itself. At most `threads` unless the operator names another number.
    #[must_use]
    pub fn with_feedback<V: ActivityProbe>(mut self, activity: V, threads: usize) -> Self {
        let steered = feedback::steer(
            activity,
            threads,
            self.directives.clone(),
            self.latencies.clone(),
            Arc::clone(&self.gate),
            self.pacing.clone(),
        );
        self.spawn("feedback", steered);
        self.feedback = true;
        self
    }

    /// Whether anything steers the width.
    pub fn has_feedback(&self) -> bool {
        self.feedback
    }

    /// Where sources leave what they feel, for the feedback.
    pub fn latencies(&self) -> LatencyFeed {
        self.latencies.clone()
    }

    /// The time that a small commit of the run's own took: what the application's take too.
    pub fn felt_commit(&self, took: Duration) {
        self.latencies.commit(took);
    }

    /// How far the slowest replica lags behind, as last seen; `None`: none is watched.
    pub fn replica_lag(&self) -> Option<Duration> {
        self.latencies.latest_lag()
    }

    /// What feedback makes of the copy, a few times a second; `None`: nothing yet, or it is off.
    pub fn pacing(&self) -> watch::Receiver<Option<Pacing>> {
        self.pacing.subscribe()
    }

    /// The part of the chunks' usual time that they may take: less of it where the copy slows down,
    /// so that it slows down soon.
    pub fn share(&self) -> f64 {
        self.pacing.borrow().as_ref().map_or(1.0, |pacing| pacing.share.clamp(LEAST_SHARE, 1.0))
    }

    fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let span = tracing::info_span!("throttle", source = name);
        let task = async move { stop.run_until_cancelled(task).await };
        self.tasks.spawn(task.instrument(span));
    }

    /// Waits until nothing pauses the copy, one chunk more may be in flight and `rows` more rows
    /// fit the rate. Callers are served in turn. Dropping the call gives its turn away. The chunk is
    /// in flight for as long as what is returned lives.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the operator aborts, a source ends the run, or the run is cancelled.
    pub async fn admit(&self, rows: u32) -> Result<Permit> {
        let mut meter = self.meter.lock().await;
        let mut reason = self.board.reason();
        let mut directives = self.directives.clone();
        let mut left = rows;
        loop {
            if self.board.ended().is_cancelled() {
                return Err(self.stopped());
            }
            let paused = reason.borrow_and_update().is_some();
            let wish = directives.borrow_and_update().max_rows_per_second;
            meter.set_rate(wish.or(self.rate));
            meter.give_back(self.unused.swap(0, Ordering::Relaxed));
            let ready = match self.gate.passage() {
                _ if paused => None,
                Admission::Full => None,
                Admission::At(moment) => Some(moment),
                Admission::Free => match meter.take(&mut left) {
                    None => return Ok(self.gate.pass()),
                    later => later,
                },
            };
            tokio::select! {
                () = self.board.ended().cancelled() => {}
                () = self.gate.changed() => {}
                _ = reason.changed() => {}
                Ok(()) = directives.changed() => {}
                () = sleep_until(ready.unwrap_or_else(Instant::now)), if ready.is_some() => {}
            }
        }
    }

    /// As many rows as a chunk should have at the rate of now.
    pub fn most_rows(&self) -> u32 {
        rate_limit::most_rows(self.directives.borrow().max_rows_per_second.or(self.rate))
    }

    /// Rows of an admitted chunk were not there to be copied: the next chunks may have them.
    pub fn unused(&self, rows: u32) {
        // The meter itself is held by whoever waits for its turn.
        self.unused.fetch_add(rows, Ordering::Relaxed);
    }

    fn stopped(&self) -> Error {
        Error::stopped(self.board.end().unwrap_or_else(|| "the run was cancelled".into()))
    }

    /// Pauses the copy for a reason of the run's own, until it is taken back by `None`.
    pub fn hold(&self, reason: Option<String>) {
        self.held.set(reason.map_or(Verdict::Run, Verdict::Pause));
    }

    /// Why the copy is paused now, with the latest numbers; `None`: it is not.
    pub fn paused(&self) -> Option<String> {
        self.board.reason().borrow().clone()
    }

    /// What holds the copy back beside the operator, to look at later.
    pub(crate) fn sources(&self) -> Sources {
        Sources(Arc::clone(&self.board))
    }

    /// Why the copy is paused, as a value to watch. The value always has the latest numbers; a
    /// change of nothing but numbers wakes no task, so that every wake is worth a line in a log.
    pub fn changed(&self) -> watch::Receiver<Option<String>> {
        self.board.reason()
    }

    /// Ends the sources and waits until they are gone, with their connections.
    #[cfg(test)]
    async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn operator(directives: &Directives) -> Verdict {
    match &directives.pause {
        _ if directives.abort => Verdict::End("aborted by the operator".into()),
        Some(reason) => Verdict::Pause(reason.clone()),
        None => Verdict::Run,
    }
}

async fn obey(slot: VerdictSlot, mut directives: watch::Receiver<Directives>) {
    loop {
        slot.set(operator(&directives.borrow_and_update()));
        if directives.changed().await.is_err() {
            // No directive can come any more: the last one holds.
            return std::future::pending().await;
        }
    }
}

async fn watch_source<S: Source>(
    mut source: S,
    slot: VerdictSlot,
    mut directives: watch::Receiver<Directives>,
) {
    loop {
        let started = Instant::now();
        let now = directives.borrow_and_update().clone();
        let patience = source.patience();
        if let Err(error) = failpoint::hit(Point::SourceLooks) {
            slot.set(Verdict::Pause(error.to_string()));
        }
        let verdict = timeout(patience, source.check(&now)).await.unwrap_or_else(|_| {
            Verdict::Pause(format!("{}: no answer within {patience:?}", source.name()))
        });
        slot.set(verdict);
        tokio::select! {
            () = sleep_until(started + source.period()) => {}
            Ok(()) = directives.changed() => {}
        }
    }
}
