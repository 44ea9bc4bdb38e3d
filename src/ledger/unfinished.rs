//! What becomes of a run that was not finished when its table is to be changed again.

use super::RunRecord;
use super::claim::Standing;
use super::refusals::{other_clauses, other_strategy, replaced};
use crate::error::Result;

/// The last run on a table: it has a checkpoint, and has not ended.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// Its record.
    pub run: RunRecord,
    /// How its tables stand.
    pub standing: Standing,
}

impl Unfinished {
    /// Whether only what follows the swap is left to do.
    pub(crate) fn is_swapped(&self) -> bool {
        self.standing == Standing::Swapped
    }

    /// Fails where the change may not resume it: with other clauses (`same`: they are the same), or with a strategy
    /// that makes no copy.
    pub(crate) fn may_be_resumed(&self, same: bool, copies: bool) -> Result<()> {
        if !same {
            return Err(other_clauses(&self.run));
        }
        match self.standing {
            Standing::Replaced => Err(replaced(&self.run)),
            Standing::Swapped => Ok(()),
            Standing::Unswapped | Standing::Gone if copies => Ok(()),
            Standing::Unswapped | Standing::Gone => Err(other_strategy(&self.run)),
        }
    }
}
