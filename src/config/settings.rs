//! The settings of `osc alter`: as they are given, and with their defaults.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Deserializer};

use super::http_url::HttpUrl;
use super::listen::HttpSettings;
use super::load_limit::Limit;
use super::notify::NotifySettings;
use super::period::Period;
use super::strategy::Strategy;
use super::target::Scheme;
use super::window::Window;

/// When secondary indexes are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Indexes {
    /// After the copy, unless a replica would lag behind by it.
    #[default]
    Auto,
    /// After the copy: faster.
    After,
    /// While rows are copied: no replica waits for an index build.
    During,
}

impl Indexes {
    /// The words of the command line.
    pub const WORDS: [&str; 3] = ["auto", "after", "during"];
}

impl FromStr for Indexes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "after" => Ok(Self::After),
            "during" => Ok(Self::During),
            _ => Err(format!("indexes is one of {}", Self::WORDS.join(", "))),
        }
    }
}

/// As many chunks as may ever be in flight.
pub(crate) const MOST_THREADS: usize = 32;

/// How many chunks are in flight: 1 to [`MOST_THREADS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threads(NonZeroUsize);

impl Threads {
    /// The number.
    pub(crate) fn get(self) -> NonZeroUsize {
        self.0
    }
}

impl TryFrom<u64> for Threads {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        usize::try_from(number)
            .ok()
            .filter(|number| *number <= MOST_THREADS)
            .and_then(NonZeroUsize::new)
            .map(Self)
            .ok_or_else(|| format!("threads must be a whole number, 1 to {MOST_THREADS}"))
    }
}

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Whatever is no number is as wrong as 0.
        Self::try_from(text.trim().parse().unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Self::try_from(u64::try_from(number).unwrap_or(0)).map_err(serde::de::Error::custom)
    }
}

/// Where a setting was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Given {
    /// Nowhere: its default holds.
    #[default]
    Nowhere,
    /// On the command line.
    CommandLine,
    /// In a profile of `osc.toml`.
    Profile,
}

/// Where those settings were given that can be changed while a run is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GivenWhere {
    pub(crate) hold: Given,
    pub(crate) max_rows_per_second: Given,
    pub(crate) threads: Given,
    pub(crate) chunk_time: Given,
    pub(crate) max_lag: Given,
}

