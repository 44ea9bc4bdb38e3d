//! A migration by copy, from claim to finish.
//!
//! ```text
//! claim ─ position ─ shadow ─ stream ─ barrier ─ copy ─ indexes ─ verify ─ hold ─ swap ─ finish
//!                                └──── refresher, checkpoints ──────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use super::backend::Server;
use super::coverage::{Limit, Watermark};
use super::cutover::{Swapped, cut_over};
use super::event::{Event, Sink, Start, Summary};
use super::health::Watching;
use super::orders::{self, Scene};
use super::permission::Approval;
use super::progress::{Phase, Progress};
use super::run::{Run, State, quantiles};
use super::verify::{Verified, verify};
use super::{backpressure, copy, key_index, refresh, undo, watch};
use crate::config::settings::Settings;
use crate::control::sources::Desk;
use crate::error::{AGAIN, Error, Result};
use crate::key::{KeyOrder, Position};
use crate::ledger::undo_window;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};
use crate::throttle::Throttle;

/// How long a run that is to stop may take to store where it is.
const LAST_CHECKPOINT: Duration = Duration::from_secs(2);

/// What a migration is given besides the server.
#[derive(Clone)]
pub(crate) struct MigrationContext {
    /// What to do.
    pub settings: Arc<Settings>,
    /// Leave secondary indexes to after the copy.
    pub defer_indexes: bool,
    /// Back-pressure.
    pub throttle: Arc<Throttle>,
    /// What the operator wants, and where orders are handed in.
    pub desk: Desk,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Who is asked before the original is changed.
    pub approval: Option<Arc<dyn Approval>>,
    /// What is reported of the change when it begins; method and rows are filled in.
    pub start: Start,
    /// Ends the run, resumably.
    pub stop: CancellationToken,
    /// In an undo, leave rows behind that cannot go back.
    pub leave_misfits: bool,
    /// In an undo, compare all rows, whatever the log says.
    pub compare_all: bool,
    /// An undo that is made only where health checks fail.
    pub watching: Option<Arc<Watching>>,
}

/// Migrates the table. On an error the original is untouched, unless the summary says otherwise.
pub(crate) async fn migrate<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
) -> Result<Summary> {
    let stop = context.stop.clone();
    // True from the moment when everything is drained: the swap is then seen through.
    let swapping = Arc::new(channel::Sender::new(false));
    let outcome = tokio::select! {
        biased;
        outcome = method(Arc::clone(&server), context, Arc::clone(&swapping)) => outcome,
        () = async {
            asked_to_stop(&stop, &swapping).await;
            // For a last checkpoint; before there is anything to store, this is what ends the run.
            tokio::time::sleep(LAST_CHECKPOINT).await;
        } => Err(Error::stopped("on request")),
    };
    if let Err(error) = &outcome
        && let Err(unrecorded) = server.abandon(error).await
    {
        tracing::warn!(error = %unrecorded, "the end of the run could not be recorded");
    }
    outcome
}

/// Returns when the run is to stop, but not in the middle of a swap.
async fn asked_to_stop(stop: &CancellationToken, swapping: &channel::Sender<bool>) {
    stop.cancelled().await;
    // The sender is borrowed: waiting cannot fail.
    let _ = swapping.subscribe().wait_for(|swapping| !swapping).await;
}

async fn method<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
    swapping: Arc<channel::Sender<bool>>,
) -> Result<Summary> {
    context.sink.event(Event::Phase { phase: Phase::Prepare });
    let earlier = server.claim().await?;
    if let Some(run) = server.number() {
        context.progress.subject().set_run(run);
    }
    failpoint::hit(Point::Claimed)?;
    let swapped = earlier.as_ref().is_some_and(|earlier| earlier.swapped);
    let earlier = earlier.filter(|_| !swapped);
    let earlier = earlier.map(|earlier| read_state(&earlier.state)).transpose()?;
    // What the first attempt was promised stays.
    let hold = context.settings.hold || earlier.as_ref().is_some_and(|state| state.hold);
    let earlier = earlier.map(|state| State { hold, ..state });
    let (desk, throttle) = (context.desk.clone(), Arc::clone(&context.throttle));
    let (progress, sink) = (Arc::clone(&context.progress), Arc::clone(&context.sink));
    let scene =
        Scene { desk: &desk, throttle: &throttle, progress: &progress, sink: &*sink, held: hold };
    let book = server.book()?;
    let work = async {
        match swapped {
            true => settled(&server, &context).await,
            false => claimed(Arc::clone(&server), context, swapping, earlier).await,
        }
    };
    orders::beside(book, &scene, work).await
}

/// An earlier attempt swapped the tables: what follows is left to do.
async fn settled<S: Server>(server: &Arc<S>, context: &MigrationContext) -> Result<Summary> {
    let text = "an earlier attempt swapped the tables; finishing its work".to_owned();
    context.sink.event(Event::Note { text });
    let method = server.method().into();
    let summary = Summary { method, ..Summary::default() };
    finish(server, &context.sink, &context.progress, summary).await
}

