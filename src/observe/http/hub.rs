//! The events of this process, as those see them who follow them over HTTP: the last ones are kept, so that
//! whoever was away reads on where it stopped.
//!
//! There is one buffer, and no queue for each reader: a reader that does not read costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Events that are kept, and their size in bytes.
const MOST_EVENTS: usize = 1_000;
const MOST_BYTES: usize = 512 * 1024;

/// One event.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its name, as in `--json`.
    pub(super) name: String,
    /// The line that `--json` prints.
    pub(super) line: String,
    /// When it was, RFC 3339, and what the page's log says of it.
    pub(super) words: Option<(String, String)>,
}

/// Where events are kept.
#[derive(Debug)]
pub(super) struct Hub {
    /// Random: numbers of another process mean nothing here.
    boot: String,
    kept: Mutex<Kept>,
    latest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    last: u64,
}

impl Default for Hub {
    fn default() -> Self {
        let boot = format!("{:08x}", rand::random::<u32>());
        Self { boot, kept: Mutex::default(), latest: watch::Sender::new(0) }
    }
}

impl Hub {
    /// One more. Never waits.
    pub(super) fn push(&self, name: &str, line: String, words: Option<(String, String)>) {
        let mut kept = self.lock();
        kept.last += 1;
        let number = kept.last;
        let entry = Entry { number, name: name.to_owned(), line, words };
        kept.bytes += entry.size();
        kept.entries.push_back(Arc::new(entry));
        while kept.entries.len() > MOST_EVENTS
            || (kept.bytes > MOST_BYTES && kept.entries.len() > 1)
        {
            let gone = kept.entries.pop_front().map_or(0, |entry| entry.size());
            kept.bytes -= gone;
        }
        self.latest.send_replace(number);
    }

    /// What came after an event, oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<Arc<Entry>> {
        let kept = self.lock();
        kept.entries.iter().filter(|entry| entry.number > number).map(Arc::clone).collect()
    }

    /// The last ones that the page's log shows, newest first.
    pub(super) fn words(&self, most: usize) -> Vec<Arc<Entry>> {
        let kept = self.lock();
        let worded = kept.entries.iter().rev().filter(|entry| entry.words.is_some());
        worded.take(most).map(Arc::clone).collect()
    }

    /// The number of the latest, to be waited for.
    pub(super) fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// What a reader knows an event by.
    pub(super) fn id(&self, entry: &Entry) -> String {
        format!("{}-{}", self.boot, entry.number)
    }

    /// The number that stands in such an id; 0 for one of another process, or none: all are new then.
    pub(super) fn number(&self, id: &str) -> u64 {
        let number = id.strip_prefix(self.boot.as_str()).and_then(|rest| rest.strip_prefix('-'));
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn size(&self) -> usize {
        let words = self.words.as_ref().map_or(0, |(time, words)| time.len() + words.len());
        self.name.len() + self.line.len() + words + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_reads_on_where_it_stopped() {
        let hub = Hub::default();
        for name in ["a", "b", "c"] {
            hub.push(name, String::new(), None);
        }
        let after = |id: &str| -> Vec<String> {
            hub.after(hub.number(id)).iter().map(|entry| entry.name.clone()).collect()
        };
        let all = hub.after(0);
        assert_eq!(after(&hub.id(&all[1])), ["c"]);
        assert_eq!(after(&hub.id(&all[2])).len(), 0);
        for other in ["", "1", "zzzzzzzz-2", &format!("{}-x", hub.boot)] {
            assert_eq!(after(other).len(), 3, "{other}");
        }
        assert_eq!(*hub.latest().borrow(), 3);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let hub = Hub::default();
        for _ in 0..3_000 {
            hub.push("a", String::new(), None);
        }
        assert_eq!(hub.after(0).len(), MOST_EVENTS);
        assert_eq!(hub.after(0)[0].number, 2_001);
        for _ in 0..20 {
            hub.push("b", "x".repeat(100_000), Some((String::new(), String::new())));
        }
        assert_eq!((hub.after(0).len(), hub.words(9).len()), (5, 5));
    }
}
