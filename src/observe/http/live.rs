//! The run of this process, as it is shown: the engine's events and counters become what there is to see.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::hub::Hub;
use super::trail::{Point, Trail};
use super::view::{Board, Counts, Ended, Ordered, Shown, View};
use crate::control::Directives;
use crate::control::order::Verb;
use crate::engine::event::{Event, Sink, Summary};
use crate::engine::picture::{Camera, Picture};
use crate::engine::progress::{Phase, Progress};
use crate::error::Error;
use crate::ledger;
use crate::observe::failure::failure;
use crate::observe::notify::Kind;
use crate::observe::pace;
use crate::output::numbers::Numbers;
use crate::output::{json, text};

/// How often the numbers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After an event they are looked at sooner, but no more often than this.
const SOONEST: Duration = Duration::from_millis(200);

/// Orders that are shown.
const MOST_ORDERS: usize = 20;

/// What is known of the run beside its counters. Clones are one place.
#[derive(Clone)]
pub(super) struct Live(Arc<Inner>);

struct Inner {
    kind: Kind,
    clauses: String,
    progress: Arc<Progress>,
    directives: watch::Receiver<Directives>,
    hub: Arc<Hub>,
    board: watch::Sender<Arc<Board>>,
    happened: Notify,
    known: Mutex<Known>,
}

/// What events said, and what was seen.
struct Known {
    camera: Camera,
    trail: Trail,
    counts: Counts,
    looked: Instant,
    started: String,
    method: Option<String>,
    /// The server has been reached.
    reached: bool,
    orders: VecDeque<Ordered>,
    ended: Option<(&'static str, Ended)>,
}

impl Live {
    pub(super) fn new(
        kind: Kind,
        clauses: &str,
        progress: &Arc<Progress>,
        directives: watch::Receiver<Directives>,
        hub: &Arc<Hub>,
    ) -> Self {
        let known = Known {
            camera: Camera::default(),
            trail: Trail::default(),
            counts: Counts {
                started: jiff::Timestamp::now().as_duration().as_secs_f64(),
                ..Counts::default()
            },
            looked: Instant::now(),
            started: json::timestamp(),
            method: None,
            reached: false,
            orders: VecDeque::new(),
            ended: None,
        };
        let live = Self(Arc::new(Inner {
            kind,
            clauses: clauses.to_owned(),
            progress: Arc::clone(progress),
            directives,
            hub: Arc::clone(hub),
            board: watch::Sender::new(Arc::default()),
            happened: Notify::new(),
            known: Mutex::new(known),
        }));
        live.look();
        live
    }

    /// What there is to see, and its changes.
    pub(super) fn board(&self) -> watch::Receiver<Arc<Board>> {
        self.0.board.subscribe()
    }

