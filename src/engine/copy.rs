//! The copy: chunks in key order, several in flight, each one statement in one short transaction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::backend::{CopyOutcome, Server};
use super::coverage::{ChunkNumber, Watermark};
use super::dirty::SLOW_COPY_KEYS;
use super::key_index;
use super::refresh::{fail_on_duplicates, refresh_keys};
use super::run::{FULL_FOR, Run, jittered, note};
use crate::config::settings::MOST_THREADS;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder, KeyRange, Rows};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

const FEWEST_ROWS: u64 = 50;
const MOST_ROWS: u64 = 50_000;

/// Attempts at one chunk before giving up.
const ATTEMPTS: u32 = 60;

/// Chunks are not made smaller than this so that all workers end at the same time.
const FEWEST_ROWS_AT_THE_END: u64 = 2000;

/// Steers the rows of a chunk towards the time that one should take.
#[derive(Debug)]
pub struct Sizer {
    rows: CachePadded<AtomicU64>,
    left: CachePadded<AtomicU64>,
}

impl Sizer {
    /// Begins with chunks of `rows`, where about `left` rows are left to do.
    pub fn new(rows: Rows, left: Rows) -> Self {
        let rows = rows.0.clamp(FEWEST_ROWS, MOST_ROWS);
        Self {
            rows: CachePadded::new(AtomicU64::new(rows)),
            left: CachePadded::new(AtomicU64::new(left.0)),
        }
    }

    /// Rows of the next chunk for one of `workers`: smaller ones at the end, so that none is waited
    /// for by all the others.
    pub fn rows(&self, workers: usize) -> Rows {
        let rows = self.rows.load(Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        let share = left / (2 * workers.max(1) as u64);
        // An estimate that was too low tells nothing.
        Rows(if left == 0 { rows } else { rows.min(share.max(FEWEST_ROWS_AT_THE_END)) })
    }

    /// Notes a chunk that a worker was given.
    pub fn hand_out(&self, rows: Rows) {
        let less = |left: u64| Some(left.saturating_sub(rows.0));
        // The closure never declines.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Makes chunks much smaller, but not smaller than `least`.
    pub fn shrink(&self, least: Rows) {
        let smaller = |rows: u64| Some((rows / 4).max(least.0.min(rows)));
        // The closure never declines.
        let _ = self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
    }

    /// Learns from a chunk of `rows` that took `took` where `target` was wanted. Grows by half at
    /// most, since a chunk that is too long cannot be taken back; shrinks at once.
    pub fn learn(&self, rows: Rows, took: Duration, target: Duration) {
        if rows.0 < FEWEST_ROWS {
            return;
        }
        let ratio = (target.as_secs_f64() / took.as_secs_f64().max(0.0005)).clamp(0.1, 1.5);
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive row count far below 2^52"
        )]
        let next = (rows.0 as f64 * ratio) as u64;
        // One that was made small on purpose and quick for it tells nothing.
        if ratio < 1.0 || next > self.rows.load(Ordering::Relaxed) {
            self.rows.store(next.clamp(FEWEST_ROWS, MOST_ROWS), Ordering::Relaxed);
        }
    }
}

/// Copies what the coverage says is missing.
pub async fn copy<S: Server>(run: &Run<S>, resumed: bool) -> Result<()> {
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let left = count(&run.progress.rows_estimate).saturating_sub(count(&run.progress.rows_copied));
    let sizer = Sizer::new(run.settings.chunk_rows, Rows(left));
    let planner = tokio::sync::Mutex::new(());
    stream::iter(0..MOST_THREADS)
        .map(|number| worker(run, &sizer, &planner, number, resumed))
        .buffer_unordered(MOST_THREADS)
        .try_collect()
        .await
}

async fn worker<S: Server>(
    run: &Run<S>,
    sizer: &Sizer,
    planner: &tokio::sync::Mutex<()>,
    number: usize,
    resumed: bool,
) -> Result<()> {
    loop {
        wait_for_turn(run, number).await;
        if *run.coverage().handed_out() == Watermark::End {
            return Ok(());
        }
        while run.dirty.len() > SLOW_COPY_KEYS && !mutation::active(Rule::CopyWaits) {
            run.cycles.next_whole().await;
        }
        let rows = sizer.rows(run.threads());
        let admitted = u32::try_from(rows.0).unwrap_or(u32::MAX).min(run.throttle.most_rows());
        let rows = Rows(u64::from(admitted));
        let _turn = run.throttle.admit(admitted).await?;
        let Some((chunk, range)) = plan(run, planner, rows).await? else {
            run.throttle.unused(admitted);
            return Ok(());
        };
        sizer.hand_out(rows);
        let started = Instant::now();
        failpoint::hit(Point::ChunkPlanned)?;
        let written = copy_chunk(run, &range, resumed).await?;
        failpoint::hit(Point::ChunkCopied)?;
        let took = started.elapsed();
        note(&run.chunk_times, took);
        if range.upto.is_some() {
            sizer.learn(rows, took, run.chunk_time());
        }
        let copied = u32::try_from(written.0).unwrap_or(u32::MAX);
        run.throttle.unused(admitted.saturating_sub(copied));
        run.progress.rows_copied.fetch_add(written.0, Ordering::Relaxed);
        run.coverage().end(chunk);
        run.chunk_ended.notify_waiters();
    }
}

