//! What keeps a run from copying or from cutting over, and what would lift it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::{Directives, Holder};
use crate::throttle::Sources;

/// What can hold a run back beside the operator, for as long as it takes orders.
#[derive(Debug, Default)]
pub(crate) struct Holding(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    sources: Sources,
    /// The run was begun with `--hold`.
    hold: bool,
}

impl Holding {
    /// The run takes orders from now on. `hold`: it was begun with `--hold`.
    pub(crate) fn begin(&self, sources: Sources, hold: bool) {
        *self.lock() = Some(Held { sources, hold });
    }

    /// It does not any more.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Reasons of the throttle's sources.
    pub(crate) fn sources(&self) -> Vec<String> {
        self.lock().as_ref().map(|held| held.sources.reasons()).unwrap_or_default()
    }

    /// What holds the run back: the operator's sides, and the throttle's sources.
    pub(crate) fn holders(&self, directives: &Directives, table: &str) -> Vec<Holder> {
        let hold = self.lock().as_ref().is_some_and(|held| held.hold);
        let mut holders = directives.holders(hold, table);
        let by_itself = |what| Holder { what, lift: "ends by itself".into() };
        holders.extend(self.sources().into_iter().map(by_itself));
        holders
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