/// What may be given on the command line and in a profile of `osc.toml`. A field is `None` where nothing was
/// given: the method of the same name has the default.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Copy this many chunks at the same time, 1 to 32 [default: 4]
    #[arg(long, value_name = "N", help_heading = "Speed")]
    threads: Option<Threads>,
    /// Rows of the first chunks; later ones are sized by --chunk-time [default: 5000]
    #[arg(long, value_name = "ROWS", help_heading = "Speed")]
    chunk_size: Option<NonZeroU64>,
    /// Size chunks to take this long [default: 500ms]
    #[arg(long, value_name = "DURATION", help_heading = "Speed")]
    chunk_time: Option<Period>,
    /// When to build secondary indexes: after the copy is faster, during it spares replicas
    /// [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Speed", value_parser = words::<Indexes>(&Indexes::WORDS))]
    #[serde(deserialize_with = "parsed")]
    indexes: Option<Indexes>,
    /// Treat a server that osc does not recognise as this kind: mysql, postgres [default: refuse it]
    #[arg(long, value_name = "KIND", help_heading = "Safety", value_parser = words::<Scheme>(&Scheme::WORDS))]
    #[serde(deserialize_with = "parsed")]
    pub treat_as: Option<Scheme>,
    /// How to make the change [default: auto, the cheapest safe way]
    ///
    /// instant: metadata only; inplace: the server's own online DDL; copy: a shadow table that is
    /// filled, verified and swapped in. A method that the server cannot take for this change is
    /// refused.
    #[arg(long, value_name = "METHOD", help_heading = "Speed", value_parser = words::<Strategy>(&Strategy::WORDS))]
    #[serde(deserialize_with = "parsed")]
    strategy: Option<Strategy>,
    /// Copy at most this many rows per second [default: no limit]
    #[arg(long, value_name = "ROWS", help_heading = "Throttle")]
    pub max_rows_per_second: Option<NonZeroU32>,
    /// A replica whose lag is watched; may be given several times
    ///
    /// A connection URL; without a user in it, user and password are those of the main connection.
    #[arg(long = "replica", value_name = "URL", help_heading = "Throttle")]
    pub replicas: Vec<String>,
    /// Pause the copy while a --replica lags more than this [default: 1500ms]
    #[arg(long, value_name = "DURATION", help_heading = "Throttle")]
    pub(super) max_lag: Option<Period>,
    /// Pause the copy while a status variable is above N, like Threads_running=50
    #[arg(long, value_name = "NAME=N", value_delimiter = ',', help_heading = "Throttle")]
    #[serde(deserialize_with = "all_parsed")]
    pub max_load: Vec<Limit>,
    /// Stop the run (it can be resumed) when a status variable is above N
    #[arg(long, value_name = "NAME=N", value_delimiter = ',', help_heading = "Throttle")]
    #[serde(deserialize_with = "all_parsed")]
    pub critical_load: Vec<Limit>,
    /// Pause the copy while this query's first value is above 0, or is no number: no row and NULL pause too
    #[arg(long, value_name = "SQL", help_heading = "Throttle")]
    pub throttle_query: Option<String>,
    /// Pause the copy while this URL answers with anything but 200
    #[arg(long, value_name = "URL", help_heading = "Throttle")]
    #[serde(deserialize_with = "parsed")]
    pub throttle_http: Option<HttpUrl>,
    /// Pause the copy while a slot of osc's makes PostgreSQL keep more WAL than this; end the run and
    /// drop the slot at twice as much; 0: no limit [default: 16GiB]
    #[arg(long, value_name = "SIZE", help_heading = "Throttle")]
    #[serde(deserialize_with = "parsed")]
    max_wal: Option<ByteSize>,
    /// Copy, and change the table by any method, only at these times of day: "22:00-05:00", "22:00-05:00 Europe/Rome"
    #[arg(long, value_name = "FROM-TO", help_heading = "Throttle")]
    #[serde(deserialize_with = "parsed")]
    pub window: Option<Window>,
    /// Steer the run by this file: absent = run, empty = paused, else TOML
    ///
    /// `touch FILE` pauses and `rm FILE` resumes. Keys, each optional: pause = true,
    /// cut_over = "auto" | "hold" | "now", max_rows_per_second = 20000, threads = 2,
    /// chunk_time = "500ms", max_lag = "2s", abort = true. A mistake in it pauses the copy.
    #[arg(long, value_name = "FILE", help_heading = "Throttle")]
    pub control_file: Option<PathBuf>,
    /// Wait for permission before the table is changed, by any method
    ///
    /// Permission is `osc cut-over TABLE`, or cut_over = "now" in the control file, given after the run began.
    #[arg(long, help_heading = "Cut-over")]
    pub hold: bool,
    /// Longest time to hold the table lock while the last changes are applied [default: 3s]
    #[arg(long, value_name = "DURATION", help_heading = "Cut-over")]
    cut_over_timeout: Option<Period>,
    /// Stop the run (it can be resumed) after this many attempts [default: 60]
    #[arg(long, value_name = "N", help_heading = "Cut-over")]
    cut_over_attempts: Option<NonZeroU32>,
    /// Kill sessions whose transaction has blocked the cut-over for longer than this [default: never; they are only reported]
    #[arg(long, value_name = "DURATION", help_heading = "Cut-over")]
    kill_blockers_after: Option<Period>,
    /// Keep the retired table this long: until then osc cleanup refuses to drop it [default: 24h]
    #[arg(long, value_name = "DURATION", help_heading = "Undo")]
    undo_for: Option<Period>,
    /// Run functions of the table's owner with the rights of osc's role (PostgreSQL)
    ///
    /// Checks, generated columns, defaults and index expressions run during the copy. Where their
    /// functions belong to a role with fewer rights than osc's, the change is refused without this.
    #[arg(long, help_heading = "Connection")]
    pub trust_owner: bool,
    /// Who hears of it; in a profile a table of its own.
    #[command(flatten)]
    #[serde(skip)]
    pub notify: NotifySettings,
    /// Where it can be watched; in a profile a table of its own.
    #[command(flatten)]
    #[serde(skip)]
    pub http: HttpSettings,
    /// `verify = false` in a profile; `--no-verify` on the command line.
    #[arg(skip)]
    pub(crate) verify: Option<bool>,
    /// `feedback = false` in a profile; `--no-feedback` on the command line.
    #[arg(skip)]
    pub(crate) feedback: Option<bool>,
    /// Where some of them were given, once [`Settings::over`] has put both together.
    #[arg(skip)]
    #[serde(skip)]
    pub(crate) given: GivenWhere,
}

