//! Nothing is changed before permission is given, by no method and on no server.

use crate::cli_run::streams;
use crate::support;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli_run::Run;
use crate::support::postgres::Postgres;
use crate::support::server::{Kind, Server};
use jiff::{ToSpan, Zoned};

/// One table in a database of its own.
struct Place {
    server: On,
    database: String,
    url: String,
}

#[derive(Clone, Copy)]
enum On {
    Mysql(&'static Server),
    Postgres(&'static Postgres),
}

impl Place {
    async fn on(kind: Kind) -> Self {
        let server = support::shared(kind);
        let database = support::database(server).await;
        let url = server.url(&database);
        let place = Self { server: On::Mysql(server), database, url };
        place.run("CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT, x INT, KEY t_w (w))").await;
        place.run("INSERT INTO t (id, v, w) VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)").await;
        place
    }

    async fn postgres() -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let url = server.url(&database);
        let place = Self { server: On::Postgres(server), database, url };
        place.run("CREATE TABLE t (id int PRIMARY KEY, v int, w int, x int)").await;
        place.run("CREATE INDEX t_w ON t (w)").await;
        place.run("INSERT INTO t (id, v, w) VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)").await;
        place
    }

    async fn all() -> [Self; 3] {
        [Self::on(Kind::Mariadb).await, Self::on(Kind::Mysql).await, Self::postgres().await]
    }

    async fn run(&self, sql: &str) {
        match self.server {
            On::Mysql(server) => server.exec_in(&self.database, sql).await,
            On::Postgres(server) => server.exec(&self.database, sql).await,
        }
    }

    /// The table: columns and indexes.
    async fn table(&self) -> String {
        match self.server {
            On::Mysql(server) => {
                let sql = format!("SHOW CREATE TABLE {}.t", self.database);
                server.rows(&sql).await[0][1].clone()
            }
            On::Postgres(server) => {
                let sql = "SELECT concat_ws(', ', (SELECT string_agg(column_name, ' ') \
                     FROM information_schema.columns WHERE table_name = 't'), \
                     (SELECT string_agg(indexname, ' ') FROM pg_indexes WHERE tablename = 't'))";
                server.value(&self.database, sql).await
            }
        }
    }

    fn name(&self) -> &'static str {
        match self.server {
            On::Mysql(server) => server.kind().name(),
            On::Postgres(_) => "postgres",
        }
    }

    fn file(&self) -> PathBuf {
        let name = format!("permit-{}-{}-{}", std::process::id(), self.name(), self.database);
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
    }

    fn osc(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = support::osc().args(arguments).args(["--url", &self.url]).output().unwrap();
        (output.status.code(), streams(&output))
    }
}

/// What is asked for, and by which strategy.
const METHODS: [(&str, &str); 3] = [
    ("instant", "ADD COLUMN added INT"),
    ("inplace", "ADD CONSTRAINT t_v UNIQUE (v)"),
    ("copy", "ADD COLUMN added INT"),
];

/// An hour of the day that begins in two.
fn later() -> String {
    let (from, to) = (Zoned::now() + 2.hours(), Zoned::now() + 3.hours());
    format!("{}-{}", from.strftime("%H:%M"), to.strftime("%H:%M"))
}

/// Nothing has happened to the table, nor does in a while.
async fn nothing_happens(place: &Place, before: &str, why: &str) {
    for _ in 0..5 {
        assert_eq!(place.table().await, before, "{} {why}", place.name());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_hold_nothing_happens_by_any_method_before_permission() {
    for (method, clauses) in METHODS {
        for place in Place::all().await {
            let file = place.file();
            let (path, before) = (file.to_str().unwrap(), place.table().await);
            // Given before the run began, it is no permission for this run.
            std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
            let arguments = ["t", clauses, "--strategy", method, "--hold", "--control-file", path];
            let mut run = Run::plainly(&place.url, &arguments);
            run.phase("hold").await;
            nothing_happens(&place, &before, method).await;
            std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
            let summary = run.done().await;
            assert!(summary.to_string().contains(method), "{summary}");
            assert_ne!(place.table().await, before, "{} {method}", place.name());
            std::fs::remove_file(&file).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_paused_control_file_nothing_happens_by_any_method() {
    for (method, clauses) in METHODS {
        for place in Place::all().await {
            let file = place.file();
            let (path, before) = (file.to_str().unwrap(), place.table().await);
            std::fs::write(&file, "").unwrap();
            let arguments = ["t", clauses, "--strategy", method, "--control-file", path];
            let mut run = Run::plainly(&place.url, &arguments);
            run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
            nothing_happens(&place, &before, method).await;
            std::fs::remove_file(&file).unwrap();
            run.done().await;
            assert_ne!(place.table().await, before, "{} {method}", place.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_window_nothing_happens_by_any_method() {
    for (method, clauses) in METHODS {
        for place in Place::all().await {
            let before = place.table().await;
            let arguments = ["t", clauses, "--strategy", method, "--window", &later()];
            let mut run = Run::plainly(&place.url, &arguments);
            run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
            nothing_happens(&place, &before, method).await;
            run.terminate();
            let ended = run.end().await;
            assert_eq!(ended.code, Some(3), "{} {method}: {ended:?}", place.name());
            assert_eq!(place.table().await, before, "{} {method}", place.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_attempt_was_promised_stays() {
    for place in Place::all().await {
        let file = place.file();
        let (path, before) = (file.to_str().unwrap(), place.table().await);
        let clauses = "ADD COLUMN added INT";
        let mut run = Run::at(&place.url, &["t", clauses, "--hold", "--control-file", path]);
        run.phase("hold").await;
        run.kill();
        // Without the flag and the file, too.
        let mut run = Run::at(&place.url, &["t", clauses]);
        run.phase("hold").await;
        nothing_happens(&place, &before, "resumed").await;
        run.kill();
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        let mut run = Run::at(&place.url, &["t", clauses, "--control-file", path]);
        run.phase("hold").await;
        nothing_happens(&place, &before, "resumed").await;
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        run.done().await;
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_asked_for() {
    for place in Place::all().await {
        let before = place.table().await;
        let (code, printed) = place.osc(&["alter", "t", "DROP COLUMN x"]);
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains("DROP COLUMN x") && printed.contains("--yes"), "{printed}");
        assert_eq!(place.table().await, before, "{}", place.name());
        let (code, printed) = place.osc(&["plan", "t", "DROP COLUMN x"]);
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.contains("cannot be undone"), "{printed}");
        // A copy keeps it.
        let (code, printed) = place.osc(&["alter", "t", "DROP COLUMN x", "--strategy", "copy"]);
        assert_eq!(code, Some(0), "{printed}");
        let (code, printed) = place.osc(&["alter", "t", "DROP COLUMN v", "--yes"]);
        assert_eq!(code, Some(0), "{printed}");
        let after = place.table().await;
        assert!(!after.contains("`v`") && !after.contains(" v "), "{after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_without_a_control_file_ends_by_an_order_and_a_window_that_is_none_is_wrong_usage() {
    let place = Place::on(Kind::Mariadb).await;
    let mut run = Run::plainly(&place.url, &["t", "ADD COLUMN held INT", "--hold"]);
    run.phase("hold").await;
    let (code, printed) = place.osc(&["cut-over", "t"]);
    assert_eq!(code, Some(0), "{printed}");
    run.done().await;
    for command in ["plan", "alter"] {
        let arguments = [command, "t", "ADD COLUMN added INT", "--window", "25:00-26:00"];
        let (code, printed) = place.osc(&arguments);
        assert_eq!(code, Some(2), "{printed}");
    }
}
