//! What a run makes PostgreSQL keep while it lasts: log for its slot, old rows for its snapshots; and
//! what it tells of those who hold it up.

use crate::support;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli_run::Run;
use crate::support::postgres::{Major, Postgres};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, name text NOT NULL, note text);
    INSERT INTO t SELECT i, i, 'name ' || i, 'note' FROM generate_series(1, 3000) AS i;
    CREATE TABLE other (text text); ANALYZE t";

/// So slow that there is time to look.
const SLOW: [&str; 4] = ["--max-rows-per-second", "300", "--chunk-size", "100"];

async fn table(server: &Postgres) -> String {
    let database = support::postgres_database(server).await;
    server.exec(&database, TABLE).await;
    database
}

/// A run that stands in its copy until the file lets it go on: how long the log takes to write does not matter.
async fn standing(server: &Postgres, database: &str, max_wal: &str) -> (Run, PathBuf) {
    let control =
        std::env::temp_dir().join(format!("osc-upkeep-{}-{database}", std::process::id()));
    std::fs::write(&control, "pause = true").unwrap();
    let file = control.to_str().unwrap();
    let arguments = ["t", "ALTER n TYPE bigint", "--max-wal", max_wal, "--control-file", file];
    let mut run = Run::at(&server.url(database), &[&arguments[..], &SLOW].concat());
    run.phase("copy").await;
    (run, control)
}

/// Writes so many megabytes of log, none of it about the table.
async fn write_log(server: &Postgres, database: &str, megabytes: u32) {
    let rows = megabytes * 20;
    let sql = format!(
        "INSERT INTO other SELECT (SELECT string_agg(md5(i::text || j), '') \
         FROM generate_series(1, 1600) AS j) FROM generate_series(1, {rows}) AS i; CHECKPOINT"
    );
    server.exec(database, &sql).await;
}

/// A transaction that has written and does not end: the slot keeps all that follows.
async fn old_transaction(server: &Postgres, database: &str) -> tokio_postgres::Client {
    let session = server.client(database).await;
    session.batch_execute("BEGIN; INSERT INTO other VALUES ('old')").await.unwrap();
    session
}

