//! A database with a table `t`, and the program at work on it.

use std::process::Output;

use crate::cli_run::{osc, printed};
use crate::support;
use crate::support::postgres::Postgres;

pub(crate) struct Place {
    pub(crate) server: &'static Postgres,
    pub(crate) database: String,
}

impl Place {
    pub(crate) async fn new(setup: &str) -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        server.exec(&database, setup).await;
        Self { server, database }
    }

    pub(crate) async fn exec(&self, sql: &str) {
        self.server.exec(&self.database, sql).await;
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.server.rows(&self.database, sql).await;
        rows.into_iter().map(|row| row.join("|")).collect()
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        self.server.value(&self.database, sql).await
    }

    pub(crate) fn osc(&self, arguments: &[&str]) -> Output {
        osc(self.server, &self.database, arguments)
    }

    /// Changes `t` by a copy.
    pub(crate) fn alter(&self, clauses: &str) {
        self.succeeds(&["alter", "t", clauses, "--strategy", "copy", "--yes"]);
    }

    /// Undoes the last change of `t`.
    pub(crate) fn revert(&self, more: &[&str]) -> Output {
        self.osc(&[&["revert", "t", "--yes"], more].concat())
    }

    pub(crate) fn reverts(&self) {
        self.succeeds(&["revert", "t", "--yes"]);
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) {
        let output = self.osc(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", printed(&output));
    }
}
