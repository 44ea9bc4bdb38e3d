//! What the engine asks of a server. Whoever adds a server implements these traits.
//!
//! The methods name steps of the argument in `docs/understand/how-it-works.md`; each one's doc says what the
//! engine relies on. A method that fails with [`Error::Connection`]
//! may be called again: each is idempotent unless its doc says otherwise.

use std::future::Future;
use std::time::Duration;

use super::orders::Book;
use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder, KeyRange, Position, Rows};

/// What the change stream delivers, in commit order.
#[derive(Debug)]
pub enum Change {
    /// Rows of the original changed: their keys, before and after.
    Keys(Vec<Key>),
    /// Rows of the shadow were written by a session that is not this run's: their keys, in the original's
    /// form. Delivered after the marker of [`Server::watch_shadow`]. Also what the session that holds the
    /// cut-over's lock has written.
    ShadowKeys(Vec<Key>),
    /// A marker that this run wrote with [`Server::mark`] was committed here.
    Marker(u64),
    /// Everything up to this position has been delivered: a safe place to resume from.
    Commit {
        /// The place.
        position: Position,
        /// How old the transaction is, by the server's clock.
        age: Duration,
    },
    /// The original was changed by another session's DDL or TRUNCATE, or its changes were logged in a way
    /// that hides rows: the run must end. The text says what was seen. DDL on the shadow need not be
    /// reported before [`Server::watch_shadow`]: a statement of ours fails then, or the verification finds what
    /// became of the rows.
    Foreign(String),
}

/// The change stream, positioned.
pub trait ChangeStream: Send + 'static {
    /// The next change; waits for one. Cancel-safe: a dropped call loses nothing.
    /// `Error::Connection` means that the stream broke and may be opened again after the last
    /// delivered commit; `Error::StreamGap` that it cannot resume from there.
    fn next(&mut self) -> impl Future<Output = Result<Change>> + Send;
}

/// How a copy or a refresh ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// So many rows were written and committed.
    Written(Rows),
    /// Nothing was written: rows of the shadow hold a unique value that rows to be written need.
    Clash(Clash),
    /// Nothing was written: a deadlock or a lock wait among our own writes. Try again, in smaller
    /// parts.
    Contention,
}

/// Who clashed with whom. Either the holders are stale, or the original really has duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clash {
    /// The unique key of the shadow, for a human.
    pub index: String,
    /// Rows of the original that could not be written.
    pub own: Vec<Key>,
    /// Rows of the shadow that hold their values.
    pub holders: Vec<Key>,
}

/// The result of comparing one range of both tables in one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Rows in the original's range.
    pub rows: Rows,
    /// Whether both sides have the same rows with the same content.
    pub equal: bool,
}

/// How a cut-over attempt ended.
#[derive(Debug)]
pub enum SwapOutcome {
    /// Swapped; how long the original was locked.
    Swapped {
        /// From the lock's being granted to its release.
        locked: Duration,
    },
    /// Not swapped, nothing changed, the locks are gone; worth another try.
    NotYet(String),
}

/// What the engine does while the cut-over holds its lock.
pub trait Drain: Send {
    /// Called with the original locked: waits for the stream to deliver the marker, and returns
    /// the keys that must still be refreshed by the session that holds the lock, and those whose
    /// equality must still be shown. An error abandons the attempt.
    fn drain(&mut self, marker: u64) -> impl Future<Output = Result<Drained>> + Send;
}

/// What is left to do under the lock.
#[derive(Debug, Default)]
pub struct Drained {
    /// Keys to refresh.
    pub dirty: Vec<Key>,
    /// Keys to compare after the refresh.
    pub suspects: Vec<Key>,
}

/// What an earlier attempt of this run left, read from the ledger.
#[derive(Debug, Clone)]
pub struct Resumable {
    /// The engine's own state, as it was given to [`Server::checkpoint`].
    pub state: String,
    /// Whether the swap has already happened (learnt from the catalog, never guessed).
    pub swapped: bool,
}

