//! The logical change stream of PostgreSQL, on real servers.

use std::time::Duration;

use crate::pg_streaming::fixture::{Fixture, RUN, WAIT, commit, end, foreign, next};
use crate::support::postgres::{Major, Postgres};
use osc::engine::backend::Change;
use osc::error::Error;
use osc::postgres::stream;

const SIMPLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v text);
                      INSERT INTO t SELECT n, 'x' FROM generate_series(1, 10) n";

#[tokio::test]
async fn every_change_tells_its_keys() {
    let server = Postgres::start(Major::SYSTEM);
    let ddl = "CREATE TABLE t (id bigint, body text, name text, PRIMARY KEY (name, id));
               ALTER TABLE t ALTER body SET STORAGE EXTERNAL;
               CREATE TABLE other (id int PRIMARY KEY)";
    let (f, mut stream, _) = Fixture::open(&server, "composite", ddl, &["name", "id"]).await;
    f.run("INSERT INTO t VALUES (1, repeat('x', 9000), 'a'), (2, 'y', 'it''s'); INSERT INTO other VALUES (1)")
        .await;
    f.run("UPDATE t SET body = body || 'z' WHERE id = 2").await;
    f.run("UPDATE t SET id = 3 WHERE id = 1").await;
    f.run("UPDATE t SET id = id WHERE id = 3").await;
    f.run("BEGIN; INSERT INTO t VALUES (4, NULL, ''); ROLLBACK").await;
    assert_eq!(
        f.keys(&mut stream, 1).await,
        [
            "name = 'a', id = 1",
            "name = 'it's', id = 2",
            "name = 'it's', id = 2",
            "name = 'a', id = 1 | name = 'a', id = 3",
            "name = 'a', id = 3",
        ]
    );
    f.run(
        "BEGIN; INSERT INTO t VALUES (5, '', 'b'); SAVEPOINT s; INSERT INTO t VALUES (6, '', 'b');
           ROLLBACK TO s; SAVEPOINT u; DELETE FROM t WHERE id = 3; RELEASE u; COMMIT",
    )
    .await;
    assert_eq!(f.keys(&mut stream, 2).await, ["name = 'b', id = 5", "name = 'a', id = 3"]);
}

#[tokio::test]
async fn every_usable_replica_identity_works_and_the_application_notices_nothing() {
    let server = Postgres::start(Major::SYSTEM);
    let table = "CREATE TABLE t (id int PRIMARY KEY, k varchar(9) NOT NULL UNIQUE, v text);
                 INSERT INTO t SELECT n, n, repeat('v', 5000) FROM generate_series(1, 3) n;";
    for (database, identity, key) in [
        ("by_pk", "DEFAULT", "id"),
        ("by_full", "FULL", "id"),
        ("by_index", "USING INDEX t_k_key", "k"),
        ("by_full_index", "FULL", "k"),
    ] {
        let ddl = format!("{table} ALTER TABLE t REPLICA IDENTITY {identity}");
        let (f, mut stream, _) = Fixture::open(&server, database, &ddl, &[key]).await;
        f.run("UPDATE t SET v = 'w' WHERE id = 1").await;
        f.run("UPDATE t SET id = 20, k = '20' WHERE id = 2").await;
        f.run("DELETE FROM t WHERE id = 3").await;
        let quoted = |n: u8| if key == "k" { format!("k = '{n}'") } else { format!("id = {n}") };
        let expected = [quoted(1), format!("{} | {}", quoted(2), quoted(20)), quoted(3)];
        assert_eq!(f.keys(&mut stream, 1).await, expected, "{identity}");
    }
}

/// An update that leaves it alone does not tell it again.
#[tokio::test]
async fn a_key_that_is_stored_out_of_line_is_reported() {
    let server = Postgres::start(Major::SYSTEM);
    for (database, identity) in [("long_default", "DEFAULT"), ("long_full", "FULL")] {
        let ddl = format!(
            "CREATE TABLE t (k text PRIMARY KEY, v int); ALTER TABLE t ALTER k SET STORAGE EXTERNAL;
             ALTER TABLE t REPLICA IDENTITY {identity};
             INSERT INTO t VALUES (repeat('k', 2500), 1), ('short', 1)"
        );
        let (f, mut stream, _) = Fixture::open(&server, database, &ddl, &["k"]).await;
        f.run("UPDATE t SET v = 2").await;
        let long = format!("k = '{}'", "k".repeat(2500));
        assert_eq!(f.keys(&mut stream, 1).await, [&long, "k = 'short'"], "{identity}");
    }
}

