//! How far standbys are behind: the time since the primary was where the standby is now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::status::Session;
use crate::config::target::Target;
use crate::error::{Error, Finding, Result};
use crate::postgres::connection::connect::Options;
use crate::throttle::probe::{Replicas, brief};
use crate::throttle::sound;

/// How long the primary's positions are remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Positions are bytes of WAL.
const HERE: &str = "(pg_current_wal_lsn() - '0/0')::bigint";

/// The standbys that stream from the primary, and those that were named.
#[derive(Debug)]
pub(super) struct StandbyLag {
    primary: Session,
    named: Vec<(String, Session)>,
    /// When the primary was seen at which position, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl StandbyLag {
    /// Watches the standbys of `primary`, and `named` ones, to which osc connects.
    ///
    /// # Errors
    /// Those of [`Options::of`].
    pub(super) fn new(primary: Options, named: &[Target]) -> Result<Self> {
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

/// What is wrong with those of `named` that are no standby of `primary`, or cannot be reached. Where a run
/// `resumes`, one that cannot be reached is no finding: it may be restarting, and until it is back the
/// throttle pauses and says why.
///
/// # Errors
/// Those of `primary`.
pub(super) async fn strangers(
    primary: &Options,
    named: &[Target],
    resumes: bool,
) -> Result<Vec<Finding>> {
    const ACTION: &str = "recognising the replica";
    const WHO: &str =
        "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system())";
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let ours = Session::new(primary.clone()).all(ACTION, WHO).await?;
    let ours = ours.first().and_then(|row| row.get(1));
    let mut findings = Vec::new();
    for target in named {
        let answer = Session::new(Options::of(target)?).all(ACTION, WHO).await;
        let problem = match answer.as_ref().map(|rows| rows.first()) {
            Err(error) if resumes && error.is_connection() => None,
            Err(error) => Some(brief(error)),
            Ok(Some(row)) if row.get(0) != Some("t") => Some("it is no standby".into()),
            Ok(Some(row)) if row.get(1) != ours => Some("it is a standby of another server".into()),
            Ok(_) => None,
        };
        findings.extend(problem.map(|why| sound::replica(&target.address.to_string(), &why)));
    }
    Ok(findings)
}

fn position(text: Option<&str>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
}

impl Replicas for StandbyLag {
    async fn lags(&mut self) -> Result<Vec<(String, Result<Duration>)>> {
        const ACTION: &str = "reading the state of replication";
        // Logical subscribers are no standby. Without the right to see, there is nothing.
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
                    None => Err(Error::server(ACTION, "it is no standby")),
                }
            });
            lags.push((name, lag));
        }
        Ok(lags)
    }
}