/// The method of a run that copies.
pub(crate) const COPY: &str = "copy";

/// The method of a run that undoes another.
pub(crate) const REVERT: &str = "revert";

/// One table on one server, ready to be migrated.
pub trait Server: Send + Sync + 'static {
    /// Its change stream.
    type Stream: ChangeStream;

    /// Where orders for its runs are, and what is kept of them.
    type Book: Book;

    /// Who can compare keys.
    fn key_order(&self) -> KeyOrder;

    /// A key for a human: `id = 5`.
    fn describe(&self, key: &Key) -> String;

    /// The run's number in the ledger, once it is claimed.
    fn number(&self) -> Option<i64>;

    /// Takes the run's lock, so that no other run can work on this table, and reads what an
    /// unfinished run of the same change left. `Refused` when another run holds it.
    fn claim(&self) -> impl Future<Output = Result<Option<Resumable>>> + Send;

    /// Fails with `Stopped` when the run's lock has been lost to another session.
    fn hold_claim(&self) -> impl Future<Output = Result<()>> + Send;

    /// This attempt's orders and samples; the run is claimed.
    fn book(&self) -> Result<Self::Book>;

    /// The stream's position now. Everything after it will be delivered by `stream`.
    fn position(&self) -> impl Future<Output = Result<Position>> + Send;

    /// Opens the stream after `position`.
    fn stream(&self, position: &Position) -> impl Future<Output = Result<Self::Stream>> + Send;

    /// From `marker` on, which is written next, the stream reports others' writes to the shadow
    /// ([`Change::ShadowKeys`]). No refresh is under way.
    fn watch_shadow(&self, _marker: u64) {}

    /// Whether the run undoes another: its shadow was there before it, full, and the table that the
    /// other run retired. It is compared with the original and put right, and nothing is copied.
    fn is_undo(&self) -> bool {
        false
    }

    /// Its method, in the ledger and in the summary.
    fn method(&self) -> &'static str {
        if self.is_undo() { REVERT } else { COPY }
    }

    /// The barrier of rule 1: returns when every change before the position taken is visible to
    /// readers, prepared transactions included.
    fn start_barrier(&self) -> impl Future<Output = Result<()>> + Send;

    /// Creates the empty shadow (dropping a dead one of ours) and proves that it came out as the
    /// plan says. `defer_indexes`: without the indexes that `build_key` and `build_indexes` will add.
    /// In an undo: takes the retired table for it, after proving that it is what the undone run left.
    fn make_shadow(&self, defer_indexes: bool) -> impl Future<Output = Result<()>> + Send;

    /// Whether the shadow was made without the copy key's index: until [`Server::build_key`] none of
    /// its rows can be found by their keys, so that ranges are not cleared and nothing is refreshed.
    fn defers_key(&self) -> bool {
        false
    }

    /// Builds the copy key's index on the shadow. Cheap when it is there already.
    fn build_key(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// The original's estimated rows.
    fn estimate(&self) -> impl Future<Output = Result<Rows>> + Send;

    /// The last key of the original; `None` when it has no rows.
    fn last(&self) -> impl Future<Output = Result<Option<Key>>> + Send;

    /// The key `rows` rows after `after` in the original; `None` when fewer are left.
    fn bound(
        &self,
        after: Option<&Key>,
        rows: Rows,
    ) -> impl Future<Output = Result<Option<Key>>> + Send;

    /// Copies one range but the `except`ed keys, in one transaction. `clear`: the shadow may hold
    /// rows of it already.
    fn copy(
        &self,
        range: &KeyRange,
        clear: bool,
        except: &[Key],
    ) -> impl Future<Output = Result<CopyOutcome>> + Send;

    /// Commits something of ours that becomes visible after everything committed before it: the
    /// barrier of rule 2. `state`, if given, is stored as the checkpoint in the same commit.
    fn checkpoint(&self, state: Option<String>) -> impl Future<Output = Result<()>> + Send;

    /// Writes rows of `keys` again: delete and insert by key, in one transaction. In an undo rows of
    /// the shadow keep what they have of their own: see [`undo`](super::undo). There a row that cannot go
    /// back is [`Error::Data`], also where the server would have changed its values without a word.
    fn refresh(&self, keys: &[Key]) -> impl Future<Output = Result<CopyOutcome>> + Send;

    /// In an undo: the same as [`Server::refresh`], taken back at once, to see whether these rows can go back.
    /// Nothing is fenced, since nothing stays.
    fn try_to_put(&self, _keys: &[Key]) -> impl Future<Output = Result<CopyOutcome>> + Send {
        std::future::ready(Err(Error::Internal("this server does not try".into())))
    }

    /// In an undo: unique keys of the retired table that the live one does not have, by the name that a clash gives.
    fn relaxed_keys(&self) -> impl Future<Output = Result<Vec<String>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Which rows of the original, among those in `range` and `keys`, have the same value of the
    /// shadow's unique key that a clash named, in one snapshot. Empty: the holders were stale.
    fn duplicates(
        &self,
        index: &str,
        range: Option<&KeyRange>,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Builds the other indexes that `make_shadow` left out, perhaps beside `build_key`. Cheap when
    /// they are there already.
    fn build_indexes(&self) -> impl Future<Output = Result<()>> + Send;

    /// Compares one range of both tables, in one statement, through the projection.
    fn compare(&self, range: &KeyRange) -> impl Future<Output = Result<Comparison>> + Send;

    /// The keys in `range` whose rows differ, at most `limit`.
    fn differing(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Key>>> + Send;

    /// Which of `keys` still differ.
    fn still_differing(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<Key>>> + Send;

    /// What is done to the shadow before the swap: statistics, counters, sentries.
    fn before_swap(&self) -> impl Future<Output = Result<()>> + Send;

    /// Commits `marker`, so that the stream delivers it.
    fn mark(&self, marker: u64) -> impl Future<Output = Result<()>> + Send;

    /// One attempt at the swap: lock, drain, refresh, compare, rename, unlock.
    /// A connection lost on the way is not an error: the catalog is read to learn the outcome.
    fn swap<D: Drain>(
        &self,
        marker: u64,
        drain: &mut D,
    ) -> impl Future<Output = Result<SwapOutcome>> + Send;

    /// What follows the swap: foreign keys, triggers, names. Idempotent. Returns warnings.
    fn after_swap(&self) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Records the end of the run in the ledger and lets the lock go.
    fn finish(&self, summary: &super::event::Summary) -> impl Future<Output = Result<()>> + Send;

    /// Records in the ledger that the run ended with this error; drops what can never
    /// be resumed.
    fn abandon(&self, error: &Error) -> impl Future<Output = Result<()>> + Send;

    /// The retired table's name, for a human.
    fn retired(&self) -> String;

    /// Before an attempt to swap whose marker will be this one: records where in the log the swap will stand, for an
    /// undo. A swap that cannot be recorded is not made.
    fn announce_swap(&self, _marker: u64) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// In an undo: where the change stream must begin so that it names every row that was written since the swap;
    /// or why it cannot, for a human. `None`: this server keeps no such place. Called once the shadow is there.
    fn log_since_swap(
        &self,
    ) -> impl Future<Output = Result<Option<std::result::Result<Position, String>>>> + Send {
        std::future::ready(Ok(None))
    }

    /// In an undo, before the stream is opened: whether it goes by the log alone. Then each row is compared in the
    /// transaction in which it is put, and others' writes to the shadow are watched for from the beginning.
    fn go_by_log(&self, _by_log: bool) {}

    /// How long the retired table is kept for an undo.
    fn undo_for(&self) -> Duration;

    /// Whether and how what the run did can be undone, for a human; `None`: that is not known.
    fn undo(&self) -> Option<String>;
}
