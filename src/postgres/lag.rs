//! How far standbys are behind: the time since the primary was where the standby is now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::target::Target;
use crate::engine::error::{Error, Result};
use crate::postgres::connect::Options;
use crate::postgres::gauges::Session;
use crate::throttle::gauge::Replicas;

/// How long the primary's positions are remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Positions are bytes of WAL.
const HERE: &str = "(pg_current_wal_lsn() - '0/0')::bigint";

/// The standbys that stream from the primary, and those that were named.
#[derive(Debug)]
pub struct StandbyLag {
    primary: Session,
    named: Vec<(String, Session)>,
    /// When the primary was seen at which position, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl StandbyLag {
    /// Watches the standbys of `primary`, and `named` ones, which are asked themselves.
    ///
    /// # Errors
    /// Those of [`Options::of`].
    pub fn new(primary: Options, named: &[Target]) -> Result<Self> {
        let named = named
            .iter()
            .map(|target| Ok((target.address.to_string(), Session::new(Options::of(target)?))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { primary: Session::new(primary), named, samples: VecDeque::new() })
    }

    fn lag(&self, now: Instant, replayed: u64) -> Duration {
        // The first moment at which the primary was known to be further.
        let ahead = self.samples.iter().find(|(_, position)| *position > replayed);
        ahead.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

fn position(text: Option<&str>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
}

impl Replicas for StandbyLag {
    async fn lags(&mut self) -> Result<Vec<(String, Result<Duration>)>> {
        const ACTION: &str = "reading the state of replication";
        // Logical subscribers are nobody's standby. Without the right to see, there is nothing.
        let sql = format!(
            "SELECT NULL, {HERE} UNION ALL \
             SELECT concat_ws(' ', r.application_name, r.client_addr), \
             (r.replay_lsn - '0/0')::bigint FROM pg_stat_replication r \
             WHERE r.replay_lsn IS NOT NULL AND r.state = 'streaming' AND r.pid NOT IN \
             (SELECT active_pid FROM pg_replication_slots \
              WHERE slot_type = 'logical' AND active_pid IS NOT NULL)"
        );
        let found = self.primary.all(ACTION, &sql).await?;
        let now = Instant::now();
        let here = found.first().and_then(|row| position(row.get(1)));
        if let Some(here) = here
            && self.samples.back().is_none_or(|(_, last)| *last != here)
        {
            self.samples.push_back((now, here));
        }
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > MEMORY) {
            self.samples.pop_front();
        }
        let mut lags = Vec::new();
        if self.named.is_empty() {
            for row in found.iter().skip(1) {
                let name = row.get(0).unwrap_or_default().to_owned();
                if let Some(replayed) = position(row.get(1)) {
                    lags.push((name, Ok(self.lag(now, replayed))));
                }
            }
            return Ok(lags);
        }
        let sql = "SELECT pg_is_in_recovery(), (pg_last_wal_replay_lsn() - '0/0')::bigint";
        let mut answers = Vec::new();
        for (name, session) in &mut self.named {
            let answer = session.all(ACTION, sql).await;
            answers.push((name.clone(), answer));
        }
        for (name, answer) in answers {
            let lag = answer.and_then(|rows| {
                let row = rows.first();
                match row.and_then(|row| position(row.get(1))) {
                    Some(replayed) => Ok(self.lag(now, replayed)),
                    None => Err(Error::Server {
                        action: ACTION.into(),
                        message: "it is no standby".into(),
                        code: None,
                    }),
                }
            });
            lags.push((name, lag));
        }
        Ok(lags)
    }
}
