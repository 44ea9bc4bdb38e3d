//! Proves the test kit itself on PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::postgres::{Major, Postgres, connect};

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
