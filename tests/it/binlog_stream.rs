//! The change stream on real servers: nothing is lost, whatever the servers do to hide changes.

use crate::streaming;
use crate::support;
use std::collections::HashSet;
use std::time::Duration;

use crate::streaming::{Field, failure, ids, read_to};
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;
use mysql_async::{OptsBuilder, SslOpts};
use osc::engine::backend::{Change, ChangeStream};
use osc::error::Error;
use osc::mysql::binlog;

async fn keys_markers_and_commits_come_in_order(kind: Kind) {
    let mut field = Field::with_table(support::shared(kind)).await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t (id) VALUES (1), (2), (3)").await;
    field.run("INSERT INTO markers (run, marker) VALUES (5, 99)").await;
    assert_eq!(ids(&field.read(&mut stream, 1).await.keys), [1, 2, 3]);
    field.run("UPDATE t SET id = id + 10 WHERE id <= 2").await;
    field.run("CREATE TABLE other (id INT PRIMARY KEY) ENGINE=MyISAM").await;
    field.run("INSERT INTO other VALUES (77)").await;
    let seen = field.read(&mut stream, 2).await;
    assert_eq!((ids(&seen.keys), seen.markers), (vec![1, 2, 11, 12], vec![2]));
    field.run("BEGIN").await;
    field.run("DELETE FROM t WHERE id = 3").await;
    field.run("SAVEPOINT users").await;
    field.run("INSERT INTO t (id) VALUES (4)").await;
    field.run("ROLLBACK TO users").await;
    field.run("INSERT INTO t (id) VALUES (5)").await;
    field.run("COMMIT").await;
    field.run("CREATE TABLE third (id INT PRIMARY KEY)").await;
    field.run("INSERT INTO third VALUES (77)").await;
    field.run("UPDATE t, third SET t.n = 1, third.id = 78 WHERE t.id = 5").await;
    let seen = field.read(&mut stream, 3).await;
    assert_eq!((ids(&seen.keys), seen.foreign), (vec![3, 5], vec![]));
    assert!(seen.age < Duration::from_secs(5), "{:?}", seen.age);
    // An idle server: heartbeats tell that nothing is missing.
    let Change::Commit { age, .. } = stream.next().await.unwrap() else { panic!("a commit") };
    assert_eq!(age, Duration::ZERO);
}

async fn every_commit_is_a_place_to_go_on_from(kind: Kind) {
    let mut field = Field::with_table(support::shared(kind)).await;
    let mut stream = field.stream().await;
    for id in 0..10 {
        field.run(&format!("INSERT INTO t (id) VALUES ({id})")).await;
    }
    for sql in ["BEGIN", "INSERT INTO t (id) VALUES (10)", "SAVEPOINT s"] {
        field.run(sql).await;
    }
    for sql in ["INSERT INTO t (id) VALUES (11)", "COMMIT"] {
        field.run(sql).await;
    }
    let mut rest: Vec<i64> = (0..12).collect();
    field.mark(1).await;
    loop {
        match stream.next().await.unwrap() {
            Change::Keys(keys) => {
                let came = ids(&keys);
                rest.retain(|id| !came.contains(id));
            }
            Change::Commit { position, .. } => {
                let mut again = field.stream_from(&position).await;
                if rest.is_empty() {
                    field.mark(2).await;
                    assert_eq!(ids(&read_to(&mut again, 2).await.keys), rest);
                    return;
                }
                assert_eq!(ids(&read_to(&mut again, 1).await.keys), rest);
            }
            Change::Marker(_) | Change::ShadowKeys(_) => {}
            Change::Foreign(what) => panic!("{what}"),
        }
    }
}

async fn a_cancelled_wait_loses_nothing(kind: Kind) {
    let mut field = Field::with_table(support::shared(kind)).await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t (id) SELECT 0").await;
    for _ in 0..12 {
        field.run("INSERT INTO t (id) SELECT id + (SELECT COUNT(*) FROM t) FROM t").await;
    }
    field.mark(1).await;
    let (mut keys, mut waits) = (Vec::new(), 0);
    loop {
        let wait = Duration::from_micros(waits % 50);
        waits += 1;
        match tokio::time::timeout(wait, stream.next()).await.map(Result::unwrap) {
            Ok(Change::Keys(some)) => keys.extend(some),
            Ok(Change::Marker(1)) => break,
            _ => {}
        }
    }
    assert_eq!(keys.len(), 4096);
    assert_eq!(ids(&keys), (0..4096).collect::<Vec<i64>>());
}

