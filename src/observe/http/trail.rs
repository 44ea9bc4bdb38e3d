//! How a run went so far: its numbers over time, in a bounded number of points. When there are too many, two
//! become one, so that the oldest is as coarse as the newest and nothing is ever left out at the end.

use crate::engine::picture::Picture;
use crate::engine::progress::Phase;

/// As many points, and half as many after they have been merged.
const MOST: usize = 512;

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Its end, in seconds since the attempt began.
    pub(super) at: f64,
    /// The phase at its end.
    pub(super) phase: Phase,
    /// Rows a second, on average.
    pub(super) rate: Option<f64>,
    /// The most dirty keys.
    pub(super) dirty: f64,
    /// The longest lag of the stream, in seconds.
    pub(super) lag: Option<f64>,
    /// The longest lag of a replica, in seconds.
    pub(super) replica_lag: Option<f64>,
    /// The fewest chunks in flight.
    pub(super) width: Option<f64>,
    /// The copy was paused.
    pub(super) paused: bool,
}

/// Points of the same length, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    points: Vec<Point>,
    step: f64,
}

impl Default for Trail {
    fn default() -> Self {
        Self { points: Vec::new(), step: 1.0 }
    }
}

impl Point {
    /// The numbers of a picture.
    #[allow(clippy::cast_precision_loss, reason = "for a plot")]
    pub(super) fn of(picture: &Picture) -> Self {
        let now = &picture.now;
        let seconds = |millis: u64| millis as f64 / 1000.0;
        Self {
            at: now.elapsed_seconds,
            phase: now.phase,
            rate: picture.rates.rows_per_second,
            dirty: now.dirty_keys as f64,
            lag: now.stream_lag_ms.map(seconds),
            replica_lag: now.replica_lag_ms.map(seconds),
            width: now.width,
            paused: now.throttled.is_some(),
        }
    }

    fn and(self, later: Self) -> Self {
        fn both(one: Option<f64>, other: Option<f64>, join: fn(f64, f64) -> f64) -> Option<f64> {
            match (one, other) {
                (Some(one), Some(other)) => Some(join(one, other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            at: later.at,
            phase: later.phase,
            rate: both(self.rate, later.rate, f64::midpoint),
            dirty: self.dirty.max(later.dirty),
            lag: both(self.lag, later.lag, f64::max),
            replica_lag: both(self.replica_lag, later.replica_lag, f64::max),
            width: both(self.width, later.width, f64::min),
            paused: self.paused || later.paused,
        }
    }
}

impl Trail {
    /// One more look.
    pub(super) fn add(&mut self, point: Point) {
        let begun = self.points.len().checked_sub(2).and_then(|at| self.points.get(at));
        let begun = begun.map(|before| before.at);
        match self.points.last_mut() {
            // The last one has not got its length yet.
            Some(last) if begun.is_some_and(|begun| point.at < begun + self.step) => {
                *last = last.and(point);
            }
            _ => self.points.push(point),
        }
        if self.points.len() > MOST {
            self.points = self
                .points
                .chunks(2)
                .filter_map(|pair| pair.iter().copied().reduce(Point::and))
                .collect();
            self.step *= 2.0;
        }
    }

    /// All points, oldest first.
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// How long it may take for `left` rows at the rates of this phase so far: their upper and their lower
    /// quartile, in seconds. `None`: there were too few.
    pub(super) fn range(&self, phase: Phase, left: f64) -> Option<(f64, f64)> {
        let of_phase = self.points.iter().rev().take_while(|point| point.phase == phase);
        let rates = of_phase.filter(|point| !point.paused).filter_map(|point| point.rate);
        let mut rates: Vec<f64> = rates.filter(|rate| *rate > 0.0).collect();
        if rates.len() < 8 {
            return None;
        }
        rates.sort_by(f64::total_cmp);
        let (slow, fast) = (rates.get(rates.len() / 4)?, rates.get(rates.len() * 3 / 4)?);
        Some((left / fast, left / slow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, rate: f64) -> Point {
        Point {
            at,
            phase: Phase::Copy,
            rate: Some(rate),
            dirty: 0.0,
            lag: None,
            replica_lag: None,
            width: None,
            paused: false,
        }
    }

    #[test]
    fn a_week_is_as_many_points_as_ten_minutes() {
        let mut trail = Trail::default();
        for second in 0..7 * 86_400u32 {
            let peak = if second == 300_000 { 9.0 } else { 1.0 };
            trail.add(Point { dirty: peak, ..point(f64::from(second), 100.0) });
            assert!(trail.points.len() <= MOST);
        }
        assert!(trail.points.len() > MOST / 4, "{}", trail.points.len());
        assert!(trail.points.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!((trail.points.last().unwrap().at - 604_799.0).abs() < f64::EPSILON);
        assert!(trail.points.iter().any(|point| point.dirty > 8.0), "the peak is still there");
    }

    #[test]
    fn the_range_is_that_of_the_rates_of_the_phase() {
        let mut trail = Trail::default();
        assert_eq!(trail.range(Phase::Copy, 1000.0), None);
        for second in 0..40u32 {
            trail.add(point(f64::from(second), f64::from(10 * (1 + second % 4))));
        }
        let (low, high) = trail.range(Phase::Copy, 1200.0).unwrap();
        assert_eq!((low.round(), high.round()), (30.0, 60.0));
        assert_eq!(trail.range(Phase::Verify, 1000.0), None);
    }
}
