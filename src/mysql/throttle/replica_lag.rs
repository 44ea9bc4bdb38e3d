//! How far replicas are behind, by what they have applied rather than by anybody's clock.
//!
//! The primary's position is sampled over and over. A replica that has applied a sample has all
//! that was committed until the sample was taken, so its lag is the age of the newest such sample.
//! That holds for any number of servers between, for idle primaries and for parallel appliers, and
//! is as fine as the samples are.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mysql_async::{Opts, Row};
use tokio::time::timeout;

use super::replication_position::{Coordinates, Executed};
use super::status::{Session, text};
use crate::error::{Error, Result};
use crate::mysql::connection::version::{Family, Flavor};
use crate::mysql::gtid::Gtids;
use crate::throttle::probe::Replicas;

/// So many samples are kept.
const MOST_SAMPLES: usize = 500;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A primary and the replicas to be watched.
#[derive(Debug)]
pub struct ReplicaLag {
    primary: Session,
    samples: Samples,
    replicas: Vec<Replica>,
}

impl ReplicaLag {
    /// Watches `replicas`, each with the name that reasons give it, of the server `primary`. Asks
    /// for REPLICATION CLIENT on MySQL, and on MariaDB for BINLOG MONITOR at the primary and
    /// SLAVE MONITOR at the replicas.
    pub fn new(primary: Opts, replicas: impl IntoIterator<Item = (String, Opts)>) -> Self {
        Self {
            primary: Session::new(primary),
            samples: Samples::default(),
            replicas: replicas
                .into_iter()
                .map(|(name, opts)| Replica { name, session: Session::new(opts) })
                .collect(),
        }
    }
}