async fn what_others_do_to_the_table_is_reported(kind: Kind) {
    let server = support::shared(kind);
    let mut field = Field::with_table(server).await;
    field.run("CREATE TABLE u (id INT PRIMARY KEY)").await;
    field
        .run(
            "CREATE TABLE p (v VARCHAR(300), id INT NOT NULL PRIMARY KEY, n INT) \
               PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100))",
        )
        .await;
    field.run("CREATE TRIGGER t_ai AFTER INSERT ON t FOR EACH ROW SET @a = 1").await;
    field.run("CREATE VIEW w AS SELECT id, n FROM t").await;
    let database = field.database.clone();
    let other = support::database(server).await;
    let mut stream = field.stream().await;
    // Each leaves a table `t` that the next can be about.
    let foreign = [
        "ALTER TABLE t ADD x INT",
        "ALTER TABLE t DROP x",
        "/* app */ TRUNCATE TABLE `t`",
        "ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE t",
        "CREATE INDEX i ON t (n)",
        "DROP INDEX i ON t",
        "RENAME TABLE t TO t9",
        "RENAME TABLE t9 TO t",
        "CREATE TRIGGER t_bu BEFORE UPDATE ON t FOR EACH ROW SET @a = 2",
        "DROP TRIGGER t_ai",
        "DROP TABLE u, t",
    ];
    let harmless = [
        "CREATE TABLE IF NOT EXISTS t (id INT)",
        "CREATE TEMPORARY TABLE t (id INT)",
        "INSERT INTO t VALUES (1)",
        "DROP TEMPORARY TABLE t",
        "CREATE TABLE t_osc_new LIKE t",
        "ALTER TABLE t_osc_new ADD y INT, ADD KEY (n)",
        "INSERT INTO t_osc_new (id) VALUES (1)",
        "DROP TABLE t_osc_new",
        "ANALYZE TABLE t",
        "OPTIMIZE TABLE t",
        "GRANT SELECT ON t TO CURRENT_USER()",
        "CREATE TABLE c (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES t (id))",
        "DROP TABLE c",
        "CREATE TABLE made AS SELECT * FROM t",
        "CREATE PROCEDURE f() INSERT INTO t (id) VALUES (1)",
    ];
    for (at, sql) in harmless.iter().enumerate() {
        field.run(sql).await;
        let seen = field.read(&mut stream, 100 + u64::try_from(at).unwrap()).await;
        assert_eq!(seen.foreign, Vec::<String>::new(), "{sql}");
    }
    let logged = "SET SESSION binlog_format = 'STATEMENT'";
    for (at, sql) in ["INSERT INTO t (id) VALUES (50)", "UPDATE w SET n = 4", "DELETE FROM t"]
        .into_iter()
        .enumerate()
    {
        field.run(logged).await;
        field.run(sql).await;
        field.run("SET SESSION binlog_format = 'ROW'").await;
        let seen = field.read(&mut stream, 200 + u64::try_from(at).unwrap()).await;
        assert_eq!(seen.foreign.len(), 1, "{sql}: {seen:?}");
    }
    field.run(logged).await;
    field.run("INSERT INTO u VALUES (50)").await;
    field.run("SET SESSION binlog_format = 'ROW'").await;
    assert!(field.read(&mut stream, 210).await.foreign.is_empty());
    for (at, sql) in foreign.iter().enumerate() {
        // Once from a session elsewhere, which names the schema.
        if sql.starts_with("ALTER TABLE t ") {
            let sql = sql.replace("TABLE t ", &format!("TABLE `{database}`.t "));
            server.exec_in(&other, &sql).await;
        } else {
            field.run(sql).await;
        }
        let from = 300 + u64::try_from(at).unwrap();
        let seen = field.read(&mut stream, from).await;
        assert!(!seen.foreign.is_empty(), "{sql}");
    }
}

