//! The numbers of a run in JSON, as events and messages have them.

use serde::Serialize;

use crate::engine::pace::Pace;
use crate::engine::picture::Picture;
use crate::engine::progress::Snapshot;

/// A run's numbers at one moment, and what follows from them.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    /// Of the phase.
    percent: Option<f64>,
    rows_per_second: Option<f64>,
    /// Of the phase.
    eta_seconds: Option<u64>,
}

impl<'a> Numbers<'a> {
    /// Those of a picture.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        Self {
            snapshot: &picture.now,
            percent: picture.percent,
            rows_per_second: picture.rows_per_second,
            eta_seconds: picture.eta_seconds,
        }
    }
}

/// Learns how fast a run is.
#[derive(Debug, Default)]
pub(crate) struct Counter(Pace);

impl Counter {
    /// Forgets: what was done until now was not done at this pace.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    /// Takes a look.
    pub(crate) fn look<'a>(&mut self, now: &'a Snapshot) -> Numbers<'a> {
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let view = self.0.look(now);
        Numbers {
            snapshot: now,
            percent: view.map(|view| tenths(view.fraction * 100.0)),
            rows_per_second: view
                .filter(|_| now.connection_lost_seconds.is_none())
                .and_then(|view| view.rate)
                .map(tenths),
            eta_seconds: view.and_then(|view| view.eta).map(|eta| eta.as_secs()),
        }
    }
}