#[tokio::test]
async fn a_table_that_would_refuse_changes_is_not_published() {
    let server = Postgres::start(Major::SYSTEM);
    for (database, ddl, key, says) in [
        (
            "nothing",
            "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING",
            "id",
            "NOTHING",
        ),
        ("no_pk", "CREATE TABLE t (id int NOT NULL UNIQUE)", "id", "no primary key"),
        ("late", "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE)", "id", "deferrable"),
        (
            "other_key",
            "CREATE TABLE t (id int PRIMARY KEY, k int NOT NULL UNIQUE DEFAULT 1)",
            "k",
            "not in its replica identity",
        ),
        ("unlogged", "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)", "id", "not a logged table"),
    ] {
        let f = Fixture::bare(&server, database, ddl, &[key]).await;
        let error = f.prepare().await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.to_string().contains(says), "{error}");
        f.run("INSERT INTO t VALUES (1); UPDATE t SET id = 2; DELETE FROM t").await;
    }
}

#[tokio::test]
async fn ddl_that_the_stream_does_not_tell_of_ends_the_run() {
    let server = Postgres::start(Major::SYSTEM);
    let (f, mut stream, _) = Fixture::open(&server, "unseen", SIMPLE, &["id"]).await;
    f.run("INSERT INTO t VALUES (11); ALTER TABLE t ADD w int").await;
    assert!(foreign(&mut stream).await.contains("definition"));
    let (f, mut stream, _) = Fixture::open(&server, "unpublished", SIMPLE, &["id"]).await;
    f.run(&format!("ALTER PUBLICATION {} DROP TABLE t", f.names.publication)).await;
    assert!(foreign(&mut stream).await.contains("publication"));
}

#[tokio::test]
async fn truncate_and_ddl_end_the_run() {
    let server = Postgres::start(Major::SYSTEM);
    for (number, (sql, says)) in [
        ("TRUNCATE t", "truncated"),
        ("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (11)", "called public.u"),
        ("ALTER TABLE t RENAME id TO i; INSERT INTO t VALUES (11)", "columns"),
        (
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey; INSERT INTO t VALUES (11)",
            "identity",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (f, mut stream, _) =
            Fixture::open(&server, &format!("d{number}"), SIMPLE, &["id"]).await;
        f.run("INSERT INTO t VALUES (100)").await;
        assert_eq!(f.keys(&mut stream, 1).await, ["id = 100"]);
        f.run(sql).await;
        let what = foreign(&mut stream).await;
        // The watch of the catalog may be first.
        assert!(what.contains(says) || what.contains("definition"), "{sql}: {what}");
    }
}

#[tokio::test]
async fn a_stream_resumes_where_it_was_confirmed_and_never_later() {
    let mut server = Postgres::start(Major::SYSTEM);
    let (mut f, mut stream, start) = Fixture::open(&server, "again", SIMPLE, &["id"]).await;
    f.run("INSERT INTO t VALUES (11)").await;
    let first = commit(&mut stream).await;
    f.run("INSERT INTO t VALUES (12)").await;
    let second = commit(&mut stream).await;
    // Delivered, not confirmed: from anywhere after the start.
    drop(stream);
    let mut stream = f.stream(&start).await.unwrap();
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 11", "id = 12"]);
    drop(stream);
    f.seen.confirm(&first);
    let mut stream = f.stream(&second).await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, Vec::<String>::new());
    let kept = "SELECT confirmed_flush_lsn < $1::text::pg_lsn FROM pg_replication_slots";
    let kept: bool = f.client.query_one(kept, &[&second.0]).await.unwrap().get(0);
    assert!(kept, "where a stream begins is not confirmed by that");
    drop(stream);
    server.kill_and_restart();
    f.client = server.client("again").await;
    let mut stream = f.stream(&first).await.unwrap();
    assert_eq!(f.keys(&mut stream, 3).await, ["id = 12"]);
    // Confirmed further while it is read; then what comes before is gone.
    f.seen.confirm(&second);
    f.run("INSERT INTO t VALUES (13)").await;
    let confirmed = "SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots";
    let deadline = tokio::time::Instant::now() + WAIT;
    while !f.client.query_one(confirmed, &[&second.0]).await.unwrap().get::<_, bool>(0) {
        assert!(tokio::time::Instant::now() < deadline, "never confirmed");
        let _ = tokio::time::timeout(Duration::from_millis(50), next(&mut stream)).await;
    }
    drop(stream);
    assert!(matches!(f.stream(&first).await, Err(Error::StreamGap { .. })));
    let mut stream = f.stream(&second).await.unwrap();
    assert_eq!(f.keys(&mut stream, 4).await, ["id = 13"]);
}

