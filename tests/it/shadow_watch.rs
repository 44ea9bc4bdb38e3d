//! What another session does to the shadow after it was compared is never swapped in: rows are written again
//! from the original, and DDL ends the run.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::cli_run::Run;
use crate::cli_run::point::Point;
use crate::held_run::{Control, run_all};
use crate::support;
use crate::support::server::{Kind, Server, opts};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;

const HOLD: &str = "cut_over = \"hold\"";
const NOW: &str = "cut_over = \"now\"";

/// What the summary says where others wrote the shadow.
const WARNING: &str = "other sessions wrote the shadow";

/// A column before the key, a wider key, and one that is extended.
const CLAUSES: [&str; 3] = [
    "ADD COLUMN added INT NOT NULL DEFAULT 7",
    "ADD COLUMN added INT NOT NULL DEFAULT 7 FIRST, MODIFY id BIGINT NOT NULL",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (id, k), ADD COLUMN added INT NULL FIRST",
];

/// Changes of one row, of keys, of many rows; rows that the original has not.
const DAMAGE: [&str; 6] = [
    "UPDATE t_osc_new SET v = 'forged' WHERE id = 5",
    "UPDATE t_osc_new SET id = 100007, u = NULL WHERE id = 7",
    "DELETE FROM t_osc_new WHERE id BETWEEN 100 AND 200",
    "INSERT INTO t_osc_new (id, v, k) VALUES (100001, 'forged', 1), (-3, 'forged', 1)",
    // Unique values that rows of the original have.
    "UPDATE t_osc_new SET u = NULL WHERE id = 20",
    "UPDATE t_osc_new SET u = 20 WHERE id = 23",
];

async fn damage(application: &mut Conn) {
    run_all(application, &DAMAGE).await;
    run_all(
        application,
        &[
            "START TRANSACTION",
            "UPDATE t_osc_new SET n = 1 WHERE id = 30",
            "SAVEPOINT s",
            "UPDATE t_osc_new SET n = 2 WHERE id = 31",
            "UPDATE t SET n = 3 WHERE id = 32",
            "UPDATE t_twin SET n = 3 WHERE id = 32",
            "ROLLBACK TO s",
            "DELETE FROM t_osc_new WHERE id = 33",
            "COMMIT",
        ],
    )
    .await;
}

fn warned(summary: &Value) -> bool {
    summary["warnings"].to_string().contains(WARNING)
}

async fn rows_written_on_hold_are_written_again(kind: Kind) {
    let server = support::shared(kind);
    for clauses in CLAUSES {
        let database = support::database(server).await;
        let twin = Twin::create(server, &database, KeyKind::Int, 500).await;
        let control = Control::new(&database, kind, HOLD);
        let usual = ["t", clauses, "--control-file", control.path()];
        let mut run = Run::start(server, &database, &usual);
        run.phase("hold").await;
        let mut application = server.conn_db(&database).await;
        damage(&mut application).await;
        // Prepared, and committed when all else is settled.
        let xa = [
            "XA START 'shadow'",
            "UPDATE t_osc_new SET v = 'prepared' WHERE id = 40",
            "XA END 'shadow'",
            "XA PREPARE 'shadow'",
        ];
        run_all(&mut application, &xa).await;
        let warning = run.event(|event| event["event"] == "warning");
        tokio::time::timeout(Duration::from_secs(30), warning).await.expect("a warning");
        run_all(&mut application, &["XA COMMIT 'shadow'"]).await;
        control.say(NOW);
        let summary = run.done_disturbed().await;
        assert!(warned(&summary), "{summary}");
        twin.assert_equal(clauses).await;
    }
}

async fn rows_written_just_before_the_lock_are_written_again(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 500).await;
    let url = server.url(&database);
    let (run, point) = Run::until(&url, &["t", CLAUSES[1]], "swap.ready").await;
    let mut application = server.conn_db(&database).await;
    damage(&mut application).await;
    drop(point);
    let summary = run.done_disturbed().await;
    twin.assert_equal(CLAUSES[1]).await;
    assert!(warned(&summary), "{summary}");
}

