//! The refresher: takes the dirty keys, waits until what they name is visible, and has the server
//! write those rows again.
//!
//! A cycle: take all dirty keys and the position they cover; commit something of ours, after which
//! every change that named one of them is visible (rule 2); then refresh. Keys ahead of the copy
//! are dropped: the chunk that will hold them starts later and sees the change (rule 3). Keys in a
//! chunk in flight wait until it has ended (rule 4), in a later cycle if that takes long: the chunk
//! itself may be waiting for another row to be refreshed. When all are done the position is applied.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::backend::{Clash, CopyOutcome, Server};
use super::backoff::jittered;
use super::coverage::Place;
use super::dirty::Batch;
use super::key_index;
use super::run::{Run, note};
use super::undo;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// Keys that one transaction refreshes.
const BATCH: usize = 500;

/// A cycle begins at least so often: it is the checkpoint too.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// How long keys gather, so that a hot row is refreshed once and not for each of its changes.
const GATHER: Duration = Duration::from_millis(25);

/// How long a cycle waits for chunks in flight.
const PATIENCE: Duration = Duration::from_millis(200);

/// Attempts at one batch before giving up, which takes about half a minute: values that move in chains
/// may need one for each link.
const ATTEMPTS: u32 = 200;

/// The longest pause between two of them.
const PAUSE: Duration = Duration::from_millis(250);

/// A clash may draw in so many keys.
const LARGEST_CLASH: usize = 10_000;

/// Runs cycles for ever; returns what ended them.
pub(super) async fn run_cycles<S: Server>(run: &Run<S>) -> Error {
    loop {
        tokio::select! {
            () = run.cycles.wanted() => {}
            () = run.dirty.wait(LONGEST_GAP) => tokio::time::sleep(GATHER).await,
        }
        let _alone = run.refresh_lock.lock().await;
        if let Err(error) = cycle(run).await {
            return error;
        }
    }
}

async fn cycle<S: Server>(run: &Run<S>) -> Result<()> {
    let number = run.cycles.begin();
    if mutation::active(Rule::OnlyCopyThrottled) {
        drop(run.throttle.admit(0).await?);
    }
    run.retry_on_disconnect(|| run.server.hold_claim()).await?;
    run.warn_of_strangers();
    let batch = run.dirty.take();
    failpoint::hit(Point::RefreshTaken)?;
    if mutation::active(Rule::AppliedAfterRefresh) {
        batch.position.iter().for_each(|position| run.set_applied(position.clone()));
    }
    if !mutation::active(Rule::VisibleFirst) {
        run.checkpoint().await?;
    }
    failpoint::hit(Point::RefreshCheckpointed)?;
    if !run.is_keyed() {
        defer(run, batch).await?;
        run.cycles.end(number);
        return Ok(());
    }
    let count = |keys: usize| run.progress.refreshed_keys.fetch_add(keys as u64, Ordering::Relaxed);
    let taken = batch.keys.len();
    match run.server.key_order() {
        KeyOrder::Bytes => {
            let left = refresh_around_chunks(run, batch.keys).await?;
            if !left.is_empty() {
                count(taken - left.len());
                run.dirty.add(left);
                run.cycles.end(number);
                return Ok(());
            }
        }
        KeyOrder::Server => {
            let _alone = mutation::skip_if(Rule::TurnsTaken, run.chunk_gate.write()).await;
            refresh_all(run, batch.keys.into_iter().collect(), 1).await?;
        }
    }
    if mutation::active(Rule::VisibleFirst) {
        run.checkpoint().await?;
    }
    if let Some(position) = batch.position {
        run.set_applied(position);
        failpoint::hit(Point::RefreshApplied)?;
    }
    count(taken);
    run.cycles.end(number);
    Ok(())
}

/// What a cycle does while no row of the shadow can be found: the next one after the building of the
/// copy key's index has the keys.
async fn defer<S: Server>(run: &Run<S>, batch: Batch) -> Result<()> {
    let mut keys = batch.keys;
    if run.server.key_order() == KeyOrder::Bytes {
        let coverage = run.coverage();
        keys.retain(|key| coverage.place(key) != Place::Ahead);
    }
    let deferred = run.dirty.defer(keys);
    if key_index::is_due(deferred) {
        return key_index::build(run).await;
    }
    if let Some(position) =
        batch.position.filter(|_| deferred.keys == 0 || mutation::active(Rule::DeferredHeld))
    {
        run.set_applied(position);
    }
    Ok(())
}

/// Returns the keys whose chunks are still in flight after a while.
async fn refresh_around_chunks<S: Server>(
    run: &Run<S>,
    mut keys: HashSet<Key>,
) -> Result<HashSet<Key>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = run.chunk_ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        let mut copied = Vec::new();
        {
            let coverage = run.coverage();
            keys.retain(|key| match coverage.place(key) {
                Place::Ahead => false,
                Place::InFlight if !mutation::active(Rule::InFlightWaits) => true,
                Place::InFlight | Place::Copied => {
                    copied.push(key.clone());
                    false
                }
            });
        }
        let settled = copied.is_empty();
        refresh_all(run, copied, run.threads()).await?;
        if keys.is_empty() {
            return Ok(keys);
        }
        if settled && tokio::time::timeout_at(deadline, ended).await.is_err() {
            return Ok(keys);
        }
    }
}

async fn refresh_all<S: Server>(run: &Run<S>, keys: Vec<Key>, width: usize) -> Result<()> {
    let batches: Vec<Vec<Key>> = sorted(keys).chunks(BATCH).map(<[Key]>::to_vec).collect();
    stream::iter(batches)
        .map(|batch| refresh_keys(run, batch))
        .buffer_unordered(width.max(1))
        .try_collect()
        .await
}

