//! What is to change, in the form that the shadow needs.

use crate::engine::Result;
use crate::mysql::clauses::{ClauseKind, Clauses, Fate, ForeignKeyChanges};
use crate::mysql::flavor::Flavor;
use crate::mysql::inspect::Table;
use crate::mysql::name::{Ident, TableName};

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
            .filter_map(|(old, fate)| match fate {
                Fate::Kept(new) => Some((old, new)),
                Fate::Dropped => None,
            })
            .collect();
        let foreign_keys = clauses.foreign_keys(flavor, &existing);
        Ok(Self { text: text.trim().to_owned(), clauses, kept, foreign_keys, existing })
    }

    /// The statement that changes the empty shadow.
    pub fn for_shadow(&self, shadow: &TableName) -> String {
        self.clauses.for_shadow(shadow, &self.existing)
    }
}

impl Change {
    /// The same statement with names of CHECK constraints replaced by those of their twins.
    pub fn with_checks_renamed(&self, statement: String, twins: &[(Ident, Ident)]) -> String {
        let mut statement = statement;
        for clause in &self.clauses.clauses {
            let (ClauseKind::DropCheck { name }
            | ClauseKind::DropConstraint { name }
            | ClauseKind::AlterCheck { name }) = &clause.kind
            else {
                continue;
            };
            let Some((_, twin)) = twins.iter().find(|(old, _)| old.same(name)) else { continue };
            let bare = name.as_str();
            let renamed = if clause.text.contains(&name.to_string()) {
                clause.text.replace(&name.to_string(), &twin.to_string())
            } else {
                clause.text.replace(bare, &twin.to_string())
            };
            statement = statement.replace(&clause.text, &renamed);
        }
        statement
    }
}
