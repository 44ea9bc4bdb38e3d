//! What a run keeps in the ledger besides its checkpoint: numbers, names and columns. None of it is a
//! statement, and all of it is compared with the catalog before it is acted upon (rule 11).

use serde::{Deserialize, Serialize};

use super::proof::Tables;
use crate::engine::undo::Direction;
use crate::error::Finding;
use crate::error::{Error, Result};
use crate::ledger::RunRecord;
use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::connection::settings::Role;
use crate::mysql::copy::deferred_indexes::Deferred;
use crate::mysql::dependents::Recorded;
use crate::mysql::dependents::foreign_keys::ForeignKey;
use crate::mysql::name::{Helpers, Ident, TableName};

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
    /// The run's helpers; `None`: it was begun by an osc that knew one retired name only.
    #[serde(default)]
    pub helpers: Option<Helpers>,
    /// What an undo of the run goes by.
    #[serde(default)]
    pub undo: Option<UndoFacts>,
    /// The run that this one undoes.
    #[serde(default)]
    pub undoes: Option<i64>,
    /// Whether it can be undone, as it was judged beforehand: one line, and below it the reasons. Shown, never read.
    #[serde(default)]
    pub verdict: Vec<String>,
    /// Where in the log its swap stands; `None`: an undo cannot go by the log.
    #[serde(default)]
    pub swap: Option<SwapMark>,
    /// The clauses that take it back, of a run that retires no table, or why there are none. They are read, checked
    /// and shown as those of a user before they are run.
    #[serde(default)]
    pub opposite: Option<std::result::Result<String, String>>,
    /// How long what it retires is kept for an undo, in seconds.
    #[serde(default)]
    pub undo_for: u64,
}

/// Where in the log a swap stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SwapMark {
    /// A place before it, in the stream's form.
    pub position: String,
    /// The marker that was written under the lock.
    pub marker: u64,
    /// The sessions that settled what hangs on the table; none: that is not done, or by another process.
    pub sessions: Vec<u32>,
}

/// What an undo must know of the run that it undoes, since the catalog does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UndoFacts {
    /// The columns that were carried over: the name in the retired table, and in the new one.
    pub kept: Vec<(Ident, Ident)>,
    /// The retired table's columns.
    pub before: Vec<Shape>,
    /// The new table's.
    pub after: Vec<Shape>,
    /// The foreign keys that the table had.
    pub keys: Vec<ForeignKey>,
    /// Which way rows go in an undo of this run.
    #[serde(default)]
    pub direction: Direction,
}

/// A column, as far as an undo relies on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Its name.
    pub name: Ident,
    /// Its type, character set, and whether it takes NULL or is computed.
    pub form: String,
}

impl Shape {
    /// The shapes of a table's columns.
    pub(crate) fn of(table: &Table) -> Vec<Self> {
        let shape = |column: &Column| {
            let (charset, collation) = (&column.charset, &column.collation);
            let text = charset.iter().chain(collation).map(|word| format!(" {word}"));
            let null = if column.nullable { "" } else { " not null" };
            let computed = if column.generated { " generated" } else { "" };
            let form =
                format!("{}{}{null}{computed}", column.column_type, text.collect::<String>());
            Self { name: column.name.clone(), form }
        };
        table.columns.iter().map(shape).collect()
    }
}

impl Record {
    /// The helpers of a run on `original`.
    pub(crate) fn helpers(&self, original: &TableName) -> Helpers {
        self.helpers.clone().unwrap_or_else(|| Helpers::of(original))
    }
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
