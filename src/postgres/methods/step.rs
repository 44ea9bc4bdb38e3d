//! One step of a method.

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
    /// It has words of the user's, which are read as the role's own sessions read them; such a step looks at
    /// no rows and calls nothing of osc's.
    pub in_words: bool,
    /// The constraint whose rows it checks: what that runs is looked at in the same transaction.
    pub(crate) validates: Option<Ident>,
}

/// A question to the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A query whose first value says `t`.
    Query(String),
    /// An index of the table, valid; an invalid one of this name is dropped first.
    Index(TableName),
}

impl Step {
    /// A question to the catalog whether a run that died in this step left something of no use to
    /// anybody, and what takes that back: an invalid index, a check that only served the step.
    pub(crate) fn leftover(&self) -> Option<(String, &Undo)> {
        let undo = self.undo.first()?;
        match (&self.done, &self.shows) {
            (Some(Look::Index(index)), _) => {
                let index = Text(&index.to_string()).to_string();
                let sql = format!(
                    "SELECT NOT i.indisvalid AND NOT EXISTS \
                     (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid) \
                     FROM pg_index i WHERE i.indexrelid = to_regclass({index})"
                );
                Some((sql, undo))
            }
            (_, Some(check)) if check.as_str().ends_with(HELPER_CHECK) => {
                let name = Text(check.as_str());
                Some((
                    format!("SELECT true FROM pg_constraint WHERE conname = {name} LIMIT 1"),
                    undo,
                ))
            }
            _ => None,
        }
    }
}

/// How the checks are called that only serve to prove that a column has no NULL.
pub(crate) const HELPER_CHECK: &str = "_osc_not_null";

/// A statement that takes something back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The statement.
    pub sql: String,
    /// Whether it asks for a lock that stops the application.
    pub short: bool,
}

impl Step {
    /// A step that needs a strong lock briefly.
    pub fn short(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            short: true,
            also: Vec::new(),
            done: None,
            undo: Vec::new(),
            shows: None,
            in_words: false,
            validates: None,
        }
    }

    /// A step that takes long, and stops no other session.
    pub(crate) fn long(sql: impl Into<String>) -> Self {
        Self { short: false, ..Self::short(sql) }
    }

    pub(crate) fn unless(mut self, done: Look) -> Self {
        self.done = Some(done);
        self
    }

    pub(crate) fn or(mut self, undo: Undo) -> Self {
        self.undo.push(undo);
        self
    }

    pub(crate) fn with(mut self, tables: impl IntoIterator<Item = String>) -> Self {
        self.also.extend(tables);
        self
    }

    pub(crate) fn in_words(mut self) -> Self {
        self.in_words = true;
        self
    }

    pub(crate) fn validating(mut self, constraint: &Ident) -> Self {
        self.validates = Some(constraint.clone());
        self
    }

    pub(crate) fn showing(mut self, check: &Ident) -> Self {
        self.shows = Some(check.clone());
        self
    }
}

impl Undo {
    /// The index goes, without stopping anybody.
    pub(crate) fn index(index: &TableName) -> Self {
        Self { sql: format!("DROP INDEX CONCURRENTLY IF EXISTS {index}"), short: false }
    }

    /// The constraint goes.
    pub(crate) fn constraint(table: &TableName, name: &Ident) -> Self {
        Self { sql: format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"), short: true }
    }
}

/// Whether the table has a constraint of this name, and `more`.
pub(crate) fn constraint_exists(table: &TableName, name: &Ident, more: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {}::regclass \
         AND conname = {}{more})",
        Text(&table.to_string()),
        Text(name.as_str())
    )
}
