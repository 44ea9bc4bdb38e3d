//! The requested change, as the copy needs it.

use std::collections::BTreeSet;

use super::columns::{ColumnOutcomes, Columns};
use super::form::Form;
use super::{Clauses, Statement};
use crate::error::Result;
use crate::postgres::catalog::table::Table;
use crate::postgres::name::{Ident, TableName};

/// One change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The clauses, in the user's words.
    pub text: String,
    /// The same, parsed.
    pub statement: Statement,
    /// What it does to columns.
    pub columns: Columns,
    /// What osc's own clauses make of the table.
    pub form: Form,
    /// The original's foreign keys: the shadow has none of them.
    absent: Vec<Ident>,
}

impl Change {
    /// Parses the clauses. `absent`: the original's foreign keys.
    ///
    /// # Errors
    /// `Usage` where it is no change; `Refused` where it is one that osc is not for.
    pub fn parse(text: &str, table: &TableName, absent: Vec<Ident>) -> Result<Self> {
        let statement = Statement::parse(text, Some(table))?;
        let columns = match statement.clauses() {
            None => Columns::default(),
            Some(clauses) => Columns {
                renamed: clauses.renames(),
                dropped: clauses.dropped().into_iter().collect(),
                using: clauses.usings(),
            },
        };
        let form = statement.clauses().map(Form::of).unwrap_or_default();
        Ok(Self { text: text.trim().to_owned(), statement, columns, form, absent })
    }

    /// The change of a run that applies no clauses, with what stands in their place.
    pub(crate) fn none(text: String) -> Self {
        let statement = Statement::Alter { table: None, clauses: Clauses::default() };
        let (columns, form) = (Columns::default(), Form::default());
        Self { text, statement, columns, form, absent: Vec::new() }
    }

    /// The clauses, if it has some.
    pub fn clauses(&self) -> Option<&Clauses> {
        self.statement.clauses()
    }

    /// A rewrite without a change.
    pub fn is_empty(&self) -> bool {
        self.clauses().is_some_and(Clauses::is_empty)
    }

    /// The statement that makes the change on the table at `place`, without foreign keys; `None`:
    /// there is nothing to do.
    pub fn for_shadow(&self, place: &TableName) -> Option<String> {
        self.clauses()?.for_shadow(place, &self.absent)
    }

    /// What becomes of each column.
    pub fn outcomes(&self, original: &Table) -> ColumnOutcomes {
        let names = original.columns.iter().map(|column| &column.name);
        let mut outcomes = ColumnOutcomes::unchanged(names.clone().cloned());
        for name in names {
            outcomes.columns.insert(name.clone(), self.columns.new_name(name));
        }
        if let Some(clauses) = self.clauses() {
            outcomes.retyped.extend(clauses.retyped());
            outcomes.dropped_constraints.extend(clauses.dropped_constraints());
        }
        outcomes
    }

    /// Whether the clauses add foreign keys.
    pub fn adds_foreign_keys(&self) -> bool {
        self.clauses().is_some_and(|clauses| !clauses.foreign_keys().is_empty())
    }

    /// The statements that add the clauses' foreign keys in the swap, not validated: a scan would
    /// hold the lock.
    pub fn foreign_keys(&self, table: &TableName) -> Vec<String> {
        let Some(clauses) = self.clauses() else { return Vec::new() };
        clauses
            .foreign_keys()
            .into_iter()
            .map(|action| {
                let text = action.text.trim();
                let valid = if action.is_not_valid() { "" } else { " NOT VALID" };
                format!("ALTER TABLE {table} {text}{valid}")
            })
            .collect()
    }

    /// The statements that add the clauses' NOT VALID checks in the swap: rows that do not keep them may
    /// be copied.
    pub fn unproved(&self, table: &TableName, later: &BTreeSet<Ident>) -> Vec<String> {
        let Some(clauses) = self.clauses() else { return Vec::new() };
        let unproved = clauses.unproved().into_iter();
        let later =
            unproved.filter(|one| one.constraint_name().is_some_and(|it| later.contains(&it)));
        later.map(|action| format!("ALTER TABLE {table} {}", action.text.trim())).collect()
    }

    /// The names of those that are validated afterwards.
    pub fn validated_later(&self) -> Vec<Ident> {
        let Some(clauses) = self.clauses() else { return Vec::new() };
        let wanted = clauses.foreign_keys().into_iter().filter(|action| !action.is_not_valid());
        wanted.filter_map(|action| action.constraint_name()).collect()
    }
}
