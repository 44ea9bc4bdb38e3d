//! What one side asks for, and what all sides together amount to: each can pause, and of a setting the last
//! writer wins.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{CutOver, Directives, Holder};
use crate::config::settings::Given;

/// A setting that can be changed while a run is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// When to cut over.
    CutOver,
    /// The limit of the copy's speed.
    MaxRowsPerSecond,
    /// Chunks in flight.
    Threads,
    /// How long a chunk should take.
    ChunkTime,
    /// The limit of a replica's lag.
    MaxLag,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::CutOver, Self::MaxRowsPerSecond, Self::Threads, Self::ChunkTime, Self::MaxLag];

    /// Its name in the control file and in orders.
    pub fn name(self) -> &'static str {
        match self {
            Self::CutOver => "cut_over",
            Self::MaxRowsPerSecond => "max_rows_per_second",
            Self::Threads => "threads",
            Self::ChunkTime => "chunk_time",
            Self::MaxLag => "max_lag",
        }
    }
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody gave one.
    #[default]
    Default,
    /// A flag of the run's command.
    CommandLine,
    /// A profile in `osc.toml`.
    Profile,
    /// The control file.
    ControlFile {
        /// Its path.
        file: String,
    },
    /// An order.
    Order(Author),
}

/// Whose an order is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Author {
    /// The order's number.
    pub order: i64,
    /// The account that made it.
    pub who: String,
    /// From where.
    pub host: String,
    /// When, UTC.
    pub made: String,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, who, host, .. } = self;
        write!(f, "order {order} of {who}")?;
        if host != who && !host.is_empty() {
            write!(f, " ({host})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::CommandLine => f.write_str("command line"),
            Self::Profile => f.write_str("osc.toml"),
            Self::ControlFile { file } => write!(f, "control file {file}"),
            Self::Order(author) => author.fmt(f),
        }
    }
}

impl From<Given> for Origin {
    fn from(given: Given) -> Self {
        match given {
            Given::Nowhere => Self::Default,
            Given::CommandLine => Self::CommandLine,
            Given::Profile => Self::Profile,
        }
    }
}

/// What one side says of the settings; `None`: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// When to cut over.
    pub cut_over: Option<CutOver>,
    /// The limit of the copy's speed.
    pub max_rows_per_second: Option<NonZeroU32>,
    /// Chunks in flight.
    pub threads: Option<NonZeroUsize>,
    /// How long a chunk should take.
    pub chunk_time: Option<Duration>,
    /// The limit of a replica's lag.
    pub max_lag: Option<Duration>,
}

/// One side: what it says, and since when.
#[derive(Debug, Clone)]
pub(super) struct Side<'a> {
    pub(super) wishes: &'a Wishes,
    pub(super) origin: Origin,
    pub(super) since: Instant,
    /// Its word about the cut-over was given since the run began.
    pub(super) fresh: bool,
}

/// What all sides amount to: of each setting what was said last, `base` where no side speaks of it.
pub(super) fn combine(base: &Directives, sides: &[Side<'_>], pauses: Vec<Holder>) -> Directives {
    fn last<T: Copy>(
        sides: &[Side<'_>],
        says: impl Fn(&Wishes) -> Option<T>,
    ) -> Option<(T, Origin, bool)> {
        let speaking = sides.iter().filter_map(|side| says(side.wishes).map(|value| (value, side)));
        // Of two at the same moment the later in the list.
        let (value, side) = speaking.max_by_key(|(_, side)| side.since)?;
        Some((value, side.origin.clone(), side.fresh))
    }
    let mut now = base.clone();
    let [cut_over, rate, threads, chunk_time, max_lag] = &mut now.origins;
    if let Some((value, origin, fresh)) = last(sides, |says| says.cut_over) {
        (now.cut_over, *cut_over, now.fresh) = (value, origin, fresh);
    }
    if let Some((value, origin, _)) = last(sides, |says| says.max_rows_per_second) {
        (now.max_rows_per_second, *rate) = (Some(value), origin);
    }
    if let Some((value, origin, _)) = last(sides, |says| says.threads) {
        (now.threads, *threads) = (Some(value), origin);
    }
    if let Some((value, origin, _)) = last(sides, |says| says.chunk_time) {
        (now.chunk_time, *chunk_time) = (Some(value), origin);
    }
    if let Some((value, origin, _)) = last(sides, |says| says.max_lag) {
        (now.max_lag, *max_lag) = (Some(value), origin);
    }
    let reasons: Vec<&str> = pauses.iter().map(|holder| holder.what.as_str()).collect();
    now.pause = (!reasons.is_empty()).then(|| reasons.join("; "));
    now.pauses = pauses;
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(number: usize) -> Wishes {
        Wishes { threads: NonZeroUsize::new(number), ..Wishes::default() }
    }

    #[test]
    fn the_last_writer_of_a_setting_wins_and_each_can_pause() {
        let base = Directives { threads: NonZeroUsize::new(4), ..Directives::default() };
        let (two, three, begun) = (threads(2), threads(3), Instant::now());
        let side = |wishes, seconds, origin| Side {
            wishes,
            origin,
            since: begun + Duration::from_secs(seconds),
            fresh: true,
        };
        let file = Origin::ControlFile { file: "F".into() };
        let order = Origin::Order(Author { order: 1, ..Author::default() });
        let of = |file_at, order_at| {
            let sides = [side(&two, file_at, file.clone()), side(&three, order_at, order.clone())];
            let now = combine(&base, &sides, Vec::new());
            (now.threads.map(NonZeroUsize::get), now.origin(Key::Threads).clone())
        };
        assert_eq!(of(1, 2), (Some(3), order.clone()));
        assert_eq!(of(2, 1), (Some(2), file.clone()));
        assert_eq!(combine(&base, &[], Vec::new()), base);
        let holder = |what: &str| Holder { what: what.into(), lift: String::new() };
        let now = combine(&base, &[], vec![holder("a"), holder("b")]);
        assert_eq!(now.pause.as_deref(), Some("a; b"));
    }
}
