//! An application on MySQL or MariaDB that attacks osc, with all rights on its own schema.
#![allow(missing_docs, reason = "a part of one test program, as the kit is")]

use crate::cli_run::streams;
use crate::support;
use crate::support::server::{Server, opts};
use mysql_async::{Conn, Opts};

pub(crate) const ADD: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5";

/// Every command that looks into the ledger.
pub(crate) const COMMANDS: [&[&str]; 4] = [
    &["status", "t"],
    &["plan", "t", ADD],
    &["alter", "t", ADD, "--yes"],
    &["cleanup", "t", "--yes", "--now"],
];

/// An application with a table, and osc's schema beside it.
pub(crate) struct Place<'a> {
    pub(crate) server: &'a Server,
    /// The application's schema.
    pub(crate) app: String,
    /// osc's, of this test alone.
    pub(crate) ledger: String,
    /// The application's account.
    pub(crate) account: String,
}

impl<'a> Place<'a> {
    pub(crate) async fn new(server: &'a Server) -> Self {
        let app = support::database(server).await;
        let (ledger, account) = (format!("{app}_osc"), format!("{app}_user"));
        for sql in [
            format!("CREATE TABLE {app}.t (id INT PRIMARY KEY, v INT, mail VARCHAR(40))"),
            format!("INSERT INTO {app}.t VALUES (1, 1, 'alice@example'), (2, 2, 'alice@example')"),
            format!("CREATE TABLE {app}.seen (what VARCHAR(40))"),
            format!("CREATE USER {account} IDENTIFIED BY 'secret'"),
            format!("GRANT ALL PRIVILEGES ON `{app}`.* TO {account}"),
        ] {
            server.exec(&sql).await;
        }
        Self { server, app, ledger, account }
    }

    /// A session of the application's.
    pub(crate) async fn application(&self) -> Conn {
        let (account, port) = (&self.account, self.server.port());
        let url = format!("mysql://{account}:secret@127.0.0.1:{port}/{}", self.app);
        Conn::new(Opts::from(opts(&url))).await.unwrap()
    }

    /// osc at `url`: exit code and all that it printed.
    pub(crate) fn osc_at(&self, url: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = support::osc()
            .args(arguments)
            .args(["--url", url, "--ledger", &self.ledger])
            .output()
            .unwrap();
        (output.status.code(), streams(&output))
    }

    pub(crate) fn osc(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.osc_at(&self.server.url(&self.app), arguments)
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let (code, printed) = self.osc(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {printed}");
        printed
    }

    /// A run by copy that made and finished the ledger's first row, and left no retired table.
    pub(crate) fn first_run(&self) {
        self.done(&["alter", "t", "ADD COLUMN first INT", "--strategy", "copy", "--yes"]);
        self.done(&["cleanup", "t", "--yes", "--now"]);
    }

    /// Every command ends with 4 and says all of `words`, the table is as it was, and no other user's statement ran.
    pub(crate) async fn all_refuse(&self, words: &[&str]) {
        let shape = format!("SHOW CREATE TABLE {}.t", self.app);
        let before = self.server.rows(&shape).await;
        for command in COMMANDS {
            let (code, printed) = self.osc(command);
            assert_eq!(code, Some(4), "{command:?}: {printed}");
            for word in words.iter().chain(&["help:"]) {
                assert!(printed.contains(word), "{command:?} lacks {word:?}: {printed}");
            }
        }
        assert_eq!(self.server.rows(&shape).await, before);
        self.nothing_ran().await;
    }

    pub(crate) async fn nothing_ran(&self) {
        let seen = self.server.value(&format!("SELECT COUNT(*) FROM {}.seen", self.app)).await;
        assert_eq!(seen, "0", "another user's statement ran as osc");
    }

    pub(crate) async fn has_column(&self, column: &str) -> bool {
        let create = self.server.rows(&format!("SHOW CREATE TABLE {}.t", self.app)).await;
        create[0][1].contains(column)
    }

    /// A row in the ledger that no run wrote: `values` are SQL.
    pub(crate) async fn forge(&self, clauses: &str, result: &str, state: &str, carried: &str) {
        let (app, ledger) = (&self.app, &self.ledger);
        let sql = format!(
            "INSERT INTO {ledger}.osc_ledger (server, schema_name, table_name, clauses, method, phase, result, \
             state, verification, owner, carried, started, updated) SELECT server, '{app}', 't', '{clauses}', \
             'copy', 'done', {result}, {state}, 'off', '', {carried}, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) \
             FROM {ledger}.osc_ledger LIMIT 1"
        );
        self.server.exec(&sql).await;
    }

    /// Whatever was refused before, the change is possible now.
    pub(crate) async fn first_run_again(&self) {
        self.done(&["alter", "t", ADD, "--strategy", "copy", "--yes"]);
        assert!(self.has_column("added").await);
        self.nothing_ran().await;
    }

    pub(crate) fn first_run_of(&self, what: &str) {
        self.done(&["alter", "t", &format!("COMMENT '{}'", what.len()), "--yes"]);
        assert_eq!(self.osc(&["status", "t"]).0, Some(0));
    }
}
