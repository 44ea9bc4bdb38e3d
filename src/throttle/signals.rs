//! How hard the server is pressed, by what osc sees and what it saw when the server was quiet.
//!
//! No number of these is the operator's: what is much follows from the quietest that was seen on this
//! server. At the least width that osc can have, what is seen is not osc's doing: there the idea of
//! what is quiet slowly follows it, so that a server that has become slower by itself holds no run
//! up for good.

use std::time::Duration;

use super::activity::{ActivitySample, Observed};

/// The weight of what was seen last.
const FRESH: f64 = 0.4;

/// The part of the way that the idea of what is quiet goes at once towards something quieter. Not
/// all of it: a moment of luck is not what a server is like.
const QUIETER: f64 = 0.1;

/// The part of the way that it goes towards something louder, in one step at the least width.
const EXCUSED: f64 = 0.01;

/// A load and what it comes from, for the operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pressure {
    /// 1.0 is too much.
    pub(super) load: f64,
    /// Such as `commits take 12 ms, 2 ms when it is quiet`.
    pub(super) reason: String,
}

/// A number over time: smoothed, and the quietest that was seen.
#[derive(Debug, Clone, Copy, Default)]
struct Seen(Option<(f64, f64)>);

impl Seen {
    fn see(&mut self, value: f64) {
        let (smooth, quiet) = self.0.unwrap_or((value, value));
        let smooth = smooth + FRESH * (value - smooth);
        self.0 = Some((smooth, quiet + QUIETER * (smooth - quiet).min(0.0)));
    }

    fn excuse(&mut self) {
        if let Some((smooth, quiet)) = &mut self.0 {
            *quiet += EXCUSED * (*smooth - *quiet).max(0.0);
        }
    }

    /// The load where `rise`, of the quietest, is how much more is too much.
    fn pressure(
        self,
        rise: impl Fn(f64) -> f64,
        reason: impl Fn(f64, f64) -> String,
    ) -> Option<Pressure> {
        let (smooth, quiet) = self.0?;
        let load = ((smooth - quiet) / rise(quiet)).max(0.0);
        Some(Pressure { load, reason: reason(smooth, quiet) })
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Signals {
    commit: Seen,
    working: Seen,
    latest: ActivitySample,
    lag: Option<(Duration, Duration)>,
}

impl Signals {
    /// Takes what was seen since the last step; `sample` is `None` where the server did not answer.
    pub(super) fn take(&mut self, sample: Option<ActivitySample>, felt: Observed) {
        if let Some(sample) = sample {
            if let Some(working) = sample.working {
                self.working.see(f64::from(working));
            }
            self.latest = sample;
        }
        if let Some(commit) = felt.commit {
            self.commit.see(commit.as_secs_f64() * 1000.0);
        }
        self.lag = felt.lag;
    }

    /// The width is the least: what is seen now is what the server is like without osc.
    pub(super) fn excuse(&mut self) {
        self.commit.excuse();
        self.working.excuse();
    }

    /// The hardest pressure. Where no other session is at work, only replicas can be under pressure.
    pub(super) fn pressure(&self) -> Pressure {
        let commit = self.commit.pressure(
            |quiet| 3.0 * quiet + 2.0,
            |now, quiet| format!("commits take {} (idle: {})", millis(now), millis(quiet)),
        );
        let working = self.working.pressure(
            |quiet| 2.0 * quiet + 8.0,
            |now, quiet| {
                format!("the application has {now:.0} statements under way (idle: {quiet:.0})")
            },
        );
        let log = self.latest.log.clone().map(|(load, reason)| Pressure { load, reason });
        let lag = self.lag.map(|(lag, limit)| Pressure {
            load: lag.as_secs_f64() / limit.as_secs_f64().max(0.001),
            reason: format!(
                "a replica lags {:.1}s (limit {}s)",
                lag.as_secs_f64(),
                limit.as_secs_f64()
            ),
        });
        let felt_by_others = [commit, working, log].into_iter().filter(|_| self.latest.others);
        let hardest =
            felt_by_others.chain([lag]).flatten().max_by(|a, b| a.load.total_cmp(&b.load));
        hardest.unwrap_or(Pressure { load: 0.0, reason: String::new() })
    }
}

fn millis(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(millis: u64) -> Observed {
        Observed { commit: Some(Duration::from_millis(millis)), lag: None }
    }

    fn busy(working: u32) -> Option<ActivitySample> {
        Some(ActivitySample { others: true, working: Some(working), log: None })
    }

    fn after(steps: impl IntoIterator<Item = (Option<ActivitySample>, Observed)>) -> Signals {
        let mut signals = Signals::default();
        for (sample, felt) in steps {
            signals.take(sample, felt);
        }
        signals
    }

    #[test]
    fn commits_that_take_longer_than_when_it_was_quiet_are_pressure() {
        let mut signals = after([(busy(1), commit(2)), (busy(1), commit(2))]);
        assert!(signals.pressure().load < 0.01);
        for _ in 0..10 {
            signals.take(busy(1), commit(12));
        }
        let pressure = signals.pressure();
        assert!(pressure.load > 1.0, "{pressure:?}");
        assert_eq!(pressure.reason, "commits take 12 ms (idle: 2.0 ms)");
    }

    #[test]
    fn where_nobody_else_is_at_work_nothing_but_lag_is_pressure() {
        let alone = |felt| {
            let log = Some((9.0, "the log is full".to_owned()));
            (Some(ActivitySample { others: false, working: Some(0), log }), felt)
        };
        let mut signals = after([alone(commit(1)), alone(commit(900)), alone(commit(900))]);
        assert!(signals.pressure().load < 0.01);
        let lag = Some((Duration::from_millis(1200), Duration::from_millis(1500)));
        signals.take(None, Observed { commit: None, lag });
        let pressure = signals.pressure();
        assert!((pressure.load - 0.8).abs() < 1e-9);
        assert_eq!(pressure.reason, "a replica lags 1.2s (limit 1.5s)");
        // Another session begins to work: what was seen before counts.
        signals.take(busy(1), commit(900));
        assert!(signals.pressure().load > 1.0);
    }

    #[test]
    fn statements_that_pile_up_are_pressure() {
        let signals = after(
            (0..9).map(|_| (busy(2), commit(1))).chain((0..9).map(|_| (busy(30), commit(1)))),
        );
        let pressure = signals.pressure();
        assert!(pressure.load > 1.0);
        assert_eq!(pressure.reason, "the application has 30 statements under way (idle: 2)");
    }

    #[test]
    fn the_hardest_pressure_is_reported() {
        let full =
            ActivitySample { others: true, working: Some(3), log: Some((0.9, "full".into())) };
        let signals = after([(Some(full), commit(1))]);
        assert_eq!(signals.pressure(), Pressure { load: 0.9, reason: "full".into() });
    }

    #[test]
    fn a_server_that_is_slow_by_itself_is_excused_in_the_end() {
        let mut signals = after([(busy(1), commit(2)), (busy(1), commit(2))]);
        for _ in 0..300 {
            signals.take(busy(1), commit(40));
            signals.excuse();
        }
        assert!(signals.pressure().load < 0.4, "{:?}", signals.pressure());
        // And what is quieter is taken for quiet soon.
        for _ in 0..40 {
            signals.take(busy(1), commit(2));
        }
        for _ in 0..9 {
            signals.take(busy(1), commit(40));
        }
        assert!(signals.pressure().load > 1.0, "{:?}", signals.pressure());
    }
}
