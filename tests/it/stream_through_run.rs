//! What servers do to their logs, and others to the table, seen through a whole run.

use crate::support;
use std::time::Duration;

use crate::cli_run::Run;
use crate::held_run::{
    CLAUSES, Control, SLOWLY, assert_nothing_lost, heartbeats, paused, paused_unverified, run_all,
    start, table, wait_for,
};
use crate::support::server::{Kind, Server};

/// Changes on both sides of the copy's edge, over it, and beyond the last row.
const CHANGES: [&str; 7] = [
    "UPDATE t SET v = -1 WHERE id IN (10, 3900)",
    "DELETE FROM t WHERE id IN (11, 3901)",
    "INSERT INTO t VALUES (-5, 5, NULL), (6000, 1, REPEAT('x', 40))",
    "FLUSH BINARY LOGS",
    "UPDATE t SET id = -12 WHERE id = 3990",
    "UPDATE t SET id = 4990 WHERE id = 12",
    "UPDATE t SET w = REPEAT('y', 40) WHERE id BETWEEN 20 AND 120",
];

/// `killed`: amid the changes, and resumed.
async fn follows(server: &Server, image: &str, killed: bool) {
    server.exec(&format!("SET GLOBAL binlog_row_image = {image}")).await;
    let database = table(server).await;
    server.exec_in(&database, "ALTER TABLE t ADD b BLOB NULL, ADD j TEXT NULL").await;
    let changes = CHANGES.map(|sql| sql.replace("INSERT INTO t ", "INSERT INTO t (id, v, w) "));
    let control = Control::new(&database, server.kind(), SLOWLY);
    let mut run = paused_unverified(server, &database, &control).await;
    let mut application = server.conn_db(&database).await;
    for (at, sql) in changes.iter().enumerate() {
        run_all(&mut application, &[sql]).await;
        if killed && at == 2 {
            heartbeats(server, &database, 2).await;
            run.kill();
            run = start(server, &database, &control, &["--no-verify"]);
        }
    }
    control.let_go();
    run.done().await;
    assert_nothing_lost(server, &database).await;
}

async fn compressed_and_minimal_changes_are_followed(kind: Kind) {
    let options: &[&str] = match kind {
        Kind::Mariadb => &["--log-bin-compress=ON", "--log-bin-compress-min-len=10"],
        Kind::Mysql => &["--binlog-transaction-compression=ON"],
    };
    let server = Server::start_with(kind, options);
    follows(&server, "MINIMAL", false).await;
    follows(&server, "FULL", true).await;
}

async fn changes_without_blobs_are_followed_over_many_files(kind: Kind) {
    let server = Server::start_with(kind, &["--max-binlog-size=4096"]);
    follows(&server, "NOBLOB", false).await;
    follows(&server, "NOBLOB", true).await;
}

/// By file and offset, on MySQL; MariaDB always has GTIDs.
async fn changes_are_followed_without_gtids(kind: Kind) {
    if kind == Kind::Mysql {
        let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
        let server = Server::start_with(kind, &options);
        follows(&server, "MINIMAL", true).await;
    }
}

