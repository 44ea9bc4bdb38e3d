//! The same on PostgreSQL, and what its slots and files are to a run that is kept.

use std::time::{Duration, Instant};

use crate::support::postgres::{Major, Postgres};

use super::*;

async fn table() -> (String, String) {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    server.exec(&database, "CREATE TABLE t (id int PRIMARY KEY, v int, u int)").await;
    server.exec(&database, "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)").await;
    let url = server.url(&database);
    (database, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocker_that_osc_may_not_end_costs_no_copy() {
    let server = support::shared_postgres();
    let (database, _) = table().await;
    let user = format!("plain_{database}");
    for sql in [
        format!("CREATE ROLE {user} LOGIN REPLICATION"),
        format!("GRANT ALL ON DATABASE {database} TO {user}"),
        format!("ALTER SCHEMA public OWNER TO {user}"),
        format!("ALTER TABLE t OWNER TO {user}"),
        format!("GRANT pg_read_all_stats TO {user}"),
    ] {
        server.exec(&database, &sql).await;
    }
    let url = server.url_as(&user, &database);
    let blocker = server.client(&database).await;
    support::postgres::exec(&blocker, "BEGIN; SELECT * FROM t").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (code, printed) = osc(&url, &[&["alter", "t", CLAUSES], &FEW[..]].concat());
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("an administrator can: SELECT pg_terminate_backend("), "{printed}");
    let copies = "SELECT count(*) FROM t_osc_new";
    assert_eq!(server.value(&database, copies).await, "2");
    support::postgres::exec(&blocker, "COMMIT").await;
    let mut run = Run::at(&url, &["t", CLAUSES]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_would_not_do_it_once_is_asked_again() {
    for point in ["index.begun", "index.built", "verify.done", "swap.prepared", "swap.locked"] {
        let (_, url) = table().await;
        let mut command = support::osc();
        let fault = format!("{point}@1=error");
        let command = command
            .args(["alter", "t", CLAUSES, "--strategy", "copy", "--url", &url])
            .env("OSC_FAULT", fault);
        let (code, printed) = ended(command);
        assert_eq!(code, Some(3), "{point}: {printed}");
        assert!(printed.contains("the copy is kept"), "{point}: {printed}");
        let mut run = Run::at(&url, &["t", CLAUSES]);
        run.event(|event| event["event"] == "resumed").await;
        run.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_change_resumes_and_an_altered_original_is_reported() {
    let server = support::shared_postgres();
    for altered in [false, true] {
        let (database, url) = table().await;
        let file = format!("{}/kept-pg-{database}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
        let mut run = Run::at(&url, &["t", "ALTER v TYPE bigint", "--control-file", &file]);
        run.phase("hold").await;
        run.terminate();
        assert_eq!(run.end().await.code, Some(3));
        for command in ["plan", "alter"] {
            let instant = [command, "t", "ALTER v TYPE bigint", "--strategy", "instant"];
            let (code, printed) = osc(&url, &instant);
            assert_eq!(code, Some(4), "{printed}");
            assert!(printed.contains("[strategy]"), "{printed}");
            let (code, printed) = osc(&url, &[command, "t", "ALTER u TYPE bigint"]);
            assert_eq!(code, Some(4), "{printed}");
            assert!(printed.contains("[unfinished-run]"), "{printed}");
        }
        let again = "alter  v type BIGINT -- the same";
        if altered {
            server.exec(&database, "ALTER TABLE t ADD COLUMN other int").await;
            let (code, printed) = osc(&url, &["alter", "t", again, "--strategy", "copy"]);
            assert_eq!(code, Some(1), "{printed}");
            assert!(printed.contains("was altered by another session while run"), "{printed}");
        } else {
            let mut run = Run::at(&url, &["t", again]);
            run.event(|event| event["event"] == "resumed").await;
            run.done().await;
        }
        std::fs::remove_file(&file).unwrap();
    }
}

async fn copy_and_slot(server: &Postgres, database: &str) -> String {
    let sql = "SELECT (SELECT count(*) FROM t_osc_new) || ' ' || count(*) \
               FROM pg_replication_slots WHERE database = current_database()";
    server.value(database, sql).await
}

/// A resume drafts the shadow again, and the server may not let it: a cancelled statement, a deadlock, no
/// memory, a lock that was not granted, an event trigger that raises.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_the_server_ends_keeps_the_copy() {
    const BIGINT: &str = "ALTER v TYPE bigint";
    let server = support::shared_postgres();
    let (database, url) = table().await;
    let guard = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql \
             AS $$BEGIN {body} END$$"
        )
    };
    server.exec(&database, &guard("")).await;
    let trigger = "CREATE EVENT TRIGGER guard ON ddl_command_start WHEN TAG IN ('ALTER TABLE') \
                   EXECUTE FUNCTION guard()";
    server.exec(&database, trigger).await;
    let file = stopped(&url, BIGINT, &format!("draft-{database}")).await;
    for state in ["57014", "40P01", "53200", "55P03", "42501", "P0001"] {
        let raise = format!(
            "IF current_query() LIKE '%bigint%' THEN \
             RAISE 'not now' USING ERRCODE = '{state}'; END IF;"
        );
        server.exec(&database, &guard(&raise)).await;
        let ended = Run::at(&url, &["t", BIGINT]).end().await;
        assert_eq!(ended.code, Some(3), "{state}: {ended:#?}");
        assert!(ended.error().contains("not now"), "{state}: {ended:#?}");
        assert_eq!(copy_and_slot(server, &database).await, "2 1", "{state}");
    }
    server.exec(&database, &guard("")).await;
    // The same while it waits for those whom the unfinished run may have left.
    let blocker = server.client(&database).await;
    support::postgres::exec(&blocker, "BEGIN; SELECT FROM t_osc_new").await;
    let run = Run::at(&url, &["t", BIGINT]);
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event_type = 'Lock' \
                  AND query LIKE '%LOCK TABLE%t_osc_new%' AND pid <> pg_backend_pid()";
    while server.value(&database, cancel).await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert_eq!(copy_and_slot(server, &database).await, "2 1");
    support::postgres::exec(&blocker, "COMMIT").await;

    let mut run = Run::at(&url, &["t", BIGINT]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_over_drops_nothing_when_it_fails() {
    let server = support::shared_postgres();
    let (database, url) = table().await;
    let (run, point) = Run::until(&url, &["t", CLAUSES], "position.taken").await;
    // As one that takes over does; and what ends a run for good.
    server.exec(&database, "UPDATE osc.osc_ledger SET owner = 'another'").await;
    server.exec(&database, "ALTER TABLE t ADD COLUMN other int").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots \
                WHERE database = current_database()) || ' ' || coalesce(max(result), 'open') \
                FROM osc.osc_ledger";
    assert_eq!(server.value(&database, left).await, "1 open");
    assert_eq!(osc(&url, &["cleanup", "t", "--yes", "--now"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_ends_no_resume() {
    let (database, url) = table().await;
    let port = support::server::free_port();
    let away = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let name = format!("away-replica-{database}");
    a_resume_waits_for_a_replica_that_is_away(&url, &name, &away).await;
}

/// The largest file that new sessions of the server may write, and those that there are: to them the disk
/// is full behind it. Half a page more than whole ones, so that a write is cut short, as there.
async fn largest_file(server: &Postgres, megabytes: Option<u64>) {
    let limit = megabytes
        .map_or_else(|| "unlimited".to_owned(), |megabytes| ((megabytes << 20) + 4096).to_string());
    let limited = |pid: &str| {
        let mut command = Command::new("prlimit");
        // The kernel lets a process's own user do it, and not every root.
        if rustix::process::getuid().is_root() {
            command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "prlimit"]);
        }
        command.args(["--pid", pid, &format!("--fsize={limit}:unlimited")]);
        command.output().unwrap()
    };
    let output = limited(&server.pid().to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%client%' \
               OR backend_type = 'walsender'";
    for session in server.rows("postgres", sql).await {
        // It may have ended meanwhile.
        let _ = limited(&session[0]);
    }
}

/// Rows of which each fills a page.
async fn wide(server: &Postgres) -> String {
    let database = support::postgres_database(server).await;
    for sql in [
        "CREATE TABLE wide (id int PRIMARY KEY, b text)",
        "ALTER TABLE wide ALTER b SET STORAGE PLAIN",
        "INSERT INTO wide SELECT n, repeat('x', 7000) FROM generate_series(1, 512) n",
        // What the sessions find dirty they would have to write.
        "CHECKPOINT",
    ] {
        server.exec(&database, sql).await;
    }
    database
}

/// Waits until the copy says that it waits for room.
async fn full(run: &mut Run) {
    let note = run.event(|event| {
        event["event"] == "note" && event.to_string().contains("until there is room")
    });
    let note = note.await.to_string();
    assert!(note.contains("wrote only"), "{note}");
}

/// What others write to the log meanwhile, in megabytes.
async fn log(server: &Postgres, megabytes: usize) {
    for _ in 0..megabytes {
        let sql = "SELECT pg_logical_emit_message(false, 'other', repeat('x', 1000000))";
        server.exec("postgres", sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_pauses_the_copy_and_keeps_no_log_for_it() {
    let server = Postgres::start(Major::SYSTEM);
    let database = wide(&server).await;
    largest_file(&server, Some(2)).await;
    let mut run = Run::at(&server.url(&database), &["wide", CLAUSES, "--chunk-size", "50"]);
    full(&mut run).await;
    // The stream goes on meanwhile, and with it the log that the slot keeps.
    log(&server, 20).await;
    let kept = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 4 << 20 \
                FROM pg_replication_slots";
    let begun = Instant::now();
    while server.value(&database, kept).await != "t" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the slot keeps the log");
        server.exec(&database, "CHECKPOINT").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let copied = server.value(&database, "SELECT count(*) FROM wide_osc_new").await;
    assert!(copied.parse::<u32>().unwrap() < 400, "{copied} rows were copied all the same");
    largest_file(&server, None).await;
    run.done().await;
    let rows = "SELECT count(*) FROM wide WHERE added IS NULL";
    assert_eq!(server.value(&database, rows).await, "512");
}

/// Rows that change while their chunk waits for room hold the log: `--max-wal` bounds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_room_keeps_no_more_log_than_it_may() {
    let server = Postgres::start(Major::SYSTEM);
    let database = wide(&server).await;
    largest_file(&server, Some(2)).await;
    let arguments = ["wide", CLAUSES, "--chunk-size", "50", "--max-wal", "4MiB"];
    let mut run = Run::at(&server.url(&database), &arguments);
    full(&mut run).await;
    server.exec(&database, "DELETE FROM wide WHERE id % 10 = 1").await;
    log(&server, 20).await;
    let ended = run.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = ended.events.last().unwrap().to_string();
    assert!(error.contains("--max-wal") && error.contains("slot is dropped"), "{error}");
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(server.value(&database, slots).await, "0");
}

/// An index for which there is no room would fill the disk again with each attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_room_ends_resumably_with_the_copy_kept() {
    let server = Postgres::start(Major::SYSTEM);
    let database = support::postgres_database(&server).await;
    server.exec(&database, "CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    let rows = "INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n";
    server.exec(&database, rows).await;
    largest_file(&server, Some(2)).await;
    let url = server.url(&database);
    let clauses = "ADD COLUMN added int, ADD CONSTRAINT u UNIQUE (v) WITH (fillfactor = 10)";
    let (code, printed) = osc(&url, &["alter", "t", clauses, "--strategy", "copy"]);
    assert_eq!(code, Some(3), "{printed}");
    for word in ["no space left", "free space on the server", "what was copied is kept"] {
        assert!(printed.contains(word), "{word:?}: {printed}");
    }
    let copied = "SELECT count(*) FROM t_osc_new";
    assert_eq!(server.value(&database, copied).await, "20000");
    largest_file(&server, None).await;
    let mut run = Run::at(&url, &["t", clauses]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
}
