//! How long steps of a run took: counters that whoever shows the run reads while it is under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in milliseconds; what takes longer is in one more.
const BOUNDS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// Times in buckets.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    micros: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    /// The upper bound in seconds, infinity at last, and how many took no longer, but longer than the bound
    /// before.
    pub counts: Vec<(f64, u64)>,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Times {
    /// One more step took this long.
    pub fn note(&self, took: Duration) {
        let bucket = BOUNDS.iter().position(|bound| took <= Duration::from_millis(*bound));
        let bucket = bucket.and_then(|at| self.buckets.get(at)).unwrap_or(&self.longer);
        bucket.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// As they are now.
    pub fn buckets(&self) -> Buckets {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
        let bounded = BOUNDS.iter().zip(&self.buckets);
        let mut counts: Vec<_> =
            bounded.map(|(bound, counter)| (seconds(*bound), count(counter))).collect();
        counts.push((f64::INFINITY, count(&self.longer)));
        Buckets { counts, sum: Duration::from_micros(count(&self.micros)).as_secs_f64() }
    }
}

impl Buckets {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_holds_it() {
        let times = Times::default();
        for millis in [5, 6, 40_000] {
            times.note(Duration::from_millis(millis));
        }
        let buckets = times.buckets();
        let full: Vec<f64> = buckets
            .counts
            .iter()
            .filter(|(_, count)| *count == 1)
            .map(|(bound, _)| *bound)
            .collect();
        assert_eq!(full, [0.005, 0.01, f64::INFINITY]);
        assert_eq!(buckets.count(), 3);
        assert!((buckets.sum - 40.011).abs() < 1e-9);
    }
}
