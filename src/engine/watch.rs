//! After a change: the retired table is kept warm, so that an undo is a cut-over and no more. The undo's run is
//! ready, and puts what the application writes; whether it swaps is for the health checks to say.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::backend::Server;
use super::event::Event;
use super::health::{Health, Watching};
use super::progress::Phase;
use super::run::Run;
use crate::error::Result;

/// How often the checks are made,
const PERIOD: Duration = Duration::from_secs(5);

/// and once one has failed.
const AGAIN: Duration = Duration::from_secs(1);

/// After so many failures in a row the change is undone.
const FAILURES: u32 = 3;

/// How a watch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its time is over.
    Over,
    /// The change is to be undone, for this reason.
    Undo(String),
}

/// Watches until the time is over or a check fails again and again.
///
/// # Errors
/// `Misfits` where the change is to be undone and some rows cannot go back.
pub(super) async fn watch<S: Server>(run: &Run<S>, watching: &Watching) -> Result<Verdict> {
    run.enter(Phase::Watch);
    let end = Instant::now() + watching.period;
    let mut misfits = 0;
    let mut blind = false;
    let mut failed = 0;
    loop {
        let misfits_now = run.misfits.count();
        if misfits_now > misfits {
            let text = format!(
                "{misfits_now} rows written since the change cannot go back: while they stand, it is not undone \
                 by itself"
            );
            run.sink.event(Event::Warning { text });
        }
        misfits = misfits_now;
        let found = tokio::select! {
            found = check(watching) => found,
            () = sleep_until(end) => return Ok(Verdict::Over),
        };
        match found {
            Health::Well => (failed, blind) = (0, false),
            Health::Unknown(reason) => {
                if !std::mem::replace(&mut blind, true) {
                    let text = format!("the health check says nothing: {reason}");
                    run.sink.event(Event::Warning { text });
                }
                failed = 0;
            }
            Health::Ill(reason) => {
                failed += 1;
                let text = format!("the health check failed ({failed} of {FAILURES}): {reason}");
                run.sink.event(Event::Warning { text });
                if failed >= FAILURES {
                    return Ok(Verdict::Undo(reason));
                }
            }
        }
        let pause = if failed > 0 { AGAIN } else { PERIOD };
        tokio::select! {
            () = sleep(pause) => {}
            () = sleep_until(end) => return Ok(Verdict::Over),
        }
    }
}

/// All checks: the worst that one of them finds.
async fn check(watching: &Watching) -> Health {
    let mut unknown = None;
    for check in watching.checks.lock().await.iter_mut() {
        match check.look().await {
            Health::Well => {}
            Health::Ill(reason) => return Health::Ill(reason),
            Health::Unknown(reason) => unknown = Some(reason),
        }
    }
    unknown.map_or(Health::Well, Health::Unknown)
}
