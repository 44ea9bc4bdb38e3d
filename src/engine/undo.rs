//! What an undo does instead of a copy: the retired table is a shadow that is already full.
//!
//! The verification finds the rows in which both tables differ. Here their keys go to the refresher, which
//! *puts* them: a row of the shadow takes what was written since, and keeps what only it has (the values of a
//! dropped column, digits that the new type has not). Then they are compared again, by the projection of the
//! change that is undone: what it makes of the row that went back must be the row that is live.
//!
//! A row that cannot go back is a misfit: all are found before the run gives up, or leaves them behind.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::backend::Server;
use super::event::{Event, Sink};
use super::refresh::refresh_keys;
use super::run::Run;
use super::verify::Verified;
use crate::error::{Error, Result};
use crate::key::{Key, KeyRange, Position, Rows};
use crate::testing::failpoint::{self, Point};
use crate::testing::mutation::{self, Rule};

/// Rounds of putting the rows of one part, before those that still differ are left to the end.
const ROUNDS: u32 = 4;

/// Differing rows that are looked up at a time.
const LOOKED_UP: usize = 2_000;

/// With more misfits than this the rest is not looked for.
const MOST_MISFITS: usize = 100_000;

/// Rows that were left behind and are named.
const NAMED: usize = 10;

/// Misfits that are printed.
const SHOWN: usize = 1_000;

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the new table back into the old one: an undo.
    #[default]
    Back,
    /// From the old table into the new one again: an undo's undo. The change itself says each value then.
    Again,
}

impl Direction {
    /// That of whoever undoes it.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Back => Self::Again,
            Self::Again => Self::Back,
        }
    }
}

/// The rows that cannot go back, and why.
#[derive(Debug, Default)]
pub(crate) struct Misfits(Mutex<BTreeMap<Key, String>>);

impl Misfits {
    fn inner(&self) -> MutexGuard<'_, BTreeMap<Key, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a row that cannot go back; how many there are.
    fn add(&self, key: &Key, why: &str) -> usize {
        let mut inner = self.inner();
        inner.insert(key.clone(), why.to_owned());
        inner.len()
    }

