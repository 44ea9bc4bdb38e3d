//! One run: what its tasks share, and the small steps that several phases need.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, RwLock, watch};
use tokio::time::timeout;

use crate::control::Directives;
use crate::engine::coverage::{Coverage, Edge, Limit};
use crate::engine::dirty::Dirty;
use crate::engine::key::{Position, Rows};
use crate::engine::progress::{Event, Phase, Progress, Sink};
use crate::engine::server::Server;
use crate::engine::{Error, Result};
use crate::throttle::Throttle;

/// How long a step is tried again while its connection keeps breaking.
const RETRY_FOR: Duration = Duration::from_secs(120);

/// What the engine is told to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Chunks in flight; directives may change it.
    pub threads: usize,
    /// Rows of the first chunks.
    pub chunk_rows: Rows,
    /// How long a chunk should take; directives may change it.
    pub chunk_time: Duration,
    /// Compare both tables before the swap.
    pub verify: bool,
    /// Leave secondary indexes to after the copy.
    pub defer_indexes: bool,
    /// Cut-over attempts before giving up, resumably.
    pub cut_over_attempts: u32,
    /// How long one attempt may hold the lock while the stream is drained.
    pub cut_over_timeout: Duration,
}

/// A checkpoint that takes longer is told of.
const PATIENCE: Duration = Duration::from_secs(2);

/// What holds a checkpoint up, as far as the engine knows.
const SLOW_COMMITS: &str = "the server to show what was committed (a synchronous replica that does \
                            not answer, or a slow disk?)";

/// The engine's own state in a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// From where the stream must be read: everything before it is in the shadow.
    pub position: Position,
    /// Up to where the copy is done.
    pub copied: Edge,
    /// Where the copy ends.
    pub limit: Limit,
    /// Rows copied so far.
    pub rows: u64,
    /// The deferred indexes are built.
    pub indexed: bool,
}

impl State {
    /// The text for the ledger.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::Internal(format!("no checkpoint: {error}")))
    }
}

/// What the tasks of one run share.
pub struct Run<S> {
    /// The server.
    pub server: Arc<S>,
    /// What to do.
    pub settings: Settings,
    /// Back-pressure.
    pub throttle: Arc<Throttle>,
    /// The operator's wishes.
    pub directives: watch::Receiver<Directives>,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// The dirty keys.
    pub dirty: Dirty,
    coverage: Mutex<Coverage>,
    /// Notified whenever a chunk ends.
    pub chunk_ended: Notify,
    /// Chunks hold it shared; who must have none beside it, alone: the building of the copy key's index
    /// and, under `KeyOrder::Server`, refreshes (rule 4).
    pub apart: RwLock<()>,
    /// Held by the refresher during a cycle, by a chunk that writes rows outside its range, and by
    /// the cut-over.
    pub refreshing: tokio::sync::Mutex<()>,
    /// Refresh cycles begun and ended.
    pub cycles: Cycles,
    applied: Mutex<Position>,
    keyed: AtomicBool,
    /// The deferred indexes are built.
    pub indexed: AtomicBool,
    /// Times of chunks, in microseconds.
    pub chunk_times: Mutex<Histogram<u64>>,
    /// Times of refreshes, in microseconds.
    pub refresh_times: Mutex<Histogram<u64>>,
}

/// Counts refresh cycles, so that one can wait for a whole one.
#[derive(Debug, Default)]
pub struct Cycles {
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    wanted: Notify,
}

impl Cycles {
    /// A cycle begins; returns its number.
    pub fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A cycle has ended.
    pub fn end(&self, number: u64) {
        self.ended.send_replace(number);
    }

