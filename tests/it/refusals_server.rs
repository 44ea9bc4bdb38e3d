//! What servers and accounts are refused for before the start, and that nothing is changed by it.

use crate::refusal::Place;
use crate::support;
use crate::support::server::{Kind, Server};

const ADD: &str = "ADD COLUMN c INT";

/// A server with one of its options; none that it accepts without starting is shared.
async fn refuses_with(kind: Kind, option: &str, check: &str, words: &[&str]) {
    let server = Server::start_with(kind, &[option]);
    let place = Place::new(&server).await;
    place.refuses("t", ADD, check, words).await;
}

async fn a_server_without_a_binlog_is_refused(kind: Kind) {
    refuses_with(kind, "--skip-log-bin", "log-bin", &["log_bin is OFF"]).await;
}

async fn a_binlog_that_leaves_the_schema_out_is_refused(kind: Kind) {
    let words = ["binlog_do_db", "schema test_"];
    refuses_with(kind, "--binlog-do-db=elsewhere", "binlog-filter", &words).await;
    // The kit numbers its databases from 1.
    let server = Server::start_with(kind, &["--binlog-ignore-db=left_out"]);
    server.exec("CREATE DATABASE left_out").await;
    server.exec("CREATE TABLE left_out.t (id INT PRIMARY KEY)").await;
    let place = Place::new(&server).await;
    place.refuses("left_out.t", ADD, "binlog-filter", &["schema left_out"]).await;
}

async fn settings_under_which_changes_cannot_be_followed_are_refused(kind: Kind) {
    let server = Server::start(kind);
    let place = Place::new(&server).await;
    let mut settings = vec![
        ("binlog_format", "'STATEMENT'", "binlog-format", "binlog_format is STATEMENT"),
        ("binlog_format", "'MIXED'", "binlog-format", "binlog_format is MIXED"),
    ];
    if kind == Kind::Mysql {
        settings.extend([
            ("binlog_order_commits", "OFF", "binlog-order-commits", "binlog_order_commits is OFF"),
            ("server_id", "0", "server-id", "server_id is 0"),
            ("super_read_only", "ON", "read-only", "super_read_only is ON"),
        ]);
    }
    for (name, value, check, says) in settings {
        let before = server.value(&format!("SELECT @@GLOBAL.{name}")).await;
        server.exec(&format!("SET GLOBAL {name} = {value}")).await;
        place.refuses("t", ADD, check, &[says]).await;
        let usual = if before.parse::<u64>().is_ok() { before } else { format!("'{before}'") };
        server.exec(&format!("SET GLOBAL {name} = {usual}")).await;
    }
    let answer = place.ask(&["plan", "t", ADD]).await;
    assert_eq!(answer.code, Some(0), "{}", answer.printed);
}

async fn minimal_images_of_rows_are_refused_where_they_lack_the_copy_key(kind: Kind) {
    let server = Server::start_with(kind, &["--binlog-row-image=MINIMAL"]);
    let place = Place::new(&server).await;
    place.run("CREATE TABLE f (f FLOAT PRIMARY KEY, u INT NOT NULL UNIQUE, n INT)").await;
    place.refuses("f", ADD, "row-image", &["MINIMAL", "PRIMARY"]).await;
    place.run("CREATE TABLE d (id INT PRIMARY KEY, u INT NOT NULL UNIQUE)").await;
    place.refuses("d", "DROP COLUMN id", "row-image", &["MINIMAL", "PRIMARY"]).await;
    // Only the shadow shows that its keys are compared in another way.
    place.run("CREATE TABLE c (c VARCHAR(9) PRIMARY KEY, u INT NOT NULL UNIQUE)").await;
    let collate = "MODIFY c VARCHAR(9) COLLATE utf8mb4_bin";
    place.refuses("c", collate, "row-image", &["MINIMAL"]).await;
    server.exec("SET GLOBAL binlog_row_image = 'NOBLOB'").await;
    for (table, clauses) in [("f", ADD), ("d", "DROP COLUMN id"), ("c", collate)] {
        let answer = place.ask(&["plan", table, clauses]).await;
        assert_eq!(answer.code, Some(0), "{}", answer.printed);
    }
}

