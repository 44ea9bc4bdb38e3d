//! `osc alter --watch`: after the change an undo is ready, and a health check that fails makes it.

use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli_run::streams;
use crate::support::server::{Kind, Server};
use crate::support::{self, schema};
use crate::undo_postgres::place::Place;

/// A table `t` with a column `gone`, on one of the servers.
enum Table {
    Binlog { server: &'static Server, database: String },
    Postgres(Place),
}

impl Table {
    async fn new(kind: Option<Kind>) -> Self {
        let rows = "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y')";
        let create = "CREATE TABLE t (id int PRIMARY KEY, v varchar(20), gone varchar(20))";
        match kind {
            None => Self::Postgres(Place::new(&format!("{create}; {rows}")).await),
            Some(kind) => {
                let server = support::shared(kind);
                let database = support::database(server).await;
                server.exec_in(&database, create).await;
                server.exec_in(&database, rows).await;
                Self::Binlog { server, database }
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Binlog { server, database } => server.url(database),
            Self::Postgres(place) => place.server.url(&place.database),
        }
    }

    async fn exec(&self, sql: &str) {
        match self {
            Self::Binlog { server, database } => server.exec_in(database, sql).await,
            Self::Postgres(place) => place.exec(sql).await,
        }
    }

    async fn value(&self, sql: &str) -> String {
        match self {
            Self::Binlog { server, database } => {
                let mut conn = server.conn_db(database).await;
                support::server::rows(&mut conn, sql).await[0][0].clone()
            }
            Self::Postgres(place) => place.value(sql).await,
        }
    }

    fn osc(&self, arguments: &[&str]) -> Output {
        support::osc().args(arguments).args(["--url", &self.url()]).output().unwrap()
    }

    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.osc(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", streams(&output));
        streams(&output)
    }

    /// Drops a column and watches it.
    fn watch(&self, period: &str, more: &[&str]) -> Child {
        let mut osc = support::osc();
        osc.args(["alter", "t", "DROP COLUMN gone", "--yes", "--watch", period]).args(more);
        osc.args(["--url", &self.url()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        osc.spawn().unwrap()
    }

    /// What `osc status` says of the newest run.
    fn newest(&self) -> Option<Value> {
        let output = self.osc(&["status", "t", "--json"]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.lines().next().map(|line| schema::read("status", line))
    }

    async fn reaches(&self, state: &str) {
        let started = Instant::now();
        while self.newest().is_none_or(|run| run["state"] != state) {
            assert!(started.elapsed() < Duration::from_secs(60), "{state}: {:?}", self.newest());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn has_gone(&self) -> bool {
        let schema = if matches!(self, Self::Postgres(_)) { "'public'" } else { "DATABASE()" };
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = {schema} \
             AND table_name = 't' AND column_name = 'gone'"
        );
        self.value(&sql).await == "0"
    }
}

fn file(name: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&file);
    file
}

async fn a_health_check_that_fails_undoes_the_change(kind: Option<Kind>) {
    let table = Table::new(kind).await;
    table.exec("CREATE TABLE health (ill int)").await;
    table.exec("INSERT INTO health VALUES (0)").await;
    let health = if kind.is_some() { "health" } else { "public.health" };
    let wrong = table.watch("10m", &["--revert-if-query", "SELECT nothing FROM nowhere"]);
    let output = wrong.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", streams(&output));
    assert!(streams(&output).contains("[revert-if-query]"), "{}", streams(&output));
    let watch = table.watch("10m", &["--revert-if-query", &format!("SELECT ill FROM {health}")]);
    table.reaches("watching").await;
    assert!(table.has_gone().await);
    table.exec("UPDATE t SET v = 'new' WHERE id = 1").await;
    table.exec("INSERT INTO t VALUES (3, 'c')").await;
    table.exec("UPDATE health SET ill = 1").await;
    let failed = Instant::now();
    let output = watch.wait_with_output().unwrap();
    let printed = streams(&output);
    eprintln!("undone {:?} after the check failed", failed.elapsed());
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("the health check failed (3 of 3): the query returns 1"), "{printed}");
    assert!(printed.contains("error: the change was undone"), "{printed}");
    assert!(failed.elapsed() < Duration::from_secs(25), "{printed}");
    assert!(!table.has_gone().await);
    let rows = "SELECT COUNT(*) FROM t WHERE id = 1 AND v = 'new' AND gone = 'x' OR id = 2 AND gone = 'y' \
                OR id = 3 AND v = 'c' AND gone IS NULL";
    assert_eq!(table.value(rows).await, "3");
    assert_eq!(table.newest().unwrap()["state"], "done");
}

async fn a_watch_that_is_over_leaves_the_change(kind: Option<Kind>) {
    let table = Table::new(kind).await;
    let healthy = file(&format!("healthy-{}", kind.map_or("postgres", Kind::name)));
    std::fs::write(&healthy, "").unwrap();
    let command = format!("test -e {}", healthy.display());
    let output = table.watch("2s", &["--revert-if-exec", &command]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", streams(&output));
    assert!(table.has_gone().await);
    assert_eq!(table.newest().unwrap()["state"], "watched");
    // Nothing of it is in the way of the next change, or of an undo.
    table.ends(0, &["alter", "t", "ADD COLUMN more int", "--strategy", "copy", "--yes"]);
    table.ends(0, &["revert", "t", "--yes"]);
    // A command that fails.
    std::fs::remove_file(&healthy).unwrap();
    let again = table.osc(&[
        "alter",
        "t",
        "ADD COLUMN again int",
        "--yes",
        "--watch",
        "1m",
        "--revert-if-exec",
        &command,
    ]);
    assert_eq!(again.status.code(), Some(5), "{}", streams(&again));
}

async fn whoever_ends_the_process_ends_the_watch(kind: Option<Kind>) {
    for (signal, done) in [("-INT", true), ("-KILL", false)] {
        let table = Table::new(kind).await;
        let watch = table.watch("10m", &[]);
        table.reaches("watching").await;
        let pid = watch.id().to_string();
        assert!(
            std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success()
        );
        let output = watch.wait_with_output().unwrap();
        assert_eq!(output.status.code(), done.then_some(0), "{}", streams(&output));
        table.reaches("watched").await;
        assert!(table.has_gone().await);
        table.exec("UPDATE t SET v = 'later' WHERE id = 2").await;
        table.ends(0, &["revert", "t", "--yes"]);
        assert_eq!(
            table.value("SELECT COUNT(*) FROM t WHERE v = 'later' AND gone = 'y'").await,
            "1"
        );
        let plain =
            table.osc(&["alter", "t", "ADD COLUMN plain int", "--strategy", "copy", "--yes"]);
        assert_eq!(plain.status.code(), Some(0), "{}", streams(&plain));
    }
}

async fn a_change_is_not_undone_while_rows_cannot_go_back(kind: Option<Kind>) {
    let table = Table::new(kind).await;
    let ill = file(&format!("ill-{}", kind.map_or("postgres", Kind::name)));
    let command = format!("test ! -e {}", ill.display());
    let clauses = match kind {
        Some(_) => "MODIFY v varchar(40)",
        None => "ALTER COLUMN v TYPE varchar(40)",
    };
    let mut osc = support::osc();
    osc.args(["alter", "t", clauses, "--yes", "--watch", "10m", "--revert-if-exec", &command]);
    osc.args(["--url", &table.url()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let watch = osc.spawn().unwrap();
    table.reaches("watching").await;
    table.exec("UPDATE t SET v = 'abcdefghijklmnopqrstuvwxyz' WHERE id = 2").await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    std::fs::write(&ill, "").unwrap();
    let output = watch.wait_with_output().unwrap();
    let printed = streams(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("1 rows written since the change cannot go back"), "{printed}");
    assert!(printed.contains("was not undone"), "{printed}");
    assert_eq!(table.value("SELECT v FROM t WHERE id = 2").await, "abcdefghijklmnopqrstuvwxyz");
    table.exec("UPDATE t SET v = 'fits' WHERE id = 2").await;
    table.ends(0, &["revert", "t", "--yes"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let osc = |more: &[&str]| {
        let base = ["alter", "t", "ADD COLUMN a int", "--url", "mysql://root@127.0.0.1:1/d"];
        support::osc().args(base).args(more).output().unwrap()
    };
    let writes = osc(&["--watch", "1m", "--revert-if-query", "DELETE FROM t"]);
    assert_eq!(writes.status.code(), Some(2));
    assert!(streams(&writes).contains("--revert-if-query: it begins with none of"));
    let alone = osc(&["--revert-if-exec", "true"]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(streams(&alone).contains("--watch"), "{}", streams(&alone));
}

on_servers! {
    {
        a_health_check_that_fails_undoes_the_change
        a_watch_that_is_over_leaves_the_change
        whoever_ends_the_process_ends_the_watch
        a_change_is_not_undone_while_rows_cannot_go_back
    }
    mariadb: Some(crate::support::server::Kind::Mariadb);
    mysql: Some(crate::support::server::Kind::Mysql);
    postgres: None;
}
