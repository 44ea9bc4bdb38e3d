//! Refusals from outside: the program is run, and must end as wanted with nothing changed.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses a part")]

use crate::cli_run::streams;
use std::process::Stdio;

use crate::support;
use crate::support::server::Server;

/// What the program is asked to do, and where.
pub struct Place<'a> {
    pub server: &'a Server,
    pub database: String,
    pub url: String,
}

/// How it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub printed: String,
}

impl<'a> Place<'a> {
    /// A database of its own, with a table `t` of three rows.
    pub async fn new(server: &'a Server) -> Self {
        let database = support::database(server).await;
        let url = server.url(&database);
        let place = Self { server, database, url };
        place.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20))").await;
        place.run("INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z')").await;
        place
    }

    /// Runs a statement in the database.
    pub async fn run(&self, sql: &str) {
        self.server.exec_in(&self.database, sql).await;
    }

    /// A query's rows in the database.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let mut conn = self.server.conn_db(&self.database).await;
        support::server::rows(&mut conn, sql).await
    }

    /// Runs the program for a copy to its end.
    pub async fn ask(&self, arguments: &[&str]) -> Answer {
        self.ask_plainly(&[arguments, &["--strategy", "copy"]].concat()).await
    }

    /// Runs the program to its end. Whatever it is, it says nothing that it must not say.
    pub async fn ask_plainly(&self, arguments: &[&str]) -> Answer {
        let mut command = support::osc();
        command
            .args(arguments)
            .args(["--url", &self.url])
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let printed = streams(&output);
        for never in ["panicked", "backtrace", "internal error", "SECRET"] {
            assert!(!printed.contains(never), "{arguments:?}: {printed}");
        }
        Answer { code: output.status.code(), printed }
    }

    /// All that there is in the database.
    pub async fn everything(&self) -> String {
        let mut text = String::new();
        let tables = self.server.rows(&format!("SHOW FULL TABLES FROM {}", self.database)).await;
        for table in tables {
            let name = format!("{}.`{}`", self.database, table[0].replace('`', "``"));
            let create = self.server.rows(&format!("SHOW CREATE TABLE {name}")).await;
            text += &format!("{table:?} {:?}\n", create[0][1]);
            if table[1] == "BASE TABLE" {
                text +=
                    &format!("{:?}\n", self.server.rows(&format!("SELECT * FROM {name}")).await);
            }
        }
        text
    }

    /// `osc plan` and `osc alter` end with `code` and say all of `words`; nothing is changed.
    pub async fn declines(&self, table: &str, clauses: &str, code: i32, words: &[&str]) {
        self.declines_given(table, clauses, &[], code, words).await;
    }

    /// The same with flags.
    async fn declines_given(
        &self,
        table: &str,
        clauses: &str,
        given: &[&str],
        code: i32,
        words: &[&str],
    ) {
        let before = self.everything().await;
        for arguments in [vec!["plan", table, clauses], vec!["alter", table, clauses, "--yes"]] {
            let arguments = [arguments.as_slice(), given].concat();
            let answer = self.ask(&arguments).await;
            assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.printed);
            for word in words {
                assert!(
                    answer.printed.contains(word),
                    "{arguments:?} lacks {word:?}: {}",
                    answer.printed
                );
            }
            assert_eq!(self.everything().await, before, "{arguments:?} changed something");
        }
    }

    /// Refused by the check of this name, with help.
    pub async fn refuses(&self, table: &str, clauses: &str, check: &str, words: &[&str]) {
        self.refuses_given(table, clauses, &[], check, words).await;
    }

    /// The same with flags.
    pub async fn refuses_given(
        &self,
        table: &str,
        clauses: &str,
        given: &[&str],
        check: &str,
        words: &[&str],
    ) {
        let check = format!("[{check}]");
        let words = [words, &[check.as_str(), "help:"]].concat();
        self.declines_given(table, clauses, given, 4, &words).await;
    }

    /// Planned and made, by a copy, and cleaned up.
    pub async fn takes(&self, table: &str, clauses: &str, given: &[&str]) {
        for arguments in [vec!["plan", table, clauses], vec!["alter", table, clauses, "--yes"]] {
            let arguments = [arguments.as_slice(), given].concat();
            let answer = self.ask(&arguments).await;
            assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.printed);
        }
        let answer = self.ask_plainly(&["cleanup", table, "--yes", "--now"]).await;
        assert_eq!(answer.code, Some(0), "{}", answer.printed);
    }
}