/// Refreshes `keys`, whatever stands in the way but real duplicates.
pub(super) async fn refresh_keys<S: Server>(run: &Run<S>, keys: Vec<Key>) -> Result<()> {
    let mut parts = vec![keys];
    // In an undo: groups of which a row cannot go back, and rows that have waited for these others.
    let (mut unfit, mut waited) = (HashSet::new(), HashSet::new());
    let mut attempts = 0;
    while let Some(keys) = parts.pop() {
        if keys.is_empty() {
            continue;
        }
        let started = Instant::now();
        let outcome = match write(run, &keys).await {
            Ok(outcome) => outcome,
            Err(error) => {
                if undo::is_misfit(run, &keys, error)? {
                    // That was of use.
                    attempts = 0;
                } else {
                    parts.extend(halves(&keys));
                    unfit.insert(sorted(keys));
                }
                continue;
            }
        };
        match outcome {
            CopyOutcome::Written(_) => {
                failpoint::hit(Point::RefreshWritten)?;
                run.misfits.fit(&keys);
                let took = started.elapsed();
                note(&run.refresh_times, took);
                run.progress.refresh_times.note(took);
                continue;
            }
            CopyOutcome::Contention => {
                tracing::debug!(attempts, keys = keys.len(), "a refresh met a lock");
                if keys.len() > 1 && attempts % 3 == 2 {
                    parts.extend(halves(&keys));
                } else {
                    parts.push(keys);
                }
            }
            CopyOutcome::Clash(clash) => {
                tracing::debug!(attempts, ?clash, "a refresh met unique values of stale rows");
                let clashing: HashSet<&Key> = clash.own.iter().collect();
                let rest = keys.iter().filter(|key| !clashing.contains(key)).cloned().collect();
                let together: HashSet<Key> =
                    clash.own.iter().chain(&clash.holders).cloned().collect();
                // Where all clashed with all there is nothing to set clashing.
                let together =
                    if together.is_empty() { keys.clone() } else { together.into_iter().collect() };
                let rest = if clash.own.is_empty() && clash.holders.is_empty() {
                    Vec::new()
                } else {
                    rest
                };
                if together.len() > LARGEST_CLASH {
                    let message = format!("unique values on {} keep moving", clash.index);
                    return Err(Error::server("refreshing rows", message));
                }
                let merged = merge_clash(together, &keys, &clash);
                if !unfit.contains(&merged) {
                    parts.push(rest);
                    parts.push(merged);
                } else if keys.len() > 1 {
                    parts.extend(halves(&keys));
                } else if waited.insert((keys.clone(), sorted(clash.holders.clone()))) {
                    // One of them cannot go back. Those who hold the value first: perhaps they let it go.
                    parts.push(keys);
                    parts.push(clash.holders);
                } else {
                    let key = &clash.index;
                    let reason = format!("its value of {key} belongs to a row that cannot go back");
                    undo::is_misfit(run, &keys, Error::Data { reason, rows: Vec::new() })?;
                    attempts = 0;
                    continue;
                }
            }
        }
        attempts += 1;
        if attempts > ATTEMPTS {
            let reason = "refreshing rows met deadlocks or moving unique values too often";
            return Err(Error::stopped(reason));
        }
        let pause = Duration::from_millis(2 * u64::from(attempts)).min(PAUSE);
        tokio::time::sleep(jittered(pause)).await;
    }
    Ok(())
}

/// One attempt. A clash is one with stale rows: it fails where the original has duplicates.
async fn write<S: Server>(run: &Run<S>, keys: &[Key]) -> Result<CopyOutcome> {
    let outcome = run.with_room(|| run.server.refresh(keys)).await?;
    if let CopyOutcome::Clash(clash) = &outcome {
        // Two of the rows that are written at once have one value where no row has held it before.
        if clash.own.is_empty() && clash.holders.is_empty() {
            let among = Clash { own: keys.to_vec(), ..clash.clone() };
            fail_on_duplicates(run, &among, None).await?;
        }
        fail_on_duplicates(run, clash, None).await?;
    }
    Ok(outcome)
}

/// What must be refreshed in one transaction: the clashing rows with those who hold their values.
/// A clash inside such a group (all of `own` in `keys`, few keys) keeps the group and adds to it.
fn merge_clash(together: Vec<Key>, keys: &[Key], clash: &Clash) -> Vec<Key> {
    if keys.len() > BATCH / 2 || clash.own.is_empty() {
        return sorted(together);
    }
    let mut all: HashSet<Key> = together.into_iter().collect();
    all.extend(keys.iter().cloned());
    sorted(all.into_iter().collect())
}

fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort_unstable();
    keys
}

/// Both halves of a part, the first of which comes up next.
fn halves(keys: &[Key]) -> [Vec<Key>; 2] {
    let (left, right) = keys.split_at(keys.len() / 2);
    [right.to_vec(), left.to_vec()]
}

/// Ends the run when the clash is no staleness but real duplicates in the original.
pub(super) async fn fail_on_duplicates<S: Server>(
    run: &Run<S>,
    clash: &Clash,
    range: Option<&crate::key::KeyRange>,
) -> Result<()> {
    let keys: Vec<Key> = clash.own.iter().chain(&clash.holders).cloned().collect();
    if keys.is_empty() && range.is_none() {
        return Ok(());
    }
    let rows =
        run.retry_on_disconnect(|| run.server.duplicates(&clash.index, range, &keys)).await?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(Error::Data {
        reason: format!("rows have the same value of the unique key {}", clash.index),
        rows,
    })
}
