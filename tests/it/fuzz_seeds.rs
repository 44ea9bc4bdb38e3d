//! Captures from real servers what `fuzz/corpus` begins with:
//!
//!     cargo test --features faults,fuzzing --test it fuzz_seeds:: -- --ignored

use crate::support;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::postgres::Postgres;
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{Event, FormatDescriptionEvent, TransactionPayloadEvent};

/// Bytes before each event's body.
const HEAD: usize = 19;

const TABLE: &str = "CREATE TABLE t (id INT NOT NULL DEFAULT 5 PRIMARY KEY, v VARCHAR(300), \
                     n DECIMAL(8,2), j JSON) CHARACTER SET utf8mb4";

const WIDE: &str = "CREATE TABLE wide (z BLOB, a MEDIUMINT NOT NULL, b DECIMAL(20,5) NOT NULL, \
                    c DATETIME(3) NOT NULL, d TIMESTAMP(6) NOT NULL, e TIME(2) NOT NULL, \
                    f VARBINARY(40) NOT NULL, g BINARY(8) NOT NULL, h ENUM('x','y') NOT NULL, \
                    i SET('p','q') NOT NULL, j BIT(10) NOT NULL, k VARCHAR(90) NOT NULL, \
                    l YEAR NOT NULL, y DOUBLE, x POINT, PRIMARY KEY (a,b,c,d,e,f,g,h,i,j,k,l)) \
                    CHARACTER SET utf8mb4";

const WIDE_ROW: &str = "INSERT INTO wide VALUES ('blob', -1, -1234567.00001, \
                        '2024-02-29 01:02:03.5', '2024-02-29 01:02:03.000004', '-01:02:03.04', \
                        X'0001ff00', X'01', 'y', 'p,q', b'1000000001', 'e\u{301}', 2024, 1.5, \
                        POINT(1, 2))";

const MARKERS: &str = "CREATE TABLE markers (run BIGINT NOT NULL, marker BIGINT UNSIGNED NOT NULL)";

/// Cases of both servers: a name, and the statements whose events it has.
const BOTH: [(&str, &[&str]); 8] = [
    (
        "rows",
        &[
            "INSERT INTO t VALUES (1, 'a', -1.5, '{\"a\": [1]}'), (2, NULL, NULL, NULL)",
            "UPDATE t SET id = id + 10, v = 'b'",
            "DELETE FROM t",
        ],
    ),
    (
        "minimal",
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'",
            "INSERT INTO t () VALUES ()",
            "UPDATE t SET v = 'b' WHERE id = 5",
            "DELETE FROM t",
        ],
    ),
    ("wide", &[WIDE_ROW, "UPDATE wide SET a = -8388608, j = b'1', f = ''", "DELETE FROM wide"]),
    ("markers", &["INSERT INTO markers VALUES (-7, 1), (-8, 2)"]),
    (
        "statements",
        &[
            "SET SESSION binlog_format = 'STATEMENT'",
            "INSERT INTO t (id, v) VALUES (3, 'it''s')",
            "DELETE FROM t",
        ],
    ),
    ("ddl", &["ALTER TABLE t COMMENT = 'x'", "TRUNCATE TABLE t", "CREATE TABLE o (i INT)"]),
    (
        "xa",
        &[
            "XA START 'a','b',1",
            "INSERT INTO t (id) VALUES (4)",
            "XA END 'a','b',1",
            "XA PREPARE 'a','b',1",
            "XA COMMIT 'a','b',1",
        ],
    ),
    (
        "savepoint",
        &[
            "START TRANSACTION",
            "INSERT INTO t (id) VALUES (6)",
            "SAVEPOINT s",
            "INSERT INTO t (id) VALUES (7)",
            "ROLLBACK TO s",
            "COMMIT",
        ],
    ),
];

const MYSQL: [(&str, &[&str]); 2] = [
    (
        "compressed",
        &[
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO t (id, v) VALUES (8, REPEAT('a', 200)), (9, 'b')",
        ],
    ),
    (
        "partial-json",
        &[
            "INSERT INTO t (id, j) VALUES (20, '{\"a\": \"xxxxxxxxxxxx\", \"b\": 2}')",
            "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'",
            "UPDATE t SET j = JSON_SET(j, '$.a', 'y') WHERE id = 20",
        ],
    ),
];

