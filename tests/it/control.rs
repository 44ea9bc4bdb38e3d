//! What an operator does while a run is under way: the control file, signals, `kill -9`, a second
//! run, status and cleanup.

use crate::support;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli_run::Run;
use crate::support::server::{Kind, Server};
use rustix::process::Signal;

const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5";
const CHANGE: [&str; 6] = ["t", CLAUSES, "--chunk-size", "100", "--chunk-time", "20ms"];
const ROWS: u64 = 6_000;

/// A run in small chunks.
fn start(server: &Server, database: &str, more: &[&str]) -> Run {
    Run::start(server, database, &[&CHANGE[..], more].concat())
}

async fn wait_for_rows(run: &mut Run, rows: u64) {
    run.event(|line| line["rows_copied"].as_u64().is_some_and(|n| n >= rows)).await;
}

async fn table(server: &Server) -> String {
    let database = support::database(server).await;
    let create = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))";
    server.exec_in(&database, create).await;
    for start in (1..=ROWS).step_by(1000) {
        let rows: Vec<String> =
            (start..start + 1000).map(|id| format!("({id}, 'v{id}')")).collect();
        server.exec_in(&database, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    }
    database
}

fn control_file(database: &str, kind: Kind) -> PathBuf {
    let name = format!("control-{}-{}-{database}", std::process::id(), kind.name());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    path
}

async fn assert_done(server: &Server, database: &str) {
    let sql = format!("SELECT CONCAT(COUNT(*), ' ', SUM(added)) FROM {database}.t");
    assert_eq!(server.value(&sql).await, format!("{ROWS} {}", ROWS * 5));
}

#[tokio::test]
async fn the_control_file_pauses_resumes_holds_and_lets_go() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let file = control_file(&database, kind);
        let mut run = start(
            server,
            &database,
            &["--control-file", file.to_str().unwrap(), "--max-rows-per-second", "1500"],
        );
        wait_for_rows(&mut run, 300).await;
        std::fs::write(&file, "").unwrap();
        run.event(|line| line["event"] == "throttled" && line["reason"].is_string()).await;
        std::fs::write(&file, "threads = 1\nmax_rows_per_second = fast\n").unwrap();
        run.event(|line| line["throttled"].as_str().is_some_and(|r| r.contains("line 2"))).await;
        // Changes are taken in while the copy is paused.
        server.exec_in(&database, "UPDATE t SET v = 'changed' WHERE id <= 50").await;
        run.event(|line| line["refreshed_keys"].as_u64().is_some_and(|n| n >= 50)).await;
        std::fs::write(&file, "cut_over = \"hold\"\nmax_rows_per_second = 100000\n").unwrap();
        run.event(|line| line["event"] == "phase" && line["phase"] == "hold").await;
        let status = support::osc()
            .args(["status", "t", "--json", "--url", &server.url(&database)])
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(status["result"].is_null(), "{status}");
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        run.event(|line| line["event"] == "summary").await;
        assert_eq!(run.end().await.code, Some(0));
        assert_done(server, &database).await;
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_control_file_that_is_empty_while_it_is_rewritten_is_no_permission_to_cut_over() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let file = control_file(&database, kind);
        std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
        let mut run = start(server, &database, &["--control-file", file.to_str().unwrap()]);
        run.event(|line| line["event"] == "phase" && line["phase"] == "hold").await;
        for _ in 0..2 {
            std::fs::write(&file, "").unwrap();
            run.event(|line| line["event"] == "throttled" && line["reason"].is_string()).await;
            std::fs::write(&file, "cut_over = \"hold\"\nthreads = 2\n").unwrap();
            run.event(|line| line["event"] == "throttled" && line["reason"].is_null()).await;
        }
        let line = run.event(|line| line["event"] == "progress").await;
        assert_eq!(line["phase"], "hold", "{line}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'"
        );
        assert_eq!(server.value(&sql).await, "0", "it has cut over");
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        run.event(|line| line["event"] == "summary").await;
        assert_eq!(run.end().await.code, Some(0));
        assert_done(server, &database).await;
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn an_aborted_run_resumes_with_the_same_command() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let file = control_file(&database, kind);
        let path = file.to_str().unwrap();
        let slow = ["--max-rows-per-second", "1500"];
        let mut run = start(server, &database, &["--control-file", path, slow[0], slow[1]]);
        wait_for_rows(&mut run, 300).await;
        std::fs::write(&file, "abort = true\n").unwrap();
        assert_eq!(run.end().await.code, Some(3));
        std::fs::remove_file(&file).unwrap();
        for sent in [Signal::TERM, Signal::INT, Signal::KILL] {
            let mut run = start(server, &database, &slow);
            let resumed = run.event(|line| line["event"] == "resumed").await;
            assert!(resumed["rows"].as_u64().is_some_and(|rows| rows > 0), "{resumed}");
            run.event(|line| line["event"] == "progress").await;
            run.signal(sent);
            assert_eq!(run.end().await.code, (sent != Signal::KILL).then_some(3), "{sent:?}");
        }
        let run = start(server, &database, &[]);
        assert_eq!(run.end().await.code, Some(0));
        assert_done(server, &database).await;
    }
}

#[tokio::test]
async fn a_second_run_and_other_clauses_are_refused_and_cleanup_spares_a_run() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let url = server.url(&database);
        let (run, _point) = Run::until(&url, &CHANGE, "chunk.copied@3").await;
        let second = start(server, &database, &[]);
        assert_eq!(second.end().await.code, Some(4));
        let cleanup = || {
            support::osc()
                .args(["cleanup", "t", "--yes", "--now", "--url", &server.url(&database)])
                .output()
                .unwrap()
                .status
                .code()
        };
        assert_eq!(cleanup(), Some(4));
        run.kill();
        let other = support::osc()
            .args(["alter", "t", "ADD COLUMN b INT", "--url", &server.url(&database)])
            .args(["--strategy", "copy"])
            .output()
            .unwrap();
        assert_eq!(other.status.code(), Some(4), "{}", String::from_utf8_lossy(&other.stderr));
        assert_eq!(cleanup(), Some(0));
        let run = start(server, &database, &[]);
        assert_eq!(run.end().await.code, Some(0));
        assert_done(server, &database).await;
        assert_eq!(cleanup(), Some(0));
        let left = server.rows(&format!("SHOW TABLES FROM {database} LIKE 't\\_osc%'")).await;
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn ddl_of_another_session_stops_the_run_and_a_plan_changes_nothing() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let tables = format!("SHOW TABLES FROM {database}");
        let before = server.rows(&tables).await;
        let plan = support::osc()
            .args(["plan", "t", CLAUSES, "--url", &server.url(&database)])
            .output()
            .unwrap();
        assert_eq!(plan.status.code(), Some(0));
        assert_eq!(server.rows(&tables).await, before);
        let url = server.url(&database);
        let change = [&CHANGE[..], &["--threads", "1"]].concat();
        let (run, point) = Run::until(&url, &change, "chunk.copied@3").await;
        server.exec_in(&database, "TRUNCATE TABLE t").await;
        drop(point);
        assert_eq!(run.end().await.code, Some(1));
        assert_eq!(server.value(&format!("SELECT COUNT(*) FROM {database}.t")).await, "0");
    }
}