fn slots() -> &'static str {
    "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'osc%'"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_pauses_while_the_slot_keeps_too_much_log() {
    let server = Postgres::start(Major::SYSTEM);
    let database = table(&server).await;
    let (mut run, control) = standing(&server, &database, "24MiB").await;
    let old = old_transaction(&server, &database).await;
    write_log(&server, &database, 30).await;
    std::fs::write(&control, "pause = false").unwrap();
    run.event(|event| {
        let reason = event["throttled"].as_str().unwrap_or_default();
        event["event"] == "progress" && reason.contains("of WAL (limit 24.0 MiB)")
    })
    .await;
    let status = status(&server, &database);
    assert!(status["kept_wal"].as_u64().unwrap() > 24 << 20, "{status}");
    old.batch_execute("COMMIT").await.unwrap();
    // The server moves a slot on with what it logs of running transactions, now and then.
    let goes_on = async {
        loop {
            server.exec(&database, "CHECKPOINT").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        _ = run.event(|event| event["event"] == "throttled" && event["reason"].is_null()) => {}
        () = goes_on => {}
    }
    run.done().await;
    std::fs::remove_file(control).unwrap();
    assert_eq!(server.value(&database, slots()).await, "0");
}

fn status(server: &Postgres, database: &str) -> Value {
    let arguments = ["status", "t", "--json", "--url", &server.url(database)];
    let output = support::osc().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_keeps_twice_the_limit_is_dropped_before_the_disk_is_full() {
    let server = Postgres::start(Major::SYSTEM);
    let database = table(&server).await;
    let (run, control) = standing(&server, &database, "10MiB").await;
    let old = old_transaction(&server, &database).await;
    write_log(&server, &database, 40).await;
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.error().contains("--max-wal (10.0 MiB)"), "{}", ended.error());
    assert_eq!(server.value(&database, slots()).await, "0");
    let left = "SELECT to_regclass('t_osc_new') IS NULL AND count(*) = 3000 FROM t";
    assert_eq!(server.value(&database, left).await, "t");
    std::fs::remove_file(control).unwrap();
    drop(old);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_of_a_run_lasts() {
    let server = Postgres::start(Major::SYSTEM);
    let database = table(&server).await;
    server
        .exec(&database, "INSERT INTO t SELECT i, i, 'n', 'n' FROM generate_series(3001, 60000) i")
        .await;
    let begun = Instant::now();
    let arguments = ["t", "ALTER n TYPE bigint", "--max-rows-per-second", "6000"];
    let run = Run::at(&server.url(&database), &arguments);
    let watch = async {
        let session = server.client(&database).await;
        let sql = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000), \
                   0)::int8, coalesce(max(age(backend_xmin)), 0)::int8 FROM pg_stat_activity \
                   WHERE application_name LIKE 'osc%' AND datname = current_database()";
        let (mut oldest, mut age) = (0_i64, 0_i64);
        loop {
            let row = session.query_one(sql, &[]).await.unwrap();
            oldest = oldest.max(row.get(0));
            age = age.max(row.get(1));
            // Something that ages the snapshots.
            session
                .batch_execute("UPDATE other SET text = ''; SELECT txid_current()")
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            if session
                .query_one("SELECT to_regclass('t_osc_old')::text", &[])
                .await
                .unwrap()
                .get::<_, Option<&str>>(0)
                .is_some()
            {
                return (oldest, age);
            }
        }
    };
    let ((oldest, age), summary) = tokio::join!(watch, run.done());
    println!("oldest transaction {oldest} ms, oldest xmin {age} transactions");
    assert!(begun.elapsed() > Duration::from_secs(8), "too quick to tell: {summary}");
    assert!(oldest < 4000, "a transaction of {oldest} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_no_session_sees_yet_are_reported() {
    let server = Postgres::start(Major::SYSTEM);
    let database = table(&server).await;
    let mut run =
        Run::at(&server.url(&database), &[&["t", "ALTER n TYPE bigint"], &SLOW[..]].concat());
    run.phase("copy").await;
    server.set("synchronous_standby_names", Some("nobody")).await;
    let writer = server.client(&database).await;
    let waits = tokio::spawn(async move {
        writer.batch_execute("UPDATE t SET n = -1 WHERE id = 1").await.unwrap();
    });
    let reported =
        run.event(|event| event["event"] == "progress" && event["waiting"].is_string()).await;
    assert!(reported["waiting"].as_str().unwrap().contains("synchronous"), "{reported}");
    server.set("synchronous_standby_names", None).await;
    waits.await.unwrap();
    run.done().await;
    assert_eq!(server.value(&database, "SELECT n FROM t WHERE id = 1").await, "-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_takes_back_what_an_unfinished_run_left_on_the_servers_own_method() {
    let server = Postgres::start(Major::SYSTEM);
    let database = table(&server).await;
    server
        .exec(&database, "INSERT INTO t SELECT i, i, 'n' || i FROM generate_series(3001, 600000) i")
        .await;
    let invalid = "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid";
    let checks = "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%osc_not_null'";
    for (change, left) in [
        ("CREATE INDEX t_n ON t (n)", invalid),
        ("ALTER TABLE t ADD CONSTRAINT t_name UNIQUE (name)", invalid),
        ("ALTER TABLE t ALTER n SET NOT NULL", checks),
    ] {
        let mut child = support::osc()
            .args(["alter", change, "--yes", "--url", &server.url(&database)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while server.value(&database, left).await == "0" {
            assert!(child.try_wait().unwrap().is_none(), "{change} ended");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let end_sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                            WHERE application_name LIKE 'osc%'";
        server.value(&database, end_sessions).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(server.value(&database, left).await, "1", "{change}");
        assert_eq!(status(&server, &database)["method"], "inplace");
        let arguments = ["cleanup", "t", "--yes", "--now", "--url", &server.url(&database)];
        let output = support::osc().args(arguments).output().unwrap();
        assert!(output.status.success(), "{change}: {output:?}");
        assert_eq!(server.value(&database, left).await, "0", "{change}: {output:?}");
        assert_eq!(status(&server, &database)["result"], "failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_resumes_with_an_index_that_an_unfinished_run_left() {
    let server = support::shared_postgres();
    let database = table(server).await;
    let osc = |change: &str| {
        let arguments = ["alter", change, "--yes", "--url", &server.url(&database)];
        support::osc().args(arguments).output().unwrap()
    };
    server.exec(&database, "UPDATE t SET note = id").await;
    // As a build that was cut off leaves it.
    let left = "CREATE UNIQUE INDEX t_note ON t (note);
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_note'::regclass";
    server.exec(&database, left).await;
    let output = osc("ALTER TABLE t ADD CONSTRAINT t_note UNIQUE (note), ALTER n TYPE bigint");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let output = osc("ALTER TABLE t ADD CONSTRAINT t_note UNIQUE (note)");
    assert!(output.status.success(), "{output:?}");
    let made = "SELECT convalidated AND indisvalid FROM pg_constraint \
                JOIN pg_index ON indexrelid = conindid WHERE conname = 't_note'";
    assert_eq!(server.value(&database, made).await, "t");
}
