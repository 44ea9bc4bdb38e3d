//! What a run keeps in the ledger besides its checkpoint: numbers, names and columns. None of it is a
//! statement, and all of it is compared with the catalog before it is acted upon (rule 11).

use serde::{Deserialize, Serialize};

use super::proof::Tables;
use crate::error::Finding;
use crate::error::{Error, Result};
use crate::ledger::RunRecord;
use crate::mysql::connection::settings::Role;
use crate::mysql::copy::deferred_indexes::Deferred;
use crate::mysql::dependents::Recorded;

/// What a run keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The tables that it worked with.
    pub tables: Tables,
    /// Indexes left to after the copy.
    pub deferred: Vec<Deferred>,
    /// What the new table must have after the swap.
    pub carried: Recorded,
    /// What a plain session of the login had at the start: values are converted by it to the end.
    pub role: Role,
}

impl Record {
    /// Reads it; a run that has recorded nothing has made nothing.
    ///
    /// # Errors
    /// `Refused` where it is not of this version's form.
    pub(crate) fn of(run: &RunRecord) -> Result<Self> {
        let Some(text) = run.carried.as_deref() else { return Ok(Self::default()) };
        serde_json::from_str(text).map_err(|error| {
            Error::Refused(vec![Finding::new(
                "other-version",
                format!("the record of run {} on {} cannot be read: {error}", run.run, run.table),
                "finish it with the osc that began it, or forget it with `osc cleanup TABLE`",
            )])
        })
    }

    /// Its text.
    ///
    /// # Errors
    /// `Internal`, which cannot be.
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::Internal(format!("what hangs on the table: {error}")))
    }
}
