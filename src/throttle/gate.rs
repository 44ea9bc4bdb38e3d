//! The gate that chunks pass: as many at a time as the width allows, and below one with pauses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest pause between two chunks.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Counts chunks in flight. Without a width everybody passes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    width: Option<f64>,
    in_flight: u32,
    closed_until: Option<Instant>,
}

/// Whether the next chunk may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Now.
    Free,
    /// At that moment, if nothing changes.
    At(Instant),
    /// When something has changed.
    Full,
}

/// Leave for one chunk. It is in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the chunk is in flight for as long as this lives"]
pub struct Permit {
    gate: Arc<Gate>,
    begun: Instant,
}

impl Gate {
    /// Another width, in chunks.
    pub(super) fn set_width(&self, width: f64) {
        self.lock().width = Some(width);
        self.changed.notify_one();
    }

    /// Whether the next chunk may pass.
    pub(super) fn passage(&self) -> Admission {
        let state = self.lock();
        let Some(width) = state.width else { return Admission::Free };
        if f64::from(state.in_flight) + 1.0 > width.max(1.0) {
            return Admission::Full;
        }
        match state.closed_until {
            Some(until) if width < 1.0 && Instant::now() < until => Admission::At(until),
            _ => Admission::Free,
        }
    }

    /// Lets a chunk pass.
    pub(super) fn pass(self: &Arc<Self>) -> Permit {
        self.lock().in_flight += 1;
        Permit { gate: Arc::clone(self), begun: Instant::now() }
    }

    /// Returns when the width has changed or a chunk has ended since the last call. For one caller.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.closed_until = state.width.filter(|width| *width < 1.0).map(|width| {
            let pause = self.begun.elapsed().mul_f64(1.0 / width.max(0.01) - 1.0);
            Instant::now() + pause.min(LONGEST_PAUSE)
        });
        drop(state);
        self.gate.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pass_as_the_width_allows() {
        let gate = Arc::new(Gate::default());
        let many: Vec<Permit> = (0..9).map(|_| gate.pass()).collect();
        assert_eq!(gate.passage(), Admission::Free);
        gate.set_width(2.5);
        assert_eq!(gate.passage(), Admission::Full);
        drop(many);
        let _one = gate.pass();
        assert_eq!(gate.passage(), Admission::Free);
        let two = gate.pass();
        assert_eq!(gate.passage(), Admission::Full);
        drop(two);
        assert_eq!(gate.passage(), Admission::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn below_one_each_chunk_is_followed_by_a_pause_in_its_proportion() {
        let gate = Arc::new(Gate::default());
        gate.set_width(0.25);
        let turn = gate.pass();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(gate.passage(), Admission::Full);
        drop(turn);
        assert_eq!(gate.passage(), Admission::At(Instant::now() + Duration::from_millis(300)));
        gate.set_width(1.0);
        assert_eq!(gate.passage(), Admission::Free);
        gate.set_width(0.25);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(gate.passage(), Admission::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_ends_and_a_wider_gate_wake_who_waits() {
        let gate = Arc::new(Gate::default());
        gate.set_width(1.0);
        gate.changed().await;
        let turn = gate.pass();
        let waiting = tokio::time::timeout(Duration::from_secs(1), gate.changed()).await;
        assert!(waiting.is_err());
        drop(turn);
        gate.changed().await;
        gate.set_width(2.0);
        gate.changed().await;
    }
}