/// Workers above the wished number wait for more to be wished, or for the end.
async fn wait_for_turn<S: Server>(run: &Run<S>, number: usize) {
    let mut directives = run.directives.clone();
    while number >= run.threads() && *run.coverage().handed_out() != Watermark::End {
        tokio::select! {
            changed = directives.changed() => if changed.is_err() {
                run.chunk_ended.notified().await;
            },
            () = run.chunk_ended.notified() => {}
        }
    }
}

async fn plan<S: Server>(
    run: &Run<S>,
    planner: &tokio::sync::Mutex<()>,
    rows: Rows,
) -> Result<Option<(ChunkNumber, KeyRange)>> {
    let _alone = planner.lock().await;
    let after = match run.coverage().handed_out().clone() {
        Watermark::Start => None,
        Watermark::At(key) => Some(key),
        Watermark::End => return Ok(None),
    };
    let upto = run.steadily(|| run.server.bound(after.as_ref(), rows)).await?;
    Ok(Some(run.coverage().hand_out(upto)))
}

/// Copies one chunk. Rows that clash on a unique key with stale rows of the shadow are left out,
/// and then written together with those in one transaction (rule 5); only then is the chunk done.
async fn copy_chunk<S: Server>(run: &Run<S>, range: &KeyRange, clear: bool) -> Result<Rows> {
    let mut clear = clear;
    let mut apart: HashSet<Key> = HashSet::new();
    let mut stale: HashSet<Key> = HashSet::new();
    let full_until = Instant::now() + FULL_FOR;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let except: Vec<Key> = apart.iter().cloned().collect();
        if clear {
            // What is to be cleared must be found.
            key_index::ensure(run).await?;
        }
        // Given back between attempts: the refresher may have what this one waits for.
        let turn = run.apart.read().await;
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
                run.steadily(|| run.server.hold_claim()).await?;
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
                let late: Vec<Key> = apart.iter().chain(&stale).cloned().collect();
                refresh_alone(run, late).await?;
                return Ok(Rows(rows.0 + apart.len() as u64));
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
                apart.extend(clash.own);
                stale.extend(clash.holders);
            }
        }
    }
    Err(Error::Stopped {
        reason: "a chunk met deadlocks, lost connections or moving unique values too often".into(),
        help: crate::error::AGAIN.into(),
    })
}

/// Refreshes keys outside the chunk too, so not beside a cycle: of two refreshes of one key the one
/// that read it earlier may write it later, and a row that was deleted in between would come back.
/// A change that this one did not see is named to a cycle that starts after it.
async fn refresh_alone<S: Server>(run: &Run<S>, keys: Vec<Key>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let _alone = mutation::skip_if(Rule::RepairAlone, run.refreshing.lock()).await;
    key_index::build(run).await?;
    refresh_keys(run, keys).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_slowly_and_shrink_at_once() {
        let rows = |sizer: &Sizer| sizer.rows(2);
        let sizer = Sizer::new(Rows(1000), Rows(1_000_000));
        sizer.learn(Rows(1000), Duration::from_millis(10), Duration::from_millis(500));
        assert_eq!(rows(&sizer), Rows(1500));
        sizer.learn(Rows(1500), Duration::from_secs(5), Duration::from_millis(500));
        assert_eq!(rows(&sizer), Rows(150));
        sizer.learn(Rows(150), Duration::from_secs(500), Duration::from_millis(500));
        assert_eq!(rows(&sizer), Rows(FEWEST_ROWS));
    }

    #[test]
    fn the_last_chunks_are_small_so_that_no_worker_waits_for_another() {
        let sizer = Sizer::new(Rows(40_000), Rows(100_000));
        assert_eq!(sizer.rows(2), Rows(25_000));
        sizer.hand_out(Rows(80_000));
        assert_eq!(sizer.rows(2), Rows(5_000));
        sizer.learn(Rows(5_000), Duration::from_millis(50), Duration::from_millis(500));
        sizer.hand_out(Rows(19_000));
        assert_eq!(sizer.rows(2), Rows(FEWEST_ROWS_AT_THE_END));
        // More rows than were thought.
        sizer.hand_out(Rows(2_000));
        assert_eq!(sizer.rows(2), Rows(40_000));
    }
}
