//! Proves the test kit itself on both servers.

use crate::support;
use std::time::Duration;

use crate::support::proxy::Proxy;
use crate::support::server::{Kind, Server, opts};
use crate::support::twin::{KeyKind, Twin};
use crate::support::writers::Writers;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

async fn a_server_keeps_its_data_and_port_over_restart_and_crash(kind: Kind) {
    let mut server = Server::start(kind);
    let port = server.port();
    server.exec("CREATE DATABASE d").await;
    server.exec_in("d", "CREATE TABLE x (id INT PRIMARY KEY)").await;
    server.exec("INSERT INTO d.x VALUES (1)").await;
    server.restart().await;
    server.exec("INSERT INTO d.x VALUES (2)").await;
    server.kill_and_restart();
    assert_eq!(server.port(), port);
    assert_eq!(server.rows("SELECT id FROM d.x ORDER BY id").await, [["1"], ["2"]]);
    let settings = "SELECT @@log_bin, @@binlog_format, @@time_zone, @@server_id";
    let expected = ["1", "ROW", "+03:00", &port.to_string()].map(str::to_owned);
    assert_eq!(server.rows(settings).await, [expected]);
}

async fn a_replica_follows(kind: Kind) {
    let source = Server::start(kind);
    source.exec("CREATE DATABASE d").await;
    source.exec("CREATE TABLE d.x (id INT PRIMARY KEY)").await;
    let mut replica = source.replica().await;
    assert_eq!(replica.value("SELECT COUNT(*) FROM d.x").await, "0");
    source.exec("INSERT INTO d.x VALUES (1), (2)").await;
    replica.catch_up(&source).await;
    assert_eq!(replica.value("SELECT COUNT(*) FROM d.x").await, "2");
    replica.restart().await;
    source.exec("INSERT INTO d.x VALUES (3)").await;
    replica.catch_up(&source).await;
    assert_eq!(replica.value("SELECT COUNT(*) FROM d.x").await, "3");
}

async fn tests_share_a_server_but_no_database(kind: Kind) {
    let server = support::shared(kind);
    let (one, other) = (support::database(server).await, support::database(server).await);
    assert_ne!(one, other);
    assert_eq!(support::shared(kind).port(), server.port());
}

async fn twins_stay_equal_while_written_to(kind: Kind) {
    let mut server = Server::start(kind);
    for key in KeyKind::ALL {
        let database = support::database(&server).await;
        let twin = Twin::create(&server, &database, key, 2000).await;
        let writers = Writers::start(&twin, 4, 7);
        writers.wait_for_more(300).await;
        // Sessions and transactions are lost on the way.
        server.kill_and_restart();
        writers.wait_for_more(300).await;
        let report = writers.stop().await;
        report.assert_undisturbed();
        assert!(report.reconnects > 0, "{report:?}");
        let clauses = "ADD COLUMN extra INT NOT NULL DEFAULT 5, ADD INDEX (n)";
        server.exec_in(&database, &format!("ALTER TABLE t {clauses}")).await;
        twin.assert_equal(clauses).await;
    }
}

async fn a_difference_between_twins_is_found(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let spoil = [
        "UPDATE t SET v = 'x' WHERE id = 5",
        "UPDATE t SET d = d + 0.000001 WHERE id = (SELECT MIN(id) FROM t_twin WHERE d IS NOT NULL)",
        "DELETE FROM t WHERE id = 7",
        "INSERT INTO t (id) VALUES (1000)",
        "ALTER TABLE t MODIFY v VARCHAR(201)",
    ];
    for spoil in spoil {
        server.exec_in(&database, "DROP TABLE IF EXISTS t, t_twin").await;
        let twin = Twin::create(server, &database, KeyKind::Int, 100).await;
        twin.assert_equal("").await;
        server.exec_in(&database, spoil).await;
        let compared = tokio::spawn(async move { twin.assert_equal("").await }).await;
        assert!(compared.is_err(), "not found: {spoil}");
    }
}

async fn a_missing_table_is_reported(kind: Kind) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    let twin = Twin::create(server, &database, KeyKind::Int, 100).await;
    let writers = Writers::paced(&twin, 2, 1, Duration::from_millis(1));
    writers.wait_for_more(5).await;
    server.exec_in(&database, "RENAME TABLE t TO gone").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.exec_in(&database, "RENAME TABLE gone TO t").await;
    writers.wait_for_more(5).await;
    let report = writers.stop().await;
    assert!(report.unexpected.keys().any(|error| error.contains("1146")), "{report:?}");
    twin.assert_equal("").await;
}

async fn a_proxy_cuts_what_goes_through_it(kind: Kind) {
    let server = support::shared(kind);
    let proxy = Proxy::start(server);
    let connect = || Conn::new(opts(&proxy.url("")));
    let mut conn = connect().await.unwrap();
    conn.query_drop("DO 1").await.unwrap();
    proxy.cut();
    assert!(conn.query_drop("DO 1").await.is_err());
    let mut conn = connect().await.unwrap();
    proxy.down();
    assert!(conn.query_drop("DO 1").await.is_err());
    assert!(connect().await.is_err());
    proxy.up();
    connect().await.unwrap().query_drop("DO 1").await.unwrap();
}

on_both_servers! {
    a_server_keeps_its_data_and_port_over_restart_and_crash
    a_replica_follows
    tests_share_a_server_but_no_database
    twins_stay_equal_while_written_to
    a_difference_between_twins_is_found
    a_missing_table_is_reported
    a_proxy_cuts_what_goes_through_it
}
