//! Rows a second.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// Rates above it are no different from none: governor counts in whole nanoseconds a row.
const FASTEST: u32 = 50_000_000;

/// The share of a second's rows that may go at once. A whole second's worth, governor's default,
/// would double the rate of the first second.
const BURST: u32 = 10;

/// Time as tokio sees it, so that waiting and counting agree.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

/// Counts rows against a rate that may change at any moment.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rate: Option<NonZeroU32>,
    limiter: Option<Limiter>,
    /// Rows that were taken and not copied.
    unused: u32,
}

impl Meter {
    /// Sets the rate; `None` is no limit. The same rate again changes nothing.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU32>) {
        if rate != self.rate {
            self.rate = rate;
            self.unused = 0;
            // A limiter's rate is fixed, so another rate is another limiter.
            self.limiter = rate.filter(|rate| rate.get() <= FASTEST).map(|rate| {
                let quota = Quota::per_second(rate).allow_burst(burst(rate));
                RateLimiter::direct_with_clock(quota, TokioClock(Instant::now()))
            });
        }
    }

    /// Gives rows back that were taken and not copied: the next need not be waited for.
    pub(super) fn give_back(&mut self, rows: u32) {
        if self.limiter.is_some() {
            self.unused = self.unused.saturating_add(rows);
        }
    }

    /// Takes as many of the rows `left` as the rate allows now. `None`: all of them; else when to
    /// come again for the rest.
    pub(super) fn take(&mut self, left: &mut u32) -> Option<Instant> {
        let (Some(rate), Some(limiter)) = (self.rate, &self.limiter) else {
            *left = 0;
            return None;
        };
        let paid = self.unused.min(*left);
        self.unused -= paid;
        *left -= paid;
        // governor refuses at once, and for ever, what exceeds the burst: larger chunks go in parts.
        while let Some(part) = NonZeroU32::new(*left).map(|left| left.min(burst(rate))) {
            match limiter.check_n(part) {
                Ok(Ok(())) => *left -= part.get(),
                Ok(Err(not_yet)) => {
                    let wait = not_yet.wait_time_from(limiter.clock().now());
                    return Some(Instant::now() + wait);
                }
                Err(_) => *left = 0,
            }
        }
        None
    }
}

/// As many rows as a chunk may have at this rate: more would only be waited for, and then come at once.
pub(super) fn most_rows(rate: Option<NonZeroU32>) -> u32 {
    rate.filter(|rate| rate.get() <= FASTEST).map_or(u32::MAX, |rate| burst(rate).get())
}

fn burst(rate: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(rate.get() / BURST).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds_for(meter: &mut Meter, chunks: u32, rows: u32) -> f64 {
        let start = Instant::now();
        for _ in 0..chunks {
            let mut left = rows;
            while let Some(ready) = meter.take(&mut left) {
                tokio::time::sleep_until(ready).await;
            }
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_larger_and_smaller_than_the_burst_keep_the_rate() {
        for (rate, chunks, rows) in [(1000, 10, 5000), (1000, 500, 20), (3, 7, 10), (1, 1, 5)] {
            let mut meter = Meter::default();
            meter.set_rate(NonZeroU32::new(rate));
            let expected = f64::from(chunks * rows) / f64::from(rate);
            let took = seconds_for(&mut meter, chunks, rows).await;
            let burst = f64::from((rate / BURST).max(1)) / f64::from(rate);
            assert!(took <= expected * 1.01 + 0.01, "{rate}: {took} s, not {expected}");
            assert!(took >= expected * 0.99 - burst, "{rate}: {took} s, not {expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_were_not_copied_are_not_charged() {
        let mut meter = Meter::default();
        meter.set_rate(NonZeroU32::new(100));
        // The burst is free; what is beyond it must be waited for, down to the last row.
        let owed = |meter: &mut Meter, rows: u32| {
            let mut left = rows;
            let _ = meter.take(&mut left);
            left
        };
        assert_eq!(owed(&mut meter, 10), 0);
        assert_eq!(owed(&mut meter, 1), 1);
        meter.give_back(7);
        assert_eq!(owed(&mut meter, 5), 0);
        assert_eq!(owed(&mut meter, 5), 3, "two were left of what was given back");
        meter.set_rate(None);
        meter.give_back(1_000);
        meter.set_rate(NonZeroU32::new(10));
        assert_eq!(owed(&mut meter, 2), 1, "nothing was taken without a rate");
    }

    #[test]
    fn a_chunk_has_a_tenth_of_a_seconds_rows_at_most() {
        assert_eq!(most_rows(None), u32::MAX);
        assert_eq!(most_rows(NonZeroU32::new(2_000)), 200);
        assert_eq!(most_rows(NonZeroU32::new(3)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_and_with_an_absurd_one_nothing_waits() {
        let mut meter = Meter::default();
        assert!(meter.take(&mut 1_000_000).is_none());
        meter.set_rate(NonZeroU32::new(u32::MAX));
        assert!(meter.take(&mut u32::MAX.clone()).is_none());
    }
}
