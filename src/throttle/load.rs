//! The server's load, by its status variables.

use std::time::Duration;

use tokio::time::Instant;

use super::probe::{StatusProbe, brief};
use super::{Source, Verdict};
use crate::config::load_limit::Limit;
use crate::control::Directives;

/// How long a critical load must last to end the run.
const PROOF: Duration = Duration::from_secs(1);

/// Pauses the copy while a status variable exceeds its limit, and ends the run when one exceeds
/// its critical limit and still does a second later.
#[derive(Debug)]
pub struct Load<G> {
    probe: G,
    max: Vec<Limit>,
    critical: Vec<Limit>,
    critical_since: Option<Instant>,
}

impl<G: StatusProbe> Load<G> {
    /// Both lists may be empty.
    pub fn new(probe: G, max: Vec<Limit>, critical: Vec<Limit>) -> Self {
        Self { probe, max, critical, critical_since: None }
    }

    fn judge(&mut self, values: &[f64]) -> Verdict {
        let exceeded = |limits: &[Limit], values: &[f64]| {
            let one = |(limit, value): (&Limit, &f64)| {
                let Limit { name, most } = limit;
                (value > most).then(|| format!("{name} is {value} (limit {most})"))
            };
            let all: Vec<String> = limits.iter().zip(values).filter_map(one).collect();
            (!all.is_empty()).then(|| all.join("; "))
        };
        let (max, critical) = values.split_at_checked(self.max.len()).unwrap_or_default();
        if let Some(reason) = exceeded(&self.critical, critical) {
            let since = *self.critical_since.get_or_insert_with(Instant::now);
            return if since.elapsed() >= PROOF {
                Verdict::End(format!("critical load: {reason}"))
            } else {
                Verdict::Pause(format!("critical load, checking again in 1s: {reason}"))
            };
        }
        self.critical_since = None;
        exceeded(&self.max, max).map_or(Verdict::Run, Verdict::Pause)
    }
}

impl<G: StatusProbe> Source for Load<G> {
    fn name(&self) -> &'static str {
        "load"
    }

    fn period(&self) -> Duration {
        PROOF
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        let names: Vec<&str> =
            self.max.iter().chain(&self.critical).map(|limit| limit.name.as_str()).collect();
        match self.probe.status(&names).await {
            Ok(values) => self.judge(&values),
            Err(error) => Verdict::Pause(format!("load unknown: {}", brief(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `judge` asks no server.
    struct Nobody;

    impl StatusProbe for Nobody {
        async fn status(&mut self, _: &[&str]) -> crate::error::Result<Vec<f64>> {
            Ok(Vec::new())
        }

        async fn number(&mut self, _: &str) -> crate::error::Result<Option<f64>> {
            Ok(None)
        }
    }

    fn load() -> Load<Nobody> {
        let limit = |text: &str| vec![text.parse().unwrap()];
        Load::new(Nobody, limit("Threads_running=25"), limit("Threads_connected = 100"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_copy_pauses_above_its_limit_only() {
        let mut load = load();
        assert_eq!(load.judge(&[25.0, 100.0]), Verdict::Run);
        let reason = "Threads_running is 26 (limit 25)".to_owned();
        assert_eq!(load.judge(&[26.0, 100.0]), Verdict::Pause(reason));
    }

    #[tokio::test(start_paused = true)]
    async fn a_critical_load_ends_the_run_only_when_it_lasts() {
        let mut load = load();
        assert!(matches!(load.judge(&[1.0, 101.0]), Verdict::Pause(_)));
        assert_eq!(load.judge(&[1.0, 99.0]), Verdict::Run);
        tokio::time::advance(PROOF).await;
        assert!(matches!(load.judge(&[1.0, 101.0]), Verdict::Pause(_)));
        tokio::time::advance(PROOF / 2).await;
        assert!(matches!(load.judge(&[1.0, 101.0]), Verdict::Pause(_)));
        tokio::time::advance(PROOF / 2).await;
        let reason = "critical load: Threads_connected is 120 (limit 100)".to_owned();
        assert_eq!(load.judge(&[1.0, 120.0]), Verdict::End(reason));
    }
}
