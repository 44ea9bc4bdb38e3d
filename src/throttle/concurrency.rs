//! How wide the copy may be, steered by how hard the server is pressed: a state machine with
//! neither clock nor server.
//!
//! Additive increase, multiplicative decrease, with zones between: below 40 % of what is too much
//! it grows, to 70 % it stays, above it gives some way, and at 100 % half. A decrease is given the
//! time to be felt before the next.

/// Below this load the width grows.
const GROW: f64 = 0.4;
/// From this load on it shrinks.
const SHED: f64 = 0.7;
/// From this load on it is halved.
const HALVE: f64 = 1.0;

/// Chunks by which it grows at a step.
const GROWTH: f64 = 0.5;
/// The factor by which it grows while it is below one chunk.
const SMALL_GROWTH: f64 = 1.5;
/// What is left of it when it gives some way.
const LESS: f64 = 0.85;
/// Steps after a decrease without another: chunks in flight end before it is felt.
const PATIENCE: u32 = 3;

/// The least: one chunk, and pauses three times as long. The copy never stops for good.
pub(super) const LEAST: f64 = 0.25;

/// Chunks in flight. Below one it is the share of the time in which one is.
#[derive(Debug, Clone)]
pub(super) struct Width {
    now: f64,
    full: f64,
    patience: u32,
}

impl Width {
    /// The full width, of so many chunks; at least one.
    pub(super) fn full(chunks: usize) -> Self {
        let full = count(chunks);
        Self { now: full, full, patience: 0 }
    }

    /// Another full width. What was full stays so.
    pub(super) fn set_full(&mut self, chunks: usize) {
        let full = count(chunks);
        self.now = if self.is_full() { full } else { self.now.min(full) };
        self.full = full;
    }

    /// One step under this load, of which 1.0 is too much. Returns whether the load holds it back.
    pub(super) fn step(&mut self, load: f64) -> bool {
        let ready = self.patience == 0;
        self.patience = self.patience.saturating_sub(1);
        let pressed = load >= GROW;
        let next = if load >= SHED && ready {
            self.patience = PATIENCE;
            self.now * if load >= HALVE { 0.5 } else { LESS }
        } else if pressed {
            self.now
        } else if self.now < 1.0 {
            (self.now * SMALL_GROWTH).min(1.0)
        } else {
            self.now + GROWTH
        };
        self.now = next.clamp(LEAST, self.full);
        pressed
    }

    /// The width now.
    pub(super) fn get(&self) -> f64 {
        self.now
    }

    /// Its part of the full one, from almost 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.now / self.full
    }

    /// Whether nothing is held back.
    pub(super) fn is_full(&self) -> bool {
        self.now >= self.full
    }

    /// Whether it cannot give way any further.
    pub(super) fn is_least(&self) -> bool {
        self.now <= LEAST
    }
}

fn count(chunks: usize) -> f64 {
    f64::from(u32::try_from(chunks.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(loads: &[f64]) -> f64 {
        let mut width = Width::full(8);
        for load in loads {
            width.step(*load);
        }
        width.get()
    }

    #[test]
    fn each_zone_has_its_step() {
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(near(after(&[0.0]), 8.0));
        assert!(near(after(&[1.0]), 4.0));
        assert!(near(after(&[0.99]), 6.8));
        assert!(near(after(&[1.0, 0.69]), 4.0));
        assert!(near(after(&[1.0, 0.39]), 4.5));
    }

    #[test]
    fn a_decrease_is_felt_before_the_next() {
        assert!((after(&[5.0, 5.0, 5.0, 5.0]) - 4.0).abs() < 1e-9);
        assert!((after(&[5.0; 5]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn another_full_width_holds_at_once_and_shrinks_what_is_wider() {
        let mut width = Width::full(4);
        width.set_full(8);
        assert!(width.is_full() && width.get() > 7.9);
        width.step(1.0);
        width.set_full(2);
        assert!(width.is_full() && width.get() < 2.1);
        width.set_full(0);
        assert!((width.get() - 1.0).abs() < 1e-9);
    }

    fn load() -> impl Strategy<Value = f64> {
        prop_oneof![0.0..3.0f64, Just(f64::INFINITY), Just(f64::NAN), Just(-1.0)]
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_never_nothing_and_never_too_much(
            first in 0..64usize, steps in prop::collection::vec((load(), 0..64usize), 0..200),
        ) {
            let mut width = Width::full(first);
            for (load, full) in steps {
                width.set_full(full);
                width.step(load);
                let most = full.max(1) as f64;
                prop_assert!((LEAST..=most).contains(&width.get()), "{width:?}");
                prop_assert!(width.share() > 0.0 && width.share() <= 1.0);
            }
        }

        #[test]
        fn when_the_load_has_gone_it_is_full_again_soon(
            full in 1..33usize, loads in prop::collection::vec(load(), 0..200),
        ) {
            let mut width = Width::full(full);
            for load in loads {
                width.step(load);
            }
            for _ in 0..6 + 2 * full {
                width.step(0.1);
            }
            prop_assert!(width.is_full(), "{width:?}");
        }

        #[test]
        fn a_load_that_stays_too_high_brings_it_to_the_least(full in 1..33usize) {
            let mut width = Width::full(full);
            for _ in 0..40 {
                width.step(1.0);
            }
            prop_assert!(width.is_least(), "{width:?}");
        }
    }
}
