//! How far a phase is, how fast it goes, and when it will be through.

use std::time::Duration;

use super::progress::{Phase, Snapshot};

/// The time over which the rate is smoothed, in seconds.
const MEMORY: f64 = 15.0;
/// No rate is shown before so many seconds.
const RATE_AFTER: f64 = 1.0;
/// No remaining time is shown before so many seconds.
const ETA_AFTER: f64 = 3.0;
/// Two looks closer than this count as one, in seconds.
const SHORTEST_STEP: f64 = 0.05;
/// An end further away than this is as good as unknown, in seconds.
const LONGEST_ETA: f64 = 100.0 * 86_400.0;
/// The total is an estimate: a phase that goes on is not complete.
const MOST: f64 = 0.99;

/// A phase that can be measured, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    /// Rows done.
    pub done: u64,
    /// Rows in all, as estimated; never fewer than `done`.
    pub total: u64,
    /// From 0 to 0.99.
    pub fraction: f64,
    /// Rows a second; `None`: too early to say.
    pub rate: Option<f64>,
    /// Time left; `None`: not to be known.
    pub eta: Option<Duration>,
}

/// Learns the rate from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    phase: Option<Phase>,
    watched: f64,
    last: Option<(f64, u64)>,
    rate: f64,
    weight: f64,
}

impl Pace {
    /// Forgets: what was done until now was not done at this pace.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes a look. `None`: this phase has nothing to count.
    pub(crate) fn look(&mut self, now: &Snapshot) -> Option<View> {
        if self.phase != Some(now.phase) {
            self.reset();
            self.phase = Some(now.phase);
        }
        let (done, estimate) = counted(now)?;
        self.learn(now.elapsed_seconds, done);
        let rate = self.rate();
        let total = estimate.max(done);
        Some(View {
            done,
            total,
            fraction: fraction(done, total),
            rate,
            eta: rate
                .filter(|_| now.throttled.is_none() && now.connection_lost_seconds.is_none())
                .and_then(|rate| self.eta(rate, total - done)),
        })
    }

    fn learn(&mut self, time: f64, done: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((time, done));
            return;
        };
        let step = time - then;
        if done < before {
            self.last = Some((time, done));
        } else if step >= SHORTEST_STEP {
            let share = 1.0 - (-step / MEMORY).exp();
            self.rate += share * (as_float(done - before) / step - self.rate);
            self.weight += share * (1.0 - self.weight);
            self.watched += step;
            self.last = Some((time, done));
        }
    }

    /// The average's start at zero is divided out by its weight.
    fn rate(&self) -> Option<f64> {
        (self.watched >= RATE_AFTER && self.weight > 0.0).then(|| self.rate / self.weight)
    }

    fn eta(&self, rate: f64, left: u64) -> Option<Duration> {
        if self.watched < ETA_AFTER || left == 0 || rate <= 0.0 {
            return None;
        }
        let seconds = as_float(left) / rate;
        (seconds <= LONGEST_ETA).then(|| Duration::from_secs_f64(seconds))
    }
}

/// Rows done in this phase, and how many there are by estimate; `None`: it has nothing to count.
pub(crate) fn counted(now: &Snapshot) -> Option<(u64, u64)> {
    match now.phase {
        Phase::Copy => Some((now.rows_copied, now.rows_estimate)),
        Phase::Verify => Some((now.rows_verified, now.rows_copied.max(1))),
        Phase::PutBack => Some((now.rows_verified, now.rows_estimate.max(1))),
        _ => None,
    }
}

fn fraction(done: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { (as_float(done) / as_float(total)).clamp(0.0, MOST) }
}

/// Exact below 2⁵³ rows.
#[allow(clippy::cast_precision_loss)]
fn as_float(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::progress::Progress;

    fn at(seconds: f64, phase: Phase, copied: u64, estimate: u64) -> Snapshot {
        let mut now = Progress::default().snapshot();
        now.phase = phase;
        now.elapsed_seconds = seconds;
        now.rows_copied = copied;
        now.rows_estimate = estimate;
        now
    }

    fn run(pace: &mut Pace, from: u32, to: u32, per_second: u64) -> View {
        let look = |pace: &mut Pace, second: u32| {
            pace.look(&at(f64::from(second), Phase::Copy, u64::from(second) * per_second, 100_000))
        };
        (from..=to).map(|second| look(pace, second)).last().flatten().unwrap()
    }

    #[test]
    fn nothing_is_said_before_it_is_known() {
        let mut pace = Pace::default();
        let first = run(&mut pace, 0, 0, 1000);
        assert_eq!((first.rate, first.eta), (None, None));
        let second = run(&mut pace, 1, 1, 1000);
        assert!((second.rate.unwrap() - 1000.0).abs() < 1.0);
        assert_eq!(second.eta, None);
    }

    #[test]
    fn a_steady_pace_gives_the_right_end() {
        let view = run(&mut Pace::default(), 0, 10, 1000);
        assert!((view.rate.unwrap() - 1000.0).abs() < 1.0);
        assert!((view.eta.unwrap().as_secs_f64() - 90.0).abs() < 1.0);
        assert!((view.fraction - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_resumed_run_does_not_count_what_was_there() {
        let mut pace = Pace::default();
        pace.look(&at(0.0, Phase::Copy, 0, 100_000));
        pace.reset();
        for second in 1..=5u32 {
            let copied = 50_000 + u64::from(second) * 100;
            pace.look(&at(f64::from(second), Phase::Copy, copied, 100_000));
        }
        assert!((pace.rate().unwrap() - 100.0).abs() < 1.0);
    }

    #[test]
    fn more_rows_than_estimated_is_not_more_than_all() {
        let mut pace = Pace::default();
        let view = pace.look(&at(1.0, Phase::Copy, 300, 200)).unwrap();
        assert_eq!((view.total, view.eta), (300, None));
        assert!(view.fraction < 1.0);
        let empty = pace.look(&at(2.0, Phase::Verify, 0, 0)).unwrap();
        assert!(empty.fraction < f64::EPSILON);
    }

    #[test]
    fn a_paused_copy_has_no_end() {
        let mut pace = Pace::default();
        run(&mut pace, 0, 10, 1000);
        let mut now = at(11.0, Phase::Copy, 10_000, 100_000);
        now.throttled = Some("lag".into());
        assert_eq!(pace.look(&now).unwrap().eta, None);
    }

    #[test]
    fn the_verification_is_a_pass_of_its_own() {
        let mut pace = Pace::default();
        run(&mut pace, 0, 10, 1000);
        let view = pace.look(&at(11.0, Phase::Verify, 100_000, 90_000)).unwrap();
        assert_eq!((view.done, view.total, view.rate), (0, 100_000, None));
        assert!(pace.look(&at(12.0, Phase::CutOver, 100_000, 90_000)).is_none());
    }

    proptest! {
        #[test]
        fn no_numbers_give_nonsense(
            looks in proptest::collection::vec((0.0..1e9f64, any::<u64>(), any::<u64>()), 0..20),
        ) {
            let mut pace = Pace::default();
            for (seconds, copied, estimate) in looks {
                let view = pace.look(&at(seconds, Phase::Copy, copied, estimate)).unwrap();
                prop_assert!((0.0..=0.99).contains(&view.fraction));
                prop_assert!(view.total >= view.done);
                prop_assert!(view.rate.is_none_or(|rate| rate.is_finite() && rate >= 0.0));
            }
        }
    }
}
