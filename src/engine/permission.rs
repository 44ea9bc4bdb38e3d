//! Permission to change the original: the operator's and the throttle's together, whatever the method.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::event::{Event, Sink};
use super::progress::{Phase, Progress};
use crate::control::Directives;
use crate::error::{Error, Result};
use crate::testing::mutation::{self, Rule};
use crate::throttle::Throttle;

/// How long sources of the throttle take for their first look, mostly.
const FIRST_LOOK: Duration = Duration::from_millis(300);

/// How often an approval that is not there yet is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Somebody else who must agree, and is asked last.
pub trait Approval: Send + Sync + 'static {
    /// Asks. May be dropped at any moment.
    fn ask(&self) -> BoxFuture<'_, Answer>;
}

/// The answer of an [`Approval`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The original may be changed.
    Go,
    /// Not yet, for this reason.
    NotYet(String),
    /// The run must end, resumably, for this reason.
    Stop(String),
}

/// Who must agree before the original is changed, and where it is reported that one of them does not.
#[derive(Clone, Copy)]
pub struct Permission<'a> {
    /// The operator's directives.
    pub directives: &'a watch::Receiver<Directives>,
    /// Back-pressure: the window, lag, load and the rest.
    pub throttle: &'a Throttle,
    /// Counters for whoever shows them.
    pub progress: &'a Progress,
    /// Where events go.
    pub sink: &'a dyn Sink,
    /// Who is asked when all others agree.
    pub approval: Option<&'a dyn Approval>,
    /// An earlier attempt of the run was promised `--hold`.
    pub held: bool,
}

/// How the operator's permission was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// At once.
    AtOnce,
    /// After a while, in the phase [`Phase::Hold`].
    Awaited,
}

impl Permission<'_> {
    /// Waits until the operator and the throttle agree at the same time: not while the run is paused or
    /// on hold, outside the window, or while the server or a replica is in trouble. Permission that
    /// was there only during a pause, as while a control file is rewritten, is none. Then the approval is
    /// asked for.
    ///
    /// # Errors
    /// `Stopped` when the operator aborts, the throttle ends the run or the approval is refused.
    pub async fn wait(&self) -> Result<Given> {
        let mut given = Given::AtOnce;
        if mutation::active(Rule::PermissionFirst) {
            return Ok(given);
        }
        loop {
            if self.wait_for_operator().await? == Given::Awaited {
                given = Given::Awaited;
            }
            drop(self.throttle.admit(0).await?);
            if self.directives.borrow().permit(self.held) && self.approved(&mut given).await? {
                return Ok(given);
            }
        }
    }

    /// Whether everybody agrees within the moment that a first look takes, so that nothing has to be awaited.
    pub async fn is_near(&self) -> bool {
        if self.approval.is_some() {
            return false;
        }
        let end = Instant::now() + FIRST_LOOK;
        loop {
            if !self.directives.borrow().permit(self.held) {
                return false;
            }
            if self.throttle.paused().is_none() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the approval was given at once. After a while the others may think otherwise.
    async fn approved(&self, given: &mut Given) -> Result<bool> {
        let Some(approval) = self.approval else { return Ok(true) };
        let mut directives = self.directives.clone();
        let mut aborts = self.directives.clone();
        let mut at_once = true;
        let approved = loop {
            if !directives.borrow_and_update().permit(self.held) {
                break Ok(false);
            }
            let answer = tokio::select! {
                answer = approval.ask() => answer,
                Ok(_) = aborts.wait_for(|directives| directives.abort) => break Ok(false),
            };
            match answer {
                Answer::Go => break Ok(at_once),
                Answer::Stop(reason) => break Err(Error::stopped(reason)),
                Answer::NotYet(reason) => {
                    at_once = false;
                    self.throttle.hold(Some(reason.clone()));
                    self.progress.set_throttled(Some(reason));
                    if *given == Given::AtOnce {
                        self.enter(Phase::Hold);
                        *given = Given::Awaited;
                    }
                    let _ = tokio::time::timeout(ASK_AGAIN, directives.changed()).await;
                }
            }
        };
        self.throttle.hold(None);
        approved
    }

    /// Enters a phase and reports it.
    pub fn enter(&self, phase: Phase) {
        self.progress.set_phase(phase);
        self.sink.event(Event::Phase { phase });
    }

    async fn wait_for_operator(&self) -> Result<Given> {
        let mut directives = self.directives.clone();
        let mut given = Given::AtOnce;
        loop {
            {
                let directives = directives.borrow_and_update();
                if directives.abort {
                    return Err(Error::stopped("aborted by the operator"));
                }
                if directives.permit(self.held) {
                    return Ok(given);
                }
            }
            if given == Given::AtOnce {
                self.enter(Phase::Hold);
                given = Given::Awaited;
            }
            if directives.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reports every change of the throttle, for ever.
    pub async fn report_throttle(&self) -> Infallible {
        let mut changed = self.throttle.changed();
        let mut reported = None;
        loop {
            let reason = changed.borrow_and_update().clone();
            self.progress.set_throttled(reason.clone());
            if reason.is_some() != reported.is_some() {
                self.sink.event(Event::Throttled { reason: reason.clone() });
                reported = reason;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
