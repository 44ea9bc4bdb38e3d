//! A migration by copy, from claim to finish.
//!
//! ```text
//! claim ─ position ─ shadow ─ stream ─ barrier ─ copy ─ indexes ─ verify ─ hold ─ swap ─ finish
//!                                └──── refresher, checkpoints ──────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backend::Server;
use super::coverage::{Limit, Watermark};
use super::cutover::{Swapped, cut_over};
use super::progress::{Event, Phase, Progress, Sink, Summary};
use super::run::{Run, State, quantiles};
use super::verify::{Verified, verify};
use super::{backpressure, copy, key_index, refresh, undo};
use crate::config::settings::Settings;
use crate::control::Directives;
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
    /// The operator's directives.
    pub directives: watch::Receiver<Directives>,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Ends the run, resumably.
    pub stop: CancellationToken,
    /// In an undo, leave rows behind that cannot go back.
    pub leave_misfits: bool,
    /// In an undo, compare all rows, whatever the log says.
    pub compare_all: bool,
}

/// Migrates the table. On an error the original is untouched, unless the summary says otherwise.
pub(crate) async fn migrate<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
) -> Result<Summary> {
    let stop = context.stop.clone();
    // True from the moment when everything is drained: the swap is then seen through.
    let swapping = Arc::new(watch::Sender::new(false));
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
async fn asked_to_stop(stop: &CancellationToken, swapping: &watch::Sender<bool>) {
    stop.cancelled().await;
    // The sender is borrowed: waiting cannot fail.
    let _ = swapping.subscribe().wait_for(|swapping| !swapping).await;
}

async fn method<S: Server>(
    server: Arc<S>,
    context: MigrationContext,
    swapping: Arc<watch::Sender<bool>>,
) -> Result<Summary> {
    context.sink.event(Event::Phase { phase: Phase::Prepare });
    let earlier = server.claim().await?;
    if let Some(run) = server.number() {
        context.progress.subject().set_run(run);
    }
    failpoint::hit(Point::Claimed)?;
    if earlier.as_ref().is_some_and(|earlier| earlier.swapped) {
        let text = "an earlier attempt swapped the tables; finishing its work".to_owned();
        context.sink.event(Event::Note { text });
        let method = server.method().into();
        let summary = Summary { method, ..Summary::default() };
        return finish(&server, &context.sink, &context.progress, summary).await;
    }
    let (state, resumed) = match earlier {
        Some(earlier) => (resume(read_state(&earlier.state)?, &context.settings)?, true),
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
    swapping: Arc<watch::Sender<bool>>,
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
    swapping: Arc<watch::Sender<bool>>,
    state: State,
    resumed: bool,
) -> Result<Ended> {
    server.go_by_log(state.by_log);
    let estimate = server.estimate().await?;
    context.progress.rows_estimate.store(estimate.0.max(state.rows), Ordering::Relaxed);
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
        context.directives,
        context.progress,
        context.sink,
        state,
        Arc::clone(&swapping),
        context.leave_misfits,
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

/// What the first attempt was promised stays.
fn resume(state: State, settings: &Settings) -> Result<State> {
    let hold = state.hold || settings.hold;
    if hold && settings.control_file.is_none() {
        return Err(Error::Stopped {
            reason: "the run was begun with --hold, and without a control file nothing could end the hold"
                .into(),
            help: "run the same command with --hold --control-file FILE".into(),
        });
    }
    Ok(State { hold, ..state })
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
    Summary {
        method: run.server.method().into(),
        rows: run.progress.rows_copied.load(Ordering::Relaxed),
        refreshed: run.progress.refreshed_keys.load(Ordering::Relaxed),
        verified_rows: verified.map(|verified| verified.rows.0),
        lock_ms: Some(swapped.locked.as_secs_f64() * 1000.0),
        attempts: swapped.attempts,
        chunk_ms: quantiles(&run.chunk_times),
        refresh_ms: quantiles(&run.refresh_times),
        warnings: undo::left_behind(run).into_iter().collect(),
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
