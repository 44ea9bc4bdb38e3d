//! The copy key's index on the shadow, where the server leaves it to after the copy: keeping it while
//! the rows come is half of what they cost there.
//!
//! Until it is there no row of the shadow can be found by its key, so nothing is refreshed: keys that a
//! refresh would have to write are deferred, and the position stays before them. Where these become
//! many, or old, the index is built in the midst of the copy, between two chunks.

use std::time::Duration;

use super::backend::Server;
use super::dirty::DeferredKeys;
use super::run::Run;
use crate::error::Result;
use crate::testing::failpoint::{self, Point};
use crate::testing::mutation::{self, Rule};

/// More keys than this are not deferred: refreshing them takes seconds.
const MOST_DEFERRED: usize = 50_000;

/// Keys are not deferred for longer: until they are refreshed the server keeps its log, and a run that
/// is killed reads it again.
const LONGEST_DEFERRED: Duration = Duration::from_secs(120);

/// Whether it is time to build the index, whatever is left of the copy.
pub(super) fn is_due(deferred: DeferredKeys) -> bool {
    deferred.keys > MOST_DEFERRED || deferred.longest > LONGEST_DEFERRED
}

/// Builds the index, unless it is there, when no refresh is under way.
pub(super) async fn ensure<S: Server>(run: &Run<S>) -> Result<()> {
    if run.is_keyed() {
        return Ok(());
    }
    let _alone = run.refresh_lock.lock().await;
    build(run).await
}

/// The same for who holds [`Run::refresh_lock`].
pub(super) async fn build<S: Server>(run: &Run<S>) -> Result<()> {
    if run.is_keyed() {
        return Ok(());
    }
    // Chunks in flight would wait for it in the server, and longer than they may.
    let _no_chunk = run.chunk_gate.write().await;
    failpoint::hit(Point::KeyBegun)?;
    run.retry_on_disconnect(|| run.server.build_key()).await?;
    failpoint::hit(Point::KeyBuilt)?;
    run.set_keyed();
    if !mutation::active(Rule::DeferredRefreshed) {
        run.dirty.release();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_due_when_many_keys_wait_for_it_or_one_for_long() {
        let deferred = |keys, seconds| DeferredKeys { keys, longest: Duration::from_secs(seconds) };
        assert!(!is_due(DeferredKeys::default()));
        assert!(!is_due(deferred(MOST_DEFERRED, 120)));
        assert!(is_due(deferred(MOST_DEFERRED + 1, 0)));
        assert!(is_due(deferred(1, 121)));
    }
}
