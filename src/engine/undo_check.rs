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
    /// Rows that cannot go back.
    pub misfits: u64,
    /// The first thousand of them: the key, and why.
    pub misfit_rows: Vec<String>,
    /// How long the look took, in seconds: an undo compares as much, and puts the touched rows besides.
    pub seconds: f64,
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
    let mut parts = vec![batch.to_vec()];
    let mut met = 0;
    while let Some(keys) = parts.pop() {
        let outcome = server.try_to_put(&keys).await;
        let why = match outcome {
            Ok(CopyOutcome::Written(_)) => continue,
            Err(Error::Data { reason, rows }) => in_words(server, &keys, reason, &rows),
            // The server has waited for the lock by then.
            Ok(CopyOutcome::Contention) if met < ATTEMPTS => {
                met += 1;
                parts.push(keys);
                continue;
            }
            Ok(CopyOutcome::Contention) => {
                return Err(Error::Stopped {
                    reason: "another session has rows of the retired table locked".into(),
                    help: "end it, then look again".into(),
                });
            }
            Ok(CopyOutcome::Clash(clash)) => {
                let all: Vec<Key> = clash.own.iter().chain(&clash.holders).cloned().collect();
                let rows = server.duplicates(&clash.index, None, &all).await?;
                if rows.is_empty() {
                    // Those who hold the values have given them up since: they go back together.
                    let together: BTreeSet<Key> = keys.iter().cloned().chain(all).collect();
                    if together.len() > keys.len() && together.len() <= MOST_TOGETHER {
                        parts.push(together.into_iter().collect());
                        continue;
                    }
                }
                if keys.len() == 1 && rows.is_empty() {
                    // It is too long a chain of them.
                    continue;
                }
                format!(
                    "rows have the same value of the unique key {}: {}",
                    clash.index,
                    rows.join("; ")
                )
            }
            Err(error) => return Err(error),
        };
        match keys.as_slice() {
            // What was drawn in by others has its own turn.
            [key] if !batch.contains(key) => {}
            [key] => {
                found.misfits += 1;
                if found.misfit_rows.len() < SHOWN {
                    found.misfit_rows.push(format!("{}: {why}", server.describe(key)));
                }
            }
            keys => {
                let (left, right) = keys.split_at(keys.len() / 2);
                parts.extend([right.to_vec(), left.to_vec()]);
            }
        }
    }
    Ok(())
}
