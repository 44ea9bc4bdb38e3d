//! One step of a road.

use crate::postgres::name::{Ident, TableName, Text};

/// One step: a transaction of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The statements.
    pub sql: String,
    /// Whether it asks for a lock that stops the application, so that it must not wait for it long.
    pub short: bool,
    /// Other tables that it locks, as `regclass` reads them.
    pub also: Vec<String>,
    /// How to see that it is done already; it is left out then.
    pub done: Option<Look>,
    /// What takes it back, and the steps before it, when it fails for good.
    pub undo: Vec<Undo>,
    /// The check whose offending rows are shown when it fails.
    pub shows: Option<Ident>,
}

/// A question to the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A query whose first value says `t`.
    Query(String),
    /// An index of the table, valid; an invalid one of this name is dropped first.
    Index(TableName),
}

/// A statement that takes something back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The statement.
    pub sql: String,
    /// Whether it asks for a lock that stops the application.
    pub short: bool,
}

impl Step {
    /// A step that needs a strong lock for a moment.
    pub fn short(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            short: true,
            also: Vec::new(),
            done: None,
            undo: Vec::new(),
            shows: None,
        }
    }

    /// A step that takes long, and stops nobody.
    pub(super) fn long(sql: impl Into<String>) -> Self {
        Self { short: false, ..Self::short(sql) }
    }

    pub(super) fn unless(mut self, done: Look) -> Self {
        self.done = Some(done);
        self
    }

    pub(super) fn or(mut self, undo: Undo) -> Self {
        self.undo.push(undo);
        self
    }

    pub(super) fn with(mut self, tables: impl IntoIterator<Item = String>) -> Self {
        self.also.extend(tables);
        self
    }

    pub(super) fn showing(mut self, check: &Ident) -> Self {
        self.shows = Some(check.clone());
        self
    }
}

impl Undo {
    /// The index goes, without stopping anybody.
    pub(super) fn index(index: &TableName) -> Self {
        Self { sql: format!("DROP INDEX CONCURRENTLY IF EXISTS {index}"), short: false }
    }

    /// The constraint goes.
    pub(super) fn constraint(table: &TableName, name: &Ident) -> Self {
        Self { sql: format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"), short: true }
    }
}

/// Whether the table has a constraint of this name, and `more`.
pub(super) fn constraint_exists(table: &TableName, name: &Ident, more: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {}::regclass \
         AND conname = {}{more})",
        Text(&table.to_string()),
        Text(name.as_str())
    )
}
