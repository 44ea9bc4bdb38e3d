//! One run: what its tasks share, and the small steps that several phases need.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, RwLock, watch};
use tokio::time::timeout;

use super::backend::Server;
use super::backoff::{jittered, reconnecting};
use super::coverage::{Coverage, Limit, Watermark};
use super::dirty::Dirty;
use super::event::{Event, Quantiles, Sink};
use super::health::Watching;
use super::permission::{Approval, Permission};
use super::progress::{Phase, Progress};
use super::undo::Misfits;
use crate::config::settings::Settings;
use crate::control::Directives;
use crate::error::{Error, Result};
use crate::key::Position;
use crate::throttle::Throttle;

/// How long a step is tried again while its connection keeps breaking.
const RETRY_FOR: Duration = Duration::from_secs(120);

/// How long a step waits for room on a full server, and how often it looks.
pub(super) const FULL_FOR: Duration = Duration::from_secs(600);
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// A checkpoint that takes longer is reported.
const PATIENCE: Duration = Duration::from_secs(2);

/// What holds a checkpoint up, as far as the engine knows.
const SLOW_COMMITS: &str = "the server to show what was committed (a synchronous replica that does \
                            not answer, or a slow disk?)";

/// The engine's own state in a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// From where the stream must be read: everything before it is in the shadow.
    pub position: Position,
    /// Up to where the copy is done.
    pub copied: Watermark,
    /// Where the copy ends.
    pub limit: Limit,
    /// Rows copied so far.
    pub rows: u64,
    /// The deferred indexes are built.
    pub indexed: bool,
    /// The run was promised to wait for permission to cut over, by whichever attempt.
    #[serde(default)]
    pub hold: bool,
    /// An undo that reads what was written since the swap from the log, and compares nothing else.
    #[serde(default)]
    pub by_log: bool,
    /// Why the copy was paused at that moment: for `osc status`; nothing is concluded from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
}

impl State {
    /// The text for the ledger.
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::Internal(format!("no checkpoint: {error}")))
    }
}

/// What the tasks of one run share.
pub(crate) struct Run<S> {
    /// The server.
    pub server: Arc<S>,
    /// What to do.
    pub settings: Arc<Settings>,
    /// Back-pressure.
    pub throttle: Arc<Throttle>,
    /// The operator's directives.
    pub directives: watch::Receiver<Directives>,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Who is asked before the original is changed.
    pub approval: Option<Arc<dyn Approval>>,
    /// The dirty keys.
    pub dirty: Dirty,
    pub(super) coverage: Mutex<Coverage>,
    /// Notified whenever a chunk ends.
    pub chunk_ended: Notify,
    /// Chunks hold it shared; who must have none beside it, alone: the building of the copy key's index
    /// and, under `KeyOrder::Server`, refreshes (rule 4).
    pub chunk_gate: RwLock<()>,
    /// Held by the refresher during a cycle, by a chunk that writes rows outside its range, and by
    /// the cut-over.
    pub refresh_lock: tokio::sync::Mutex<()>,
    /// Refresh cycles begun and ended.
    pub cycles: Cycles,
    applied: Mutex<Position>,
    keyed: AtomicBool,
    /// The deferred indexes are built.
    pub indexed: AtomicBool,
    held: bool,
    /// An undo goes by the log alone,
    pub by_log: bool,
    /// and has read it up to its own beginning.
    pub caught_up: AtomicBool,
    /// In an undo, the rows that cannot go back.
    pub(super) misfits: Misfits,
    /// They are left behind.
    pub(super) leave_misfits: bool,
    /// Whether the tables are swapped at all is for health checks to say.
    pub(super) watching: Option<Arc<Watching>>,
    warned: AtomicBool,
    /// Times of chunks, in microseconds.
    pub chunk_times: Mutex<Histogram<u64>>,
    /// Times of refreshes, in microseconds.
    pub refresh_times: Mutex<Histogram<u64>>,
}

/// Counts refresh cycles, so that one can wait for a whole one.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    wanted: Notify,
}

impl Cycles {
    /// A cycle begins; returns its number.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A cycle has ended.
    pub(crate) fn end(&self, number: u64) {
        self.ended.send_replace(number);
    }