#[tokio::test]
async fn the_position_advances_without_changes_of_ours() {
    let server = Postgres::start(Major::SYSTEM);
    let (f, mut stream, start) = Fixture::open(&server, "idle", SIMPLE, &["id"]).await;
    f.run("CREATE TABLE other (id int); INSERT INTO other SELECT generate_series(1, 1000)").await;
    let position = commit(&mut stream).await;
    assert_ne!(position, start);
    drop(stream);
    f.run("INSERT INTO t VALUES (11)").await;
    let mut stream = f.stream(&position).await.unwrap();
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 11"]);
}

#[tokio::test]
async fn a_cut_walsender_is_a_lost_connection_and_loses_nothing() {
    let server = Postgres::start(Major::SYSTEM);
    let (f, mut stream, start) = Fixture::open(&server, "cut", SIMPLE, &["id"]).await;
    f.run("INSERT INTO t VALUES (11)").await;
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 11"]);
    f.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots").await;
    let error = end(&mut stream).await;
    assert!(error.is_connection(), "{error}");
    assert!(end(&mut stream).await.is_connection(), "and stays so");
    let mut stream = f.stream(&start).await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, ["id = 11"]);
    // Another attempt takes the slot over from this one.
    let mut other = f.stream(&start).await.unwrap();
    assert_eq!(f.keys(&mut other, 3).await, ["id = 11"]);
    assert!(end(&mut stream).await.is_connection());
    stream::drop_all(&f.client, &f.names).await.unwrap();
    stream::drop_all(&f.client, &f.names).await.unwrap();
    assert!(end(&mut other).await.is_connection());
    assert!(matches!(f.stream(&start).await, Err(Error::StreamGap { .. })));
}

#[tokio::test]
async fn a_slot_whose_log_was_removed_is_a_gap() {
    let server = Postgres::start_with(
        Major::SYSTEM,
        &[
            ("max_slot_wal_keep_size", "2MB"),
            ("max_wal_size", "2MB"),
            ("min_wal_size", "2MB"),
            ("wal_keep_size", "0"),
        ],
    );
    let (f, stream, start) = Fixture::open(&server, "lost", SIMPLE, &["id"]).await;
    assert_eq!(stream::retained(&f.client, &f.names).await.unwrap().wal_status, "reserved");
    drop(stream);
    for _ in 0..6 {
        f.run(
            "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1000, 3000) n;
               DELETE FROM t WHERE id >= 1000; SELECT pg_switch_wal()",
        )
        .await;
        f.run("CHECKPOINT").await;
    }
    let retained = stream::retained(&f.client, &f.names).await.unwrap();
    assert_eq!(retained.wal_status, "lost", "{retained:?}");
    let error = f.stream(&start).await.unwrap_err();
    assert!(matches!(error, Error::StreamGap { .. }), "{error}");
    stream::drop_all(&f.client, &f.names).await.unwrap();
}

