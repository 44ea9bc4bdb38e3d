//! Proves the test kit itself on PostgreSQL.

use crate::support;
use std::time::Duration;

use crate::support::postgres::{Major, Postgres, connect};
use crate::support::postgres_twin::{KeyKind, Twin};
use crate::support::writers::Writers;

#[tokio::test]
async fn a_server_of_each_version_keeps_its_data_and_port_over_restart_and_crash() {
    for major in Major::installed() {
        let mut server = Postgres::start_with(major, &[("log_statement", "ddl")]);
        let port = server.port();
        let version = server.value("postgres", "SHOW server_version_num").await;
        assert_eq!(version[..2], major.number().to_string());
        let database = support::postgres_database(&server).await;
        server
            .exec(&database, "CREATE TABLE x (id int PRIMARY KEY); INSERT INTO x VALUES (1)")
            .await;
        server.restart();
        server.exec(&database, "INSERT INTO x VALUES (2)").await;
        server.kill_and_restart();
        assert_eq!(server.port(), port);
        assert_eq!(server.rows(&database, "SELECT id FROM x ORDER BY id").await, [["1"], ["2"]]);
        for (setting, value) in
            [("wal_level", "logical"), ("log_statement", "ddl"), ("timezone", "Asia/Kolkata")]
        {
            assert_eq!(server.value(&database, &format!("SHOW {setting}")).await, value);
        }
        assert!(server.log().contains("redo"), "not a crash: {}", server.log());
    }
}

#[tokio::test]
async fn a_standby_of_each_version_follows() {
    for major in Major::installed() {
        let primary = Postgres::start(major);
        primary.exec("postgres", "CREATE TABLE x (id int PRIMARY KEY)").await;
        let mut standby = primary.standby().await;
        assert_eq!(standby.value("postgres", "SELECT pg_is_in_recovery()").await, "t");
        primary.exec("postgres", "INSERT INTO x VALUES (1), (2)").await;
        standby.catch_up(&primary).await;
        assert_eq!(standby.value("postgres", "SELECT count(*) FROM x").await, "2");
        standby.restart();
        primary.exec("postgres", "INSERT INTO x VALUES (3)").await;
        standby.catch_up(&primary).await;
        assert_eq!(standby.value("postgres", "SELECT count(*) FROM x").await, "3");
    }
}

