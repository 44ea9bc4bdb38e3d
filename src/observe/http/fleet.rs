//! All runs of a server that are under way or wait to be resumed, out of the ledger: from any host, and whatever
//! became of their processes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::trail::{Point, Trail};
use super::view::{Board, Counts, Ordered, Shown, View};
use crate::control::order::Answer;
use crate::engine::picture::Picture;
use crate::error::Result;
use crate::ledger::orders::OrderRecord;
use crate::ledger::{REVERT, RunRecord, RunState};
use crate::observe::pace;

/// How often the ledger is read. Runs write there each second.
const READ_EVERY: Duration = Duration::from_secs(2);

/// Reads the latest runs of a server.
pub(crate) type Runs = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<RunRecord>>> + Send + Sync>;

/// What is known of all runs. Clones are one place.
#[derive(Clone)]
pub(super) struct Fleet(Arc<Inner>);

struct Inner {
    server: String,
    runs: Runs,
    board: watch::Sender<Arc<Board>>,
    known: Mutex<BTreeMap<i64, Known>>,
}

/// What was seen of a run.
struct Known {
    trail: Trail,
    counts: Counts,
    looked: Instant,
}

impl Fleet {
    pub(super) fn new(server: String, runs: Runs) -> Self {
        let board = watch::Sender::new(Arc::default());
        Self(Arc::new(Inner { server, runs, board, known: Mutex::default() }))
    }

    /// What there is to see, and its changes.
    pub(super) fn board(&self) -> watch::Receiver<Arc<Board>> {
        self.0.board.subscribe()
    }

    /// Reads the ledger, for ever.
    pub(super) async fn watch(self) {
        let mut ticks = interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match (self.0.runs)().await {
                Ok(runs) => self.see(runs),
                Err(error) => {
                    tracing::debug!(%error, "the runs cannot be read");
                    self.0.board.send_modify(|board| {
                        let runs = board.runs.clone();
                        *board = Arc::new(Board { ready: false, runs });
                    });
                }
            }
        }
    }

    fn see(&self, runs: Vec<RunRecord>) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = runs.into_iter().filter(|run| run.is_unfinished() && run.elsewhere.is_none());
        let with_picture = runs.filter_map(|mut run| Some((run.picture.take()?, run)));
        let shown: Vec<Arc<Shown>> = with_picture
            .map(|(picture, run)| {
                let known = known.entry(run.run).or_insert_with(Known::new);
                Arc::new(known.shown(&self.0.server, run, picture))
            })
            .collect();
        known.retain(|number, _| shown.iter().any(|shown| shown.view.run == Some(*number)));
        drop(known);
        self.0.board.send_replace(Arc::new(Board { ready: true, runs: shown }));
    }
}

impl Known {
    fn new() -> Self {
        Self { trail: Trail::default(), counts: Counts::default(), looked: Instant::now() }
    }

    fn shown(&mut self, server: &str, run: RunRecord, picture: Picture) -> Shown {
        let state = run.state();
        let passed = self.looked.elapsed().as_secs_f64();
        self.looked = Instant::now();
        let under_way = matches!(
            state,
            RunState::Running | RunState::Paused | RunState::Watching | RunState::Holding
        );
        let operator = picture.held_by.iter().any(|holder| holder.lift.starts_with("osc "));
        let throttle = picture.held_by.iter().any(|holder| !holder.lift.starts_with("osc "));
        let throttled = under_way && picture.now.throttled.is_some();
        self.counts.paused.pass(throttled && operator, passed);
        self.counts.throttled.pass(throttled && throttle, passed);
        if under_way {
            self.trail.add(Point::of(&picture));
        }
        self.counts.started = seconds(&run.started);
        let table = format!("{}.{}", run.schema, run.table);
        let reason = match state {
            RunState::Paused | RunState::Holding => picture.now.throttled.clone(),
            _ => run.detail.clone(),
        };
        let view = View {
            server: server.to_owned(),
            table,
            run: Some(run.run),
            kind: if run.method == REVERT { "revert" } else { "alter" },
            method: Some(run.method),
            clauses: run.clauses,
            state: word(state),
            reason,
            started: format!("{}Z", run.started.replace(' ', "T")),
            pace: match state {
                RunState::NotRunning | RunState::Stopped => {
                    "no attempt is running; the same command resumes it".into()
                }
                _ => pace::why(&picture),
            },
            eta_range_seconds: None,
            orders: run.orders.into_iter().rev().filter_map(ordered).collect(),
            ended: None,
            snapshot: picture,
        };
        let (trail, counts) = (self.trail.clone(), self.counts.clone());
        Shown { view, trail, counts, parts: OnceLock::new() }
    }
}

fn word(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Watching => "watching",
        RunState::Watched => "watched",
        RunState::Holding => "holding",
        RunState::NotRunning => "not-running",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
        RunState::Done => "done",
    }
}

/// An order that has its answer.
fn ordered(order: OrderRecord) -> Option<Ordered> {
    let answer = Answer::of(order.answer.as_deref()?);
    Some(Ordered {
        order: order.order,
        verb: order.verb,
        arguments: order.arguments.unwrap_or_default(),
        who: order.who,
        host: order.host.unwrap_or_default(),
        why: order.why.unwrap_or_default(),
        outcome: answer.word(),
        answer: answer.text().to_owned(),
        time: format!("{}Z", order.answered.unwrap_or_default().replace(' ', "T")),
    })
}

/// A time of the ledger, UTC, in seconds since 1970; what cannot be read is 0.
fn seconds(time: &str) -> f64 {
    let time = time.parse::<jiff::civil::DateTime>().ok();
    let time = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    time.map_or(0.0, |time| time.timestamp().as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Directives;
    use crate::engine::picture::Camera;
    use crate::engine::progress::{Phase, Progress};
    use crate::ledger::Outcome;
    use crate::ledger::tests::record;

    fn run(number: i64, result: Option<Outcome>, held: bool) -> RunRecord {
        let progress = Progress::default();
        progress.set_phase(Phase::Copy);
        let picture = Camera::default().take(&progress, &Directives::default());
        let started = "2026-11-30 20:00:00".to_owned();
        let record = record(result, "copy", "{}", held);
        RunRecord { run: number, picture: Some(picture), started, ..record }
    }

    #[test]
    fn what_is_under_way_or_can_be_resumed_is_shown_and_its_way_is_kept() {
        let fleet = Fleet::new("db1:3306".into(), Arc::new(|| Box::pin(async { Ok(Vec::new()) })));
        assert!(!fleet.board().borrow().ready, "nothing was read yet");
        let all = || {
            vec![
                run(3, None, true),
                run(2, Some(Outcome::Stopped), false),
                run(1, Some(Outcome::Done), false),
                RunRecord { picture: None, ..run(4, None, true) },
            ]
        };
        fleet.see(all());
        fleet.see(all());
        let board = Arc::clone(&fleet.board().borrow());
        let states: Vec<_> =
            board.runs.iter().map(|shown| (shown.view.run, shown.view.state)).collect();
        assert_eq!(states, [(Some(3), "running"), (Some(2), "stopped")]);
        assert_eq!(board.runs[0].trail.points().len(), 2);
        assert!(board.runs[1].view.pace.contains("resumes it"));
        assert!((board.runs[0].counts.started - 1_796_068_800.0).abs() < 1.0);
        assert_eq!(board.runs[0].view.started, "2026-11-30T20:00:00Z");
        fleet.see(Vec::new());
        assert!(fleet.board().borrow().ready && fleet.board().borrow().runs.is_empty());
    }
}
