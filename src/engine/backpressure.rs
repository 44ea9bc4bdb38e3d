//! What a run says of the width that feedback leaves it, and what it lets feedback see first.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::backend::Server;
use super::event::Event;
use super::run::Run;
use crate::error::{Error, Result};

/// Checkpoints before the first chunk, and how long that waits for them.
const FIRST: u32 = 5;
const FIRST_TIME: Duration = Duration::from_millis(250);

/// How long the width must have been full to be reported as full. It comes and goes: each time a
/// line in a log would be too many.
const CALM: Duration = Duration::from_secs(5);

/// Commits a few times while nothing is copied: this is what commits take when it is quiet. Does
/// nothing without feedback.
pub(super) async fn see_quiet<S: Server>(run: &Run<S>) -> Result<()> {
    if !run.throttle.has_feedback() {
        return Ok(());
    }
    let commits = async {
        // The first one may have to connect, which is no commit's time.
        let state = run.state().text()?;
        run.server.checkpoint(Some(state)).await?;
        for _ in 0..FIRST {
            run.checkpoint().await?;
        }
        Ok::<(), Error>(())
    };
    match timeout(FIRST_TIME, commits).await {
        // A connection that broke is met again, and with more patience, by whoever needs one.
        Ok(Err(error)) if !error.is_connection() => Err(error),
        _ => Ok(()),
    }
}

/// Shows the width, and reports when the copy slows down and when it no longer does; never ends.
pub(super) async fn report<S: Server>(run: &Run<S>) -> Error {
    let mut pacing = run.throttle.pacing();
    let mut narrow_at = None;
    loop {
        let now = pacing.borrow_and_update().clone();
        let reason = now.as_ref().and_then(|now| now.reason.clone());
        run.progress.set_pacing(now);
        if reason.is_some() {
            if narrow_at.is_none() {
                run.sink.event(Event::GivesWay { reason });
            }
            narrow_at = Some(Instant::now());
        } else if narrow_at.is_some_and(|at| at.elapsed() >= CALM) {
            run.sink.event(Event::GivesWay { reason: None });
            narrow_at = None;
        }
        if pacing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
