//! Writes of others to the shadow, from the verification on.
//!
//! What another session changes in the shadow before it is compared, the verification finds. What it
//! changes later only the log shows. So from a marker on, each transaction of ours that writes rows of
//! the shadow begins with a row in the ledger's table of markers, a signature ([`is_signature`]): no
//! other account may write that table. Rows of the shadow in a transaction without one are another
//! session's, and their keys are delivered. Sessions that hold LOCK TABLES cannot sign; the engine knows
//! when there is one, and no other session can write then.
//!
//! DDL is a transaction by itself and has no rows. The server writes into its event which session ran
//! it, and no ordinary account can change that number (`pseudo_thread_id`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::query::{QueryEvent, Statement, Watch};
use super::rows::{Layout, RowsEvent};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::mysql::catalog::key::KeyColumns;
use crate::mysql::connection::own_sessions::is_ours;
use crate::mysql::name::TableName;
use crate::testing::mutation::{self, Rule};

/// Marks a number in the table of markers as a signature: the engine's markers are smaller.
const SIGNATURE: u64 = 1 << 63;

/// What a session signs its transactions with. No two have the same, so that none waits for another.
pub(in crate::mysql) fn signature(session: u32) -> u64 {
    SIGNATURE | u64::from(session)
}

/// Whether this is a signature, and no marker of the engine's.
pub(super) fn is_signature(marker: u64) -> bool {
    marker & SIGNATURE != 0
}

/// From where on writes to the shadow are signed and watched: shared by the sessions that write and the
/// stream.
#[derive(Debug, Default)]
pub struct ShadowWatch {
    /// The marker; 0: not yet.
    from: AtomicU64,
    /// A stream has passed it.
    passed: AtomicBool,
}

impl ShadowWatch {
    /// All transactions that write the shadow from here on are signed, and the stream watches from this
    /// marker on.
    pub fn begin(&self, marker: u64) {
        self.from.store(marker, Ordering::SeqCst);
    }

    /// The same, and the stream watches from where it begins.
    pub fn begin_at_once(&self) {
        self.from.store(u64::MAX, Ordering::SeqCst);
        self.passed.store(true, Ordering::SeqCst);
    }

    /// Whether transactions that write the shadow are to be signed.
    pub fn signs(&self) -> bool {
        self.from.load(Ordering::SeqCst) != 0
    }

    /// The stream has read this marker.
    pub(super) fn passes(&self, marker: u64) {
        if self.signs() && self.from.load(Ordering::SeqCst) == marker {
            self.passed.store(true, Ordering::SeqCst);
        }
    }
}

/// The shadow, as the stream must know it.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// Its name.
    pub name: TableName,
    /// The copy key's columns in it, in the order of the original's.
    pub key: KeyColumns,
    /// From where on it is watched.
    pub watch: Arc<ShadowWatch>,
}

impl Shadow {
    /// Whether the watch has begun.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.passed.load(Ordering::SeqCst) && !mutation::active(Rule::ShadowWatched)
    }

    /// What another session's statement does to the shadow, if it does anything.
    pub(super) fn touched(
        &self,
        event: &QueryEvent<'_>,
        original: &Watch,
        opts: &mysql_async::Opts,
    ) -> Option<String> {
        if !self.is_watched() || is_ours(opts, event.session.into()) {
            return None;
        }
        let watch = Watch {
            flavor: original.flavor,
            original: self.name.clone(),
            fold_case: original.fold_case,
            triggers: std::collections::HashSet::new(),
            opaque: std::collections::HashSet::new(),
        };
        match watch.statement(event) {
            Statement::Foreign(what) => Some(what),
            _ => None,
        }
    }
}

/// Reads the keys of others' rows, in the form of the original's `key`. Returns what is wrong with one that
/// the original cannot have.
pub(super) fn read_keys(
    layout: &Layout,
    event: &RowsEvent<'_>,
    rows: &[u8],
    key: &KeyColumns,
    keys: &mut Vec<Key>,
) -> Result<Option<String>> {
    let mut impossible = None;
    layout.read(event, rows, |before, after| {
        for values in [before, after.filter(|_| after != before)].into_iter().flatten() {
            match key.encode_others(values)? {
                Some(key) => keys.push(key),
                None => {
                    impossible = Some(format!(
                        "another session wrote a row of the shadow with a key that the original \
                         cannot have: {values:?}"
                    ));
                }
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(impossible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_begins_where_the_stream_passes_its_marker() {
        let watch = ShadowWatch::default();
        let passed = || watch.passed.load(Ordering::SeqCst);
        watch.passes(7);
        // The barrier of the start.
        watch.passes(0);
        assert!(!watch.signs() && !passed());
        watch.begin(7);
        watch.passes(6);
        assert!(watch.signs() && !passed());
        watch.passes(7);
        watch.passes(8);
        assert!(passed());
    }

    #[test]
    fn a_signature_is_no_marker() {
        assert!(is_signature(signature(0)) && is_signature(signature(u32::MAX)));
        assert!(!is_signature((1 << 62) + (1 << 61)));
        assert_ne!(signature(1), signature(2));
    }
}
