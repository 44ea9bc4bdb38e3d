//! The change stream of PostgreSQL by triggers, on real servers that have no logical decoding.

use std::time::Duration;

use crate::pg_streaming::fixture::{Fixture, WAIT, commit, end, foreign, next, options};
use crate::support::postgres::{Major, Postgres, connect};
use osc::engine::backend::Change;
use osc::error::Error;
use osc::postgres::stream::{self, Capture};

const SIMPLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v text);
                      INSERT INTO t SELECT n, 'x' FROM generate_series(1, 10) n";

fn server() -> Postgres {
    Postgres::start_with(Major::SYSTEM, &[("wal_level", "replica")])
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

#[tokio::test]
async fn every_change_tells_its_keys() {
    let server = server();
    let ddl = "CREATE DOMAIN name AS text NOT NULL;
               CREATE TABLE t (id bigint, \"At\" timestamptz, name public.name, v int,
                               PRIMARY KEY (name, \"At\"))";
    let (f, mut stream, _) = Fixture::by_triggers(&server, "keys", ddl, &["name", "At"]).await;
    // The application's settings do not show in the keys.
    f.run("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET search_path = ''").await;
    f.run("INSERT INTO public.t VALUES (1, '2020-01-01 00:00+00', 'a''b', 1), (2, '2020-01-02 00:00+00', 'B', 1)").await;
    assert_eq!(
        f.keys(&mut stream, 1).await,
        ["name = 'B', At = 2020-01-02 00:00:00+00", "name = 'a'b', At = 2020-01-01 00:00:00+00"]
            .map(|key| key.replace("At = ", "At = '") + "'")
    );
    f.run("UPDATE public.t SET v = 2 WHERE id = 1; UPDATE public.t SET name = 'b' WHERE id = 2")
        .await;
    assert_eq!(f.keys(&mut stream, 2).await.len(), 3, "a key that moved is two");
    f.run("BEGIN; SAVEPOINT s; DELETE FROM public.t; ROLLBACK TO s; COMMIT").await;
    assert!(f.keys(&mut stream, 3).await.is_empty());
    f.run("SET session_replication_role = replica; DELETE FROM public.t").await;
    assert_eq!(f.keys(&mut stream, 4).await.len(), 2, "replicated changes count");
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_overtaken() {
    let server = server();
    let (f, mut stream, start) = Fixture::by_triggers(&server, "late", SIMPLE, &["id"]).await;
    let late = server.client("late").await;
    late.batch_execute("BEGIN; INSERT INTO t VALUES (11)").await.unwrap();
    f.run("INSERT INTO t VALUES (12)").await;
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 12"]);
    assert!(f.keys(&mut stream, 5).await.is_empty(), "once is enough");
    // What was delivered is confirmed, and deleted when the log is next read.
    let position = commit(&mut stream).await;
    f.seen.confirm(&position);
    commit(&mut stream).await;
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, ["id = 11"]);
    drop(stream);
    let mut stream = f.stream(&position).await.unwrap();
    assert_eq!(f.keys(&mut stream, 3).await, ["id = 11"], "after the position");
    drop(stream);
    let mut stream = f.stream(&start).await.unwrap();
    assert_eq!(
        f.keys(&mut stream, 4).await,
        ["id = 11"],
        "the log has lost what was confirmed only"
    );
}

#[tokio::test]
async fn the_application_needs_no_rights_and_cannot_reach_the_log() {
    let server = server();
    let ddl = format!("CREATE ROLE app LOGIN; {SIMPLE}; GRANT ALL ON t TO app");
    let (f, mut stream, _) = Fixture::by_triggers(&server, "rights", &ddl, &["id"]).await;
    let app = connect(&server.url_as("app", "rights")).await.unwrap();
    app.batch_execute("INSERT INTO t VALUES (11); DELETE FROM t WHERE id = 1").await.unwrap();
    assert_eq!(sorted(f.keys(&mut stream, 1).await), ["id = 1", "id = 11"]);
    let log = &f.names.log;
    assert!(app.batch_execute(&format!("SELECT FROM {log}")).await.is_err());
}

#[tokio::test]
async fn the_triggers_wait_for_writers_and_do_not_hold_up_others_for_long() {
    let server = server();
    let mut f = Fixture::bare(&server, "locks", SIMPLE, &["id"]).await;
    f.capture = Capture::Triggers;
    let writer = server.client("locks").await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (11)").await.unwrap();
    let pid: i32 = writer.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let error = f.triggers(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("session {pid}")), "{error}");
    writer.batch_execute("COMMIT").await.unwrap();
    let position = f.triggers(WAIT).await.unwrap();
    f.run("INSERT INTO t VALUES (12)").await;
    let mut stream = f.stream(&position).await.unwrap();
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 12"]);
}

#[tokio::test]
async fn truncate_and_ddl_end_the_run() {
    let server = server();
    for (number, (sql, says)) in [
        ("TRUNCATE t", "truncated"),
        ("ALTER TABLE t ADD w int", "definition"),
        ("ALTER TABLE t RENAME TO u", "definition"),
        ("ALTER TABLE t DISABLE TRIGGER ALL", "definition"),
        ("DROP TABLE t", "definition"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("d{number}");
        let (f, mut stream, _) = Fixture::by_triggers(&server, &database, SIMPLE, &["id"]).await;
        f.run(sql).await;
        let what = foreign(&mut stream).await;
        assert!(what.contains(says), "{sql}: {what}");
    }
}

/// The cast would be the type's owner's function, and the triggers' function has osc's rights.
#[tokio::test]
async fn a_key_whose_type_was_changed_is_not_cast() {
    let server = server();
    let ddl = "CREATE TYPE one AS ENUM ('a', 'b'); CREATE TYPE two AS ENUM ('a', 'b');
               CREATE TABLE t (id one PRIMARY KEY); CREATE SEQUENCE calls;
               CREATE FUNCTION cast_two(two) RETURNS one LANGUAGE plpgsql SET search_path = public
               AS 'BEGIN PERFORM nextval(''calls''); RETURN ''a''; END';
               CREATE CAST (two AS one) WITH FUNCTION cast_two AS ASSIGNMENT";
    let (f, mut stream, _) = Fixture::by_triggers(&server, "other_type", ddl, &["id"]).await;
    f.run("ALTER TABLE t ALTER id TYPE two USING 'a'").await;
    f.run("INSERT INTO t VALUES ('a'); UPDATE t SET id = 'b'; DELETE FROM t").await;
    let called = "SELECT is_called FROM calls";
    assert_eq!(server.value("other_type", called).await, "f", "the cast was run");
    let what = foreign(&mut stream).await;
    assert!(["definition", "type was changed"].iter().any(|says| what.contains(says)), "{what}");
}

#[tokio::test]
async fn a_cut_connection_loses_nothing_and_what_is_left_is_dropped() {
    let mut server = server();
    let (mut f, mut stream, start) = Fixture::by_triggers(&server, "cut", SIMPLE, &["id"]).await;
    f.run("INSERT INTO t VALUES (11)").await;
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 11"]);
    server.kill_and_restart();
    f.client = server.client("cut").await;
    let error = end(&mut stream).await;
    assert!(error.is_connection(), "{error}");
    let mut stream = f.stream(&start).await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, ["id = 11"]);
    stream::drop_all(&f.client, &f.names).await.unwrap();
    stream::drop_all(&f.client, &f.names).await.unwrap();
    f.run("INSERT INTO t VALUES (12)").await;
    let error = loop {
        match next(&mut stream).await {
            Ok(Change::Foreign(what)) => break Error::Foreign(what),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StreamGap { .. } | Error::Foreign(_)), "{error}");
    assert!(matches!(f.stream(&start).await, Err(Error::StreamGap { .. })));
    let left = "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)
                     + (SELECT count(*) FROM pg_class WHERE relname LIKE 'osc%')
                     + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'osc%')";
    assert_eq!(f.client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_change_held_back_by_a_standby_is_not_delivered_before_it_is_visible() {
    let server = server();
    let (f, mut stream, _) = Fixture::by_triggers(&server, "stalled", SIMPLE, &["id"]).await;
    server.set("synchronous_standby_names", Some("nosuch")).await;
    let writer = server.client("stalled").await;
    let writing = tokio::spawn(async move {
        writer.batch_execute("UPDATE t SET v = 'new' WHERE id = 1").await.unwrap();
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while f.client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(f.keys(&mut stream, 1).await.is_empty());
    server.set("synchronous_standby_names", None).await;
    writing.await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, ["id = 1"]);
    f.seen.visible(&f.client).await.unwrap();
}

#[tokio::test]
async fn the_way_is_chosen_by_what_server_table_and_user_allow() {
    let without = server();
    let with = Postgres::start(Major::SYSTEM);
    for (server, user, table, expected) in [
        (&without, "postgres", "t", Some("wal_level")),
        (&with, "postgres", "t", None),
        (&with, "postgres", "u", Some("not logged")),
        (&with, "plain", "t", Some("may not replicate")),
        (&with, "replicator", "t", Some("may not create")),
    ] {
        let client = server.client("postgres").await;
        client
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY);
                 CREATE UNLOGGED TABLE IF NOT EXISTS u (id int PRIMARY KEY);
                 DROP ROLE IF EXISTS plain; DROP ROLE IF EXISTS replicator;
                 CREATE ROLE plain LOGIN; CREATE ROLE replicator LOGIN REPLICATION",
            )
            .await
            .unwrap();
        let client = osc::postgres::connection::connect::connect(
            &options(server, user, "postgres"),
            "testing",
        )
        .await;
        let table = osc::postgres::name::TableName::new("public", table);
        let (capture, reason) = stream::choose(&client.unwrap(), &table).await.unwrap();
        assert_eq!(capture == Capture::Triggers, expected.is_some(), "{user} {reason:?}");
        assert!(reason.unwrap_or_default().contains(expected.unwrap_or_default()));
    }
}
