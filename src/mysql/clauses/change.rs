//! What is to change, in the form that the shadow needs.

use super::{Clauses, ColumnOutcome, ForeignKeyChanges, ShadowNames};
use crate::error::Result;
use crate::mysql::catalog::table::Table;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Ident, TableName};
use crate::testing::mutation::{self, Rule};

/// The change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The clauses as they were given: what makes two runs the same.
    pub text: String,
    /// The clauses, read.
    pub clauses: Clauses,
    /// Old and new names of the columns whose data is carried over.
    pub kept: Vec<(Ident, Ident)>,
    /// Foreign keys that the clauses add and drop.
    pub foreign_keys: ForeignKeyChanges,
    existing: Vec<Ident>,
}

impl Change {
    /// What `clauses` do to `original`, whose own foreign keys are named `existing`.
    pub fn of(
        text: &str,
        clauses: Clauses,
        flavor: Flavor,
        original: &Table,
        existing: Vec<Ident>,
    ) -> Result<Self> {
        let kept = clauses
            .column_fates(&original.column_names())?
            .into_iter()
            .filter_map(|(old, outcomes)| match outcomes {
                ColumnOutcome::Kept(new) if mutation::active(Rule::RenamesFollowed) => {
                    old.same(&new).then_some((old, new))
                }
                ColumnOutcome::Kept(new) => Some((old, new)),
                ColumnOutcome::Dropped => None,
            })
            .collect();
        let foreign_keys = clauses.foreign_keys(flavor, &existing)?;
        Ok(Self { text: text.trim().to_owned(), clauses, kept, foreign_keys, existing })
    }

    /// The change of an unfinished run that had swapped the tables: only what follows is left to do, and
    /// the table has the new columns already.
    pub fn made(text: &str, clauses: Clauses) -> Self {
        Self {
            text: text.trim().to_owned(),
            clauses,
            kept: Vec::new(),
            foreign_keys: ForeignKeyChanges::default(),
            existing: Vec::new(),
        }
    }

    /// The way back of a change that carried `forth` over: old names and new ones. `foreign_keys`: those that
    /// come back and that go.
    pub(crate) fn back(
        text: String,
        forth: &[(Ident, Ident)],
        foreign_keys: ForeignKeyChanges,
    ) -> Self {
        let kept = forth.iter().map(|(old, new)| (new.clone(), old.clone())).collect();
        Self { text, clauses: Clauses::none(), kept, foreign_keys, existing: Vec::new() }
    }

    /// The statement that changes the empty shadow. `checks`: the names of the original's CHECK
    /// constraints and those of their twins in the shadow; `settings`: what stands before the clauses.
    pub fn for_shadow(
        &self,
        shadow: &TableName,
        checks: &[(Ident, Ident)],
        settings: &[&str],
    ) -> String {
        let names = ShadowNames { foreign_keys: &self.existing, checks };
        self.clauses.for_shadow_with(shadow, names, settings)
    }
}
