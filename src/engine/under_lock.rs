//! What is left to do while the cut-over holds its lock: the session that holds it writes the last rows and compares
//! the last suspects (rule 7).

use std::future::Future;

use crate::error::{Error, Result};
use crate::key::Key;

/// Rows that one statement writes or compares.
const BATCH: usize = 500;

/// Keys printed when the tables differ.
const SHOWN: usize = 10;

/// The session that holds the lock.
pub(crate) trait Holder: Send {
    /// A key for a human.
    fn describe(&self, key: &Key) -> String;

    /// In an undo: lays aside what rows of the shadow have of their own, for [`Holder::insert`].
    fn lay_aside(&mut self, _keys: &[Key]) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Deletes rows of the shadow.
    fn delete(&mut self, keys: &[Key]) -> impl Future<Output = Result<()>> + Send;

    /// Writes rows of the original into the shadow, which has none of them.
    fn insert(&mut self, keys: &[Key]) -> impl Future<Output = Result<()>> + Send;

    /// Which of these rows differ.
    fn differing(&mut self, keys: &[Key]) -> impl Future<Output = Result<Vec<Key>>> + Send;
}

/// Writes again every row that the stream named: all deletes first, so that no stale row can hold a unique value.
pub(crate) async fn refresh<H: Holder>(holder: &mut H, dirty: &[Key]) -> Result<()> {
    for keys in dirty.chunks(BATCH) {
        holder.lay_aside(keys).await?;
        holder.delete(keys).await?;
    }
    for keys in dirty.chunks(BATCH) {
        // Again: keys that differ in bytes only may name a row that an earlier part has written.
        holder.delete(keys).await?;
        holder.insert(keys).await?;
    }
    Ok(())
}

/// Compares what could not be compared before since it was written all the time.
pub(crate) async fn compare<H: Holder>(holder: &mut H, suspects: &[Key]) -> Result<()> {
    let mut differing = Vec::new();
    for keys in suspects.chunks(BATCH) {
        differing.extend(holder.differing(keys).await?);
    }
    if differing.is_empty() {
        return Ok(());
    }
    let keys = differing.iter().take(SHOWN).map(|key| holder.describe(key)).collect();
    Err(Error::Verification { count: differing.len() as u64, keys })
}

/// The end of an attempt whose own writes met a lock, though no other session can have one.
pub(crate) fn lock_wait() -> Error {
    Error::Stopped { reason: "a lock wait under the lock".into(), help: String::new() }
}
