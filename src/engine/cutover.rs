//! The cut-over: permission to swap, nearly nothing left to refresh, and then attempts of one atomic
//! step each, until one comes through.

use std::time::Duration;

use super::backend::{Drain, Drained, Server, SwapOutcome};
use super::backoff::Backoff;
use super::dirty::Batch;
use super::event::Event;
use super::permission::Given;
use super::progress::Phase;
use super::run::Run;
use super::undo;
use crate::error::{Error, Result, end_transactions};
use crate::key::Key;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// More dirty keys than this are refreshed before the lock is requested: those left are refreshed
/// under it, one session alone, at about 20,000 a second.
const FEW_KEYS: usize = 200;

/// Rounds of catching up before an attempt is made with what is left.
const ROUNDS: u32 = 20;

/// The swap as it came through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swapped {
    /// How long the original was locked.
    pub locked: Duration,
    /// Which attempt it was, from 1.
    pub attempts: u32,
}

/// Waits for permission, then swaps. `suspects` are compared under the lock.
pub(super) async fn cut_over<S: Server>(run: &Run<S>, suspects: &[Key]) -> Result<Swapped> {
    undo::fit_or_fail(run).await?;
    run.permission().wait().await?;
    run.enter(Phase::CutOver);
    run.retry_on_disconnect(|| run.server.before_swap()).await?;
    failpoint::hit(Point::SwapPrepared)?;
    let attempts = run.settings.cut_over_attempts().get();
    let mut backoff = Backoff::for_table_lock();
    for attempt in 1..=attempts {
        if run.permission().wait().await? == Given::Awaited {
            run.enter(Phase::CutOver);
        }
        drain_backlog(run).await?;
        undo::fit_or_fail(run).await?;
        let marker = run.dirty.lock_marker();
        run.with_room(|| run.server.announce_swap(marker)).await?;
        let alone = mutation::skip_if(Rule::CutOverAlone, run.refresh_lock.lock()).await;
        let mut drainer = Drainer { run, suspects, taken: None };
        let outcome = run.server.swap(marker, &mut drainer).await;
        let taken = drainer.taken;
        let outcome = match outcome {
            // A row that was written a moment ago: the next refresh says whether it is a misfit.
            Err(error @ Error::Data { .. }) if run.server.is_undo() => {
                Ok(SwapOutcome::NotYet(error.to_string()))
            }
            outcome => outcome,
        };
        match outcome {
            Ok(SwapOutcome::Swapped { locked }) => {
                return Ok(Swapped { locked, attempts: attempt });
            }
            Ok(SwapOutcome::NotYet(reason)) => {
                run.dirty.set_swapping(false);
                // Taken for this attempt, refreshed by none.
                run.dirty.add(taken.into_iter().flat_map(|batch| batch.keys));
                drop(alone);
                // The lock is gone: what the stream reports of the shadow from here on is others'.
                run.with_room(|| run.server.mark(run.dirty.next_marker())).await?;
                let pause = backoff.pause();
                run.progress.set_blocked(Some(reason.clone()));
                run.sink.event(Event::CutOverRetry {
                    attempt,
                    attempts,
                    retry_seconds: Some(pause.as_secs_f64()),
                    reason,
                });
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Stopped {
        reason: format!("could not get the table lock in {attempts} attempts; the copy is kept"),
        help: end_transactions("the table"),
    })
}

/// Refreshes until few keys are dirty, or it does not get better.
async fn drain_backlog<S: Server>(run: &Run<S>) -> Result<()> {
    for _ in 0..ROUNDS {
        run.catch_up().await?;
        if run.dirty.len() <= FEW_KEYS {
            break;
        }
    }
    Ok(())
}

struct Drainer<'a, S> {
    run: &'a Run<S>,
    suspects: &'a [Key],
    taken: Option<Batch>,
}

impl<S: Server> Drain for Drainer<'_, S> {
    async fn drain(&mut self, marker: u64) -> Result<Drained> {
        let run = self.run;
        let marker = if mutation::active(Rule::MarkerAwaited) { 0 } else { marker };
        tokio::time::timeout(run.settings.cut_over_timeout(), run.dirty.marker(marker))
            .await
            .map_err(|_| Error::Stopped {
                reason: "the stream did not reach the lock's marker in time".into(),
                help: String::new(),
            })?;
        let batch = self.taken.insert(run.dirty.take());
        run.dirty.set_swapping(true);
        failpoint::hit(Point::SwapDrained)?;
        Ok(Drained {
            dirty: batch.keys.iter().cloned().collect(),
            suspects: run.misfits.without(self.suspects.to_vec()),
        })
    }
}