/// Keys that only the server compares.
async fn so_are_rows_of_a_text_key(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Text, 300).await;
    let control = Control::new(&database, kind, HOLD);
    let mut run =
        Run::start(server, &database, &["t", CLAUSES[0], "--control-file", control.path()]);
    run.phase("hold").await;
    let mut application = server.conn_db(&database).await;
    let key = KeyKind::Text;
    for sql in [
        format!("UPDATE t_osc_new SET v = 'forged' WHERE {}", key.condition(5)),
        format!("DELETE FROM t_osc_new WHERE {}", key.condition(7)),
        format!(
            "UPDATE t_osc_new SET {}, u = NULL WHERE {}",
            key.assignment(9000, false),
            key.condition(9)
        ),
    ] {
        application.query_drop(sql).await.unwrap();
    }
    control.say(NOW);
    let summary = run.done_disturbed().await;
    assert!(warned(&summary), "{summary}");
    twin.assert_equal(CLAUSES[0]).await;
}

/// `Run::done` fails where the summary has the warning; and what an attempt under the lock wrote, which was
/// not the last, is not another session's either.
async fn nothing_of_its_own_is_taken_for_anothers(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 2000).await;
    let writers = Writers::paced(&twin, 4, 1, Duration::from_millis(3));
    let control = Control::new(&database, kind, HOLD);
    let clauses = "MODIFY id BIGINT NOT NULL, ADD INDEX v (v), ADD INDEX n (n)";
    let usual = ["t", clauses, "--indexes", "after", "--control-file", control.path()];
    // A session that is lost under the lock, after its refreshes are committed.
    let point = Point::new("swap.refreshed").await;
    let url = server.as_osc(&database).await;
    let mut run = Run::faulty(&url, &usual, point.fault());
    run.phase("hold").await;
    writers.wait_for_more(200).await;
    control.say(NOW);
    let point = run.reaches(point).await;
    server.cut(&format!("DB = '{database}'")).await;
    drop(point);
    writers.wait_for_more(20).await;
    let report = writers.stop().await;
    run.done().await;
    report.assert_undisturbed();
    twin.assert_equal(clauses).await;
}

/// The dead attempt's refreshes are in the log that the next one reads.
async fn nor_is_what_an_interrupted_attempt_wrote(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 1000).await;
    let writers = Writers::paced(&twin, 4, 1, Duration::from_millis(3));
    let control = Control::new(&database, kind, HOLD);
    let usual = ["t", CLAUSES[1], "--control-file", control.path()];
    let mut run = Run::start(server, &database, &usual);
    run.phase("hold").await;
    writers.wait_for_more(100).await;
    run.kill();
    writers.wait_for_more(50).await;
    let mut run = Run::start(server, &database, &usual);
    run.phase("hold").await;
    writers.wait_for_more(50).await;
    control.say(NOW);
    let report = writers.stop().await;
    run.done().await;
    report.assert_undisturbed();
    twin.assert_equal(CLAUSES[1]).await;
}

/// Each attempt compares all rows.
async fn what_is_written_while_no_attempt_runs_is_found_by_the_verification(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    Twin::create(server, &database, KeyKind::Int, 300).await;
    let control = Control::new(&database, kind, HOLD);
    let usual = ["t", CLAUSES[0], "--control-file", control.path()];
    let mut run = Run::start(server, &database, &usual);
    run.phase("hold").await;
    run.kill();
    server.exec_in(&database, "UPDATE t_osc_new SET v = 'forged' WHERE id = 5").await;
    control.say(NOW);
    let ended = Run::start(server, &database, &usual).end().await;
    assert_eq!(ended.code, Some(5), "{ended:#?}");
    let forged = format!("SELECT COUNT(*) FROM {database}.t WHERE v = 'forged'");
    assert_eq!(server.value(&forged).await, "0");
}

const DDL: [&str; 7] = [
    "TRUNCATE TABLE t_osc_new",
    "DROP TABLE t_osc_new",
    "RENAME TABLE t_osc_new TO aside",
    "ALTER TABLE t_osc_new DROP COLUMN n",
    "ALTER TABLE t_osc_new ALTER k SET DEFAULT 66",
    "CREATE INDEX theirs ON t_osc_new (n)",
    "CREATE TRIGGER theirs BEFORE INSERT ON t_osc_new FOR EACH ROW SET NEW.v = 'forged'",
];

async fn ddl_on_the_shadow_ends_the_run(kind: Kind) {
    let server = support::shared(kind);
    for ddl in DDL {
        let database = support::database(server).await;
        Twin::create(server, &database, KeyKind::Int, 50).await;
        let control = Control::new(&database, kind, HOLD);
        let usual = ["t", CLAUSES[0], "--control-file", control.path()];
        let mut run = Run::start(server, &database, &usual);
        run.phase("hold").await;
        server.exec_in(&database, ddl).await;
        // Not before the permission alone: the run ends while it is on hold.
        let ended = run.end().await;
        assert_eq!(ended.code, Some(1), "{ddl}: {ended:#?}");
        assert!(ended.error().contains("t_osc_new was changed by another's"), "{ddl}: {ended:#?}");
        unchanged(server, &database, ddl).await;
    }
}

