//! What an operator does while a run is under way: the control file, signals, `kill -9`, a second
//! run, status and cleanup.

use crate::support;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::process::signal;
use crate::support::server::{Kind, Server};
use rustix::process::Signal;

const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 5";
const ROWS: u64 = 6_000;

/// A run with `--json`, whose lines are read as they come.
struct Run {
    child: Child,
    lines: Receiver<serde_json::Value>,
}

impl Run {
    fn start(server: &Server, database: &str, more: &[&str]) -> Self {
        let mut child = support::osc()
            .args(["alter", "t", CLAUSES, "--url", &server.url(database), "--strategy", "copy"])
            .args(["--json", "--chunk-size", "100", "--chunk-time", "20ms"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that `wanted` likes.
    fn wait(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            if wanted(&line) {
                return line;
            }
            seen.push(line.to_string());
        }
        panic!("no {what} in:\n{}", seen.join("\n"));
    }

    fn wait_for_rows(&self, rows: u64) {
        self.wait("progress", |line| line["rows_copied"].as_u64().is_some_and(|n| n >= rows));
    }

    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().unwrap();
        panic!("the run does not end");
    }
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
        let run = Run::start(
            server,
            &database,
            &["--control-file", file.to_str().unwrap(), "--max-rows-per-second", "1500"],
        );
        run.wait_for_rows(300);
        std::fs::write(&file, "").unwrap();
        run.wait("pause", |line| line["event"] == "throttled" && line["reason"].is_string());
        std::fs::write(&file, "threads = 1\nmax_rows_per_second = fast\n").unwrap();
        run.wait("mistake", |line| {
            line["throttled"].as_str().is_some_and(|r| r.contains("line 2"))
        });
        // Changes are taken in while the copy is paused.
        server.exec_in(&database, "UPDATE t SET v = 'changed' WHERE id <= 50").await;
        run.wait("refresh", |line| line["refreshed_keys"].as_u64().is_some_and(|n| n >= 50));
        std::fs::write(&file, "cut_over = \"hold\"\nmax_rows_per_second = 100000\n").unwrap();
        run.wait("hold", |line| line["event"] == "phase" && line["phase"] == "hold");
        let status = support::osc()
            .args(["status", "t", "--json", "--url", &server.url(&database)])
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(status["result"].is_null(), "{status}");
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        run.wait("summary", |line| line["event"] == "summary");
        assert_eq!(run.end(), Some(0));
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
        let run = Run::start(server, &database, &["--control-file", file.to_str().unwrap()]);
        run.wait("hold", |line| line["event"] == "phase" && line["phase"] == "hold");
        for _ in 0..2 {
            std::fs::write(&file, "").unwrap();
            run.wait("pause", |line| line["event"] == "throttled" && line["reason"].is_string());
            std::fs::write(&file, "cut_over = \"hold\"\nthreads = 2\n").unwrap();
            run.wait("end of the pause", |line| {
                line["event"] == "throttled" && line["reason"].is_null()
            });
        }
        let line = run.wait("progress", |line| line["event"] == "progress");
        assert_eq!(line["phase"], "hold", "{line}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'"
        );
        assert_eq!(server.value(&sql).await, "0", "it has cut over");
        std::fs::write(&file, "cut_over = \"now\"\n").unwrap();
        run.wait("summary", |line| line["event"] == "summary");
        assert_eq!(run.end(), Some(0));
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
        let run = Run::start(server, &database, &["--control-file", path, slow[0], slow[1]]);
        run.wait_for_rows(300);
        std::fs::write(&file, "abort = true\n").unwrap();
        assert_eq!(run.end(), Some(3));
        std::fs::remove_file(&file).unwrap();
        for sent in [Signal::TERM, Signal::INT, Signal::KILL] {
            let run = Run::start(server, &database, &slow);
            let resumed = run.wait("resumption", |line| line["event"] == "resumed");
            assert!(resumed["rows"].as_u64().is_some_and(|rows| rows > 0), "{resumed}");
            run.wait("progress", |line| line["event"] == "progress");
            signal(&run.child, sent);
            assert_eq!(run.end(), (sent != Signal::KILL).then_some(3), "{sent:?}");
        }
        let run = Run::start(server, &database, &[]);
        assert_eq!(run.end(), Some(0));
        assert_done(server, &database).await;
    }
}

#[tokio::test]
async fn a_second_run_and_other_clauses_are_refused_and_cleanup_spares_a_run() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let database = table(server).await;
        let run = Run::start(server, &database, &["--max-rows-per-second", "1000"]);
        run.wait_for_rows(200);
        let second = Run::start(server, &database, &[]);
        assert_eq!(second.end(), Some(4));
        let cleanup = || {
            support::osc()
                .args(["cleanup", "t", "--yes", "--url", &server.url(&database)])
                .output()
                .unwrap()
                .status
                .code()
        };
        assert_eq!(cleanup(), Some(4));
        signal(&run.child, Signal::KILL);
        run.end();
        let other = support::osc()
            .args(["alter", "t", "ADD COLUMN b INT", "--url", &server.url(&database)])
            .args(["--strategy", "copy"])
            .output()
            .unwrap();
        assert_eq!(other.status.code(), Some(4), "{}", String::from_utf8_lossy(&other.stderr));
        assert_eq!(cleanup(), Some(0));
        let run = Run::start(server, &database, &[]);
        assert_eq!(run.end(), Some(0));
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
        let run = Run::start(server, &database, &["--max-rows-per-second", "1000"]);
        run.wait_for_rows(200);
        server.exec_in(&database, "TRUNCATE TABLE t").await;
        assert_eq!(run.end(), Some(1));
        assert_eq!(server.value(&format!("SELECT COUNT(*) FROM {database}.t")).await, "0");
    }
}