const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
const CHUNK_SIZE: NonZeroU64 = NonZeroU64::MIN.saturating_add(4_999);
const CHUNK_TIME: Duration = Duration::from_millis(500);
const MAX_LAG: Duration = Duration::from_millis(1500);
const MAX_WAL: ByteSize = ByteSize::gib(16);
const CUT_OVER_TIMEOUT: Duration = Duration::from_secs(3);
const UNDO_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const CUT_OVER_ATTEMPTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

impl Settings {
    /// A flag that was given and says how rows are copied.
    pub(crate) fn of_a_copy(&self) -> Option<&'static str> {
        let given = [
            (self.strategy.is_some(), "--strategy"),
            (self.indexes.is_some(), "--indexes"),
            (self.chunk_size.is_some(), "--chunk-size"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// How many chunks are in flight.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.map_or(THREADS, Threads::get)
    }

    /// Rows of the first chunks.
    pub fn chunk_size(&self) -> NonZeroU64 {
        self.chunk_size.unwrap_or(CHUNK_SIZE)
    }

    /// How long a chunk should take.
    pub fn chunk_time(&self) -> Duration {
        self.chunk_time.map_or(CHUNK_TIME, Period::get)
    }

    /// When secondary indexes are built.
    pub fn indexes(&self) -> Indexes {
        self.indexes.unwrap_or_default()
    }

    /// How to make the change.
    pub fn strategy(&self) -> Strategy {
        self.strategy.unwrap_or_default()
    }

    /// Lag of a replica above which the copy pauses; without replicas it means nothing.
    pub fn max_lag(&self) -> Duration {
        self.max_lag.map_or(MAX_LAG, Period::get)
    }

    /// WAL that a slot may make the server keep; `None`: without limit.
    pub fn max_wal(&self) -> Option<ByteSize> {
        Some(self.max_wal.unwrap_or(MAX_WAL)).filter(|size| size.as_u64() > 0)
    }

    /// How long one cut-over attempt may hold the lock while the stream is drained.
    pub fn cut_over_timeout(&self) -> Duration {
        self.cut_over_timeout.map_or(CUT_OVER_TIMEOUT, Period::get)
    }

    /// Cut-over attempts before the run stops, resumably.
    pub fn cut_over_attempts(&self) -> NonZeroU32 {
        self.cut_over_attempts.unwrap_or(CUT_OVER_ATTEMPTS)
    }

    /// Age from which sessions that block the cut-over are killed; `None`: never.
    pub fn kill_blockers_after(&self) -> Option<Duration> {
        self.kill_blockers_after.map(Period::get)
    }

    /// How long the retired table is kept for an undo.
    pub fn undo_for(&self) -> Duration {
        self.undo_for.map_or(UNDO_FOR, Period::get)
    }

    /// Whether both tables are compared before the swap.
    pub fn verify(&self) -> bool {
        self.verify.unwrap_or(true)
    }

    /// Whether the copy slows down as soon as others on the server feel it.
    pub fn feedback(&self) -> bool {
        self.feedback.unwrap_or(true)
    }

    /// What `self` says, and `base` where it says nothing.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        fn either<T>(own: Vec<T>, base: Vec<T>) -> Vec<T> {
            if own.is_empty() { base } else { own }
        }
        let given = |own: bool, base: bool| match (own, base) {
            (true, _) => Given::CommandLine,
            (false, true) => Given::Profile,
            (false, false) => Given::Nowhere,
        };
        let given = GivenWhere {
            hold: given(self.hold, base.hold),
            max_rows_per_second: given(
                self.max_rows_per_second.is_some(),
                base.max_rows_per_second.is_some(),
            ),
            threads: given(self.threads.is_some(), base.threads.is_some()),
            chunk_time: given(self.chunk_time.is_some(), base.chunk_time.is_some()),
            max_lag: given(self.max_lag.is_some(), base.max_lag.is_some()),
        };
        Self {
            given,
            threads: self.threads.or(base.threads),
            chunk_size: self.chunk_size.or(base.chunk_size),
            chunk_time: self.chunk_time.or(base.chunk_time),
            indexes: self.indexes.or(base.indexes),
            strategy: self.strategy.or(base.strategy),
            treat_as: self.treat_as.or(base.treat_as),
            max_rows_per_second: self.max_rows_per_second.or(base.max_rows_per_second),
            replicas: either(self.replicas, base.replicas),
            max_lag: self.max_lag.or(base.max_lag),
            max_load: either(self.max_load, base.max_load),
            critical_load: either(self.critical_load, base.critical_load),
            throttle_query: self.throttle_query.or(base.throttle_query),
            throttle_http: self.throttle_http.or(base.throttle_http),
            max_wal: self.max_wal.or(base.max_wal),
            window: self.window.or(base.window),
            control_file: self.control_file.or(base.control_file),
            hold: self.hold || base.hold,
            cut_over_timeout: self.cut_over_timeout.or(base.cut_over_timeout),
            cut_over_attempts: self.cut_over_attempts.or(base.cut_over_attempts),
            kill_blockers_after: self.kill_blockers_after.or(base.kill_blockers_after),
            undo_for: self.undo_for.or(base.undo_for),
            trust_owner: self.trust_owner || base.trust_owner,
            notify: self.notify.over(base.notify),
            http: self.http.over(base.http),
            verify: self.verify.or(base.verify),
            feedback: self.feedback.or(base.feedback),
        }
    }
}

