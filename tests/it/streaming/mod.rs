//! What the tests of the change stream share: a table, its stream, and markers in it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use osc::engine::backend::{Change, ChangeStream};
use osc::error::Error;
use osc::key::{Key, Position};
use osc::mysql::binlog::{self, BinlogStream, StreamConfig};
use osc::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
use osc::mysql::connection::version::Flavor;
use osc::mysql::name::{Ident, TableName};

use crate::support;
use crate::support::server::Server;

/// The run whose markers count.
pub const RUN: i64 = -7;

/// What a stream delivered up to a marker.
#[derive(Debug, Default)]
pub struct Seen {
    pub keys: Vec<Key>,
    pub foreign: Vec<String>,
    pub commits: Vec<Position>,
    pub markers: Vec<u64>,
    pub age: Duration,
}

/// A database with a table of markers.
pub struct Field<'a> {
    pub server: &'a Server,
    pub database: String,
    pub conn: Conn,
}

impl<'a> Field<'a> {
    pub async fn new(server: &'a Server) -> Self {
        let database = support::database(server).await;
        let mut conn = server.conn_db(&database).await;
        conn.query_drop("SET time_zone = '+00:00', sql_mode = ''").await.unwrap();
        let markers = "CREATE TABLE markers (run BIGINT NOT NULL, marker BIGINT UNSIGNED NOT NULL, \
                       at TIMESTAMP(6) NULL, PRIMARY KEY (run, marker))";
        conn.query_drop(markers).await.unwrap();
        Self { server, database, conn }
    }

    /// A field with a table `t` that has an INT key after a column of text.
    pub async fn with_table(server: &'a Server) -> Self {
        let mut field = Self::new(server).await;
        field.run("CREATE TABLE t (v VARCHAR(300), id INT NOT NULL PRIMARY KEY, n INT)").await;
        field
    }

    pub async fn run(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn flavor(&mut self) -> Flavor {
        let version: Option<String> = self.conn.query_first("SELECT VERSION()").await.unwrap();
        Flavor::parse(&version.unwrap()).unwrap()
    }

    pub async fn position(&mut self) -> Position {
        let flavor = self.flavor().await;
        binlog::current_position(&mut self.conn, flavor).await.unwrap()
    }

    pub async fn config(&mut self, table: &str, key: KeyColumns) -> StreamConfig {
        StreamConfig {
            since: None,
            shadow: None,
            opts: self.server.opts(""),
            flavor: self.flavor().await,
            original: TableName::new(&*self.database, table),
            ledger: TableName::new(&*self.database, "markers"),
            run: RUN,
            key,
        }
    }

    /// The stream of table `t` from now on.
    pub async fn stream(&mut self) -> BinlogStream {
        let from = self.position().await;
        self.stream_from(&from).await
    }

    pub async fn stream_from(&mut self, from: &Position) -> BinlogStream {
        let config = self.config("t", id_key()).await;
        binlog::open(&config, from).await.unwrap()
    }

    pub async fn stream_with(
        &mut self,
        opts: Opts,
        from: &Position,
    ) -> Result<BinlogStream, Error> {
        let config = StreamConfig { opts, ..self.config("t", id_key()).await };
        binlog::open(&config, from).await
    }

    pub async fn mark(&mut self, marker: u64) {
        self.run(&format!("INSERT INTO markers (run, marker) VALUES ({RUN}, {marker})")).await;
    }

    /// Marks, and reads up to the marker.
    pub async fn read(&mut self, stream: &mut BinlogStream, marker: u64) -> Seen {
        self.mark(marker).await;
        read_to(stream, marker).await
    }
}

/// Reads up to a marker and the commit after it.
pub async fn read_to(stream: &mut BinlogStream, marker: u64) -> Seen {
    let mut seen = Seen::default();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
        match next.expect("the stream goes on").expect("the stream holds") {
            Change::Keys(keys) => seen.keys.extend(keys),
            Change::ShadowKeys(keys) => panic!("no shadow is watched: {keys:?}"),
            Change::Marker(marker) => seen.markers.push(marker),
            Change::Foreign(what) => seen.foreign.push(what),
            Change::Commit { position, age } => {
                seen.commits.push(position);
                seen.age = age;
                if seen.markers.contains(&marker) {
                    return seen;
                }
            }
        }
    }
}

/// The stream's error, when nothing but commits come before it.
pub async fn failure(stream: &mut BinlogStream) -> Error {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
        match next.expect("the stream ends") {
            Ok(Change::Commit { .. }) => {}
            Ok(change) => panic!("{change:?}"),
            Err(error) => return error,
        }
    }
}

pub fn column(name: &str, ordinal: usize, kind: KeyKind) -> KeyColumn {
    KeyColumn { name: Ident::new(name), ordinal, kind, descending: false }
}

pub fn id_key() -> KeyColumns {
    KeyColumns(vec![column("id", 1, KeyKind::Int { bytes: 4, unsigned: false })])
}

/// The keys as numbers, in order, each once.
pub fn ids(keys: &[Key]) -> Vec<i64> {
    let mut ids: Vec<i64> = keys
        .iter()
        .map(|key| match id_key().decode(key).unwrap()[..] {
            [KeyValue::Int(id)] => id,
            ref other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
