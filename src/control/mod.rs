//! What an operator asks for while a run is under way.

pub mod file;

pub(crate) mod sources;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::config::settings::Settings;

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

/// The operator's directives at one moment. The engine reads them from a `tokio::sync::watch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// Why the copy is paused by the operator; `None`: it is not.
    pub pause: Option<String>,
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
}

impl Directives {
    /// Whether the operator permits the change of the original: not while the run is paused. `held`: an
    /// earlier attempt of the run was promised to wait, so that only what was given since then counts.
    pub fn permit(&self, held: bool) -> bool {
        self.cut_over != CutOver::Hold && self.pause.is_none() && (self.fresh || !held)
    }
}

/// What the operator wants as long as no control file says otherwise.
impl From<&Settings> for Directives {
    fn from(settings: &Settings) -> Self {
        Self {
            pause: None,
            cut_over: if settings.hold { CutOver::Hold } else { CutOver::Auto },
            fresh: false,
            max_rows_per_second: settings.max_rows_per_second,
            threads: Some(settings.threads()),
            chunk_time: Some(settings.chunk_time()),
            max_lag: Some(settings.max_lag()),
            abort: false,
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
}