impl Replicas for ReplicaLag {
    async fn lags(&mut self) -> Result<Vec<(String, Result<Duration>)>> {
        let at = Instant::now();
        let primary = in_time(position(&mut self.primary)).await?;
        self.samples.add(at, primary.executed);
        let samples = &self.samples;
        let server_id = primary.server_id;
        let lags = self.replicas.iter_mut().map(async |replica| {
            let lag = in_time(replica.lag(samples, server_id)).await;
            (replica.name.clone(), lag)
        });
        Ok(join_all(lags).await)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let silence = |_| Err(Error::silence("reading the state of replication", PATIENCE));
    timeout(PATIENCE, answer).await.unwrap_or_else(silence)
}

/// Where the primary is.
struct Primary {
    server_id: u32,
    executed: Executed,
}

async fn position(session: &mut Session) -> Result<Primary> {
    const ACTION: &str = "reading the primary's position";
    let flavor = session.flavor(ACTION).await?;
    let (gtids, status) = match flavor.family {
        Family::Mariadb => ("@@GLOBAL.gtid_binlog_pos", "SHOW MASTER STATUS"),
        // A set that does not grow with every transaction proves nothing.
        Family::Mysql => (
            "IF(@@GLOBAL.gtid_mode = 'ON', @@GLOBAL.gtid_executed, '')",
            if flavor.at_least(8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" },
        ),
    };
    let settings = session.rows(ACTION, &format!("SELECT @@GLOBAL.server_id, {gtids}")).await?;
    let status = session.rows(ACTION, status).await?;
    let settings = settings.first();
    let coordinates = status.first().and_then(|row| {
        Coordinates::new(&column(row, &["File"])?, column(row, &["Position"])?.parse().ok()?)
    });
    Ok(Primary {
        server_id: settings.and_then(|row| text(row, 0)?.parse().ok()).unwrap_or_default(),
        executed: Executed {
            gtids: transactions(flavor, settings.and_then(|row| text(row, 1)))?,
            coordinates,
        },
    })
}

fn transactions(flavor: Flavor, text: Option<String>) -> Result<Gtids> {
    let gtids = Gtids::parse(flavor.family, &text.unwrap_or_default())
        .map_err(|error| Error::Internal(format!("the server's GTIDs: {error}")))?;
    // None of them prove nothing.
    Ok(if gtids.is_empty() { Gtids::Off } else { gtids })
}

/// The primary's positions over time, oldest first.
#[derive(Debug, Default)]
struct Samples(Vec<(Instant, Executed)>);

impl Samples {
    /// Adds the position that was read after `at`.
    fn add(&mut self, at: Instant, position: Executed) {
        match self.0.last_mut() {
            Some((newest, same)) if *same == position => *newest = at,
            _ => self.0.push((at, position)),
        }
        if self.0.len() > MOST_SAMPLES
            && let Some(index) = self.least_missed()
        {
            self.0.remove(index);
        }
    }

    /// The sample between the oldest and the newest whose loss is the smallest part of any lag:
    /// what is reported of an older time may be coarser. The lag is then reported as longer, never shorter.
    fn least_missed(&self) -> Option<usize> {
        let (newest, _) = self.0.last()?;
        let loss = |window: &[(Instant, Executed)]| match window {
            [(before, _), (at, _), (after, _)] => {
                after.duration_since(*before).as_secs_f64()
                    / newest.duration_since(*at).as_secs_f64()
            }
            _ => f64::INFINITY,
        };
        let losses = self.0.windows(3).map(loss).enumerate();
        losses.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index + 1)
    }

    /// The lag of a replica that had `executed` at `now`; `Err` is the least that it can be, where
    /// no sample was applied.
    fn lag(&self, executed: &Executed, now: Instant) -> std::result::Result<Duration, Duration> {
        let age = |(at, _): &(Instant, Executed)| now.saturating_duration_since(*at);
        let applied = self.0.iter().rev().find(|(_, sample)| executed.includes(sample));
        applied.map(age).ok_or_else(|| self.0.first().map(age).unwrap_or_default())
    }
}

#[derive(Debug)]
struct Replica {
    name: String,
    session: Session,
}

impl Replica {
    async fn lag(&mut self, samples: &Samples, primary: u32) -> Result<Duration> {
        const ACTION: &str = "reading the replica's status";
        let flavor = self.session.flavor(ACTION).await?;
        let rows = self.session.rows(ACTION, replica_status(flavor)).await?;
        let now = Instant::now();
        let unseen = |message: String| Error::server(ACTION, message);
        // Group replication's own channels have no I/O thread.
        let name = |row: &Row| column(row, &["Channel_Name", "Connection_name"]);
        let channels = rows
            .iter()
            .filter(|row| !name(row).is_some_and(|name| name.starts_with("group_replication_")));
        let mut seconds = None;
        let mut executed = Executed::default();
        for row in channels {
            let channel = Channel::read(row);
            if let Some(trouble) = channel.trouble() {
                return Err(unseen(match name(row).filter(|name| !name.is_empty()) {
                    Some(name) => format!("channel {name}: {trouble}"),
                    None => trouble,
                }));
            }
            seconds = seconds.max(channel.seconds);
            if channel.source == Some(primary) {
                executed.coordinates = channel.coordinates;
            }
            executed.gtids =
                transactions(flavor, column(row, &["Executed_Gtid_Set", "Gtid_Slave_Pos"]))?;
        }
        let seconds = seconds.ok_or_else(|| unseen("the server is no replica".into()))?;
        // The server's own guess serves only for what was before the first sample.
        Ok(samples
            .lag(&executed, now)
            .unwrap_or_else(|least| least.max(Duration::from_secs(seconds))))
    }
}

/// The statement that shows each channel of a replica.
pub(crate) fn replica_status(flavor: Flavor) -> &'static str {
    match flavor.family {
        Family::Mariadb => "SHOW ALL SLAVES STATUS",
        Family::Mysql if flavor.at_least(8, 0, 22) => "SHOW REPLICA STATUS",
        Family::Mysql => "SHOW SLAVE STATUS",
    }
}

