//! Pauses between attempts.

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::error::Result;

/// Pauses that double up to the longest, each with some randomness, so that peers do not meet again.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first pause and the longest.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Between attempts at a lock on the table: from 100 ms to 10 s.
    pub(crate) fn for_table_lock() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }

    /// Between attempts to connect: from 20 ms to 2 s.
    pub(crate) fn for_connection() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(2))
    }

    /// How long to pause now.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        jittered(pause)
    }

    /// Pauses.
    pub(crate) async fn wait(&mut self) {
        sleep(self.pause()).await;
    }
}

/// A pause with some randomness, so that peers do not meet again.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// Does `step` again, each time on a new connection, while it loses its connection and `patience` lasts.
///
/// # Errors
/// The last attempt's.
pub(crate) async fn reconnecting<T, F>(patience: Duration, mut step: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut backoff = Backoff::for_connection();
    loop {
        match step().await {
            Err(error) if error.is_connection() && started.elapsed() < patience => {
                tracing::info!(%error, "trying again");
                backoff.wait().await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for pause in [100, 200, 300, 300] {
            let around = Duration::from_millis(pause / 2)..Duration::from_millis(pause * 3 / 2);
            assert!(around.contains(&backoff.pause()), "{pause}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_tried_again_while_patience_lasts() {
        let mut attempts = 0;
        let step = || {
            attempts += 1;
            let lost = attempts < 5;
            async move { if lost { Err(Error::connection("a", "b")) } else { Ok(()) } }
        };
        reconnecting(Duration::from_secs(60), step).await.unwrap();
        assert_eq!(attempts, 5);
        let lost = || async { Err::<(), _>(Error::connection("a", "b")) };
        assert!(reconnecting(Duration::from_secs(3), lost).await.is_err());
    }
}
