//! The key space in chunks: handed out in key order, and as large as what one should take allows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::backend::Server;
use super::coverage::{ChunkNumber, Coverage, Watermark};
use super::run::Run;
use crate::error::Result;
use crate::key::{KeyRange, Rows};

/// A walk over a table's keys, which several workers share.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    coverage: &'a Mutex<Coverage>,
    /// A chunk begins where the one before ends: one end is looked for at a time.
    planner: tokio::sync::Mutex<()>,
    /// How large chunks are.
    pub sizer: Sizer,
}

/// What one worker has of it.
#[derive(Debug)]
pub(super) struct Chunk {
    number: ChunkNumber,
    wanted: Rows,
    /// Its keys.
    pub range: KeyRange,
}

impl<'a> Walk<'a> {
    /// Goes on where the coverage ends, with chunks of `rows`, where about `left` rows are left.
    pub(super) fn new(coverage: &'a Mutex<Coverage>, rows: Rows, left: Rows) -> Self {
        let planner = tokio::sync::Mutex::new(());
        Self { coverage, planner, sizer: Sizer::new(rows, left) }
    }

    /// Whether every chunk has been handed out.
    pub(super) fn is_over(&self) -> bool {
        *self.coverage().handed_out() == Watermark::End
    }

    /// The next chunk, of about `rows`; `None`: there are no more.
    pub(super) async fn next<S: Server>(&self, run: &Run<S>, rows: Rows) -> Result<Option<Chunk>> {
        let (number, range) = {
            let _alone = self.planner.lock().await;
            let after = match self.coverage().handed_out().clone() {
                Watermark::Start => None,
                Watermark::At(key) => Some(key),
                Watermark::End => return Ok(None),
            };
            let upto = run.retry_on_disconnect(|| run.server.bound(after.as_ref(), rows)).await?;
            self.coverage().hand_out(upto)
        };
        self.sizer.hand_out(rows);
        Ok(Some(Chunk { number, wanted: rows, range }))
    }

    /// Learns from the time that the chunk took where `target` was wanted.
    pub(super) fn learn(&self, chunk: &Chunk, took: Duration, target: Duration) {
        // The last one may hold fewer rows than were wanted.
        if chunk.range.upto.is_some() {
            self.sizer.learn(chunk.wanted, took, target);
        }
    }

    /// The chunk is done.
    pub(super) fn end(&self, chunk: &Chunk) {
        self.coverage().end(chunk.number);
    }

    fn coverage(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FEWEST_ROWS: u64 = 50;
const MOST_ROWS: u64 = 50_000;

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
        // An estimate that was too low means nothing.
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
        // One that was made small on purpose and quick for it means nothing.
        if ratio < 1.0 || next > self.rows.load(Ordering::Relaxed) {
            self.rows.store(next.clamp(FEWEST_ROWS, MOST_ROWS), Ordering::Relaxed);
        }
    }
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