    /// Waits for a cycle that begins after this call to end.
    pub async fn next_whole(&self) {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended >= wanted).await;
    }

    /// Returns when somebody waits for a cycle.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl<S: Server> Run<S> {
    /// A run that goes on from `state`.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        server: Arc<S>,
        settings: Settings,
        throttle: Arc<Throttle>,
        directives: watch::Receiver<Directives>,
        progress: Arc<Progress>,
        sink: Arc<dyn Sink>,
        state: State,
        swapping: Arc<watch::Sender<bool>>,
    ) -> Result<Self> {
        let histogram =
            || Histogram::new(3).map_err(|error| Error::Internal(format!("no histogram: {error}")));
        progress.rows_copied.store(state.rows, Ordering::Relaxed);
        Ok(Self {
            keyed: AtomicBool::new(!server.defers_key()),
            server,
            settings,
            throttle,
            directives,
            dirty: Dirty::new(Arc::clone(&progress), swapping),
            progress,
            sink,
            coverage: Mutex::new(Coverage::resume(state.copied, state.limit)),
            chunk_ended: Notify::new(),
            apart: RwLock::new(()),
            refreshing: tokio::sync::Mutex::new(()),
            cycles: Cycles::default(),
            applied: Mutex::new(state.position),
            indexed: AtomicBool::new(state.indexed),
            chunk_times: Mutex::new(histogram()?),
            refresh_times: Mutex::new(histogram()?),
        })
    }

    /// The state of the copy.
    pub fn coverage(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rows of the shadow can be found by their keys.
    pub fn is_keyed(&self) -> bool {
        self.keyed.load(Ordering::SeqCst)
    }

    /// The copy key's index is built.
    pub fn set_keyed(&self) {
        self.keyed.store(true, Ordering::SeqCst);
    }

    /// Everything before this position is in the shadow.
    pub fn set_applied(&self, position: Position) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// The state to go on from if the run died now.
    pub fn state(&self) -> State {
        let (copied, limit) = {
            let coverage = self.coverage();
            (coverage.copied().clone(), coverage.limit().clone())
        };
        State {
            position: self.applied.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            copied,
            limit,
            rows: self.progress.rows_copied.load(Ordering::Relaxed),
            indexed: self.indexed.load(Ordering::Relaxed),
        }
    }

    /// Stores the state in a commit of ours: checkpoint and barrier of rule 2 in one.
    pub async fn checkpoint(&self) -> Result<()> {
        let state = self.state().text()?;
        let begun = tokio::time::Instant::now();
        let storing = self.steadily(|| self.server.checkpoint(Some(state.clone())));
        tokio::pin!(storing);
        let outcome = match timeout(PATIENCE, &mut storing).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.progress.set_waiting(Some(SLOW_COMMITS.into()));
                let outcome = storing.await;
                self.progress.set_waiting(None);
                outcome
            }
        };
        self.throttle.felt_commit(begun.elapsed());
        outcome
    }

    /// Enters a phase and says so.
    pub fn enter(&self, phase: Phase) {
        self.progress.set_phase(phase);
        self.sink.event(Event::Phase { phase });
    }

    /// Chunks in flight, as the operator wishes.
    pub fn threads(&self) -> usize {
        self.directives.borrow().threads.map_or(self.settings.threads, std::num::NonZero::get)
    }

    /// Time of a chunk, as the operator wishes; less where the copy gives way.
    pub fn chunk_time(&self) -> Duration {
        let wish = self.directives.borrow().chunk_time.unwrap_or(self.settings.chunk_time);
        wish.mul_f64(self.throttle.share())
    }

    /// Waits until everything committed before this call has been refreshed.
    pub async fn catch_up(&self) -> Result<()> {
        let marker = self.dirty.next_marker();
        self.steadily(|| self.server.mark(marker)).await?;
        self.dirty.marker(marker).await;
        self.cycles.next_whole().await;
        Ok(())
    }

    /// Does `step` again on a new connection while its connection breaks.
    pub async fn steadily<T, F>(&self, mut step: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            match step().await {
                Err(error) if error.is_connection() && started.elapsed() < RETRY_FOR => {
                    tracing::info!(%error, "trying again");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                outcome => return outcome,
            }
        }
    }
}

/// A pause with some randomness, so that peers do not meet again.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// Notes a time in a histogram.
pub fn note(times: &Mutex<Histogram<u64>>, elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    times.lock().unwrap_or_else(PoisonError::into_inner).record(micros).unwrap_or_default();
}

/// Median and 99th percentile in milliseconds; `None` when nothing was noted.
pub fn quantiles(times: &Mutex<Histogram<u64>>) -> Option<(f64, f64)> {
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds for a human")]
    let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    (!times.is_empty()).then(|| (millis(0.5), millis(0.99)))
}