#[tokio::test]
async fn a_prepared_transaction_comes_when_it_is_committed_and_holds_the_barrier() {
    let server = Postgres::start(Major::SYSTEM);
    let (f, mut stream, _) = Fixture::open(&server, "twophase", SIMPLE, &["id"]).await;
    f.run("BEGIN; INSERT INTO t VALUES (11); PREPARE TRANSACTION 'two'").await;
    f.run("INSERT INTO t VALUES (12)").await;
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 12"]);
    let error =
        stream::start_barrier(&f.client, Duration::from_millis(100)).await.unwrap_err().to_string();
    assert!(error.contains("'two'"), "{error}");
    f.run("COMMIT PREPARED 'two'").await;
    stream::start_barrier(&f.client, WAIT).await.unwrap();
    assert_eq!(f.keys(&mut stream, 2).await, ["id = 11"]);
    f.seen.visible(&f.client).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_cannot_be_created_says_who_is_in_the_way_and_leaves_nothing() {
    let server = Postgres::start(Major::SYSTEM);
    let f = Fixture::bare(&server, "blocked", SIMPLE, &["id"]).await;
    f.prepare().await.unwrap();
    let elsewhere = server.client("postgres").await;
    elsewhere.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let pid: i32 = elsewhere.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let error = stream::create_slot(&f.options, &f.names, Duration::from_millis(500))
        .await
        .unwrap_err()
        .to_string();
    let named = format!("session {pid} in postgres (postgres, idle in transaction, ");
    assert!(error.contains(&named), "{error}");
    let left = f.client.query("SELECT FROM pg_replication_slots", &[]).await.unwrap();
    assert!(left.is_empty());
    // It is another database's business only.
    stream::start_barrier(&f.client, WAIT).await.unwrap();
    elsewhere.batch_execute("COMMIT").await.unwrap();
    f.slot().await.unwrap();
    f.slot().await.expect("one whose answer was lost is replaced");
}

#[tokio::test]
async fn a_commit_that_readers_do_not_see_yet_is_waited_for() {
    let server = Postgres::start(Major::SYSTEM);
    let (f, mut stream, _) = Fixture::open(&server, "stalled", SIMPLE, &["id"]).await;
    f.run("INSERT INTO t VALUES (11)").await;
    assert_eq!(f.keys(&mut stream, 1).await, ["id = 11"]);
    tokio::time::timeout(WAIT, f.seen.visible(&f.client)).await.unwrap().unwrap();
    server.set("synchronous_standby_names", Some("nosuch")).await;
    let writer = server.client("stalled").await;
    let writing = tokio::spawn(async move {
        writer.batch_execute("UPDATE t SET v = 'new' WHERE id = 11").await.unwrap();
    });
    loop {
        if let Change::Keys(_) = next(&mut stream).await.unwrap() {
            break;
        }
    }
    let sql = "SELECT v FROM t WHERE id = 11";
    let value = f.client.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0);
    assert_eq!(value, None, "the stream is ahead of the readers");
    let early = tokio::time::timeout(Duration::from_millis(300), f.seen.visible(&f.client)).await;
    assert!(early.is_err(), "not visible, reported to be");
    let late = stream::start_barrier(&f.client, Duration::from_millis(300)).await;
    assert!(late.is_err(), "the barrier sees it too");
    server.set("synchronous_standby_names", None).await;
    tokio::time::timeout(WAIT, f.seen.visible(&f.client)).await.unwrap().unwrap();
    let value = f.client.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0);
    assert_eq!(value.as_deref(), Some("new"));
    writing.await.unwrap();
    stream::start_barrier(&f.client, WAIT).await.unwrap();
}

#[tokio::test]
async fn a_marker_comes_after_commits_that_were_not_flushed_and_through_a_stalled_standby() {
    let server = Postgres::start_with(Major::SYSTEM, &[("wal_writer_delay", "10s")]);
    let (f, mut stream, _) = Fixture::open(&server, "asynchronous", SIMPLE, &["id"]).await;
    let writer = server.client("asynchronous").await;
    writer.batch_execute("SET synchronous_commit = off").await.unwrap();
    for id in 11..200 {
        writer.batch_execute(&format!("INSERT INTO t VALUES ({id})")).await.unwrap();
    }
    assert_eq!(f.keys(&mut stream, 1).await.len(), 189);
    server.set("synchronous_standby_names", Some("nosuch")).await;
    f.client.batch_execute("SET synchronous_commit = on").await.unwrap();
    assert!(f.keys(&mut stream, 2).await.is_empty());
    stream::emit_marker(&f.client, RUN + 1, 9).await.unwrap();
    assert!(f.keys(&mut stream, 3).await.is_empty());
}

#[tokio::test]
async fn a_large_transaction_comes_whole() {
    let server = Postgres::start_with(Major::SYSTEM, &[("logical_decoding_work_mem", "64kB")]);
    let (f, mut stream, _) = Fixture::open(&server, "large", SIMPLE, &["id"]).await;
    f.run("BEGIN; INSERT INTO t SELECT n FROM generate_series(1001, 30000) n; SAVEPOINT s;
           UPDATE t SET v = 'y' WHERE id > 1000; ROLLBACK TO s; DELETE FROM t WHERE id > 1000; COMMIT")
        .await;
    let keys = f.keys(&mut stream, 1).await;
    assert_eq!(keys.len(), 58_000);
    assert_eq!(keys.last().unwrap(), "id = 30000");
}