async fn xa_transactions_count_when_they_are_committed(kind: Kind) {
    let mut field = Field::with_table(support::shared(kind)).await;
    let mut stream = field.stream().await;
    let name = format!("'{}',X'6201',7", field.database);
    let mut xa = field.server.conn_db(&field.database).await;
    for sql in ["XA START {}", "INSERT INTO t (id) VALUES (7)", "XA END {}", "XA PREPARE {}"] {
        xa.query_drop(sql.replace("{}", &name)).await.unwrap();
    }
    xa.disconnect().await.unwrap();
    field.run("INSERT INTO t (id) VALUES (8)").await;
    let seen = field.read(&mut stream, 1).await;
    assert_eq!(ids(&seen.keys), [8]);
    let held = seen.commits.last().unwrap().clone();
    assert!(seen.commits.iter().all(|position| *position == held), "{:?}", seen.commits);
    // A stream that begins there reads the prepared rows again.
    let mut again = field.stream_from(&held).await;
    field.run(&format!("XA COMMIT {name}")).await;
    let seen = field.read(&mut stream, 2).await;
    assert_eq!(ids(&seen.keys), [7]);
    assert_ne!(*seen.commits.last().unwrap(), held);
    assert_eq!(ids(&read_to(&mut again, 2).await.keys), [7, 8]);
    for sql in ["XA START 'one'", "INSERT INTO t (id) VALUES (9)", "XA END 'one'"] {
        field.run(sql).await;
    }
    field.run("XA COMMIT 'one' ONE PHASE").await;
    for sql in ["XA START 'two'", "INSERT INTO t (id) VALUES (10)", "XA END 'two'"] {
        field.run(sql).await;
    }
    field.run("XA PREPARE 'two'").await;
    field.run("XA ROLLBACK 'two'").await;
    let seen = field.read(&mut stream, 3).await;
    assert!([vec![9], vec![9, 10]].contains(&ids(&seen.keys)), "{seen:?}");
    assert!(seen.foreign.is_empty());
}

async fn compressed_changes_are_read(kind: Kind) {
    let server = match kind {
        Kind::Mariadb => {
            Server::start_with(kind, &["--log-bin-compress=1", "--log-bin-compress-min-len=10"])
        }
        Kind::Mysql => Server::start_with(kind, &["--binlog-transaction-compression=ON"]),
    };
    let mut field = Field::with_table(&server).await;
    let from = field.position().await;
    let mut stream = field.stream().await;
    let long = "REPEAT('long text ', 20)";
    field.run(&format!("INSERT INTO t (id, v) VALUES (1, {long}), (2, {long})")).await;
    field.run("UPDATE t SET id = id + 10, v = 'changed and changed and changed'").await;
    field.run("DELETE FROM t WHERE id = 12").await;
    let seen = field.read(&mut stream, 1).await;
    assert_eq!((ids(&seen.keys), seen.keys.len()), (vec![1, 2, 11, 12], 7));
    field.run("TRUNCATE TABLE t /* a comment that makes it long enough to be compressed */").await;
    assert_eq!(field.read(&mut stream, 2).await.foreign.len(), 1);
    let place = seen.commits.last().unwrap();
    let mut again = field.stream_from(place).await;
    assert_eq!(read_to(&mut again, 2).await.keys.len(), 0);
    let mut first = field.stream_from(&from).await;
    assert_eq!(read_to(&mut first, 1).await.keys.len(), 7);
}

