//! Feedback: the copy takes what the server has to spare, and slows down as soon as others feel it.
//!
//! Looks at the server a few times a second, steers the width by the pressure, and sets the gate. What
//! cannot be seen holds nothing back: this is no source of pauses. Refreshes and the stream do not
//! pass the gate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::activity::{ActivityProbe, LatencyFeed};
use super::concurrency::Width;
use super::gate::Gate;
use super::probe::brief;
use super::signals::Signals;
use crate::control::Directives;

/// How often to look.
const PERIOD: Duration = Duration::from_millis(200);

/// Looking takes at most so small a part of the time: a server with thousands of sessions is looked
/// at less often.
const RARELY: u32 = 20;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What feedback makes of the copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Pacing {
    /// Chunks in flight; below one, the share of the time in which one is.
    pub width: f64,
    /// The width as a part of the full one, from almost 0 to 1.
    pub share: f64,
    /// Why the width is not the full one; `None`: it is.
    pub reason: Option<String>,
}

/// Steers the gate, for ever.
pub(super) async fn steer<V: ActivityProbe>(
    mut activity: V,
    threads: usize,
    directives: watch::Receiver<Directives>,
    latencies: LatencyFeed,
    gate: Arc<Gate>,
    pacings: watch::Sender<Option<Pacing>>,
) {
    let mut signals = Signals::default();
    let mut width = Width::full(threads);
    let mut reason = None;
    loop {
        let begun = Instant::now();
        let sample = match timeout(PATIENCE, activity.sample()).await {
            Ok(Ok(sample)) => Some(sample),
            Ok(Err(error)) => {
                tracing::debug!(error = brief(&error), "the server's activity is unknown");
                None
            }
            Err(_) => None,
        };
        let looked = begun.elapsed();
        signals.take(sample, latencies.take());
        let pressure = signals.pressure();
        width.set_full(directives.borrow().threads.map_or(threads, std::num::NonZero::get));
        let pressed = width.step(pressure.load);
        tracing::trace!(?pressure, width = width.get(), ?signals, "feedback");
        if width.is_least() {
            signals.excuse();
        }
        if width.is_full() {
            reason = None;
        } else if pressed {
            reason = Some(pressure.reason);
        }
        gate.set_width(width.get());
        let pacing = Pacing { width: width.get(), share: width.share(), reason: reason.clone() };
        pacings.send_replace(Some(pacing));
        sleep_until(begun + PERIOD.max(looked * RARELY)).await;
    }
}
