//! What an operator asks for while a run is under way.

pub mod file;
pub mod order;

mod orders;
pub(crate) mod sources;
mod wishes;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::settings::Settings;

pub use wishes::{Author, Key, Origin, Wishes};

/// When to cut over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CutOver {
    /// As soon as everything is ready.
    #[default]
    Auto,
    /// Wait for permission.
    Hold,
    /// Permission is given, `--hold` or not.
    Now,
}

impl CutOver {
    /// Its word in the control file and in orders.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hold => "hold",
            Self::Now => "now",
        }
    }
}

/// One thing that holds a run back, and what ends that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What holds it: `order 7 of ann (ann@ops1): peak hours`.
    pub what: String,
    /// What lifts it: a command, or an event.
    pub lift: String,
}

/// The operator's directives at one moment. The engine reads them from a `tokio::sync::watch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// Why the copy is paused by the operator, all reasons in one; `None`: it is not.
    pub pause: Option<String>,
    /// The same reasons one by one.
    pub pauses: Vec<Holder>,
    /// When to cut over.
    pub cut_over: CutOver,
    /// It was given since the run began.
    pub fresh: bool,
    /// Copy at most so many rows a second.
    pub max_rows_per_second: Option<NonZeroU32>,
    /// Chunks in flight.
    pub threads: Option<NonZeroUsize>,
    /// How long a chunk should take.
    pub chunk_time: Option<Duration>,
    /// Replica lag above which the copy pauses.
    pub max_lag: Option<Duration>,
    /// End the run now, resumably.
    pub abort: bool,
    /// Where the settings above come from, in the order of [`Key::ALL`].
    pub origins: [Origin; Key::ALL.len()],
}

/// A setting as it is now, for who looks at the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its name.
    pub key: String,
    /// Its value, as it would be written; `None`: no limit.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: Origin,
}

impl Directives {
    /// Whether the operator permits the change of the original: not while the run is paused. `held`: an
    /// earlier attempt of the run was promised to wait, so that only what was given since then counts.
    pub fn permit(&self, held: bool) -> bool {
        self.cut_over != CutOver::Hold && self.pause.is_none() && (self.fresh || !held)
    }

    /// Where a setting comes from.
    pub fn origin(&self, key: Key) -> &Origin {
        &self.origins[key as usize]
    }

    /// Every setting, its value and where that comes from.
    pub fn in_force(&self) -> Vec<InForce> {
        let length = |length: Option<Duration>| length.map(|length| format!("{length:?}"));
        let value = |key| match key {
            Key::CutOver => Some(self.cut_over.word().to_owned()),
            Key::MaxRowsPerSecond => self.max_rows_per_second.map(|rows| rows.to_string()),
            Key::Threads => self.threads.map(|threads| threads.to_string()),
            Key::ChunkTime => length(self.chunk_time),
            Key::MaxLag => length(self.max_lag),
        };
        let one = |key: Key| InForce {
            key: key.name().into(),
            value: value(key),
            origin: self.origin(key).clone(),
        };
        Key::ALL.into_iter().map(one).collect()
    }

    /// What keeps the run from cutting over, as far as the operator goes; `held` as in [`Directives::permit`].
    pub fn holders(&self, held: bool, table: &str) -> Vec<Holder> {
        let mut holders = self.pauses.clone();
        let lift = || format!("osc cut-over {}", crate::shell::word(table));
        if self.cut_over == CutOver::Hold {
            let what = format!("on hold ({})", self.origin(Key::CutOver));
            holders.push(Holder { what, lift: lift() });
        } else if held && !self.fresh {
            let what = "on hold: the run was begun with --hold".to_owned();
            holders.push(Holder { what, lift: lift() });
        }
        holders
    }
}

/// What the operator wants as long as neither a control file nor an order says otherwise.
impl From<&Settings> for Directives {
    fn from(settings: &Settings) -> Self {
        let given = settings.given;
        Self {
            cut_over: if settings.hold { CutOver::Hold } else { CutOver::Auto },
            max_rows_per_second: settings.max_rows_per_second,
            threads: Some(settings.threads()),
            chunk_time: Some(settings.chunk_time()),
            max_lag: Some(settings.max_lag()),
            origins: [
                given.hold.into(),
                given.max_rows_per_second.into(),
                given.threads.into(),
                given.chunk_time.into(),
                given.max_lag.into(),
            ],
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_the_first_wishes() {
        let of = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            Directives::from(&settings)
        };
        assert_eq!(of("").cut_over, CutOver::Auto);
        assert_eq!(of("hold = true").cut_over, CutOver::Hold);
        assert_eq!(of("threads = 2").threads.map(NonZeroUsize::get), Some(2));
    }

    #[test]
    fn what_holds_a_run_has_what_lifts_it() {
        let mut now = Directives { cut_over: CutOver::Hold, ..Directives::default() };
        let lifts = |now: &Directives, held| {
            let holders = now.holders(held, "shop.my users");
            holders.into_iter().map(|holder| holder.lift).collect::<Vec<_>>()
        };
        assert_eq!(lifts(&now, true), ["osc cut-over 'shop.my users'"]);
        now.cut_over = CutOver::Auto;
        assert_eq!(lifts(&now, true).len(), 1, "an earlier attempt was promised to wait");
        assert!(lifts(&now, false).is_empty());
        now.fresh = true;
        assert!(lifts(&now, true).is_empty());
    }
}