async fn files_change_under_the_stream(kind: Kind) {
    let server = Server::start_with(kind, &["--max-binlog-size=8192"]);
    let mut field = Field::with_table(&server).await;
    let from = field.position().await;
    let mut stream = field.stream().await;
    for id in 0..60 {
        field.run(&format!("INSERT INTO t (id, v) VALUES ({id}, REPEAT('x', 300))")).await;
    }
    field.run("FLUSH BINARY LOGS").await;
    let seen = field.read(&mut stream, 1).await;
    assert_eq!(ids(&seen.keys), (0..60).collect::<Vec<i64>>());
    let files: HashSet<&str> = seen
        .commits
        .iter()
        .filter_map(|position| position.0.split('"').find(|part| part.contains(".0")))
        .collect();
    assert!(files.len() > 2, "{files:?}");
    // The last is behind the marker.
    for place in seen.commits.iter().rev().skip(1).step_by(7) {
        let mut again = field.stream_from(place).await;
        read_to(&mut again, 1).await;
    }
    // Purged: what is not there any more is reported, not skipped.
    let last = field.server.rows("SHOW BINARY LOGS").await.pop().unwrap()[0].clone();
    drop(stream);
    tokio::time::sleep(Duration::from_secs(2)).await;
    field.run(&format!("PURGE BINARY LOGS TO '{last}'")).await;
    let error = match field.stream_with(server.opts(""), &from).await {
        Ok(mut stream) => failure(&mut stream).await,
        Err(error) => error,
    };
    assert!(matches!(error, Error::StreamGap { .. }), "{error:?}");
}

async fn a_broken_stream_is_a_lost_connection(kind: Kind) {
    let mut server = Server::start(kind);
    let mut field = Field::with_table(&server).await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t (id) VALUES (1)").await;
    let place = field.read(&mut stream, 1).await.commits.pop().unwrap();
    let sql = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    let dump = server.value(sql).await;
    field.run(&format!("KILL {dump}")).await;
    let error = failure(&mut stream).await;
    assert!(error.is_connection(), "{error:?}");
    assert!(stream.next().await.unwrap_err().is_connection());
    field.run("INSERT INTO t (id) VALUES (2)").await;
    let mut stream = field.stream_from(&place).await;
    assert_eq!(ids(&field.read(&mut stream, 2).await.keys), [2]);
    field.run("INSERT INTO t (id) VALUES (3)").await;
    let database = field.database.clone();
    server.restart().await;
    let error = loop {
        if let Err(error) = stream.next().await {
            break error;
        }
    };
    assert!(error.is_connection(), "{error:?}");
    let conn = server.conn_db(&database).await;
    let mut field = Field { server: &server, database, conn };
    field.run("INSERT INTO t (id) VALUES (4)").await;
    let mut stream = field.stream_from(&place).await;
    assert_eq!(ids(&field.read(&mut stream, 3).await.keys), [2, 3, 4]);
}

async fn a_large_row_is_read(kind: Kind) {
    let server = Server::start_with(kind, &["--max-allowed-packet=16M"]);
    let mut field = Field::with_table(&server).await;
    field.run("ALTER TABLE t ADD blob_ LONGBLOB").await;
    let mut stream = field.stream().await;
    // Both images together are larger than any packet that the server takes.
    field.run("INSERT INTO t (id, blob_) VALUES (1, REPEAT('a', 12000000))").await;
    field.run("UPDATE t SET id = 2, blob_ = REPEAT('b', 12000000)").await;
    assert_eq!(ids(&field.read(&mut stream, 1).await.keys), [1, 2]);
}