async fn a_purged_log_ends_the_run_with_the_reason(kind: Kind) {
    let server = Server::start(kind);
    let database = table(&server).await;
    let control = Control::new(&database, kind, SLOWLY);
    paused(&server, &database, &control).await.kill();
    let gone = "(SELECT COUNT(*) = 0 FROM information_schema.PROCESSLIST \
                WHERE COMMAND LIKE 'Binlog Dump%')";
    wait_for(&server, gone).await;
    server.exec_in(&database, "UPDATE t SET v = -1 WHERE id = 5").await;
    server.exec("FLUSH BINARY LOGS").await;
    let last = server.rows("SHOW BINARY LOGS").await.pop().unwrap()[0].clone();
    // A server keeps files that its storage engine, or a session, may still need for a moment.
    while server.rows("SHOW BINARY LOGS").await.len() > 1 {
        server.exec(&format!("PURGE BINARY LOGS TO '{last}'")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    control.let_go();
    let again = start(&server, &database, &control, &[]).end();
    let ended = tokio::time::timeout(Duration::from_secs(60), again).await.expect("it hangs");
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.error().contains("the change stream has a gap after"), "{}", ended.error());
    let help = ended.events.last().unwrap()["help"].to_string();
    assert!(help.contains("start again"), "{help}");
    start(&server, &database, &control, &[]).done().await;
    assert_nothing_lost(&server, &database).await;
}

/// Statements of others, the exit code, and what the run says.
const FOREIGN: [(&str, i32, &str); 6] = [
    ("TRUNCATE TABLE t", 1, "TRUNCATE TABLE t"),
    ("ALTER TABLE t ADD foreign_column INT", 1, "ADD foreign_column"),
    ("SET binlog_format = STATEMENT; UPDATE t SET v = -1 WHERE id = 5", 1, "UPDATE t SET v"),
    ("DROP TABLE t_osc_new", 1, "t_osc_new' doesn't exist"),
    ("ALTER TABLE t_osc_new DROP COLUMN w", 1, "nknown column"),
    ("TRUNCATE TABLE t_osc_new", 5, "verification failed"),
];

async fn stopped_by(kind: Kind, (sql, code, words): (&str, i32, &str)) {
    let server = support::shared(kind);
    let database = table(server).await;
    let control = Control::new(&database, kind, SLOWLY);
    let run = paused(server, &database, &control).await;
    server.exec_in(&database, sql).await;
    let checksum = format!("CHECKSUM TABLE {database}.t");
    let before = server.rows(&checksum).await;
    control.let_go();
    let ended = tokio::time::timeout(Duration::from_secs(120), run.end()).await.expect("it hangs");
    assert_eq!(ended.code, Some(code), "{sql}: {ended:#?}");
    assert!(ended.error().contains(words), "{sql}: {}", ended.error());
    assert_eq!(server.rows(&checksum).await, before, "{sql}: the original was touched");
}

async fn what_others_do_to_the_tables_stops_the_run(kind: Kind) {
    for three in FOREIGN.chunks(3) {
        let cases = three.iter().map(|case| stopped_by(kind, *case));
        futures_util::future::join_all(cases).await;
    }
}

async fn a_user_with_a_password_runs_with_and_without_tls(kind: Kind) {
    let server = support::shared(kind);
    let cases: &[(&str, &str, &str)] = match kind {
        Kind::Mariadb => &[("native", "", "")],
        Kind::Mysql => &[
            ("plain", "WITH caching_sha2_password", ""),
            ("sealed", "WITH caching_sha2_password", "?ssl-mode=REQUIRED"),
        ],
    };
    for (user, plugin, parameters) in cases {
        let database = table(server).await;
        let require = if parameters.is_empty() { "" } else { "REQUIRE SSL" };
        server
            .exec(&format!("CREATE USER {user} IDENTIFIED {plugin} BY 'sec ret' {require}"))
            .await;
        server.exec(&format!("GRANT ALL PRIVILEGES ON *.* TO {user}")).await;
        let url =
            format!("mysql://{user}:sec%20ret@127.0.0.1:{}/{database}{parameters}", server.port());
        let change = ["t", CLAUSES, "--chunk-size", "200", "--threads", "1"];
        let (run, point) = Run::until(&url, &change, "chunk.copied@3").await;
        let mut application = server.conn_db(&database).await;
        for sql in CHANGES {
            run_all(&mut application, &[sql]).await;
        }
        drop(point);
        run.done().await;
        assert_nothing_lost(server, &database).await;
    }
}

on_both_servers! {
    compressed_and_minimal_changes_are_followed
    changes_without_blobs_are_followed_over_many_files
    changes_are_followed_without_gtids
    a_purged_log_ends_the_run_with_the_reason
    what_others_do_to_the_tables_stops_the_run
    a_user_with_a_password_runs_with_and_without_tls
}