#[tokio::test]
async fn cut_ends_the_sessions_of_that_name_and_no_others() {
    let server = support::shared_postgres();
    let named = |name: &str| format!("{}?application_name={name}", server.url("postgres"));
    let ours = connect(&named("osc-copy")).await.unwrap();
    let other = connect(&named("application")).await.unwrap();
    assert_eq!(server.cut("osc%").await, 1);
    assert!(ours.batch_execute("SELECT 1").await.is_err());
    other.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn cut_ends_wal_senders() {
    let primary = Postgres::start(Major::SYSTEM);
    let standby = primary.standby().await;
    let sender = "SELECT pid FROM pg_stat_replication WHERE application_name = 'standby'";
    let before = primary.value("postgres", sender).await;
    assert_eq!(primary.cut("standby").await, 1);
    primary.exec("postgres", "CREATE TABLE x ()").await;
    standby.catch_up(&primary).await;
    assert_ne!(primary.value("postgres", sender).await, before);
}

#[tokio::test]
async fn a_setting_changes_for_all_sessions_and_comes_back() {
    let server = Postgres::start(Major::SYSTEM);
    let client = server.client("postgres").await;
    let show = || async {
        client.query_one("SHOW synchronous_standby_names", &[]).await.unwrap().get::<_, String>(0)
    };
    for (value, expected) in [(Some("nosuch"), "nosuch"), (None, "")] {
        server.set("synchronous_standby_names", value).await;
        while show().await != expected {}
    }
}

#[tokio::test]
async fn a_server_with_passwords_takes_the_right_one_only() {
    let server = Postgres::start_with_passwords(Major::SYSTEM);
    for (user, welcome) in [("postgres:secret", true), ("postgres:wrong", false)] {
        assert_eq!(connect(&server.url_as(user, "postgres")).await.is_ok(), welcome, "{user}");
    }
}

#[tokio::test]
async fn tests_share_a_server_but_no_database() {
    let server = support::shared_postgres();
    let one = support::postgres_database(server).await;
    assert_ne!(one, support::postgres_database(server).await);
    assert_eq!(support::shared_postgres().port(), server.port());
}

#[tokio::test]
async fn twins_stay_equal_while_written_to_whatever_happens_to_the_server() {
    let mut server = Postgres::start(Major::SYSTEM);
    for key in KeyKind::ALL {
        let database = support::postgres_database(&server).await;
        let twin = Twin::create(&server, &database, key, 2000)
            .await
            .in_sessions_with("SET synchronous_commit = off");
        let writers = Writers::start(&twin, 6, 7);
        writers.wait_for_more(300).await;
        // Sessions and transactions are lost on the way.
        server.kill_and_restart();
        writers.wait_for_more(300).await;
        server.cut("").await;
        writers.wait_for_more(300).await;
        let report = writers.stop().await;
        report.assert_undisturbed();
        assert!(report.reconnects > 0, "{report:?}");
        let clauses = "ADD COLUMN extra int NOT NULL DEFAULT 5, ALTER COLUMN n TYPE bigint, \
                       ADD CONSTRAINT u_k UNIQUE (u, k)";
        server.exec(&database, &format!("ALTER TABLE t {clauses}")).await;
        twin.assert_equal(clauses).await;
    }
}

#[tokio::test]
async fn commits_stall_while_the_synchronous_standby_is_missing() {
    let server = Postgres::start(Major::SYSTEM);
    let database = support::postgres_database(&server).await;
    let twin = Twin::create(&server, &database, KeyKind::Int, 500).await;
    let writers = Writers::start(&twin, 3, 1);
    writers.wait_for_more(20).await;
    server.set("synchronous_standby_names", Some("nosuch")).await;
    // One that waits for another's row waits for the standby too.
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE wait_event = 'SyncRep' OR wait_event_type = 'Lock'";
    while server.value(&database, waiting).await != "3" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.set("synchronous_standby_names", None).await;
    writers.wait_for_more(20).await;
    writers.stop().await.assert_undisturbed();
    twin.assert_equal("").await;
}

#[tokio::test]
async fn a_difference_between_twins_is_found() {
    let server = support::shared_postgres();
    let spoil = [
        "UPDATE t SET v = 'x' WHERE id = 5",
        "UPDATE t SET d = d + 0.000001 WHERE id = (SELECT min(id) FROM t WHERE d IS NOT NULL)",
        "UPDATE t SET big = big || 'x' WHERE id = (SELECT min(id) FROM t WHERE length(big) > 2000)",
        "DELETE FROM t WHERE id = 7",
        "INSERT INTO t (id) VALUES (1000)",
        "ALTER TABLE t ALTER COLUMN n TYPE bigint",
        "DROP INDEX k",
        "ALTER TABLE t ALTER COLUMN v SET DEFAULT 'x'",
        "GRANT SELECT ON t TO PUBLIC",
    ];
    for spoil in spoil {
        let database = support::postgres_database(server).await;
        let twin = Twin::create(server, &database, KeyKind::Int, 100).await;
        twin.assert_equal("").await;
        server.exec(&database, spoil).await;
        let compared = tokio::spawn(async move { twin.assert_equal("").await }).await;
        assert!(compared.is_err(), "not found: {spoil}");
    }
}

#[tokio::test]
async fn a_missing_table_is_reported() {
    let server = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 100).await;
    let writers = Writers::paced(&twin, 2, 1, Duration::from_millis(1));
    writers.wait_for_more(5).await;
    server.exec(&database, "ALTER TABLE t RENAME TO gone").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.exec(&database, "ALTER TABLE gone RENAME TO t").await;
    writers.wait_for_more(5).await;
    let report = writers.stop().await;
    assert!(report.unexpected.keys().any(|error| error.contains("42P01")), "{report:?}");
    twin.assert_equal("").await;
}