async fn without_gtids_the_stream_goes_on_by_file(kind: Kind) {
    let options: &[&str] = match kind {
        Kind::Mariadb => return,
        Kind::Mysql => &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
    };
    let server = Server::start_with(kind, options);
    let mut field = Field::with_table(&server).await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t (id) VALUES (1)").await;
    let seen = field.read(&mut stream, 1).await;
    let place = seen.commits.last().unwrap().clone();
    field.run("INSERT INTO t (id) VALUES (2)").await;
    let mut again = field.stream_from(&place).await;
    assert_eq!(ids(&field.read(&mut again, 2).await.keys), [2]);
    // Another server's files, and offsets that the protocol cannot name.
    let mut elsewhere = place.clone();
    elsewhere.0 = elsewhere.0.replacen("\"server\":\"", "\"server\":\"x", 1);
    let mut beyond = place.clone();
    beyond.0 = beyond.0.replacen("\"offset\":", "\"offset\":9999999", 1);
    for (wrong, words) in [(elsewhere, "server"), (beyond, "4 GiB")] {
        let error = field.stream_with(server.opts(""), &wrong).await.unwrap_err();
        assert!(matches!(error, Error::StreamGap { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_mysql_logs_is_read() {
    let server = Server::start_with(Kind::Mysql, &["--binlog-row-value-options=PARTIAL_JSON"]);
    let mut field = Field::with_table(&server).await;
    field.run("ALTER TABLE t ADD j JSON, ADD k JSON, ADD m JSON").await;
    let mut stream = field.stream().await;
    let json = "JSON_OBJECT('a', REPEAT('x', 1000), 'b', 1)";
    field.run(&format!("INSERT INTO t (id, j, k, m) VALUES (1, {json}, {json}, NULL), (2, {json}, NULL, {json})")).await;
    for image in ["FULL", "MINIMAL"] {
        field.run(&format!("SET SESSION binlog_row_image = '{image}'")).await;
        field.run("UPDATE t SET j = JSON_SET(j, '$.b', 2), k = JSON_SET(k, '$.b', 3)").await;
        field.run("UPDATE t SET j = JSON_SET(j, '$.b', 5), id = id + 10").await;
    }
    let seen = field.read(&mut stream, 1).await;
    assert_eq!(ids(&seen.keys), [1, 2, 11, 12, 21, 22]);
    field.run("SET SESSION gtid_next = 'AUTOMATIC:osc_test'").await;
    field.run("INSERT INTO t (id) VALUES (100)").await;
    let place = field.read(&mut stream, 2).await.commits.pop().unwrap();
    assert!(place.0.contains("osc_test:1-2"), "{place}");
    field.run("INSERT INTO t (id) VALUES (101)").await;
    let mut again = field.stream_from(&place).await;
    assert_eq!(ids(&field.read(&mut again, 3).await.keys), [101]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_of_mariadb_are_resumed_from_each() {
    let server = Server::start(Kind::Mariadb);
    let mut field = Field::with_table(&server).await;
    let mut stream = field.stream().await;
    for (id, domain) in [(1, 0), (2, 7), (3, 0), (4, 9)] {
        field.run(&format!("SET SESSION gtid_domain_id = {domain}")).await;
        field.run(&format!("INSERT INTO t (id) VALUES ({id})")).await;
    }
    field.run("SET SESSION gtid_domain_id = 0").await;
    let seen = field.read(&mut stream, 1).await;
    let mut rest: Vec<i64> = vec![1, 2, 3, 4];
    for place in seen.commits.iter().filter(|place| place.0.contains('-')).take(4) {
        let mut again = field.stream_from(place).await;
        let came = ids(&read_to(&mut again, 1).await.keys);
        assert!(rest.ends_with(&came) && came.len() + 1 >= rest.len(), "{place}: {came:?}");
        rest = came;
    }
    // A transaction that this server does not have: a gap, not the next one that it has.
    let mut ahead = seen.commits.last().unwrap().clone();
    ahead.0 = ahead.0.replacen("\"mariadb\":\"0-", "\"mariadb\":\"5-1-9,0-", 1);
    let mut unknown = seen.commits.last().unwrap().clone();
    let at = unknown.0.find(",7-").unwrap();
    unknown.0.insert(at, '9');
    let error = match field.stream_with(server.opts(""), &unknown).await {
        Ok(mut stream) => failure(&mut stream).await,
        Err(error) => error,
    };
    assert!(matches!(error, Error::StreamGap { .. }), "{error:?}");
}

async fn a_user_with_a_password_reads_with_and_without_tls(kind: Kind) {
    // Two providers are built in, and the test connects by itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = support::shared(kind);
    let mut field = Field::with_table(server).await;
    let user = format!("reader_{}", field.database);
    let plugin = if kind == Kind::Mysql { "WITH caching_sha2_password " } else { "" };
    field.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED {plugin}BY 'sec ret'")).await;
    field.run(&format!("GRANT REPLICATION SLAVE ON *.* TO '{user}'@'%'")).await;
    field.run(&format!("GRANT SELECT, TRIGGER ON `{}`.* TO '{user}'@'%'", field.database)).await;
    let plain = OptsBuilder::from_opts(server.opts("")).user(Some(user)).pass(Some("sec ret"));
    let tls = SslOpts::default().with_danger_accept_invalid_certs(true);
    let mut all = vec![plain.clone()];
    if kind == Kind::Mysql {
        all.push(plain.ssl_opts(Some(tls)));
    }
    for (id, opts) in all.into_iter().enumerate() {
        let from = field.position().await;
        let mut stream = field.stream_with(opts.into(), &from).await.unwrap();
        field.run(&format!("INSERT INTO t (id) VALUES ({id})")).await;
        let marker = u64::try_from(id).unwrap();
        assert_eq!(ids(&field.read(&mut stream, marker).await.keys), [i64::try_from(id).unwrap()]);
    }
}

async fn a_key_with_a_default_is_in_a_minimal_image(kind: Kind) {
    let mut field = Field::new(support::shared(kind)).await;
    field.run("CREATE TABLE t (v INT, id INT NOT NULL DEFAULT 7 PRIMARY KEY)").await;
    field.run("INSERT INTO t (id) VALUES (1)").await;
    field.run("SET SESSION binlog_row_image = 'MINIMAL'").await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t (v) VALUES (1)").await;
    field.run("UPDATE t SET v = 2 WHERE id > 1").await;
    field.run("UPDATE t SET id = 9 WHERE id > 1").await;
    field.run("REPLACE INTO t (v, id) VALUES (5, 9)").await;
    field.run("INSERT INTO t (v, id) VALUES (5, 9) ON DUPLICATE KEY UPDATE id = 10").await;
    assert_eq!(ids(&field.read(&mut stream, 1).await.keys), [7, 9, 10]);
}

/// MySQL logs such a row with no column and no byte.
async fn a_new_row_of_nothing_but_defaults_is_delivered(kind: Kind) {
    let mut field = Field::new(support::shared(kind)).await;
    field.run("CREATE TABLE t (v INT, id INT NOT NULL DEFAULT 7 PRIMARY KEY)").await;
    field.run("INSERT INTO t (id) VALUES (1)").await;
    field.run("SET SESSION binlog_row_image = 'MINIMAL'").await;
    let mut stream = field.stream().await;
    field.run("INSERT INTO t () VALUES ()").await;
    assert_eq!(ids(&field.read(&mut stream, 1).await.keys), [7]);
}

/// Rows of nine columns, more in each statement than in all before it.
async fn many_rows_are_read_whole(kind: Kind) {
    let server = Server::start(kind);
    let mut field = Field::with_table(&server).await;
    field
        .run(
            "ALTER TABLE t ADD a VARCHAR(60), ADD b DATETIME, ADD c BIGINT, ADD d DECIMAL(10,2), \
               ADD e DOUBLE, ADD f TEXT",
        )
        .await;
    let from = field.position().await;
    field.run("INSERT INTO t SELECT 'some text', 0, 1, REPEAT('y', 40), NOW(), 5, 1.5, 2.5, 'more text'").await;
    for _ in 0..15 {
        field
            .run(
                "INSERT INTO t SELECT v, id + (SELECT COUNT(*) FROM t), n, a, b, c, d, e, f FROM t",
            )
            .await;
    }
    field.mark(1).await;
    let config = field.config("t", streaming::id_key()).await;
    let mut stream = binlog::open(&config, &from).await.unwrap();
    assert_eq!(read_to(&mut stream, 1).await.keys.len(), 1 << 15);
}

on_both_servers! {
    keys_markers_and_commits_come_in_order
    every_commit_is_a_place_to_go_on_from
    a_cancelled_wait_loses_nothing
    what_others_do_to_the_table_is_reported
    xa_transactions_count_when_they_are_committed
    compressed_changes_are_read
    files_change_under_the_stream
    a_broken_stream_is_a_lost_connection
    a_large_row_is_read
    many_rows_are_read_whole
    without_gtids_the_stream_goes_on_by_file
    a_user_with_a_password_reads_with_and_without_tls
    a_key_with_a_default_is_in_a_minimal_image
    a_new_row_of_nothing_but_defaults_is_delivered
}
