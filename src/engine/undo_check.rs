//! What an undo would meet now: both tables are compared as it would do it, and the rows that differ are tried,
//! one transaction after the other, each of which is rolled back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::time::Instant;

use super::backend::{CopyOutcome, Server};
use super::progress::{Phase, Progress};
use super::undo::in_words;
use crate::error::{Error, Result};
use crate::key::{Key, KeyRange, Rows};
use crate::throttle::Throttle;

/// Rows that are compared at a time.
const CHUNK: Rows = Rows(20_000);

/// A chunk that differs is compared again in parts of so many rows.
const PART: Rows = Rows(2_000);

/// Differing rows that are looked up at a time, and tried in one transaction.
const LOOKED_UP: usize = 4_000;
const BATCH: usize = 200;

/// Rows that are tried together at most, with those that still hold their unique values.
const MOST_TOGETHER: usize = 2_000;

/// How often a lock on the rows of one part is waited for.
const ATTEMPTS: u32 = 5;

/// Misfits that are listed.
const SHOWN: usize = 1_000;

/// What an undo would meet.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct UndoCheck {
    /// Rows compared.
    pub rows: u64,
    /// Rows in which both tables differ: written since the change.
    pub touched: u64,
    /// Rows that cannot go back, at least.
    pub misfits: u64,
    /// The first thousand of them: the key, and why.
    pub misfit_rows: Vec<String>,
    /// How long the look took, in seconds: an undo compares as much, and puts the touched rows besides.
    pub seconds: f64,
}

impl UndoCheck {
    /// Adds misfits that were found in another way.
    pub(crate) fn add(&mut self, rows: Vec<String>) {
        self.misfits += rows.len() as u64;
        let room = SHOWN.saturating_sub(self.misfit_rows.len());
        self.misfit_rows.extend(rows.into_iter().take(room));
    }
}

/// Compares both tables, and tries what differs, whenever the throttle lets it. Nothing is changed.
///
/// # Errors
/// The server's; `Stopped` where the throttle ends it.
pub(crate) async fn check<S: Server>(
    server: &S,
    progress: &Arc<Progress>,
    throttle: &Throttle,
) -> Result<UndoCheck> {
    let started = Instant::now();
    progress.set_phase(Phase::PutBack);
    progress.rows_estimate.store(server.estimate().await?.0, Ordering::Relaxed);
    let mut found = UndoCheck::default();
    let mut after = None;
    loop {
        let upto = server.bound(after.as_ref(), CHUNK).await?;
        let last = upto.is_none();
        let range = KeyRange { after, upto };
        let turn = throttle.admit(0).await?;
        let comparison = server.compare(&range).await?;
        drop(turn);
        if !comparison.equal {
            look_into(server, throttle, &range, &mut found).await?;
        }
        found.rows += comparison.rows.0;
        progress.rows_verified.store(found.rows, Ordering::Relaxed);
        if last {
            break;
        }
        after = range.upto;
    }
    duplicates(server, &mut found).await?;
    found.seconds = started.elapsed().as_secs_f64();
    Ok(found)
}

async fn look_into<S: Server>(
    server: &S,
    throttle: &Throttle,
    range: &KeyRange,
    found: &mut UndoCheck,
) -> Result<()> {
    let mut after = range.after.clone();
    loop {
        let inner = server.bound(after.as_ref(), PART).await?;
        let beyond = |inner: &Key| range.upto.as_ref().is_some_and(|upto| inner >= upto);
        // Where osc cannot compare keys, the part may reach beyond the range: then it is the last.
        let inner = inner.filter(|inner| !beyond(inner));
        let last = inner.is_none();
        let part = KeyRange { after, upto: inner.or_else(|| range.upto.clone()) };
        for keys in server.differing(&part, LOOKED_UP).await?.chunks(BATCH) {
            found.touched += keys.len() as u64;
            let _turn = throttle.admit(0).await?;
            attempt(server, keys, found).await?;
        }
        if last {
            return Ok(());
        }
        after = part.upto;
    }
}

/// Tries to put these rows, and where that fails each half of them.
async fn attempt<S: Server>(server: &S, batch: &[Key], found: &mut UndoCheck) -> Result<()> {
    let mut parts = vec![Part::Whole(batch.to_vec())];
    while let Some(part) = parts.pop() {
        let keys = match part {
            Part::Whole(keys) => keys,
            Part::Between { key, why, before } => {
                // Each half goes back alone, and not both: the last row is one too many.
                if found.misfits == before {
                    found.add(vec![format!("{}: {why}", server.describe(&key))]);
                }
                continue;
            }
        };
        let Some(why) = fails(server, &keys).await? else { continue };
        match keys.as_slice() {
            [key] => found.add(vec![format!("{}: {why}", server.describe(key))]),
            [.., key] => {
                let (left, right) = keys.split_at(keys.len() / 2);
                let key = key.clone();
                parts.push(Part::Between { key, why, before: found.misfits });
                parts.extend([right, left].map(|half| Part::Whole(half.to_vec())));
            }
            [] => {}
        }
    }
    Ok(())
}

enum Part {
    /// Rows that are tried together.
    Whole(Vec<Key>),
    /// What is left when both halves of a part that failed were tried.
    Between {
        /// Its last row.
        key: Key,
        /// Why it failed.
        why: String,
        /// Misfits that were known then.
        before: u64,
    },
}

/// Why these rows cannot go back together; `None`: they can.
async fn fails<S: Server>(server: &S, keys: &[Key]) -> Result<Option<String>> {
    let mut together: BTreeSet<Key> = keys.iter().cloned().collect();
    let mut met = 0;
    loop {
        let all: Vec<Key> = together.iter().cloned().collect();
        match server.try_to_put(&all).await {
            Ok(CopyOutcome::Written(_)) => return Ok(None),
            Err(Error::Data { reason, rows }) => {
                return Ok(Some(in_words(server, keys, reason, &rows)));
            }
            // The server has waited for the lock by then.
            Ok(CopyOutcome::Contention) if met < ATTEMPTS => met += 1,
            Ok(CopyOutcome::Contention) => {
                return Err(Error::Stopped {
                    reason: "another session has rows of the retired table locked".into(),
                    help: "end it, then look again".into(),
                });
            }
            Ok(CopyOutcome::Clash(clash)) => {
                let drawn: Vec<Key> = clash.own.iter().chain(&clash.holders).cloned().collect();
                let rows = server.duplicates(&clash.index, None, &drawn).await?;
                let same = format!("rows have the same value of the unique key {}", clash.index);
                if !rows.is_empty() {
                    return Ok(Some(format!("{same}: {}", rows.join("; "))));
                }
                // Those who hold the values may have given them up since: then they go back together.
                let before = together.len();
                together.extend(drawn);
                match together.len() {
                    now if now == before => return Ok(Some(same)),
                    // It is too long a chain to be followed.
                    now if now > MOST_TOGETHER => return Ok(None),
                    _ => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Looks for rows that were all written since and have the same values of a unique key: each could go back alone.
async fn duplicates<S: Server>(server: &S, found: &mut UndoCheck) -> Result<()> {
    for index in server.relaxed_keys().await? {
        for row in server.duplicates(&index, Some(&KeyRange::all()), &[]).await? {
            if found.misfit_rows.iter().all(|known| !known.contains(&row)) {
                let same = format!("rows have the same value of the unique key {index}: {row}");
                found.add(vec![same]);
            }
        }
    }
    Ok(())
}
