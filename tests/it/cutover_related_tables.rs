//! The cut-over and the other tables: who holds them, rows without a parent, and what the operator
//! is reported afterwards.

use crate::support;
use std::path::PathBuf;

use crate::cli_run::Run;
use crate::support::server::{Kind, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

async fn family(server: &Server) -> String {
    let database = support::database(server).await;
    for sql in [
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, p INT, n INT, FOREIGN KEY (p) REFERENCES parent (id))",
        "CREATE TABLE child (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id))",
        "INSERT INTO parent VALUES (1), (2), (3)",
        "INSERT INTO t VALUES (1, 1, 10), (2, 2, 20), (3, 3, 30)",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    ] {
        server.exec_in(&database, sql).await;
    }
    database
}

/// A server that tells who holds metadata locks.
async fn telling(kind: Kind) -> Server {
    let server = Server::start(kind);
    if kind == Kind::Mariadb {
        server.exec("INSTALL SONAME 'metadata_lock_info'").await;
    }
    server
}

/// Leave to swap.
struct Leave(PathBuf);

impl Leave {
    fn go(&self) {
        std::fs::write(&self.0, "cut_over = \"now\"\n").unwrap();
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A run that is ready to swap and waits for leave.
async fn ready(server: &Server, database: &str, arguments: &[&str]) -> (Run, Leave) {
    let name = format!("leave-{}-{}-{database}", std::process::id(), server.kind().name());
    let leave = Leave(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
    std::fs::write(&leave.0, "cut_over = \"hold\"\n").unwrap();
    let more = ["--cut-over-attempts", "1000", "--control-file", leave.0.to_str().unwrap()];
    let mut run = Run::start(server, database, &[arguments, &more].concat());
    run.phase("hold").await;
    (run, leave)
}

/// A transaction that has read `table` and stays open.
async fn blocker(server: &Server, database: &str, table: &str) -> Conn {
    let mut conn = server.conn_db(database).await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop(format!("SELECT * FROM {table} LIMIT 1")).await.unwrap();
    conn
}

async fn who_holds_a_parent_or_a_child_is_named_and_killed_when_asked_for(kind: Kind) {
    let server = telling(kind).await;
    // A statement that MySQL's information_schema.PROCESSLIST cannot show.
    let mut other = server.conn().await;
    let sleeper = tokio::spawn(async move { other.query_drop("DO SLEEP(300) /* 😀 */").await });
    for table in ["parent", "child", "t"] {
        let database = family(&server).await;
        let (mut run, go) = ready(&server, &database, &["t", "ADD COLUMN c INT"]).await;
        let mut held = blocker(&server, &database, table).await;
        go.go();
        let (who, what) = (format!("session {} (", held.id()), format!("{database}.{table};"));
        let named = |event: &str| event.contains(&who) && event.contains(&what);
        run.event(|event| event["event"] == "cut-over-retry" && named(&event.to_string())).await;
        held.query_drop("COMMIT").await.unwrap();
        run.done().await;

        server.exec_in(&database, "DROP TABLE t_osc_old").await;
        let killing = ["t", "ADD COLUMN d INT", "--kill-blockers-after", "1s"];
        let (run, go) = ready(&server, &database, &killing).await;
        let mut held = blocker(&server, &database, table).await;
        go.go();
        run.done().await;
        assert!(held.query_drop("SELECT 1").await.is_err(), "the holder of {table} lives");
    }
    sleeper.abort();
}

/// The server makes indexes for foreign keys by itself, and gives them up for others of its own.
async fn indexes_that_the_server_made_for_keys_keep_their_names(kind: Kind) {
    let server = support::shared(kind);
    for indexes in ["after", "during"] {
        let database = family(server).await;
        let create = async |table: &str| {
            let rows = server.rows(&format!("SHOW CREATE TABLE {database}.{table}")).await;
            rows[0][1].clone()
        };
        let (original, child) = (create("t").await, create("child").await);
        let system = if kind == Kind::Mariadb { "_SYS" } else { "" };
        let number = format!(
            "SELECT i.INDEX_ID FROM information_schema.INNODB{system}_INDEXES i \
             JOIN information_schema.INNODB{system}_TABLES t ON t.TABLE_ID = i.TABLE_ID \
             WHERE t.NAME = '{database}/child' AND i.NAME = 't'"
        );
        let built = server.value(&number).await;
        let clauses = ["t", "MODIFY n BIGINT", "--indexes", indexes];
        Run::start(server, &database, &clauses).done().await;
        assert_eq!(create("child").await, child);
        assert_eq!(server.value(&number).await, built, "built again, under the lock");
        let now = create("t").await;
        let before =
            ["`n` int(11)", "`n` int "].map(|n| original.replace(n, "`n` bigint ")).concat();
        for line in now.lines().filter(|line| line.contains("KEY")) {
            assert!(before.contains(line.trim_end_matches(',')), "{indexes}: {line} in {before}");
        }
    }
}

async fn rows_without_a_parent_for_a_new_key_end_the_run(kind: Kind) {
    let server = support::shared(kind);
    let database = family(server).await;
    server.exec_in(&database, "CREATE TABLE boss (id INT PRIMARY KEY)").await;
    server.exec_in(&database, "INSERT INTO boss VALUES (10), (20)").await;
    for clauses in [
        "ADD FOREIGN KEY (n) REFERENCES boss (id)",
        "CHANGE n m INT, ADD FOREIGN KEY (m) REFERENCES boss (id)",
        "ADD COLUMN m INT NOT NULL DEFAULT 30, ADD FOREIGN KEY (m) REFERENCES boss (id)",
    ] {
        let ended = Run::start(server, &database, &["t", clauses]).end().await;
        assert_eq!(ended.code, Some(1), "{clauses}: {ended:#?}");
        assert!(ended.events.last().unwrap().to_string().contains("id = 3"), "{ended:#?}");
        let create = server.rows(&format!("SHOW CREATE TABLE {database}.t")).await.concat();
        assert!(!create[1].contains("boss"), "{create:?}");
    }
    server.exec_in(&database, "INSERT INTO boss VALUES (30)").await;
    let clauses = "ADD CONSTRAINT boss FOREIGN KEY (n) REFERENCES boss (id)";
    let summary = Run::start(server, &database, &["t", clauses]).done().await;
    assert_eq!(summary["warnings"], serde_json::json!([]), "{summary}");
    let orphan = format!("INSERT INTO {database}.t VALUES (4, 1, 40)");
    assert!(server.conn().await.query_drop(orphan).await.is_err(), "the key is not enforced");
}

/// Up to the swap no server enforces a new key: what comes after the search before it is reported.
async fn rows_without_a_parent_that_come_late_are_reported(kind: Kind) {
    let server = telling(kind).await;
    let database = family(&server).await;
    server.exec_in(&database, "CREATE TABLE boss (id INT PRIMARY KEY)").await;
    server.exec_in(&database, "INSERT INTO boss VALUES (10), (20), (30)").await;
    // Whoever holds the table puts the swap off; the search has been by then.
    let mut held = blocker(&server, &database, "t").await;
    let clauses = "ADD CONSTRAINT boss FOREIGN KEY (n) REFERENCES boss (id)";
    let mut run = Run::start(&server, &database, &["t", clauses, "--cut-over-attempts", "1000"]);
    run.event(|event| event["event"] == "cut-over-retry").await;
    server.exec_in(&database, "INSERT INTO t VALUES (4, 1, 40)").await;
    held.query_drop("COMMIT").await.unwrap();
    let summary = run.done().await;
    assert!(summary["warnings"].to_string().contains("id = 4"), "{summary}");
    assert!(!summary["warnings"].to_string().contains("id = 3"), "{summary}");
}

async fn a_key_that_a_child_was_given_during_the_run_is_moved_and_searched(kind: Kind) {
    let server = support::shared(kind);
    let database = family(server).await;
    let (run, leave) = ready(server, &database, &["t", "ADD COLUMN c INT"]).await;
    let late = "CREATE TABLE late (id INT PRIMARY KEY, t INT, CONSTRAINT late FOREIGN KEY (t) \
                REFERENCES t (id))";
    let mut conn = server.conn_db(&database).await;
    conn.query_drop(late).await.unwrap();
    // As a careless import would.
    conn.query_drop("SET foreign_key_checks = 0").await.unwrap();
    conn.query_drop("INSERT INTO late VALUES (7, 1), (8, 99)").await.unwrap();
    leave.go();
    let warnings = run.done().await["warnings"].to_string();
    let create = server.rows(&format!("SHOW CREATE TABLE {database}.late")).await.concat();
    assert!(create[1].contains("REFERENCES `t` "), "{create:?}");
    assert!(warnings.contains("moved along") && warnings.contains("id = 8"), "{warnings}");
    assert!(!warnings.contains("id = 7"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_collecting_statistics_complained_of_is_in_the_summary() {
    let server = support::shared(Kind::Mysql);
    let database = family(server).await;
    let histogram = "ANALYZE TABLE t UPDATE HISTOGRAM ON n WITH 4 BUCKETS";
    server.exec_in(&database, histogram).await;
    // A column that is unique has no use for one.
    let summary = Run::start(server, &database, &["t", "ADD UNIQUE (n)"]).done().await;
    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains("statistics of") && warnings.contains("unique"), "{summary}");
}

on_both_servers! {
    who_holds_a_parent_or_a_child_is_named_and_killed_when_asked_for
    indexes_that_the_server_made_for_keys_keep_their_names
    rows_without_a_parent_for_a_new_key_end_the_run
    rows_without_a_parent_that_come_late_are_reported
    a_key_that_a_child_was_given_during_the_run_is_moved_and_searched
}