/// From the claim on, orders are taken.
async fn claimed<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
    swapping: Arc<channel::Sender<bool>>,
    earlier: Option<State>,
) -> Result<Summary> {
    let (state, resumed) = match earlier {
        Some(state) => (state, true),
        None => (prepare(&*server, &context, !context.compare_all).await?, false),
    };
    if resumed {
        context.sink.event(Event::Resumed { rows: state.rows });
    }
    begun(server, context, swapping, state, resumed).await.map_err(|error| {
        if mutation::active(Rule::CopyKept) { error } else { error.keeping_the_copy() }
    })
}

/// From the first checkpoint on, there is a copy to keep.
async fn begun<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
    swapping: Arc<channel::Sender<bool>>,
    state: State,
    resumed: bool,
) -> Result<Summary> {
    let ended = run(Arc::clone(&server), context.clone(), Arc::clone(&swapping), state, resumed);
    let reason = match Box::pin(ended).await? {
        Ended::Swapped(summary) => return Ok(*summary),
        Ended::LogFails(reason) => reason,
    };
    context.sink.event(Event::Note { text: undo::instead(&reason) });
    let state = prepare(&*server, &context, false).await?;
    match Box::pin(run(server, context, swapping, state, false)).await? {
        Ended::Swapped(summary) => Ok(*summary),
        Ended::LogFails(reason) => {
            Err(Error::Internal(format!("a log that is not read: {reason}")))
        }
    }
}

/// How a run ended that did not fail.
enum Ended {
    /// The tables are swapped, and all is done.
    Swapped(Box<Summary>),
    /// The log does not tell what an undo has to put, for this reason: the tables have to be compared.
    LogFails(String),
}

async fn run<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
    swapping: Arc<channel::Sender<bool>>,
    state: State,
    resumed: bool,
) -> Result<Ended> {
    server.go_by_log(state.by_log);
    let estimate = server.estimate().await?;
    context.progress.rows_estimate.store(estimate.0.max(state.rows), Ordering::Relaxed);
    if !resumed && context.watching.is_none() {
        let method = server.method().into();
        let start = Start { method, rows_estimate: estimate.0, ..context.start };
        context.sink.event(Event::Started(Box::new(start)));
    }
    let start = state.position.clone();
    let stream = match server.stream(&start).await {
        Err(Error::StreamGap { reason, .. }) if state.by_log => return Ok(Ended::LogFails(reason)),
        stream => stream?,
    };
    failpoint::hit(Point::StreamOpened)?;
    let run = Run::new(
        server,
        context.settings,
        context.throttle,
        context.desk.directives(),
        context.progress,
        context.sink,
        context.approval,
        state,
        Arc::clone(&swapping),
        context.leave_misfits,
        context.watching,
    )?;
    if run.by_log && !resumed {
        run.dirty.nothing_is_ours_yet();
    }
    let stop = context.stop;
    let reporting = run.permission();
    let outcome = tokio::select! {
        outcome = phases(&run, resumed) => outcome,
        () = asked_to_stop(&stop, &swapping) => Err(Error::stopped("on request")),
        error = run.dirty.feed(&*run.server, stream, start) => Err(error),
        error = refresh::run_cycles(&run) => Err(error),
        never = reporting.report_throttle() => match never {},
        error = backpressure::report(&run) => Err(error),
    };
    if matches!(outcome, Err(Error::Stopped { .. }))
        // So that the next attempt need not copy again what this one did since the last one.
        && let Err(error) = run.checkpoint().await
    {
        tracing::info!(%error, "no last checkpoint");
    }
    let summary = match outcome {
        // Whoever ends the process ends the watch.
        Err(Error::Stopped { .. })
            if stop.is_cancelled() && run.progress.phase() == Phase::Watch =>
        {
            return Err(Error::WatchOver);
        }
        Err(error) if run.by_log && !run.caught_up.load(Ordering::Relaxed) => {
            return undo::log_fails(error).map(Ended::LogFails);
        }
        outcome => outcome?,
    };
    let summary = finish(&run.server, &run.sink, &run.progress, summary).await?;
    Ok(Ended::Swapped(Box::new(summary)))
}

/// Rule 1: position, then the shadow and the barrier, then the first chunk.
async fn prepare<S: Server>(server: &S, context: &MigrationContext, by_log: bool) -> Result<State> {
    let position: Position = server.position().await?;
    failpoint::hit(Point::Positioned)?;
    server.make_shadow(context.defer_indexes).await?;
    failpoint::hit(Point::ShadowMade)?;
    server.start_barrier().await?;
    failpoint::hit(Point::Barrier)?;
    let logged = match by_log && server.is_undo() {
        true => undo::log_since_swap(server, &*context.sink).await?,
        false => None,
    };
    let by_log = logged.is_some();
    let position = logged.unwrap_or(position);
    let (copied, limit) = match server.key_order() {
        // Every key is the stream's.
        _ if server.is_undo() => (Watermark::End, Limit::Open),
        KeyOrder::Server => (Watermark::Start, Limit::Open),
        KeyOrder::Bytes => (Watermark::Start, server.last().await?.map_or(Limit::Empty, Limit::At)),
    };
    let indexed = server.is_undo() || !context.defer_indexes;
    let hold = context.settings.hold;
    let state = State { position, copied, limit, rows: 0, indexed, hold, by_log, paused: None };
    server.checkpoint(Some(state.text()?)).await?;
    failpoint::hit(Point::FirstCheckpoint)?;
    if mutation::active(Rule::StreamBeforeCopy) {
        return Ok(State { position: server.position().await?, ..state });
    }
    Ok(state)
}