const MARIADB: [(&str, &[&str]); 2] = [
    (
        "compressed",
        &[
            "SET GLOBAL log_bin_compress_min_len = 10",
            "SET GLOBAL log_bin_compress = ON",
            "INSERT INTO t (id, v) VALUES (8, REPEAT('a', 200)), (9, 'b')",
            "CREATE TABLE p (a INT COMMENT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
            "SET GLOBAL log_bin_compress = OFF",
        ],
    ),
    (
        "types",
        &[
            "INSERT INTO maria VALUES (1, '123e4567-e89b-12d3-a456-426655440000', '::1')",
            "UPDATE maria SET v = '::ffff:1.2.3.0'",
        ],
    ),
];

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = corpus(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// The events of a file, without those that only describe it.
fn events(mut file: &[u8]) -> Vec<u8> {
    let mut events = Vec::new();
    file = &file[4..];
    while !file.is_empty() {
        let size = u32::from_le_bytes(file[9..13].try_into().unwrap());
        let (event, rest) = file.split_at(usize::try_from(size).unwrap());
        assert!(event.len() >= HEAD);
        // Of the format, the GTIDs before, MariaDB's list of them and its checkpoint, the next file.
        if !matches!(event[4], 15 | 35 | 0xa3 | 0xa1 | 4) {
            events.extend_from_slice(event);
        }
        if event[4] == 40 {
            // What a compressed transaction holds follows it.
            let format = FormatDescriptionEvent::new(BinlogVersion::Version4);
            let event = Event::read(&format, event).unwrap();
            let payload = event.read_event::<TransactionPayloadEvent<'_>>().unwrap();
            payload.decompressed().unwrap().read_to_end(&mut events).unwrap();
        }
        file = rest;
    }
    events
}

async fn capture(kind: Kind, more: &[(&str, &[&str])]) {
    let server = Server::start(kind);
    server.exec("SET GLOBAL binlog_checksum = 'NONE'").await;
    server.exec("CREATE DATABASE fuzz").await;
    let mut conn = server.conn_db("fuzz").await;
    for sql in [TABLE, WIDE, MARKERS] {
        conn.query_drop(sql).await.unwrap();
    }
    if kind == Kind::Mariadb {
        let sql = "CREATE TABLE maria (n INT, u UUID NOT NULL, v INET6 NOT NULL)";
        conn.query_drop(sql).await.unwrap();
    }
    for (name, statements) in BOTH.iter().chain(more) {
        server.exec("FLUSH BINARY LOGS").await;
        let file = server.rows("SHOW BINARY LOGS").await.pop().unwrap().swap_remove(0);
        let mut conn = server.conn_db("fuzz").await;
        for sql in *statements {
            conn.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let basename = server.value("SELECT @@log_bin_basename").await;
        let bytes = std::fs::read(Path::new(&basename).with_file_name(file)).unwrap();
        write("binlog", &format!("{}-{name}", kind.name()), &events(&bytes));
    }
}

#[tokio::test]
#[ignore = "writes fuzz/corpus"]
async fn events_of_mysql() {
    capture(Kind::Mysql, &MYSQL).await;
}

#[tokio::test]
#[ignore = "writes fuzz/corpus"]
async fn events_of_mariadb() {
    capture(Kind::Mariadb, &MARIADB).await;
}

#[tokio::test]
#[ignore = "writes fuzz/corpus"]
async fn messages_of_postgres() {
    let server: &Postgres = support::shared_postgres();
    let database = support::postgres_database(server).await;
    let run = async |sql: &str| server.exec(&database, sql).await;
    run("CREATE TABLE t (id bigint, name text, u uuid, n numeric, PRIMARY KEY (id, u))").await;
    run("CREATE TABLE texts (a text PRIMARY KEY, b text)").await;
    run("CREATE PUBLICATION fuzz FOR ALL TABLES").await;
    run("SELECT pg_create_logical_replication_slot('fuzz', 'pgoutput')").await;
    let insert = "INSERT INTO t SELECT n, repeat('x', 9), md5(n::text)::uuid, n \
                  FROM generate_series(-1, 1) n";
    let cases: [(&str, &[&str]); 6] = [
        ("rows", &[insert, "UPDATE t SET name = 'y'", "UPDATE t SET id = -id", "DELETE FROM t"]),
        (
            "identity-full",
            &["ALTER TABLE t REPLICA IDENTITY FULL", insert, "UPDATE t SET n = NULL"],
        ),
        (
            "out-of-line",
            &[
                "ALTER TABLE texts ALTER b SET STORAGE EXTERNAL",
                "INSERT INTO texts VALUES ('a', repeat('b', 2100))",
                "UPDATE texts SET a = 'c'",
            ],
        ),
        ("truncate", &["TRUNCATE t, texts"]),
        ("changed", &["ALTER TABLE t ADD more int", "INSERT INTO texts VALUES ('\u{e9}', NULL)"]),
        ("renamed", &[insert, "ALTER TABLE t RENAME TO s", "DELETE FROM s"]),
    ];
    for (name, statements) in cases {
        for sql in statements {
            run(sql).await;
        }
        let messages = server
            .rows(
                &database,
                "SELECT encode(int4send(length(data)) || data, 'hex') \
                 FROM pg_logical_slot_get_binary_changes('fuzz', NULL, NULL, \
                 'proto_version', '1', 'publication_names', 'fuzz')",
            )
            .await;
        let hex = messages.concat().concat();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        write("pgoutput", name, &bytes);
    }
}
