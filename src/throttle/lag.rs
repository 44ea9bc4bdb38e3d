//! Replica lag.

use std::time::Duration;

use super::activity::LatencyFeed;
use super::probe::{Replicas, brief};
use super::{Source, Verdict};
use crate::control::Directives;

/// Pauses the copy while a replica lags behind by more than the limit, or cannot be seen.
#[derive(Debug)]
pub struct Lag<R> {
    replicas: R,
    limit: Duration,
    latencies: LatencyFeed,
}

impl<R: Replicas> Lag<R> {
    /// `limit` holds unless the operator names another.
    pub fn new(replicas: R, limit: Duration) -> Self {
        Self { replicas, limit, latencies: LatencyFeed::default() }
    }

    /// Tells the feedback of the lag, too.
    #[must_use]
    pub fn telling(self, latencies: LatencyFeed) -> Self {
        Self { latencies, ..self }
    }
}

impl<R: Replicas> Source for Lag<R> {
    fn name(&self) -> &'static str {
        "replica lag"
    }

    fn period(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// Each server's own time-out comes first, and its name into the reason.
    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn check(&mut self, directives: &Directives) -> Verdict {
        let limit = directives.max_lag.unwrap_or(self.limit);
        let lags = match self.replicas.lags().await {
            Ok(lags) => lags,
            Err(error) => return Verdict::Pause(format!("replica lag: {}", brief(&error))),
        };
        let slowest = lags.iter().filter_map(|(_, lag)| lag.as_ref().ok()).max();
        self.latencies.lag(slowest.copied(), limit);
        let reasons: Vec<String> = lags
            .into_iter()
            .filter_map(|(name, lag)| match lag {
                Ok(lag) if lag <= limit => None,
                Ok(lag) => Some(format!(
                    "replica {name} lags {:.1}s (limit {}s)",
                    lag.as_secs_f64(),
                    limit.as_secs_f64()
                )),
                Err(error) => {
                    Some(format!("the lag of replica {name} is not known: {}", brief(&error)))
                }
            })
            .collect();
        if reasons.is_empty() { Verdict::Run } else { Verdict::Pause(reasons.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Result};

    struct Fixed;

    impl Replicas for Fixed {
        async fn lags(&mut self) -> Result<Vec<(String, Result<Duration>)>> {
            let error = Error::connection("asking", "gone");
            Ok(vec![
                ("a:1".into(), Ok(Duration::from_millis(1000))),
                ("b:2".into(), Ok(Duration::from_millis(4200))),
                ("c:3".into(), Err(error)),
            ])
        }
    }

    #[tokio::test]
    async fn every_replica_that_lags_or_hides_is_named_and_the_operators_limit_wins() {
        let mut lag = Lag::new(Fixed, Duration::from_millis(1500));
        let unknown = "the lag of replica c:3 is not known: connection lost while asking: gone";
        assert_eq!(
            lag.check(&Directives::default()).await,
            Verdict::Pause(format!("replica b:2 lags 4.2s (limit 1.5s); {unknown}"))
        );
        let directives =
            Directives { max_lag: Some(Duration::from_secs(5)), ..Directives::default() };
        assert_eq!(lag.check(&directives).await, Verdict::Pause(unknown.into()));
    }
}
