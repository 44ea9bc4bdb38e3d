//! The verdicts side by side, and what they amount to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Verdict;

/// The latest verdict of each source, the combined reason, and the end.
#[derive(Debug)]
pub(super) struct Verdicts {
    verdicts: Mutex<Vec<Verdict>>,
    reason: watch::Sender<Option<String>>,
    ended: CancellationToken,
}

/// One source's place on the board. When it is dropped, for instance because the source's task
/// panicked, the copy pauses: nothing checks any more.
#[derive(Debug)]
pub(super) struct VerdictSlot {
    board: Arc<Verdicts>,
    index: usize,
}

impl Verdicts {
    /// An empty board. `ended` is cancelled at the first [`Verdict::End`].
    pub(super) fn new(ended: CancellationToken) -> Self {
        Self { verdicts: Mutex::default(), reason: watch::Sender::default(), ended }
    }

    /// A place for one more source, which says `first` so far.
    pub(super) fn slot(self: &Arc<Self>, first: Verdict) -> VerdictSlot {
        let mut verdicts = self.lock();
        let index = verdicts.len();
        verdicts.push(first);
        self.publish(&verdicts);
        VerdictSlot { board: Arc::clone(self), index }
    }

    /// Why the copy is paused or ends. Wakes its readers unless only numbers changed.
    pub(super) fn reason(&self) -> watch::Receiver<Option<String>> {
        self.reason.subscribe()
    }

    /// Cancelled when the run must end.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Which source ended the run, in its words.
    pub(super) fn end(&self) -> Option<String> {
        self.lock().iter().find_map(|verdict| match verdict {
            Verdict::End(reason) => Some(reason.clone()),
            _ => None,
        })
    }

    /// The reasons of all sources from the place `first` on.
    pub(super) fn reasons(&self, first: usize) -> Vec<String> {
        let verdicts = self.lock();
        let reasons = verdicts.iter().skip(first).filter_map(|verdict| match verdict {
            Verdict::Run => None,
            Verdict::Pause(reason) | Verdict::End(reason) => Some(reason.clone()),
        });
        reasons.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, verdicts: &[Verdict]) {
        let reasons: Vec<&str> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                Verdict::Run => None,
                Verdict::Pause(reason) | Verdict::End(reason) => Some(reason.as_str()),
            })
            .collect();
        let new = (!reasons.is_empty()).then(|| reasons.join("; "));
        self.reason.send_if_modified(|reason| {
            let tell = !same_but_for_numbers(reason.as_deref(), new.as_deref());
            *reason = new;
            tell
        });
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::End(_))) {
            self.ended.cancel();
        }
    }
}

impl VerdictSlot {
    /// Replaces the source's verdict. The end is final.
    pub(super) fn set(&self, verdict: Verdict) {
        let mut verdicts = self.board.lock();
        if let Some(place) = verdicts.get_mut(self.index)
            && !matches!(place, Verdict::End(_))
        {
            *place = verdict;
        }
        self.board.publish(&verdicts);
    }
}

impl Drop for VerdictSlot {
    fn drop(&mut self) {
        self.set(Verdict::Pause("a source of the throttle has stopped".into()));
    }
}

fn same_but_for_numbers(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one == other };
    let words = |text: &str| {
        text.split(|c: char| c.is_ascii_digit())
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_joined_and_the_end_is_final() {
        let board = Arc::new(Verdicts::new(CancellationToken::new()));
        let (one, two) = (board.slot(Verdict::Run), board.slot(Verdict::Run));
        one.set(Verdict::Pause("lag 1.0s".into()));
        two.set(Verdict::Pause("night".into()));
        assert_eq!(board.reason().borrow().as_deref(), Some("lag 1.0s; night"));
        assert_eq!(board.reasons(1), ["night"]);
        assert!(!board.ended().is_cancelled());
        two.set(Verdict::End("critical".into()));
        two.set(Verdict::Run);
        assert!(board.ended().is_cancelled());
        assert_eq!(board.end().as_deref(), Some("critical"));
    }

    #[test]
    fn only_a_change_of_words_wakes_a_reader_and_the_numbers_are_fresh() {
        let board = Arc::new(Verdicts::new(CancellationToken::new()));
        let slot = board.slot(Verdict::Run);
        let mut reader = board.reason();
        slot.set(Verdict::Pause("lags 9.8s".into()));
        assert!(reader.has_changed().unwrap());
        reader.mark_unchanged();
        slot.set(Verdict::Pause("lags 10.1s".into()));
        assert!(!reader.has_changed().unwrap());
        assert_eq!(reader.borrow().as_deref(), Some("lags 10.1s"));
        slot.set(Verdict::Pause("cannot be seen".into()));
        assert!(reader.has_changed().unwrap());
        slot.set(Verdict::Run);
        assert!(reader.borrow_and_update().is_none());
    }

    #[test]
    fn a_source_that_has_gone_pauses_the_copy() {
        let board = Arc::new(Verdicts::new(CancellationToken::new()));
        drop(board.slot(Verdict::Run));
        assert!(board.reason().borrow().is_some());
    }
}