    /// Looks at the numbers, for ever.
    pub(super) async fn watch(self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.happened.notified() => tokio::time::sleep(SOONEST).await,
            }
            self.look();
        }
    }

    /// The command has ended, by this error if by one.
    pub(super) fn end(&self, error: Option<&Error>) {
        if error.is_none() {
            let done = Ended { message: "done".into(), help: None, warnings: Vec::new() };
            self.known().ended.get_or_insert(("done", done));
        }
        if let Some(error) = error {
            let mut failure = failure(error);
            if !matches!(
                error,
                Error::Data { .. } | Error::Misfits { .. } | Error::Verification { .. }
            ) {
                failure.message = ledger::shown(error);
            }
            let ended = Ended {
                message: failure.message.clone(),
                help: failure.help.clone(),
                warnings: Vec::new(),
            };
            let state = if error.is_resumable() { "stopped" } else { "failed" };
            let words = format!("{state}: {}", failure.message);
            self.known().ended = Some((state, ended));
            let line = json::failed(failure, self.0.progress.subject().about());
            self.0.hub.push("error", line, Some((json::timestamp(), words)));
        }
        self.look();
    }

    fn look(&self) {
        let inner = &*self.0;
        let directives = inner.directives.borrow().clone();
        let mut known = self.known();
        let picture = known.camera.take(&inner.progress, &directives);
        let passed = known.looked.elapsed().as_secs_f64();
        known.looked = Instant::now();
        let throttled = !inner.progress.holding.sources().is_empty();
        known.counts.paused.pass(directives.pause.is_some(), passed);
        known.counts.throttled.pass(throttled, passed);
        known.counts.chunks = inner.progress.chunk_times.buckets();
        known.counts.refreshes = inner.progress.refresh_times.buckets();
        if known.ended.is_none() {
            known.trail.add(Point::of(&picture));
        }
        let shown = known.shown(inner, picture);
        let ready = known.reached && inner.progress.snapshot().connection_lost_seconds.is_none();
        inner.board.send_replace(Arc::new(Board { ready, runs: vec![Arc::new(shown)] }));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn shown(&self, inner: &Inner, picture: Picture) -> Shown {
        let now = &picture.now;
        let range = picture.rates.eta_seconds.zip(picture.view()).and_then(|(eta, view)| {
            #[allow(clippy::cast_precision_loss, reason = "an estimate")]
            let left = view.total.saturating_sub(view.done) as f64;
            let (low, high) = self.trail.range(now.phase, left)?;
            Some((whole(low).min(eta), whole(high).max(eta)))
        });
        let (state, reason) = match &self.ended {
            Some((state, ended)) => (*state, Some(ended.message.clone())),
            None if now.phase == Phase::Done => ("done", None),
            None if now.phase == Phase::Watch => ("watching", None),
            None if now.phase == Phase::Hold => ("holding", now.throttled.clone()),
            None if now.throttled.is_some() => ("paused", now.throttled.clone()),
            None => ("running", None),
        };
        let view = View {
            server: now.about.server.clone().unwrap_or_default(),
            table: now.about.table.clone().unwrap_or_default(),
            run: now.about.run,
            kind: if inner.kind == Kind::Revert { "revert" } else { "alter" },
            method: self.method.clone(),
            clauses: inner.clauses.clone(),
            state,
            reason,
            started: self.started.clone(),
            pace: match &self.ended {
                Some(_) => "it has ended".into(),
                None => pace::why(&picture),
            },
            eta_range_seconds: range,
            orders: self.orders.iter().cloned().collect(),
            ended: self.ended.as_ref().map(|(_, ended)| ended.clone()),
            snapshot: picture,
        };
        let (trail, counts) = (self.trail.clone(), self.counts.clone());
        Shown { view, trail, counts, parts: OnceLock::new() }
    }

    fn take(&mut self, event: &Event, time: &str) {
        // Notes come before there is a connection, too.
        self.reached |= !matches!(event, Event::Note { .. } | Event::Warning { .. });
        match event {
            Event::Method { method, .. } => self.method = Some(method.clone()),
            Event::Started(start) => self.method = Some(start.method.clone()),
            Event::Resumed { .. } => {
                self.camera = Camera::default();
                self.counts.resumed += 1;
            }
            Event::CutOverRetry { .. } => self.counts.failed_locks += 1,
            Event::ConnectionLost { .. } => self.counts.connections_lost += 1,
            Event::Warning { .. } => self.counts.warnings += 1,
            Event::Order { order, verb, arguments, who, host, why, outcome, answer } => {
                // An order may have any word for a verb, a metric has few.
                let known = Verb::ALL.into_iter().find(|known| known.word() == verb.trim());
                let known = known.map_or("other", Verb::word);
                *self.counts.orders.entry((known, outcome)).or_default() += 1;
                self.orders.push_front(Ordered {
                    order: *order,
                    verb: verb.clone(),
                    arguments: arguments.clone(),
                    who: who.clone(),
                    host: host.clone(),
                    why: why.clone(),
                    outcome,
                    answer: answer.clone(),
                    time: time.to_owned(),
                });
                self.orders.truncate(MOST_ORDERS);
            }
            Event::Summary(summary) => self.done(summary),
            // A change that is made may be watched, with an undo that is prepared.
            Event::Phase { .. } => self.ended = None,
            _ => {}
        }
    }

    fn done(&mut self, summary: &Summary) {
        self.method = Some(summary.method.clone());
        self.counts.lock = summary.lock_ms.map(|millis| millis / 1000.0);
        let locked =
            summary.lock_ms.map(|millis| format!("; the table was locked for {millis:.0} ms"));
        let length = text::length(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
        let message = format!("done in {length}{}", locked.unwrap_or_default());
        let warnings = summary.warnings.clone();
        let ended = Ended { message, help: summary.undo.clone(), warnings };
        self.ended = Some(("done", ended));
    }
}

/// Takes the run's events, and hands them on to `shown`.
pub(super) struct Beside {
    pub(super) live: Live,
    pub(super) shown: Arc<dyn Sink>,
}

impl Sink for Beside {
    fn event(&self, event: Event) {
        let inner = &*self.live.0;
        let time = json::timestamp();
        self.live.known().take(&event, &time);
        let about = inner.progress.subject().about();
        let (line, words) = match &event {
            Event::Summary(summary) => {
                let summary = summary.without_rows();
                (
                    json::event_line(&Event::Summary(Box::new(summary)), &about),
                    Some("done".to_owned()),
                )
            }
            Event::Started(start) => {
                let words = format!("started: about {} rows", HumanCount(start.rows_estimate));
                (json::event_line(&event, &about), Some(words))
            }
            event => (json::event_line(event, &about), text::event(event)),
        };
        inner.hub.push(name(&line), line.clone(), words.map(|words| (time, words)));
        inner.happened.notify_one();
        self.shown.event(event);
    }
}

/// The event's name, which stands in each line.
fn name(line: &str) -> &str {
    let rest = line.split_once("\"event\":\"").map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default()
}

/// The line of the numbers of a run.
pub(super) fn progress(shown: &Shown) -> String {
    json::progress(Numbers::of(&shown.view.snapshot))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn whole(seconds: f64) -> u64 {
    seconds.round() as u64
}