/// One channel of `SHOW REPLICA STATUS`, in the words of any version.
struct Channel {
    io: String,
    sql: String,
    errors: Vec<String>,
    seconds: Option<u64>,
    source: Option<u32>,
    coordinates: Option<Coordinates>,
}

impl Channel {
    fn read(row: &Row) -> Self {
        let word = |names: &[&str]| column(row, names).unwrap_or_default();
        let number = |names: &[&str]| column(row, names).and_then(|text| text.parse::<u64>().ok());
        let errors = [word(&["Last_IO_Error"]), word(&["Last_SQL_Error"])];
        Self {
            io: word(&["Replica_IO_Running", "Slave_IO_Running"]),
            sql: word(&["Replica_SQL_Running", "Slave_SQL_Running"]),
            errors: errors.into_iter().filter(|error| !error.is_empty()).collect(),
            seconds: number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
            source: number(&["Source_Server_Id", "Master_Server_Id"])
                .and_then(|id| u32::try_from(id).ok()),
            coordinates: number(&["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"]).and_then(
                |offset| {
                    let file = word(&["Relay_Source_Log_File", "Relay_Master_Log_File"]);
                    Coordinates::new(&file, offset)
                },
            ),
        }
    }

    /// Why it says nothing of the lag.
    fn trouble(&self) -> Option<String> {
        let state = match (self.io.as_str(), self.sql.as_str()) {
            ("Yes", "Yes") if self.seconds.is_some() => return None,
            ("Yes", "Yes") => "it does not show its lag".to_owned(),
            ("Yes", sql) => format!("not replicating (SQL thread stopped: {sql})"),
            (io, _) => format!("not replicating (I/O thread stopped: {io})"),
        };
        let errors = self.errors.join("; ");
        Some(if errors.is_empty() { state } else { format!("{state}: {errors}") })
    }
}

/// A column by any of its names.
pub(crate) fn column(row: &Row, names: &[&str]) -> Option<String> {
    let index = row
        .columns_ref()
        .iter()
        .position(|column| names.iter().any(|name| column.name_str().eq_ignore_ascii_case(name)))?;
    text(row, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Executed {
        let gtids = Gtids::parse(Family::Mariadb, &format!("0-1-{number}")).unwrap();
        Executed { gtids, coordinates: None }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_lag_is_the_age_of_the_newest_sample_applied() {
        let start = Instant::now();
        let mut samples = Samples::default();
        for second in 0..10 {
            samples.add(after(start, second), at(100 + second));
        }
        let now = after(start, 10);
        assert_eq!(samples.lag(&at(109), now), Ok(Duration::from_secs(1)));
        assert_eq!(samples.lag(&at(104), now), Ok(Duration::from_secs(6)));
        assert_eq!(samples.lag(&at(7), now), Err(Duration::from_secs(10)));
        assert_eq!(samples.lag(&Executed::default(), now), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_primary_that_rests_makes_no_lag() {
        let start = Instant::now();
        let mut samples = Samples::default();
        samples.add(start, at(1));
        samples.add(after(start, 1), at(2));
        samples.add(after(start, 3600), at(2));
        assert_eq!(samples.lag(&at(2), after(start, 3600)), Ok(Duration::ZERO));
        assert_eq!(samples.lag(&at(1), after(start, 3600)), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn samples_of_a_long_lag_stay_few_and_never_make_it_shorter() {
        let start = Instant::now();
        let mut samples = Samples::default();
        let end = 10_000;
        for second in 0..=end {
            samples.add(after(start, second), at(second));
        }
        assert!(samples.0.len() <= MOST_SAMPLES);
        let now = after(start, end);
        for applied in [0, 100, 5_000, 9_000, 9_900, 9_990, 9_999, end] {
            let real = end - applied;
            let lag = samples.lag(&at(applied), now).unwrap().as_secs();
            assert!((real..=real + real / 20).contains(&lag), "{lag}, not {real}");
        }
    }
}
