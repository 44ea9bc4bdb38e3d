//! The numbers of a run in JSON, as events and messages have them.

use serde::Serialize;

use crate::engine::pace::{Pace, Rates};
use crate::engine::picture::Picture;
use crate::engine::progress::Snapshot;

/// A run's numbers at one moment, and what follows from them.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    #[serde(flatten)]
    rates: Rates,
}

impl<'a> Numbers<'a> {
    /// Those of a picture.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        Self { snapshot: &picture.now, rates: picture.rates.clone() }
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
        Numbers { snapshot: now, rates: self.0.rates(now) }
    }
}
