//! The dirty keys: what the stream named and no refresh has covered yet.
//!
//! One task feeds the set from the stream; the refresher takes all of it at once together with the
//! position up to which it is complete, so that a position is only ever recorded as applied when
//! every key before it was (rule 3).

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::backend::{Change, ChangeStream, Server};
use super::backoff::reconnecting;
use super::progress::Progress;
use crate::error::Error;
use crate::key::{Key, Position};
use crate::testing::mutation::{self, Rule};

/// Above this many keys the stream is not read further until a refresh has taken them: its own
/// retention on the server is the spill.
const MOST_KEYS: usize = 500_000;

/// Above this many keys the copy waits for the refresher.
pub const SLOW_COPY_KEYS: usize = 100_000;

/// How long a broken stream is tried again before the run stops.
const RECONNECT_FOR: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Inner {
    keys: HashSet<Key>,
    deferred: HashSet<Key>,
    deferred_since: Option<Instant>,
    position: Option<Position>,
    untouched: HashSet<Key>,
}

/// The markers of this attempt: numbered on from a random number, and the last one seen.
///
/// A resumed run reads the log again in which an earlier attempt left its markers.
/// Taken for ours they would end a wait before the stream is where it must be.
struct Markers {
    first: u64,
    next: AtomicU64,
    seen: watch::Sender<u64>,
    /// The one that is written under the cut-over's lock.
    lock: AtomicU64,
}

impl Markers {
    fn new() -> Self {
        let first = rand::rng().random_range(1..1 << 62);
        let (next, seen) = (AtomicU64::new(first), watch::Sender::new(0));
        Self { first, next, seen, lock: AtomicU64::new(0) }
    }

    /// Whether rows of the shadow that the stream reports now may be the lock's holder's: none of our
    /// markers has followed the lock's.
    fn under_lock(&self) -> bool {
        *self.seen.borrow() == self.lock.load(Ordering::SeqCst)
    }

    /// The stream has delivered a marker, perhaps one of an earlier attempt. After a reconnection
    /// one of ours may come again: then those after it come again too.
    fn came(&self, marker: u64) {
        let ours = self.first..self.next.load(Ordering::SeqCst);
        if ours.contains(&marker) || mutation::active(Rule::OwnMarkersOnly) {
            self.seen.send_replace(marker);
        }
    }
}

/// The set, shared by the stream's reader, the refresher and the verification.
pub struct Dirty {
    inner: Mutex<Inner>,
    arrived: Notify,
    taken: Notify,
    markers: Markers,
    swapping: Arc<watch::Sender<bool>>,
    progress: Arc<Progress>,
}

/// What the refresher takes.
#[derive(Debug, Default)]
pub struct Batch {
    /// The keys.
    pub keys: HashSet<Key>,
    /// The last commit that they cover whole.
    pub position: Option<Position>,
}

/// Keys that wait for the copy key's index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeferredKeys {
    /// How many.
    pub keys: usize,
    /// For how long the first of them has been.
    pub longest: Duration,
}

