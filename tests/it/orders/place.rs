//! A table with a ledger of its own on one of the servers, and who steers the runs on it.
#![allow(missing_docs, reason = "a part of one test program, as the kit is")]

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::cli_run::{Run, streams};
use crate::support;
use crate::support::postgres::{Postgres, connect};
use crate::support::schema;
use crate::support::server::{Kind, Server, opts};

pub(crate) const ADD: &str = "ADD COLUMN added INT";
pub(crate) const ROWS: u64 = 6_000;

/// What an operator needs, with the ledger's schema for `{}`, as docs/use/operate.md has it.
const RIGHTS_MYSQL: [&str; 2] = [
    "GRANT SELECT ON {}.* TO ",
    "GRANT INSERT (run, verb, arguments, host, why, expires) ON {}.osc_order TO ",
];
const RIGHTS_POSTGRES: [&str; 3] = [
    "GRANT USAGE ON SCHEMA {} TO ",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO ",
    "GRANT INSERT (run, verb, arguments, host, why, expires) ON {}.osc_order TO ",
];

#[derive(Clone, Copy)]
pub(crate) enum On {
    Mysql(&'static Server),
    Postgres(&'static Postgres),
}

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) server: On,
    pub(crate) database: String,
    pub(crate) ledger: String,
    pub(crate) url: String,
}

