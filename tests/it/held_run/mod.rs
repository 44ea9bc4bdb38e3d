//! Runs that are stopped midway, so that a test can do there what only chance would do else.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses a part")]

pub mod gate;
pub mod late_stream;
mod relay;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::cli_run::Run;
use crate::support;
use crate::support::server::{Kind, Server};

pub const ROWS: u64 = 4000;
pub const CLAUSES: &str = "ADD COLUMN added INT NOT NULL DEFAULT 7";

/// So slow a copy that it can be met under way.
pub const SLOWLY: &str = "max_rows_per_second = 400";

/// A database with a table `t` of [`ROWS`] rows whose `v` is their `id`.
pub async fn table(server: &Server) -> String {
    table_with(server, "id INT PRIMARY KEY").await
}

/// The same with another key column.
pub async fn table_with(server: &Server, key: &str) -> String {
    let database = support::database(server).await;
    let mut conn = server.conn_db(&database).await;
    conn.query_drop(format!("CREATE TABLE t ({key}, v INT NULL, w VARCHAR(40))")).await.unwrap();
    let ids: Vec<u64> = (1..=ROWS).collect();
    for ids in ids.chunks(1000) {
        let rows: Vec<String> = ids.iter().map(|id| format!("({id}, {id}, 'w{id}')")).collect();
        conn.query_drop(format!("INSERT INTO t VALUES {}", rows.join(", "))).await.unwrap();
    }
    conn.query_drop("ANALYZE TABLE t").await.unwrap();
    database
}

/// A control file of a test's own.
pub struct Control(PathBuf);

impl Control {
    pub fn new(database: &str, kind: Kind, text: &str) -> Self {
        let name = format!("midway-{}-{}-{database}", std::process::id(), kind.name());
        let control = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        control.say(text);
        control
    }

    pub fn say(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    /// Lets the run go on at full speed.
    pub fn let_go(&self) {
        fs::remove_file(&self.0).unwrap();
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub async fn wait_for(server: &Server, condition: &str) {
    let begun = Instant::now();
    while server.value(&format!("SELECT {condition}")).await != "1" {
        assert!(begun.elapsed() < Duration::from_secs(60), "never came: {condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a run that copies slowly, in small chunks, one at a time.
pub fn start(server: &Server, database: &str, control: &Control, more: &[&str]) -> Run {
    let usual =
        ["t", CLAUSES, "--chunk-size", "200", "--threads", "1", "--control-file", control.path()];
    Run::start(server, database, &[&usual, more].concat())
}

/// A run that has copied some rows and is paused.
pub async fn paused(server: &Server, database: &str, control: &Control) -> Run {
    paused_with(server, database, control, &[]).await
}

/// The same without verification, so that a rule must stand alone.
pub async fn paused_unverified(server: &Server, database: &str, control: &Control) -> Run {
    paused_with(server, database, control, &["--no-verify"]).await
}

async fn paused_with(server: &Server, database: &str, control: &Control, more: &[&str]) -> Run {
    let mut run = start(server, database, control, more);
    run.phase("copy").await;
    wait_for(server, &format!("(SELECT COUNT(*) >= 200 FROM {database}.t_osc_new)")).await;
    control.say("pause = true");
    run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
    // The chunk that was under way when the pause began.
    let seen = settled(server, &format!("SELECT COUNT(*) FROM {database}.t_osc_new")).await;
    assert!(seen.parse::<u64>().unwrap() < ROWS, "all was copied before the pause");
    run
}

/// The value of a query once it changes no more.
pub async fn settled(server: &Server, query: &str) -> String {
    let mut seen = server.value(query).await;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = server.value(query).await;
        if now == seen {
            return now;
        }
        seen = now;
    }
}

/// Waits for so many checkpoints: each is the beginning of a refresh cycle.
pub async fn heartbeats(server: &Server, database: &str, count: u64) {
    let beat = format!(
        "(SELECT beat FROM osc.osc_ledger WHERE schema_name = '{database}' ORDER BY run DESC LIMIT 1)"
    );
    let now: u64 = server.value(&format!("SELECT {beat}")).await.parse().unwrap();
    wait_for(server, &format!("{beat} >= {}", now + count)).await;
}

/// Runs statements in one session.
pub async fn run_all(conn: &mut Conn, statements: &[&str]) {
    for sql in statements {
        conn.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// That the new table has exactly what the retired one had at the swap.
pub async fn assert_nothing_lost(server: &Server, database: &str) {
    let wrong = server
        .rows(&format!(
            "SELECT o.id, o.v, n.v, o.w, n.w FROM {database}.t_osc_old o \
             LEFT JOIN {database}.t n ON n.id = o.id \
             WHERE n.id IS NULL OR NOT (o.v <=> n.v) OR NOT (o.w <=> n.w) LIMIT 20"
        ))
        .await;
    assert!(wrong.is_empty(), "lost or old in the new table: {wrong:?}");
    let extra = server
        .rows(&format!(
            "SELECT n.id FROM {database}.t n LEFT JOIN {database}.t_osc_old o ON n.id = o.id \
             WHERE o.id IS NULL LIMIT 20"
        ))
        .await;
    assert!(extra.is_empty(), "came back in the new table: {extra:?}");
}