impl Dirty {
    /// An empty set.
    pub fn new(progress: Arc<Progress>, swapping: Arc<watch::Sender<bool>>) -> Self {
        Self {
            inner: Mutex::default(),
            arrived: Notify::new(),
            taken: Notify::new(),
            markers: Markers::new(),
            swapping,
            progress,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds keys.
    pub fn add(&self, keys: impl IntoIterator<Item = Key>) {
        {
            let mut inner = self.inner();
            for key in keys {
                inner.untouched.remove(&key);
                inner.keys.insert(key);
            }
            self.count(&inner);
        }
        self.arrived.notify_one();
    }

    fn count(&self, inner: &Inner) {
        let keys = inner.keys.len() + inner.deferred.len();
        self.progress.dirty_keys.store(keys as u64, Ordering::Relaxed);
    }

    /// Takes everything.
    pub fn take(&self) -> Batch {
        let batch = {
            let mut inner = self.inner();
            let batch =
                Batch { keys: std::mem::take(&mut inner.keys), position: inner.position.clone() };
            self.count(&inner);
            batch
        };
        self.taken.notify_waiters();
        batch
    }

    /// Defers keys until [`Dirty::release`]: they cannot be refreshed yet. Returns how many are
    /// deferred now, and for how long the first of them has been.
    pub fn defer(&self, keys: impl IntoIterator<Item = Key>) -> DeferredKeys {
        let mut inner = self.inner();
        inner.deferred.extend(keys);
        self.count(&inner);
        let keys = inner.deferred.len();
        if keys == 0 {
            return DeferredKeys::default();
        }
        let since = *inner.deferred_since.get_or_insert_with(Instant::now);
        DeferredKeys { keys, longest: since.elapsed() }
    }

    /// Makes the deferred keys dirty again.
    pub fn release(&self) {
        let deferred = {
            let mut inner = self.inner();
            inner.deferred_since = None;
            std::mem::take(&mut inner.deferred)
        };
        self.add(deferred);
    }

    /// How many keys wait to be taken.
    pub fn len(&self) -> usize {
        self.inner().keys.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until a key arrives or the time is over.
    pub async fn wait(&self, most: Duration) {
        if self.is_empty() {
            let _ = tokio::time::timeout(most, self.arrived.notified()).await;
        }
    }

    /// Watches these keys, and no others any more.
    pub fn watch(&self, keys: impl IntoIterator<Item = Key>) {
        self.inner().untouched = keys.into_iter().collect();
    }

    /// Whether `key` is watched and was not named since: nothing has changed its row.
    pub fn is_untouched(&self, key: &Key) -> bool {
        self.inner().untouched.contains(key)
    }

    /// A marker number that was not used yet.
    pub fn next_marker(&self) -> u64 {
        self.markers.next.fetch_add(1, Ordering::SeqCst)
    }

    /// The next marker is written under the cut-over's lock: what the stream reports of the shadow after it
    /// counts as the holder's until another marker comes.
    pub fn lock_marker(&self) -> u64 {
        let marker = self.next_marker();
        self.markers.lock.store(marker, Ordering::SeqCst);
        marker
    }

    /// No lock of this run's was held before: whoever wrote to the shadow, it was another session.
    pub fn nothing_is_ours_yet(&self) {
        self.markers.lock.store(u64::MAX, Ordering::SeqCst);
    }

    /// Waits until the stream has delivered `marker`, one of [`Dirty::next_marker`].
    pub async fn marker(&self, marker: u64) {
        let mut seen = self.markers.seen.subscribe();
        // The sender lives in self: waiting cannot fail.
        let _ = seen.wait_for(|seen| *seen >= marker).await;
    }

    /// Whether the table is locked and drained: no other session can change it, and what the stream
    /// says of it may be our own rename.
    pub fn set_swapping(&self, swapping: bool) {
        self.swapping.send_replace(swapping);
    }

    /// Feeds the set from the stream, for ever; returns what ended it. A stream that broke is
    /// opened again after the last whole transaction that was delivered.
    ///
    /// While the tables are being swapped nothing is returned: our own rename is in the stream too,
    /// perhaps before we know of it, and what was drained needs no stream any more.
    pub async fn feed<S: Server>(&self, server: &S, stream: S::Stream, start: Position) -> Error {
        let error = self.read(server, stream, start).await;
        // The sender lives in self: waiting cannot fail.
        let _ = self.swapping.subscribe().wait_for(|swapping| !swapping).await;
        error
    }

    async fn read<S: Server>(&self, server: &S, mut stream: S::Stream, start: Position) -> Error {
        let mut position = start;
        loop {
            let error = loop {
                match stream.next().await {
                    Ok(Change::Keys(keys)) => {
                        self.add(keys);
                        self.wait_for_room().await;
                    }
                    Ok(Change::ShadowKeys(keys)) => {
                        if !self.markers.under_lock() {
                            self.progress.strangers.fetch_add(keys.len() as u64, Ordering::Relaxed);
                        }
                        self.add(keys);
                        self.wait_for_room().await;
                    }
                    Ok(Change::Marker(marker)) => self.markers.came(marker),
                    Ok(Change::Commit { position: reached, age }) => {
                        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                        self.progress.stream_lag_ms.store(age, Ordering::Relaxed);
                        position = reached.clone();
                        self.inner().position = Some(reached);
                    }
                    Ok(Change::Foreign(what)) => return Error::Foreign(what),
                    Err(error) => break error,
                }
            };
            if !error.is_connection() {
                return error;
            }
            tracing::info!(%error, "the stream broke; opening it again");
            stream = match reconnecting(RECONNECT_FOR, || server.stream(&position)).await {
                Ok(stream) => stream,
                Err(error) => return error,
            };
        }
    }

    async fn wait_for_room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.len() < MOST_KEYS || mutation::active(Rule::SetBounded) {
                return;
            }
            taken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn empty() -> Dirty {
        Dirty::new(Arc::default(), Arc::new(watch::Sender::new(false)))
    }

    fn key(byte: u8) -> Key {
        Key(Box::new([byte]))
    }

    #[test]
    fn a_key_named_many_times_waits_once() {
        let dirty = empty();
        dirty.add([key(1), key(2)]);
        dirty.add([key(1)]);
        assert_eq!(dirty.len(), 2);
        assert_eq!(dirty.take().keys.len(), 2);
        assert!(dirty.is_empty());
    }

    #[test]
    fn keys_that_are_watched_are_untouched_until_they_are_named() {
        let dirty = empty();
        assert!(!dirty.is_untouched(&key(1)), "unwatched, nothing can be ruled out");
        dirty.watch([key(1), key(2)]);
        dirty.add([key(1), key(3)]);
        dirty.take();
        assert!(!dirty.is_untouched(&key(1)) && dirty.is_untouched(&key(2)));
        dirty.watch([key(1)]);
        assert!(dirty.is_untouched(&key(1)) && !dirty.is_untouched(&key(2)));
        dirty.watch([]);
        assert!(!dirty.is_untouched(&key(1)));
    }

    #[tokio::test]
    async fn a_marker_that_has_passed_is_not_waited_for() {
        let dirty = empty();
        let (first, second) = (dirty.next_marker(), dirty.next_marker());
        dirty.markers.came(second);
        dirty.marker(second).await;
        dirty.marker(first).await;
    }

    #[test]
    fn a_marker_of_an_earlier_attempt_is_not_taken_for_ours() {
        let dirty = empty();
        let ours = dirty.next_marker();
        for theirs in [ours - 1, ours + 1, u64::MAX] {
            dirty.markers.came(theirs);
            assert!(dirty.marker(ours).now_or_never().is_none(), "{theirs} ended the wait");
        }
        dirty.markers.came(ours);
        assert!(dirty.marker(ours).now_or_never().is_some());
    }

    #[test]
    fn what_follows_the_locks_marker_is_the_holders_until_the_next_marker() {
        let dirty = empty();
        assert!(dirty.markers.under_lock(), "nothing of ours was seen yet");
        dirty.markers.came(dirty.next_marker());
        assert!(!dirty.markers.under_lock());
        let lock = dirty.lock_marker();
        assert!(!dirty.markers.under_lock(), "the stream is not there yet");
        dirty.markers.came(lock);
        assert!(dirty.markers.under_lock());
        dirty.markers.came(dirty.next_marker());
        assert!(!dirty.markers.under_lock());
    }

    #[test]
    fn a_full_set_is_not_fed_until_it_is_taken() {
        let dirty = empty();
        dirty.add((1..MOST_KEYS as u64).map(|key| Key(key.to_be_bytes().into())));
        assert!(dirty.wait_for_room().now_or_never().is_some());
        dirty.add([key(1)]);
        let mut room = std::pin::pin!(dirty.wait_for_room());
        assert!(room.as_mut().now_or_never().is_none());
        assert_eq!(dirty.take().keys.len(), MOST_KEYS);
        assert!(room.now_or_never().is_some(), "no waiter was woken");
    }
}