impl Place {
    async fn on(kind: Kind) -> Self {
        let server = support::shared(kind);
        let database = support::database(server).await;
        let url = server.url(&database);
        let ledger = format!("{database}_osc");
        let place = Self { server: On::Mysql(server), database, ledger, url };
        place.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await;
        for start in (1..=ROWS).step_by(1000) {
            let rows: Vec<String> =
                (start..start + 1000).map(|id| format!("({id}, {id})")).collect();
            place.sql(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
        }
        place
    }

    async fn postgres() -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let (url, ledger) = (server.url(&database), "osc".to_owned());
        let place = Self { server: On::Postgres(server), database, ledger, url };
        place.sql("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
        place.sql(&format!("INSERT INTO t SELECT n, n FROM generate_series(1, {ROWS}) n")).await;
        place
    }

    pub(crate) async fn all() -> [Self; 3] {
        [Self::on(Kind::Mariadb).await, Self::on(Kind::Mysql).await, Self::postgres().await]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.server {
            On::Mysql(server) => server.kind().name(),
            On::Postgres(_) => "postgres",
        }
    }

    /// The table, as osc prints it.
    pub(crate) fn table(&self) -> String {
        match self.server {
            On::Mysql(_) => format!("{}.t", self.database),
            On::Postgres(_) => "public.t".into(),
        }
    }

    /// An administrator's statement.
    pub(crate) async fn sql(&self, sql: &str) {
        match self.server {
            On::Mysql(server) => server.exec_in(&self.database, sql).await,
            On::Postgres(server) => server.exec(&self.database, sql).await,
        }
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        match self.server {
            On::Mysql(server) => server.rows(sql).await,
            On::Postgres(server) => server.rows(&self.database, sql).await,
        }
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        self.rows(sql).await[0][0].clone()
    }

    /// An account without any right; where to connect to as it.
    pub(crate) async fn account(&self, name: &str) -> (String, String) {
        let user = format!("{}_{name}", self.database);
        match self.server {
            On::Mysql(server) => {
                server.exec(&format!("CREATE USER {user} IDENTIFIED BY 'secret'")).await;
                let port = server.port();
                (user.clone(), format!("mysql://{user}:secret@127.0.0.1:{port}/{}", self.database))
            }
            On::Postgres(server) => {
                self.sql(&format!("CREATE ROLE {user} LOGIN")).await;
                (user.clone(), server.url_as(&user, &self.database))
            }
        }
    }

    /// The documented rights for it; the ledger is there.
    pub(crate) async fn grant(&self, user: &str) {
        let rights = match self.server {
            On::Mysql(_) => &RIGHTS_MYSQL[..],
            On::Postgres(_) => &RIGHTS_POSTGRES[..],
        };
        for right in rights {
            self.sql(&format!("{}{user}", right.replace("{}", &self.ledger))).await;
        }
    }

    /// A statement as such an account; the server's complaint, if it has one.
    pub(crate) async fn sql_at(&self, url: &str, sql: &str) -> Result<(), String> {
        match self.server {
            On::Mysql(_) => {
                // It may have no right on the application's database.
                let url = url.strip_suffix(self.database.as_str()).unwrap();
                let mut conn = Conn::new(opts(url)).await.map_err(|error| error.to_string())?;
                conn.query_drop(sql).await.map_err(|error| error.to_string())
            }
            On::Postgres(_) => {
                let client = connect(url).await.map_err(|error| error.to_string())?;
                client.batch_execute(sql).await.map_err(|error| format!("{error:?}"))
            }
        }
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
        self.osc_at(&self.url, arguments)
    }

    /// An order that is accepted: its answer.
    pub(crate) fn order_at(&self, url: &str, arguments: &[&str]) -> String {
        let begun = Instant::now();
        let (code, printed) = self.osc_at(url, &[arguments, &["--json"]].concat());
        assert_eq!(code, Some(0), "{} {arguments:?}: {printed}", self.name());
        assert!(begun.elapsed() < Duration::from_secs(4), "{} {arguments:?}", self.name());
        let line = printed.lines().find(|line| line.starts_with('{')).unwrap();
        let line = schema::read(arguments[0], line);
        assert_eq!(line["table"], self.table().as_str());
        line["answer"].as_str().unwrap().to_owned()
    }

    pub(crate) fn order(&self, arguments: &[&str]) -> String {
        self.order_at(&self.url, arguments)
    }

    /// An order that is not: the code and the message.
    pub(crate) fn refused(&self, arguments: &[&str]) -> (String, String) {
        let (code, printed) = self.osc(&[arguments, &["--json"]].concat());
        assert_eq!(code, Some(4), "{} {arguments:?}: {printed}", self.name());
        let line = printed.lines().find(|line| line.starts_with('{')).unwrap();
        let line = schema::read(arguments[0], line);
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    /// The newest run, as `osc status` shows it to `url`.
    pub(crate) fn status_at(&self, url: &str) -> Value {
        let (code, printed) = self.osc_at(url, &["status", "t", "--json"]);
        assert_eq!(code, Some(0), "{}: {printed}", self.name());
        let line = printed.lines().find(|line| line.starts_with('{'));
        schema::read("status", line.unwrap_or_else(|| panic!("{}: {printed}", self.name())))
    }

    pub(crate) fn status(&self) -> Value {
        self.status_at(&self.url)
    }

    /// The same, once it is as wanted.
    pub(crate) async fn status_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{}: {status:#}", self.name());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) fn run(&self, more: &[&str]) -> Run {
        let ledger = ["--ledger", self.ledger.as_str()];
        Run::at(&self.url, &[&["t", ADD, "--chunk-size", "100"], &ledger[..], more].concat())
    }

    /// A run that is on hold once it is ready, and slow until it is let go.
    pub(crate) async fn slow(&self, more: &[&str]) -> Run {
        let slow = ["--hold", "--max-rows-per-second", "300", "--threads", "1"];
        let mut run = self.run(&[&slow[..], more].concat());
        run.event(|line| line["rows_copied"].as_u64().is_some_and(|rows| rows > 0)).await;
        run
    }

    /// Its number.
    pub(crate) async fn number(&self) -> i64 {
        let sql = format!("SELECT MAX(run) FROM {}.osc_ledger", self.ledger);
        self.value(&sql).await.parse().unwrap()
    }

    /// The orders: verb and answer, in their order.
    pub(crate) async fn answers(&self) -> Vec<(String, String)> {
        let sql = format!("SELECT verb, answer FROM {}.osc_order ORDER BY id", self.ledger);
        let rows = self.rows(&sql).await;
        rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    }

    /// Waits until every order has its answer.
    pub(crate) async fn all_answered(&self) {
        let begun = Instant::now();
        let sql = format!("SELECT COUNT(*) FROM {}.osc_order WHERE answer IS NULL", self.ledger);
        while self.value(&sql).await != "0" {
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", self.name());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn is_changed(&self) -> bool {
        let schema = match self.server {
            On::Mysql(_) => self.database.as_str(),
            On::Postgres(_) => "public",
        };
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = '{schema}' \
             AND table_name = 't' AND column_name = 'added'"
        );
        self.value(&sql).await == "1"
    }
}
