//! The copy: chunks in key order, several in flight, each one statement in one short transaction.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::backend::{CopyOutcome, Server};
use super::backoff::jittered;
use super::dirty::SLOW_COPY_KEYS;
use super::key_index;
use super::refresh::{fail_on_duplicates, refresh_keys};
use super::run::{FULL_FOR, Run, note};
use super::walk::Walk;
use crate::config::settings::MOST_THREADS;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder, KeyRange, Rows};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// Attempts at one chunk before giving up.
const ATTEMPTS: u32 = 60;

/// Copies what the coverage says is missing.
pub(super) async fn copy<S: Server>(run: &Run<S>, resumed: bool) -> Result<()> {
    let copied = run.progress.rows_copied.load(Ordering::Relaxed);
    let left = run.progress.rows_estimate.load(Ordering::Relaxed).saturating_sub(copied);
    let walk = Walk::new(&run.coverage, Rows(run.settings.chunk_size().get()), Rows(left));
    stream::iter(0..MOST_THREADS)
        .map(|number| worker(run, &walk, number, resumed))
        .buffer_unordered(MOST_THREADS)
        .try_collect()
        .await
}

async fn worker<S: Server>(
    run: &Run<S>,
    walk: &Walk<'_>,
    number: usize,
    resumed: bool,
) -> Result<()> {
    loop {
        wait_for_turn(run, walk, number).await;
        if walk.is_over() {
            return Ok(());
        }
        while run.dirty.len() > SLOW_COPY_KEYS && !mutation::active(Rule::CopyWaits) {
            run.cycles.next_whole().await;
        }
        let rows = walk.sizer.rows(run.threads());
        let admitted = u32::try_from(rows.0).unwrap_or(u32::MAX).min(run.throttle.most_rows());
        let rows = Rows(u64::from(admitted));
        let _turn = run.throttle.admit(admitted).await?;
        let Some(chunk) = walk.next(run, rows).await? else {
            run.throttle.unused(admitted);
            return Ok(());
        };
        let started = Instant::now();
        failpoint::hit(Point::ChunkPlanned)?;
        let written = copy_chunk(run, &chunk.range, resumed).await?;
        failpoint::hit(Point::ChunkCopied)?;
        let took = started.elapsed();
        note(&run.chunk_times, took);
        run.progress.chunk_times.note(took);
        walk.learn(&chunk, took, run.chunk_time());
        let copied = u32::try_from(written.0).unwrap_or(u32::MAX);
        run.throttle.unused(admitted.saturating_sub(copied));
        run.progress.rows_copied.fetch_add(written.0, Ordering::Relaxed);
        walk.end(&chunk);
        run.chunk_ended.notify_waiters();
    }
}

/// Workers above the wished number wait for more to be wished, or for the end.
async fn wait_for_turn<S: Server>(run: &Run<S>, walk: &Walk<'_>, number: usize) {
    let mut directives = run.directives.clone();
    while number >= run.threads() && !walk.is_over() {
        tokio::select! {
            changed = directives.changed() => if changed.is_err() {
                run.chunk_ended.notified().await;
            },
            () = run.chunk_ended.notified() => {}
        }
    }
}

/// Copies one chunk. Rows that clash on a unique key with stale rows of the shadow are left out,
/// and then written together with those in one transaction (rule 5); only then is the chunk done.
async fn copy_chunk<S: Server>(run: &Run<S>, range: &KeyRange, clear: bool) -> Result<Rows> {
    let mut clear = clear;
    let mut clashing: HashSet<Key> = HashSet::new();
    let mut stale: HashSet<Key> = HashSet::new();
    let full_until = Instant::now() + FULL_FOR;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let except: Vec<Key> = clashing.iter().cloned().collect();
        if clear {
            // What is to be cleared must be found.
            key_index::ensure(run).await?;
        }
        // Given back between attempts: the refresher may have what this one waits for.
        let turn = run.chunk_gate.read().await;
        // Under `KeyOrder::Server`, refreshes may have put rows ahead of the copy.
        let met = run.server.key_order() == KeyOrder::Server && run.is_keyed();
        let outcome = match run.server.copy(range, clear || met, &except).await {
            Err(error) if error.is_connection() && mutation::active(Rule::LostChunkAgain) => {
                CopyOutcome::Written(Rows(0))
            }
            Err(error) if error.is_connection() => {
                // Whether it was committed is not known: the next attempt clears.
                clear = true;
                tracing::info!(%error, "copying the chunk again");
                run.lost(&error);
                run.retry_on_disconnect(|| run.server.hold_claim()).await?;
                CopyOutcome::Contention
            }
            // The statement was rolled back. The server's room is no fault of this chunk's.
            Err(error) if error.is_full() && Instant::now() < full_until => {
                drop(turn);
                run.wait_for_room(&error).await;
                attempt -= 1;
                continue;
            }
            outcome => outcome?,
        };
        match outcome {
            CopyOutcome::Written(rows) => {
                drop(turn);
                let late: Vec<Key> = clashing.iter().chain(&stale).cloned().collect();
                refresh_alone(run, late).await?;
                return Ok(Rows(rows.0 + clashing.len() as u64));
            }
            CopyOutcome::Contention => {
                drop(turn);
                tracing::debug!(
                    attempt,
                    ?range,
                    "a chunk met a lock or a row that is there already"
                );
                // Before there is a key nothing says that a row is there already, and none is.
                clear |= run.is_keyed();
                let pause = Duration::from_millis(5 << attempt.min(7));
                tokio::time::sleep(jittered(pause)).await;
            }
            CopyOutcome::Clash(clash) => {
                tracing::debug!(attempt, ?clash, "a chunk met unique values of stale rows");
                fail_on_duplicates(run, &clash, Some(range)).await?;
                drop(turn);
                // Those who hold the values are stale: the next attempt may meet others only.
                refresh_alone(run, clash.holders.clone()).await?;
                clashing.extend(clash.own);
                stale.extend(clash.holders);
            }
        }
    }
    Err(Error::stopped("a chunk met deadlocks, lost connections or moving unique values too often"))
}

/// Refreshes keys outside the chunk too, so not beside a cycle: of two refreshes of one key the one
/// that read it earlier may write it later, and a row that was deleted in between would come back.
/// A change that this one did not see is named to a cycle that starts after it.
async fn refresh_alone<S: Server>(run: &Run<S>, keys: Vec<Key>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let _alone = mutation::skip_if(Rule::RepairAlone, run.refresh_lock.lock()).await;
    key_index::build(run).await?;
    refresh_keys(run, keys).await
}