async fn unchanged(server: &Server, database: &str, what: &str) {
    let columns = format!(
        "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' \
         AND TABLE_NAME = 't' AND COLUMN_NAME = 'added'"
    );
    assert_eq!(server.value(&columns).await, "0", "{what}: swapped");
    let rows = format!("SELECT COUNT(*) FROM {database}.t");
    assert_eq!(server.value(&rows).await, "50", "{what}");
}

async fn so_does_ddl_just_before_the_lock(kind: Kind) {
    let server = support::shared(kind);
    for ddl in ["TRUNCATE TABLE t_osc_new", DDL[6]] {
        let database = support::database(server).await;
        Twin::create(server, &database, KeyKind::Int, 50).await;
        let url = server.url(&database);
        let (run, point) = Run::until(&url, &["t", CLAUSES[0]], "swap.ready").await;
        server.exec_in(&database, ddl).await;
        drop(point);
        let ended = run.end().await;
        assert_eq!(ended.code, Some(1), "{ddl}: {ended:#?}");
        unchanged(server, &database, ddl).await;
    }
}

/// The row's image has the shadow's primary key only, which is not the copy key.
async fn a_row_that_is_logged_without_the_copy_key_ends_the_run(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server
        .exec_in(&database, "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, v INT)")
        .await;
    server.exec_in(&database, "INSERT INTO t VALUES (1, 11, 1), (2, 12, 2)").await;
    let control = Control::new(&database, kind, HOLD);
    let clauses = "DROP PRIMARY KEY, ADD PRIMARY KEY (k), ADD UNIQUE KEY id (id)";
    let mut run = Run::start(server, &database, &["t", clauses, "--control-file", control.path()]);
    run.phase("hold").await;
    let mut application = server.conn_db(&database).await;
    let minimal =
        ["SET SESSION binlog_row_image = MINIMAL", "UPDATE t_osc_new SET v = 6 WHERE k = 11"];
    run_all(&mut application, &minimal).await;
    let ended = run.end().await;
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.error().contains("set binlog_row_image to FULL"), "{ended:#?}");
    // Whoever resumes it all the same compares all rows again.
    let ended = Run::start(server, &database, &["t", clauses]).end().await;
    assert_eq!(ended.code, Some(5), "{ended:#?}");
}

/// What tells osc's DDL from others' is the number of the session that ran it.
async fn an_account_of_the_application_cannot_pass_for_another_session(kind: Kind) {
    let server = support::shared(kind);
    let app = support::database(server).await;
    for sql in [
        format!("CREATE USER {app}_user IDENTIFIED BY 'secret'"),
        format!("GRANT ALL PRIVILEGES ON `{app}`.* TO {app}_user"),
    ] {
        server.exec(&sql).await;
    }
    let url = format!("mysql://{app}_user:secret@127.0.0.1:{}/{app}", server.port());
    let mut session = Conn::new(opts(&url)).await.unwrap();
    let own: u64 = session.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    for sql in ["SET SESSION pseudo_thread_id = 1", "SET @@pseudo_thread_id = 1"] {
        let refused = session.query_drop(sql).await.unwrap_err();
        assert!(refused.to_string().contains("1227"), "{sql}: {refused}");
    }
    // On MariaDB, for one statement.
    let once = "SET STATEMENT pseudo_thread_id = 1 FOR CREATE TABLE forged (id INT)";
    session.query_drop(once).await.unwrap_err();
    let still: u64 =
        session.query_first("SELECT @@SESSION.pseudo_thread_id").await.unwrap().unwrap();
    assert_eq!(own, still);
}

on_both_servers! {
    rows_written_on_hold_are_written_again
    rows_written_just_before_the_lock_are_written_again
    so_are_rows_of_a_text_key
    nothing_of_its_own_is_taken_for_anothers
    nor_is_what_an_interrupted_attempt_wrote
    what_is_written_while_no_attempt_runs_is_found_by_the_verification
    ddl_on_the_shadow_ends_the_run
    so_does_ddl_just_before_the_lock
    a_row_that_is_logged_without_the_copy_key_ends_the_run
    an_account_of_the_application_cannot_pass_for_another_session
}
