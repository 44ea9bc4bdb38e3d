//! The verification: both tables compared chunk by chunk, by checksums that the server computes.
//!
//! The application writes meanwhile, so a range may differ because some of its keys are dirty.
//! Such keys become suspects, and are compared again after everything committed by then has been
//! refreshed. A suspect that differs although the stream did not name it again is a failure. One
//! that is written all the time is compared once more under the cut-over's lock, where nothing
//! moves (rule 7).

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::backend::Server;
use super::run::Run;
use super::undo;
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::key::{Key, KeyRange, Rows};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// Comparing reads only, so that a chunk may hold more rows than one of the copy.
const FIRST_ROWS: Rows = Rows(20_000);

/// A chunk that differs is compared again in parts of so many rows: the keys of a whole one would be
/// many, for the few that the application writes just now.
const PART: Rows = Rows(2_000);

/// So many differing rows are looked up in one part.
const SUSPECTS_A_PART: usize = 2_000;

/// With more suspects than this left, the tables just differ.
const MOST_SUSPECTS: usize = 20_000;

/// Rounds of catching up and comparing the suspects again.
const ROUNDS: u32 = 6;

/// Suspects that the cut-over may have to compare under its lock.
const MOST_UNDER_LOCK: usize = 500;

/// Keys printed when the tables differ.
const SHOWN: usize = 10;

/// What the verification found.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// Rows compared.
    pub rows: Rows,
    /// Keys that are written so often that only the cut-over can tell.
    pub suspects: Vec<Key>,
}

/// Compares the whole of both tables.
pub(super) async fn verify<S: Server>(run: &Run<S>) -> Result<Verified> {
    run.progress.rows_verified.store(0, Ordering::Relaxed);
    watch_shadow(run).await?;
    let suspects = Mutex::new(HashSet::new());
    let compared = Mutex::default();
    let all =
        if run.server.is_undo() { &run.progress.rows_estimate } else { &run.progress.rows_copied };
    let all = Rows(all.load(Ordering::Relaxed));
    let walk = Walk::new(&compared, FIRST_ROWS, all);
    stream::iter(0..run.threads())
        .map(|_| worker(run, &walk, &suspects))
        .buffer_unordered(run.threads().max(1))
        .try_collect::<()>()
        .await?;
    let suspects = suspects.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let suspects = recheck_suspects(run, suspects.into_iter().collect()).await?;
    Ok(Verified { rows: Rows(run.progress.rows_verified.load(Ordering::Relaxed)), suspects })
}

/// From here on the stream reports what others write to the shadow. What it does not report was
/// committed before, and is compared.
async fn watch_shadow<S: Server>(run: &Run<S>) -> Result<()> {
    let marker = run.dirty.next_marker();
    {
        let _alone = run.refresh_lock.lock().await;
        run.server.watch_shadow(marker);
    }
    run.catch_up_to(marker).await
}

async fn worker<S: Server>(
    run: &Run<S>,
    walk: &Walk<'_>,
    suspects: &Mutex<HashSet<Key>>,
) -> Result<()> {
    loop {
        let rows = walk.sizer.rows(run.threads());
        let _turn = run.throttle.admit(0).await?;
        let Some(chunk) = walk.next(run, rows).await? else { return Ok(()) };
        let started = Instant::now();
        let comparison = run.retry_on_disconnect(|| run.server.compare(&chunk.range)).await?;
        failpoint::hit(Point::Compared)?;
        if !comparison.equal && !mutation::active(Rule::DifferencesCount) {
            walk.sizer.shrink(PART);
            let keys = bisect(run, &chunk.range, comparison.rows).await?;
            suspect(run, suspects, keys)?;
        } else {
            walk.learn(&chunk, started.elapsed(), run.chunk_time());
        }
        walk.end(&chunk);
        run.progress.rows_verified.fetch_add(comparison.rows.0, Ordering::Relaxed);
    }
}

/// Adds to the suspects, which must not be too many.
fn suspect<S: Server>(
    run: &Run<S>,
    suspects: &Mutex<HashSet<Key>>,
    keys: impl IntoIterator<Item = Key>,
) -> Result<()> {
    let mut suspects = suspects.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    suspects.extend(keys);
    if suspects.len() > MOST_SUSPECTS {
        return Err(failure(run, suspects.iter().take(SHOWN), suspects.len()));
    }
    Ok(())
}

/// Finds the keys of the rows that differ in a range that does, most parts of which are equal by now.
async fn bisect<S: Server>(run: &Run<S>, range: &KeyRange, rows: Rows) -> Result<Vec<Key>> {
    let mut found = Vec::new();
    let mut after = range.after.clone();
    for left in (0..rows.0.div_ceil(PART.0).max(1)).rev() {
        let inner = match left {
            0 => None,
            _ => run.retry_on_disconnect(|| run.server.bound(after.as_ref(), PART)).await?,
        };
        let last = inner.is_none();
        // Rows may have gone since they were counted: a part beyond the range does no harm.
        let part = KeyRange { after, upto: inner.or_else(|| range.upto.clone()) };
        let equal =
            rows > PART && run.retry_on_disconnect(|| run.server.compare(&part)).await?.equal;
        if !equal {
            found.extend(differing(run, &part).await?);
        }
        if last {
            break;
        }
        after = part.upto;
    }
    Ok(found)
}

/// The keys of the rows that differ in a part: in an undo, of those that differ though they were put.
async fn differing<S: Server>(run: &Run<S>, part: &KeyRange) -> Result<Vec<Key>> {
    if run.server.is_undo() {
        return undo::settle(run, part).await;
    }
    run.retry_on_disconnect(|| run.server.differing(part, SUSPECTS_A_PART)).await
}

/// Compares suspects again and again until each is equal, surely different, or just too busy.
async fn recheck_suspects<S: Server>(run: &Run<S>, mut suspects: Vec<Key>) -> Result<Vec<Key>> {
    for _ in 0..ROUNDS {
        if suspects.is_empty() {
            break;
        }
        run.dirty.watch(suspects.iter().cloned());
        run.catch_up().await?;
        suspects = run.retry_on_disconnect(|| run.server.still_differing(&suspects)).await?;
        suspects = run.misfits.without(suspects);
        // A commit may be visible to the comparison and not yet named by the stream.
        run.catch_up().await?;
        let untouched: Vec<&Key> =
            suspects.iter().filter(|key| run.dirty.is_untouched(key)).collect();
        if !untouched.is_empty() && run.server.key_order() == crate::key::KeyOrder::Bytes {
            let count = untouched.len();
            return Err(failure(run, untouched.into_iter().take(SHOWN), count));
        }
    }
    run.dirty.watch([]);
    if suspects.len() > MOST_UNDER_LOCK {
        return Err(failure(run, suspects.iter().take(SHOWN), suspects.len()));
    }
    Ok(suspects)
}

fn failure<'a, S: Server>(
    run: &Run<S>,
    keys: impl Iterator<Item = &'a Key>,
    count: usize,
) -> Error {
    Error::Verification {
        count: count as u64,
        keys: keys.map(|key| run.server.describe(key)).collect(),
    }
}