fn read_state(text: &str) -> Result<State> {
    serde_json::from_str(text).map_err(|error| Error::Stopped {
        reason: format!("the ledger's checkpoint cannot be read: {error}"),
        help: "discard it with: osc cleanup TABLE; then start again".into(),
    })
}

async fn phases<S: Server>(run: &Run<S>, resumed: bool) -> Result<Summary> {
    backpressure::see_quiet(run).await?;
    if !run.server.is_undo() {
        run.enter(Phase::Copy);
        copy::copy(run, resumed).await?;
    }

    // Side by side: comparing reads rows in the copy key's order, whatever other indexes there are.
    let ((), verified) = tokio::try_join!(index(run), key_and_compare(run))?;
    let suspects = verified.as_ref().map_or(&[][..], |verified| &verified.suspects);

    if let Some(watching) = &run.watching {
        match watch::watch(run, watching).await? {
            watch::Verdict::Over => return Err(Error::WatchOver),
            watch::Verdict::Undo(reason) => {
                let text = format!("the change is undone: {reason}");
                run.sink.event(Event::Warning { text });
            }
        }
    }
    let swapped = cut_over(run, suspects).await?;
    Ok(summary(run, verified.as_ref(), swapped))
}

async fn index<S: Server>(run: &Run<S>) -> Result<()> {
    if run.indexed.load(Ordering::Relaxed) {
        return Ok(());
    }
    run.enter(Phase::Index);
    failpoint::hit(Point::IndexBegun)?;
    run.retry_on_disconnect(|| run.server.build_indexes()).await?;
    failpoint::hit(Point::IndexBuilt)?;
    run.indexed.store(true, Ordering::Relaxed);
    Ok(())
}

async fn key_and_compare<S: Server>(run: &Run<S>) -> Result<Option<Verified>> {
    key_index::ensure(run).await?;
    // An undo finds by it what it has to put.
    if !run.settings.verify() && !run.server.is_undo() {
        return Ok(None);
    }
    run.enter(if run.server.is_undo() { Phase::PutBack } else { Phase::Verify });
    if run.by_log {
        return undo::put_what_the_log_names(run).await.map(Some);
    }
    let verified = verify(run).await?;
    failpoint::hit(Point::Verified)?;
    Ok(Some(verified))
}

fn summary<S: Server>(run: &Run<S>, verified: Option<&Verified>, swapped: Swapped) -> Summary {
    let (warnings, left_behind) = undo::left_behind(run).unzip();
    Summary {
        method: run.server.method().into(),
        rows: run.progress.rows_copied.load(Ordering::Relaxed),
        refreshed: run.progress.refreshed_keys.load(Ordering::Relaxed),
        verified_rows: verified.map(|verified| verified.rows.0),
        lock_ms: Some(swapped.locked.as_secs_f64() * 1000.0),
        attempts: swapped.attempts,
        chunk_ms: quantiles(&run.chunk_times),
        refresh_ms: quantiles(&run.refresh_times),
        warnings: warnings.into_iter().collect(),
        left_behind: left_behind.unwrap_or_default(),
        ..Summary::default()
    }
}

async fn finish<S: Server>(
    server: &Arc<S>,
    sink: &Arc<dyn Sink>,
    progress: &Progress,
    mut summary: Summary,
) -> Result<Summary> {
    progress.set_phase(Phase::Finish);
    sink.event(Event::Phase { phase: Phase::Finish });
    failpoint::hit(Point::Swapped).map_err(unfinished)?;
    summary.warnings.extend(server.after_swap().await.map_err(unfinished)?);
    summary.warnings.extend(progress.strangers());
    failpoint::hit(Point::AfterDone).map_err(unfinished)?;
    summary.retired = Some(server.retired());
    summary.undo_until = undo_window::until(server.undo_for());
    summary.undo = server.undo();
    summary.seconds = progress.elapsed().as_secs_f64();
    server.finish(&summary).await.map_err(unfinished)?;
    failpoint::hit(Point::Finished).map_err(unfinished)?;
    progress.set_phase(Phase::Done);
    Ok(summary)
}

/// The swap has happened: whatever fails now, the same command must be able to resume it.
fn unfinished(error: Error) -> Error {
    match error {
        error @ (Error::Connection { .. } | Error::Stopped { .. }) => error,
        error => Error::Stopped {
            reason: format!("the tables are swapped, but what follows is not done: {error}"),
            help: format!("fix what is named, then {AGAIN}"),
        },
    }
}