    /// These rows went back: perhaps they could not before.
    pub(super) fn fit(&self, keys: &[Key]) {
        let mut inner = self.inner();
        if !inner.is_empty() {
            keys.iter().for_each(|key| drop(inner.remove(key)));
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.inner().len()
    }

    fn keys(&self) -> Vec<Key> {
        self.inner().keys().cloned().collect()
    }

    /// Takes the misfits out of `keys`.
    pub(super) fn without(&self, keys: Vec<Key>) -> Vec<Key> {
        let inner = self.inner();
        keys.into_iter().filter(|key| !inner.contains_key(key)).collect()
    }

    /// The first of them, for a human, and how many there are.
    fn list<S: Server>(&self, server: &S) -> (u64, Vec<String>) {
        let inner = self.inner();
        let line = |(key, why): (&Key, &String)| format!("{}: {why}", server.describe(key));
        (inner.len() as u64, inner.iter().take(SHOWN).map(line).collect())
    }
}

/// What becomes of rows that could not be written for `error`: in an undo, of several each must be tried
/// alone (false), and a single one is a misfit (true).
pub(super) fn is_misfit<S: Server>(run: &Run<S>, keys: &[Key], error: Error) -> Result<bool> {
    let (true, Error::Data { reason, rows }) = (run.server.is_undo(), &error) else {
        return Err(error);
    };
    let [key] = keys else { return Ok(false) };
    let why = in_words(&*run.server, keys, reason.clone(), rows);
    if run.misfits.add(key, &why) > MOST_MISFITS {
        return Err(given_up(run));
    }
    Ok(true)
}

/// Why a row cannot go back, with what else the server says of it: the row itself is named beside it.
pub(super) fn in_words<S: Server>(
    server: &S,
    keys: &[Key],
    reason: String,
    rows: &[String],
) -> String {
    match (keys, rows) {
        ([key], [row]) if *row != server.describe(key) => format!("{reason}: {row}"),
        ([_, _, ..], [_, ..]) => format!("{reason}: {}", rows.join("; ")),
        _ => reason,
    }
}

/// Puts the rows in which both tables differ in a part of the key space, until they differ no more. Returns
/// those that still do: the application writes them all the time.
pub(super) async fn settle<S: Server>(run: &Run<S>, part: &KeyRange) -> Result<Vec<Key>> {
    let mut limit = LOOKED_UP;
    let mut rounds = 0;
    let mut put: HashSet<Key> = HashSet::new();
    loop {
        let found = run.retry_on_disconnect(|| run.server.differing(part, limit)).await?;
        let whole = found.len() < limit;
        let differing = run.misfits.without(found);
        if whole && (differing.is_empty() || rounds == ROUNDS) {
            return Ok(differing);
        }
        if whole {
            rounds += 1;
        } else if differing.is_empty() || differing.iter().any(|key| put.contains(key)) {
            // These hide what comes behind them.
            limit = limit.saturating_mul(4);
        }
        if differing.is_empty() {
            continue;
        }
        if mutation::active(Rule::DifferencesCount) {
            return Ok(Vec::new());
        }
        put = differing.iter().cloned().collect();
        run.dirty.add(differing);
        run.cycles.next_whole().await;
    }
}

/// Where the log must be read from for what was written since the swap; `None`: both tables are compared instead,
/// and why, where that is not how it always is on this server.
pub(super) async fn log_since_swap<S: Server>(
    server: &S,
    sink: &dyn Sink,
) -> Result<Option<Position>> {
    match server.log_since_swap().await? {
        Some(Ok(position)) => Ok(Some(position)),
        Some(Err(reason)) => {
            sink.event(Event::Note { text: instead(&reason) });
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Says that both tables are compared, and why.
pub(super) fn instead(reason: &str) -> String {
    format!(
        "both tables are compared, since the log cannot say what was written since the change: {reason}"
    )
}

/// Why the log that an undo went by does not tell what was written since the swap. `error`: what ended its run
/// before it had read the log up to its own beginning.
pub(super) fn log_fails(error: Error) -> Result<String> {
    match error {
        Error::StreamGap { reason, .. } | Error::Foreign(reason) => Ok(reason),
        error => Err(error),
    }
}

/// Puts the rows that the log names from the swap on. Each is compared in the transaction in which it is put;
/// the others are as they were when the run that is undone had compared them.
pub(super) async fn put_what_the_log_names<S: Server>(run: &Run<S>) -> Result<Verified> {
    run.catch_up().await?;
    run.caught_up.store(true, Ordering::Relaxed);
    failpoint::hit(Point::Verified)?;
    let put = run.progress.refreshed_keys.load(Ordering::Relaxed);
    run.progress.rows_verified.store(put, Ordering::Relaxed);
    Ok(Verified { rows: Rows(put), suspects: Vec::new() })
}

/// Tries the misfits again, since others may have made room for them; fails where some are left and must not
/// be left behind.
pub(super) async fn fit_or_fail<S: Server>(run: &Run<S>) -> Result<()> {
    let keys = run.misfits.keys();
    if keys.is_empty() {
        return Ok(());
    }
    {
        let _alone = run.refresh_lock.lock().await;
        refresh_keys(run, keys).await?;
    }
    if run.misfits.inner().is_empty() || run.leave_misfits {
        return Ok(());
    }
    Err(given_up(run))
}

fn given_up<S: Server>(run: &Run<S>) -> Error {
    let (count, rows) = run.misfits.list(&*run.server);
    Error::Misfits { count, rows, may_stay: true }
}

/// What the summary says of the rows that were left behind, and the first of them.
pub(super) fn left_behind<S: Server>(run: &Run<S>) -> Option<(String, Vec<String>)> {
    let (count, mut rows) = run.misfits.list(&*run.server);
    rows.truncate(NAMED);
    let text = format!(
        "{count} rows could not go back and were left as they were when the table was retired; the \
         retired table has them as they were written since"
    );
    (count > 0).then_some((text, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key(Box::new([byte]))
    }

    #[test]
    fn a_misfit_that_goes_back_is_none_any_more() {
        let misfits = Misfits::default();
        assert_eq!(misfits.add(&key(1), "too long"), 1);
        assert_eq!(misfits.add(&key(1), "NULL"), 1, "the latest reason counts");
        assert_eq!(misfits.add(&key(2), "too long"), 2);
        assert_eq!(misfits.without(vec![key(1), key(3)]), [key(3)]);
        misfits.fit(&[key(1), key(9)]);
        assert_eq!(misfits.keys(), [key(2)]);
    }
}
