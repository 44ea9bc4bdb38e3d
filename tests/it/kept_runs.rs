//! What can be tried again throws no finished copy away, and the same change resumes it.

mod postgres;

use crate::cli_run::streams;
use crate::support;
use std::process::{Command, Stdio};

use crate::cli_run::Run;
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;

const CLAUSES: &str = "ADD COLUMN added INT";

async fn table(server: &Server) -> String {
    let database = support::database(server).await;
    server.exec_in(&database, "CREATE TABLE t (id INT PRIMARY KEY, v INT, u INT)").await;
    server.exec_in(&database, "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)").await;
    database
}

fn osc(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    ended(support::osc().args(arguments).args(["--url", url]))
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), streams(&output))
}

const FEW: [&str; 6] =
    ["--kill-blockers-after", "1s", "--cut-over-attempts", "3", "--strategy", "copy"];

/// Another user's session that osc may not end is one more reason why an attempt failed.
async fn a_blocker_that_osc_may_not_end_costs_no_copy(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let user = format!("plain_{database}");
    server.exec(&format!("CREATE USER {user}")).await;
    server.exec(&format!("GRANT ALL ON {database}.* TO {user}")).await;
    let status = if kind == Kind::Mariadb { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    server
        .exec(&format!("GRANT REPLICATION SLAVE, PROCESS, SELECT, CREATE, INSERT, UPDATE, DELETE, TRIGGER, {status} ON *.* TO {user}"))
        .await;
    let url = server.url(&database).replace("root@", &format!("{user}@"));
    let mut blocker = server.conn_db(&database).await;
    blocker.query_drop("START TRANSACTION").await.unwrap();
    blocker.query_drop("SELECT * FROM t").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (code, printed) = osc(&url, &[&["alter", "t", CLAUSES], &FEW[..]].concat());
    assert_eq!(code, Some(3), "{printed}");
    // Without the plugin MariaDB does not tell who holds a table.
    if kind == Kind::Mysql {
        assert!(printed.contains("an administrator can: KILL"), "{printed}");
    }
    let copies = format!("SELECT COUNT(*) FROM {database}.t_osc_new");
    assert_eq!(server.value(&copies).await, "2");
    blocker.query_drop("COMMIT").await.unwrap();
    let mut run = Run::at(&url, &["t", CLAUSES]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
}

/// Each failure between the end of the copy and the swap that is not about rows or tables.
async fn a_server_that_would_not_do_it_once_is_asked_again(kind: Kind) {
    let server = support::shared(kind);
    for point in ["index.begun", "index.built", "verify.done", "swap.prepared", "swap.locked"] {
        let database = table(server).await;
        let url = server.url(&database);
        let arguments = ["alter", "t", CLAUSES, "--strategy", "copy", "--indexes", "after"];
        let mut command = support::osc();
        let fault = format!("{point}@1=error");
        let command = command.args(arguments).args(["--url", &url]).env("OSC_FAULT", fault);
        let (code, printed) = ended(command);
        assert_eq!(code, Some(3), "{point}: {printed}");
        assert!(printed.contains("the copy is kept"), "{point}: {printed}");
        let mut run = Run::at(&url, &["t", CLAUSES]);
        run.event(|event| event["event"] == "resumed").await;
        run.done().await;
    }
}

async fn the_same_change_resumes_however_it_is_written(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let url = server.url(&database);
    let file = format!("{}/kept-{}-{database}", env!("CARGO_TARGET_TMPDIR"), kind.name());
    std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
    let mut run = Run::at(&url, &["t", "MODIFY v  BIGINT", "--control-file", &file]);
    run.phase("hold").await;
    run.terminate();
    assert_eq!(run.end().await.code, Some(3));
    for command in ["plan", "alter"] {
        let instant = [command, "t", "MODIFY v BIGINT", "--strategy", "instant"];
        let (code, printed) = osc(&url, &instant);
        assert_eq!(code, Some(4), "{printed}");
        assert!(printed.contains("[strategy]"), "{printed}");
        let (code, printed) = osc(&url, &[command, "t", "MODIFY u BIGINT"]);
        assert_eq!(code, Some(4), "{printed}");
        assert!(printed.contains("[unfinished-run]"), "{printed}");
    }
    let mut run = Run::at(&url, &["t", "modify v bigint /* the same */"]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
    std::fs::remove_file(&file).unwrap();
}

async fn an_original_that_was_altered_meanwhile_is_reported(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let url = server.url(&database);
    let file = format!("{}/altered-{}-{database}", env!("CARGO_TARGET_TMPDIR"), kind.name());
    std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
    let mut run = Run::at(&url, &["t", CLAUSES, "--control-file", &file]);
    run.phase("hold").await;
    run.terminate();
    assert_eq!(run.end().await.code, Some(3));
    server.exec_in(&database, "ALTER TABLE t ADD COLUMN other INT").await;
    let (code, printed) = osc(&url, &["alter", "t", CLAUSES, "--strategy", "copy"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("was altered by another session while run"), "{printed}");
    std::fs::remove_file(&file).unwrap();
}

/// The shadow's tablespace cannot grow: the copy waits until there is room.
async fn a_full_server_pauses_the_copy(kind: Kind) {
    let limit = "--innodb-data-file-path=ibdata1:12M:autoextend:max:40M";
    let server = Server::start_with(kind, &[limit]);
    let database = table(&server).await;
    let url = server.url(&database);
    // The ledger is there before the disk is full.
    Run::at(&url, &["t", "ADD COLUMN first INT"]).done().await;
    assert_eq!(osc(&url, &["cleanup", "t", "--yes", "--now"]).0, Some(0));
    server
        .exec_in(&database, "CREATE TABLE wide (id INT PRIMARY KEY AUTO_INCREMENT, b BLOB)")
        .await;
    server.exec_in(&database, "INSERT INTO wide (b) VALUES (REPEAT('x', 8000))").await;
    for _ in 0..9 {
        server.exec_in(&database, "INSERT INTO wide (b) SELECT b FROM wide").await;
    }
    server.exec("SET GLOBAL innodb_file_per_table = OFF").await;
    for filler in ["small", "large"] {
        server.exec_in(&database, &format!("CREATE TABLE {filler} (b BLOB)")).await;
        let mut conn = server.conn_db(&database).await;
        let sql = format!("INSERT INTO {filler} SELECT b FROM wide LIMIT 100");
        for _ in 0..if filler == "small" { 2 } else { 100 } {
            if conn.query_drop(&sql).await.is_err() {
                break;
            }
        }
    }
    server.exec_in(&database, "DROP TABLE small").await;
    let mut run = Run::at(&url, &["wide", CLAUSES, "--chunk-size", "50"]);
    run.event(|event| {
        event["event"] == "note" && event.to_string().contains("until there is room")
    })
    .await;
    server.exec_in(&database, "DROP TABLE large").await;
    run.done().await;
    let rows = format!("SELECT COUNT(added IS NULL) FROM {database}.wide");
    assert_eq!(server.value(&rows).await, "512");
}

/// A run that has copied everything and was stopped before its swap; returns its control file.
async fn stopped(url: &str, clauses: &str, name: &str) -> String {
    let file = format!("{}/kept-{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, "cut_over = \"hold\"\n").unwrap();
    let mut run = Run::at(url, &["t", clauses, "--control-file", &file]);
    run.phase("hold").await;
    run.terminate();
    assert_eq!(run.end().await.code, Some(3));
    file
}

/// Something stands in the way of clearing away what an attempt at the swap may have left.
async fn a_resume_that_cannot_clear_away_keeps_the_copy(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let url = server.url(&database);
    let file = stopped(&url, CLAUSES, &format!("away-{}-{database}", kind.name())).await;
    let (run, point) = Run::until(&url, &["t", CLAUSES], "claim.locked").await;
    server.exec_in(&database, "CREATE VIEW t_osc_old AS SELECT 1 AS one").await;
    drop(point);
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    let copies = format!("SELECT COUNT(*) FROM {database}.t_osc_new");
    assert_eq!(server.value(&copies).await, "2");
    server.exec_in(&database, "DROP VIEW t_osc_old").await;
    let mut run = Run::at(&url, &["t", CLAUSES]);
    run.event(|event| event["event"] == "resumed").await;
    run.done().await;
    std::fs::remove_file(&file).unwrap();
}

/// The shadow's name is another's by the time at which a run fails that was taken over.
async fn a_run_that_was_taken_over_drops_nothing_when_it_fails(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let url = server.url(&database);
    let (run, point) = Run::until(&url, &["t", CLAUSES], "shadow.created").await;
    let owner = "UPDATE osc.osc_ledger SET owner = 'another' WHERE schema_name =";
    server.exec(&format!("{owner} '{database}'")).await;
    for sql in [
        "DROP TABLE t_osc_new",
        "CREATE TABLE t_osc_new (id INT PRIMARY KEY, theirs INT)",
        "INSERT INTO t_osc_new VALUES (1, 1)",
    ] {
        server.exec_in(&database, sql).await;
    }
    drop(point);
    let ended = run.end().await;
    assert!(matches!(ended.code, Some(1 | 4)), "{ended:#?}");
    let theirs = format!("SELECT SUM(theirs) FROM {database}.t_osc_new");
    assert_eq!(server.value(&theirs).await, "1");
}

/// A supervisor tries again on exit code 3: a replica that restarts meanwhile must not end that.
async fn a_resume_waits_for_a_replica_that_is_away(url: &str, name: &str, away: &str) {
    let file = stopped(url, CLAUSES, name).await;
    let arguments = ["t", CLAUSES, "--control-file", &file, "--replica", away];
    let mut run = Run::at(url, &arguments);
    let paused =
        run.event(|event| event["event"] == "throttled" && event["reason"].is_string()).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1") && reason.contains("is not known"), "{reason}");
    run.terminate();
    assert_eq!(run.end().await.code, Some(3));
    std::fs::remove_file(&file).unwrap();

    let ended = Run::faulty(url, &["t", CLAUSES], "swap.done=kill").end().await;
    assert_eq!(ended.code, None, "{ended:#?}");
    let last = ["alter", "t", CLAUSES, "--strategy", "copy", "--replica", away];
    let (code, printed) = loop {
        let (code, printed) = osc(url, &last);
        // The server lets the unfinished run's lock go when it notices.
        if !printed.contains("another osc is already changing") {
            break (code, printed);
        }
    };
    assert_eq!(code, Some(0), "{printed}");
}

async fn a_replica_that_is_away_ends_no_resume(kind: Kind) {
    let server = support::shared(kind);
    let database = table(server).await;
    let name = format!("away-replica-{}-{database}", kind.name());
    let away = format!("mysql://root@127.0.0.1:{}/", support::server::free_port());
    a_resume_waits_for_a_replica_that_is_away(&server.url(&database), &name, &away).await;
}

on_both_servers! {
    a_resume_that_cannot_clear_away_keeps_the_copy
    a_run_that_was_taken_over_drops_nothing_when_it_fails
    a_replica_that_is_away_ends_no_resume
    a_blocker_that_osc_may_not_end_costs_no_copy
    a_server_that_would_not_do_it_once_is_asked_again
    the_same_change_resumes_however_it_is_written
    an_original_that_was_altered_meanwhile_is_reported
    a_full_server_pauses_the_copy
}