/// A command-line parser that knows its words, for the help and the completions.
pub(super) fn words<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: fmt::Display> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word| word.parse::<T>().map_err(|error| std::io::Error::other(error.to_string())))
}

fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn all_parsed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_help_names() {
        let settings = Settings::default();
        assert_eq!(settings.threads().get(), 4);
        assert_eq!(settings.chunk_size().get(), 5000);
        assert_eq!(settings.cut_over_attempts().get(), 60);
        assert!(settings.verify() && settings.feedback() && !settings.hold);
    }

    #[test]
    fn what_is_said_wins_over_the_base() {
        let own: Settings =
            toml::from_str("threads = 2\nmax_load = ['Threads_running=9']").unwrap();
        let base: Settings = toml::from_str(
            "threads = 8\nchunk_time = '1s'\nmax_load = ['a=1', 'b=2']\nhold = true\n\
             strategy = 'copy'\nindexes = 'during'\nverify = false\nfeedback = false",
        )
        .unwrap();
        let settings = own.over(base);
        assert_eq!(settings.threads().get(), 2);
        assert_eq!(settings.given.threads, Given::CommandLine);
        assert_eq!(settings.given.chunk_time, Given::Profile);
        assert_eq!(settings.given.max_lag, Given::Nowhere);
        assert_eq!(settings.chunk_time(), Duration::from_secs(1));
        assert_eq!(settings.max_load, ["Threads_running=9".parse().unwrap()]);
        assert_eq!(settings.strategy(), Strategy::Copy);
        assert_eq!(settings.indexes(), Indexes::During);
        assert!(settings.hold);
        assert!(!settings.verify() && !settings.feedback());
    }

    #[test]
    fn threads_have_bounds() {
        let most = MOST_THREADS.to_string();
        assert_eq!(most.parse::<Threads>().unwrap().get().get(), MOST_THREADS);
        for text in ["0", "-1", "33", "999999999999", "99999999999999999999999", "x", ""] {
            assert!(text.parse::<Threads>().unwrap_err().contains("1 to 32"), "{text}");
        }
        for number in ["0", "-1", "33", "999999999999"] {
            let error = toml::from_str::<Settings>(&format!("threads = {number}")).unwrap_err();
            assert!(error.message().contains("1 to 32"), "{error}");
        }
    }
}