    /// Waits for a cycle that begins after this call to end.
    pub(crate) async fn next_whole(&self) {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended >= wanted).await;
    }

    /// Returns when a task waits for a cycle.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl<S: Server> Run<S> {
    /// A run that resumes from `state`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        server: Arc<S>,
        settings: Arc<Settings>,
        throttle: Arc<Throttle>,
        directives: watch::Receiver<Directives>,
        progress: Arc<Progress>,
        sink: Arc<dyn Sink>,
        approval: Option<Arc<dyn Approval>>,
        state: State,
        swapping: Arc<watch::Sender<bool>>,
        leave_misfits: bool,
        watching: Option<Arc<Watching>>,
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
            approval,
            coverage: Mutex::new(Coverage::resume(state.copied, state.limit)),
            chunk_ended: Notify::new(),
            chunk_gate: RwLock::new(()),
            refresh_lock: tokio::sync::Mutex::new(()),
            cycles: Cycles::default(),
            applied: Mutex::new(state.position),
            indexed: AtomicBool::new(state.indexed),
            held: state.hold,
            by_log: state.by_log,
            caught_up: AtomicBool::new(false),
            misfits: Misfits::default(),
            leave_misfits,
            watching,
            warned: AtomicBool::new(false),
            chunk_times: Mutex::new(histogram()?),
            refresh_times: Mutex::new(histogram()?),
        })
    }

    /// The state of the copy.
    pub(crate) fn coverage(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rows of the shadow can be found by their keys.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keyed.load(Ordering::SeqCst)
    }

    /// The copy key's index is built.
    pub(crate) fn set_keyed(&self) {
        self.keyed.store(true, Ordering::SeqCst);
    }

    /// Everything before this position is in the shadow.
    pub(crate) fn set_applied(&self, position: Position) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// The state to resume from if the run died now.
    pub(crate) fn state(&self) -> State {
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
            hold: self.held,
            by_log: self.by_log,
            paused: self.throttle.paused(),
        }
    }

    /// Stores the state in a commit of ours: checkpoint and barrier of rule 2 in one.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let state = self.state().text()?;
        let begun = tokio::time::Instant::now();
        let storing = self.with_room(|| self.server.checkpoint(Some(state.clone())));
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
        if outcome.is_ok()
            && let Some(lost) = self.progress.regain()
        {
            self.sink.event(Event::Reconnected { seconds: lost.as_secs_f64() });
        }
        self.progress.set_replica_lag(self.throttle.replica_lag());
        outcome
    }

    /// Who must agree before the original is changed.
    pub(crate) fn permission(&self) -> Permission<'_> {
        Permission {
            directives: &self.directives,
            throttle: &self.throttle,
            progress: &self.progress,
            sink: &*self.sink,
            approval: self.approval.as_deref(),
            held: self.held,
        }
    }

    /// Notes that a step lost its connection; the next checkpoint that is stored shows that there is
    /// one again.
    pub(crate) fn lost(&self, error: &Error) {
        if let Error::Connection { message, .. } = error
            && self.progress.lose()
        {
            self.sink.event(Event::ConnectionLost { reason: message.clone() });
        }
    }

    /// Reports, once, that another session writes the shadow.
    pub(crate) fn warn_of_strangers(&self) {
        if self.progress.strangers.load(Ordering::Relaxed) > 0
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            let text = "another session writes rows of the shadow; osc writes them again from the original"
                .to_owned();
            self.sink.event(Event::Warning { text });
        }
    }

    /// Enters a phase and says so.
    pub(crate) fn enter(&self, phase: Phase) {
        self.progress.set_phase(phase);
        self.sink.event(Event::Phase { phase });
    }

    /// Chunks in flight, as the operator wants them.
    pub(crate) fn threads(&self) -> usize {
        self.directives.borrow().threads.unwrap_or(self.settings.threads()).get()
    }

    /// Time of a chunk, as the operator wants them; less where the copy slows down.
    pub(crate) fn chunk_time(&self) -> Duration {
        let wish = self.directives.borrow().chunk_time.unwrap_or(self.settings.chunk_time());
        wish.mul_f64(self.throttle.share())
    }

    /// Waits until everything committed before this call has been refreshed.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        self.catch_up_to(self.dirty.next_marker()).await
    }

    /// The same by this marker.
    pub(crate) async fn catch_up_to(&self, marker: u64) -> Result<()> {
        self.with_room(|| self.server.mark(marker)).await?;
        self.dirty.marker(marker).await;
        self.cycles.next_whole().await;
        Ok(())
    }

    /// The same, and again while the server has no room left: for small steps only, since one that fills
    /// the disk again each time would be worse than to stop.
    pub(crate) async fn with_room<T, F>(&self, mut step: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = tokio::time::Instant::now();
        loop {
            match self.retry_on_disconnect(&mut step).await {
                Err(error) if error.is_full() && started.elapsed() < FULL_FOR => {
                    self.wait_for_room(&error).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Does `step` again on a new connection while its connection breaks.
    pub(crate) async fn retry_on_disconnect<T, F>(&self, mut step: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        reconnecting(RETRY_FOR, || {
            let outcome = step();
            async move { outcome.await.inspect_err(|error| self.lost(error)) }
        })
        .await
    }

    /// Reports that the server is full, and waits a little.
    pub(crate) async fn wait_for_room(&self, error: &Error) {
        let text = format!("paused until there is room: {error}");
        if self.progress.snapshot().waiting.as_ref() != Some(&text) {
            self.sink.event(Event::Note { text: text.clone() });
        }
        self.progress.set_waiting(Some(text));
        tokio::time::sleep(jittered(FULL_PAUSE)).await;
        self.progress.set_waiting(None);
    }
}

/// Notes a time in a histogram.
pub(crate) fn note(times: &Mutex<Histogram<u64>>, elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    times.lock().unwrap_or_else(PoisonError::into_inner).record(micros).unwrap_or_default();
}

/// In milliseconds; `None` when nothing was noted.
pub(crate) fn quantiles(times: &Mutex<Histogram<u64>>) -> Option<Quantiles> {
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds for a human")]
    let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    (!times.is_empty()).then(|| Quantiles { p50: millis(0.5), p99: millis(0.99) })
}
