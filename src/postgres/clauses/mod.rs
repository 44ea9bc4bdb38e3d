//! The requested change, parsed: clauses of an ALTER TABLE, or a statement about an index. The only
//! place that knows the parser.

pub mod columns;

mod action;
pub(crate) mod change;
mod constraint;
mod destructive;
mod error;
mod extensions;
pub(crate) mod form;
mod parse;
mod refuse;
pub(crate) mod same;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::name::{Ident, TableName};

pub use action::{
    Action, ActionKind, Constraint, ConstraintKind, Key, Lock, Partition, Partitioning, Place,
};

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ALTER TABLE …`, or its clauses alone.
    Alter {
        /// The table, where it was named.
        table: Option<(Option<String>, String)>,
        /// What is done to it.
        clauses: Clauses,
    },
    /// `CREATE INDEX … ON …`.
    CreateIndex(CreateIndex),
    /// `DROP INDEX …`.
    DropIndex {
        /// The indexes, with their schemas where those were named.
        indexes: Vec<(Option<String>, String)>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
}

/// A `CREATE INDEX`, in parts, so that it can be written again with CONCURRENTLY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    /// `UNIQUE`.
    pub unique: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Its name, where it was given.
    pub name: Option<Ident>,
    /// The table.
    pub table: (Option<String>, String),
    /// `ON ONLY`: not the partitions.
    pub only: bool,
    /// What follows the table.
    pub definition: String,
    /// Its columns, in order; an expression is `expr`.
    pub columns: Vec<Ident>,
}

/// The clauses of one ALTER TABLE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clauses {
    /// `ONLY`: not the tables that inherit from it.
    pub only: bool,
    /// One by one, in their order; none: a rewrite without a change.
    pub actions: Vec<Action>,
}

impl Statement {
    /// The table that the statement names.
    pub fn table(&self) -> Option<(Option<String>, String)> {
        match self {
            Self::Alter { table, .. } => table.clone(),
            Self::CreateIndex(create) => Some(create.table.clone()),
            Self::DropIndex { .. } => None,
        }
    }

    /// The clauses of an ALTER TABLE.
    pub fn clauses(&self) -> Option<&Clauses> {
        match self {
            Self::Alter { clauses, .. } => Some(clauses),
            Self::CreateIndex(_) | Self::DropIndex { .. } => None,
        }
    }
}

impl Clauses {
    /// No clauses: a rewrite.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Columns that change their names: old and new.
    pub fn renames(&self) -> Vec<(Ident, Ident)> {
        let renamed = |action: &Action| match &action.kind {
            ActionKind::RenameColumn { from, to } => Some((from.clone(), to.clone())),
            _ => None,
        };
        self.actions.iter().filter_map(renamed).collect()
    }

    /// Columns that are dropped.
    pub fn dropped(&self) -> Vec<Ident> {
        let dropped = |action: &Action| match &action.kind {
            ActionKind::DropColumn { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(dropped).collect()
    }

    /// Columns whose type changes.
    pub fn retyped(&self) -> Vec<Ident> {
        let retyped = |action: &Action| match &action.kind {
            ActionKind::AlterType { column, .. } => Some(column.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(retyped).collect()
    }

    /// The expressions of `ALTER … TYPE … USING`, by column.
    pub fn usings(&self) -> BTreeMap<Ident, String> {
        let using = |action: &Action| match &action.kind {
            ActionKind::AlterType { column, using: Some(using), .. } => {
                Some((column.clone(), using.clone()))
            }
            _ => None,
        };
        self.actions.iter().filter_map(using).collect()
    }

    /// Constraints that are dropped.
    pub fn dropped_constraints(&self) -> Vec<Ident> {
        let dropped = |action: &Action| match &action.kind {
            ActionKind::DropConstraint { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(dropped).collect()
    }

    /// The checks that are added without a look at the rows: the copy adds them in the swap.
    pub fn unproved(&self) -> Vec<&Action> {
        let unproved = |action: &&Action| match &action.kind {
            ActionKind::AddConstraint(added) => {
                matches!(added.kind, ConstraintKind::Check | ConstraintKind::NotNull)
                    && added.not_valid
                    && !added.not_enforced
            }
            _ => false,
        };
        self.actions.iter().filter(unproved).collect()
    }

    /// The foreign keys that are added: the copy adds them in the swap.
    pub fn foreign_keys(&self) -> Vec<&Action> {
        self.actions.iter().filter(|action| action.is_foreign_key()).collect()
    }

    /// Columns that are moved, in the order of the clauses.
    pub fn moves(&self) -> Vec<(Ident, Place)> {
        let moved = |action: &Action| match &action.kind {
            ActionKind::Move { column, place } => Some((column.clone(), place.clone())),
            _ => None,
        };
        self.actions.iter().filter_map(moved).collect()
    }

    /// How the table becomes partitioned.
    pub fn partitioning(&self) -> Option<&Partitioning> {
        self.actions.iter().find_map(|action| match &action.kind {
            ActionKind::Partition(partitioning) => Some(partitioning),
            _ => None,
        })
    }

    /// The ALTER TABLE of the table at `place`: without osc's own clauses, and without what the
    /// shadow cannot have, which are foreign keys, and what is done to foreign keys named in `absent`.
    pub fn for_shadow(&self, place: &TableName, absent: &[Ident]) -> Option<String> {
        let there = |action: &&Action| match &action.kind {
            ActionKind::DropConstraint { name, .. }
            | ActionKind::Validate { name }
            | ActionKind::AlterConstraint { name }
            | ActionKind::RenameConstraint { from: name, .. } => !absent.contains(name),
            _ => !action.is_foreign_key(),
        };
        self.statement(place, there)
    }

    /// The ALTER TABLE of `table` with all of them but osc's own.
    pub fn for_table(&self, table: &TableName) -> Option<String> {
        self.statement(table, |_| true)
    }

    fn statement(&self, table: &TableName, which: impl Fn(&&Action) -> bool) -> Option<String> {
        let texts = self.actions.iter().filter(|action| !action.is_own() && which(action));
        let texts: Vec<&str> = texts.map(|action| action.text.as_str()).collect();
        let only = if self.only { "ONLY " } else { "" };
        (!texts.is_empty()).then(|| format!("ALTER TABLE {only}{table} {}", texts.join(", ")))
    }

    /// The strongest lock that the server takes for them; `None`: no clauses.
    pub fn lock(&self) -> Option<Lock> {
        self.actions.iter().map(Action::lock).max()
    }
}
