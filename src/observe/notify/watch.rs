//! Which events of a run are worth a message, and when.

use std::time::{Duration, Instant};

use super::body::{Body, Kind};
use crate::engine::backend::REVERT;
use crate::engine::event::Event;
use crate::engine::progress::Phase;

/// A pause of the copy is worth a message after this.
const LONG: Duration = Duration::from_secs(600);

/// So many failed attempts at the table's lock are worth a message; again after [`LONG`].
const BLOCKED_AFTER: u32 = 3;

/// Follows the events of one run.
#[derive(Debug)]
pub(super) struct Watch {
    kind: Kind,
    backup: Option<String>,
    begun: bool,
    pause: Option<Pause>,
    failed_locks: u32,
    blocked: Option<Instant>,
}

#[derive(Debug)]
struct Pause {
    reason: String,
    since: Instant,
    told: bool,
}

impl Watch {
    pub(super) fn new(kind: Kind, backup: Option<String>) -> Self {
        Self { kind, backup, begun: false, pause: None, failed_locks: 0, blocked: None }
    }

    /// Whether an event could ever be worth a message.
    pub(super) fn concerns(event: &Event) -> bool {
        matches!(
            event,
            Event::Started(_)
                | Event::Resumed { .. }
                | Event::Phase { phase: Phase::Hold }
                | Event::Throttled { .. }
                | Event::CutOverRetry { .. }
                | Event::Summary(_)
        )
    }

    /// Takes an event; `throttled` is why the run waits at this moment.
    pub(super) fn event(
        &mut self,
        event: Event,
        throttled: Option<&str>,
        now: Instant,
    ) -> Option<Body> {
        match event {
            // A method that the server refuses is followed by another.
            Event::Started(_) if self.begun => None,
            Event::Started(start) => {
                self.begun = true;
                Some(Body::Started { start, backup: self.backup.clone() })
            }
            Event::Resumed { rows } => {
                self.begun = true;
                Some(Body::Resumed { rows })
            }
            Event::Phase { phase: Phase::Hold } => {
                Some(Body::Hold { reason: throttled.map(str::to_owned) })
            }
            Event::Throttled { reason: Some(reason) } => {
                self.pause = Some(Pause { reason, since: now, told: false });
                None
            }
            Event::Throttled { reason: None } => {
                let pause = self.pause.take().filter(|pause| pause.told)?;
                Some(Body::ThrottleCleared { seconds: (now - pause.since).as_secs() })
            }
            Event::CutOverRetry { attempt, attempts, retry_seconds, reason } => {
                self.failed_locks += 1;
                let recently = self.blocked.is_some_and(|then| now - then < LONG);
                if self.failed_locks < BLOCKED_AFTER || recently {
                    return None;
                }
                self.blocked = Some(now);
                Some(Body::CutOverBlocked { attempt, attempts, retry_seconds, reason })
            }
            // What a watch undoes is an undo, whatever the command was.
            Event::Summary(summary) if summary.method == REVERT => {
                Some(Body::ended(Kind::Revert, &summary))
            }
            Event::Summary(summary) => Some(Body::ended(self.kind, &summary)),
            _ => None,
        }
    }

    /// Time passes; `throttled` is why the run waits at this moment.
    pub(super) fn tick(&mut self, throttled: Option<&str>, now: Instant) -> Option<Body> {
        let pause = self.pause.as_mut()?;
        let lasted = now - pause.since;
        if pause.told || lasted < LONG {
            return None;
        }
        pause.told = true;
        let reason = throttled.unwrap_or(&pause.reason).to_owned();
        Some(Body::ThrottledLong { reason, seconds: lasted.as_secs() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::notify::Topic;

    fn topic(body: Option<Body>) -> Option<Topic> {
        body.and_then(|body| body.topic())
    }

    fn watch() -> Watch {
        Watch::new(Kind::Alter, None)
    }

    #[test]
    fn a_change_begins_once() {
        let (mut watch, now) = (watch(), Instant::now());
        let started = || Event::Started(Box::default());
        assert_eq!(topic(watch.event(started(), None, now)), Some(Topic::Started));
        assert_eq!(topic(watch.event(started(), None, now)), None);
    }

    #[test]
    fn a_pause_is_reported_after_ten_minutes_and_then_its_end() {
        let (mut watch, start) = (watch(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let paused = || Event::Throttled { reason: Some("lag 2s".into()) };
        let cleared = || Event::Throttled { reason: None };
        assert!(watch.event(paused(), None, at(0)).is_none());
        assert!(watch.tick(None, at(599)).is_none());
        assert!(watch.event(cleared(), None, at(599)).is_none(), "a short one is nobody's concern");
        assert!(watch.tick(None, at(900)).is_none());
        assert!(watch.event(paused(), None, at(1000)).is_none());
        match watch.tick(Some("lag 9s"), at(1601)) {
            Some(Body::ThrottledLong { reason, seconds: 601 }) => assert_eq!(reason, "lag 9s"),
            other => panic!("{other:?}"),
        }
        assert!(watch.tick(None, at(1602)).is_none(), "once");
        let end = watch.event(cleared(), None, at(1700));
        assert!(matches!(end, Some(Body::ThrottleCleared { seconds: 700 })), "{end:?}");
    }

    #[test]
    fn a_blocked_cut_over_is_reported_at_the_third_attempt_and_every_ten_minutes() {
        let (mut watch, start) = (watch(), Instant::now());
        let mut retry = |attempt: u32, seconds| {
            let reason = "blocked by session 8".into();
            let event = Event::CutOverRetry { attempt, attempts: 60, retry_seconds: None, reason };
            topic(watch.event(event, None, start + Duration::from_secs(seconds)))
        };
        assert_eq!((retry(1, 0), retry(2, 1)), (None, None));
        assert_eq!(retry(3, 2), Some(Topic::CutOverBlocked));
        assert_eq!((retry(4, 3), retry(5, 601)), (None, None));
        assert_eq!(retry(6, 603), Some(Topic::CutOverBlocked));
    }

    #[test]
    fn an_end_is_what_the_command_was() {
        let summary = || Event::Summary(Box::default());
        let now = Instant::now();
        assert_eq!(topic(watch().event(summary(), None, now)), Some(Topic::Done));
        let mut undo = Watch::new(Kind::Revert, None);
        assert_eq!(topic(undo.event(summary(), None, now)), Some(Topic::Reverted));
    }

    #[test]
    fn what_is_worth_a_message_concerns_the_watch() {
        assert!(!Watch::concerns(&Event::Phase { phase: Phase::Copy }));
        assert!(Watch::concerns(&Event::Phase { phase: Phase::Hold }));
        assert!(!Watch::concerns(&Event::Note { text: String::new() }));
    }
}