async fn a_redo_log_whose_commits_can_wait_needlessly_is_reported(kind: Kind) {
    let server = Server::start(kind);
    let place = Place::new(&server).await;
    let settings: &[&str] = if kind == Kind::Mysql { &["OFF", "ON"] } else { &[""] };
    for &setting in settings {
        if !setting.is_empty() {
            server.exec(&format!("SET GLOBAL innodb_log_writer_threads = {setting}")).await;
        }
        let answer = place.ask(&["plan", "t", ADD]).await;
        assert_eq!(answer.code, Some(0), "{}", answer.printed);
        let reported = answer.printed.contains("innodb_log_writer_threads is OFF");
        assert_eq!(reported, setting == "OFF", "{setting}: {}", answer.printed);
    }
}

/// All that a run needs, for a table that hangs on others.
fn rights(kind: Kind) -> (Vec<&'static str>, Vec<&'static str>) {
    let schema = vec![
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "LOCK TABLES",
        "REFERENCES",
        "TRIGGER",
    ];
    let status = match kind {
        Kind::Mariadb => "BINLOG MONITOR",
        Kind::Mysql => "REPLICATION CLIENT",
    };
    (schema, vec!["REPLICATION SLAVE", status, "PROCESS"])
}

async fn each_right_that_is_missing_is_named(kind: Kind) {
    let server = support::shared(kind);
    let mut place = Place::new(server).await;
    place.run("CREATE TABLE p (id INT PRIMARY KEY)").await;
    let clauses = "ADD COLUMN p INT, ADD FOREIGN KEY (p) REFERENCES p (id)";
    let (schema, everywhere) = rights(kind);
    let ledger = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "TRIGGER"];
    let user = format!("some_{}", place.database);
    place.run(&format!("CREATE USER {user} IDENTIFIED BY 'SECRET'")).await;
    let root = place.url.clone();
    let own = root.replace("root@", &format!("{user}:SECRET@"));
    let database = place.database.clone();
    let lists = [
        (schema.clone(), format!("`{database}`.*")),
        (everywhere.clone(), "*.*".into()),
        (ledger.to_vec(), "osc.*".into()),
    ];
    for (without, (rights, _)) in lists.iter().enumerate() {
        for missing in rights {
            for (at, (list, scope)) in lists.iter().enumerate() {
                let kept = |right: &&str| at != without || right != missing;
                let list: Vec<&str> = list.iter().copied().filter(kept).collect();
                place.run(&format!("GRANT {} ON {scope} TO {user}", list.join(", "))).await;
            }
            place.url.clone_from(&own);
            place.refuses("t", clauses, "rights", &[&format!("lacks {missing}"), "GRANT"]).await;
            place.url.clone_from(&root);
            place.run(&format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}")).await;
        }
    }
    place.run(&format!("GRANT {} ON osc.* TO {user}", ledger.join(", "))).await;
    place.run(&format!("GRANT {} ON `{database}`.* TO {user}", schema.join(", "))).await;
    place.run(&format!("GRANT {} ON *.* TO {user}", everywhere.join(", "))).await;
    place.url = own;
    let answer = place.ask(&["alter", "t", clauses, "--yes"]).await;
    assert_eq!(answer.code, Some(0), "{}", answer.printed);
}

async fn an_account_without_any_right_is_reported_and_its_password_does_not_show(kind: Kind) {
    let server = support::shared(kind);
    let mut place = Place::new(server).await;
    let user = format!("none_{}", place.database);
    place.run(&format!("CREATE USER {user} IDENTIFIED BY 'SECRET'")).await;
    let root = place.url.clone();
    for password in ["SECRET", "WRONG-SECRET", ""] {
        place.url = root.replace("root@", &format!("{user}:{password}@"));
        for command in ["plan", "alter"] {
            let answer = place.ask(&[command, "t", ADD]).await;
            assert_eq!(answer.code, Some(4), "{}", answer.printed);
            assert!(answer.printed.contains(&user), "{}", answer.printed);
        }
    }
}

on_both_servers! {
    a_server_without_a_binlog_is_refused
    a_binlog_that_leaves_the_schema_out_is_refused
    settings_under_which_changes_cannot_be_followed_are_refused
    a_redo_log_whose_commits_can_wait_needlessly_is_reported
    minimal_images_of_rows_are_refused_where_they_lack_the_copy_key
    each_right_that_is_missing_is_named
    an_account_without_any_right_is_reported_and_its_password_does_not_show
}
