//! A table with its stream.

use std::sync::Arc;
use std::time::Duration;

use osc::config::target::{Address, Scheme, Target, Tls, TlsMode};
use osc::engine::backend::{Change, ChangeStream};
use osc::error::{Error, Result};
use osc::key::Position;
use osc::postgres::catalog::key::{KeyColumn, KeyColumns, KeyKind};
use osc::postgres::connection::connect::Options;
use osc::postgres::name::{Ident, TableName};
use osc::postgres::stream::{self, Capture, Names, PgStream, Seen, StreamConfig, triggers};
use tokio_postgres::Client;

use crate::support::postgres::Postgres;

/// How the program would connect to a database of the server.
pub fn options(server: &Postgres, user: &str, database: &str) -> Options {
    Options::of(&Target {
        scheme: Scheme::Postgres,
        address: Address::Tcp { host: "127.0.0.1".into(), port: server.port() },
        user: user.into(),
        password: None,
        database: Some(database.into()),
        tls: Tls { mode: TlsMode::Off, ca: None, cert: None, key: None },
        ledger: osc::config::target::LEDGER.into(),
        wire: Default::default(),
    })
    .unwrap()
}

/// The schema of osc's own.
pub fn own() -> Ident {
    Ident::new(osc::config::target::LEDGER)
}

pub const RUN: i64 = 7;
pub const WAIT: Duration = Duration::from_secs(60);

/// The table `t` of a new database, and what a run makes for its stream.
pub struct Fixture {
    pub database: String,
    pub options: Options,
    pub client: Client,
    pub table: TableName,
    pub oid: u32,
    pub key: KeyColumns,
    pub names: Names,
    pub seen: Arc<Seen>,
    pub version: i32,
    pub capture: Capture,
}

impl Fixture {
    /// Runs `ddl` in the new database; nothing is published yet.
    pub async fn bare(server: &Postgres, database: &str, ddl: &str, key: &[&str]) -> Self {
        let admin = server.client("postgres").await;
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
        let options = options(server, "postgres", database);
        // The application's; osc's own sessions would not find `t`.
        let client = server.client(database).await;
        client.batch_execute(ddl).await.unwrap();
        client.batch_execute(&format!("CREATE SCHEMA {}", own())).await.unwrap();
        let oid: u32 = client.query_one("SELECT 't'::regclass::oid", &[]).await.unwrap().get(0);
        let version: String =
            client.query_one("SHOW server_version_num", &[]).await.unwrap().get(0);
        let mut columns = Vec::new();
        for name in key {
            let row = client
                .query_one(
                    "SELECT format_type(atttypid, atttypmod), atttypid FROM pg_attribute
                     WHERE attrelid = 't'::regclass AND attname = $1",
                    &[name],
                )
                .await
                .unwrap();
            let type_oid = row.get(1);
            let (name, kind) = (Ident::new(*name), KeyKind::of(type_oid));
            columns.push(KeyColumn { name, type_sql: row.get(0), type_oid, kind });
        }
        Self {
            names: stream::names(RUN, oid, database, &own()),
            database: database.into(),
            options,
            client,
            table: TableName::new("public", "t"),
            oid,
            key: KeyColumns(columns),
            seen: Arc::default(),
            version: version.parse().unwrap(),
            capture: Capture::Logical,
        }
    }

    pub async fn prepare(&self) -> Result<()> {
        stream::prepare(&self.client, &self.table, &self.key, &self.names, self.version).await
    }

    pub async fn slot(&self) -> Result<Position> {
        stream::create_slot(&self.options, &self.names, WAIT).await
    }

    /// With publication, slot, and the stream opened.
    pub async fn open(
        server: &Postgres,
        database: &str,
        ddl: &str,
        key: &[&str],
    ) -> (Self, PgStream, Position) {
        let fixture = Self::bare(server, database, ddl, key).await;
        fixture.prepare().await.unwrap();
        let position = fixture.slot().await.unwrap();
        let stream = fixture.stream(&position).await.unwrap();
        (fixture, stream, position)
    }

    /// With log and triggers, and the stream opened.
    pub async fn by_triggers(
        server: &Postgres,
        database: &str,
        ddl: &str,
        key: &[&str],
    ) -> (Self, PgStream, Position) {
        let mut fixture = Self::bare(server, database, ddl, key).await;
        fixture.capture = Capture::Triggers;
        let position = fixture.triggers(WAIT).await.unwrap();
        let stream = fixture.stream(&position).await.unwrap();
        (fixture, stream, position)
    }

    pub async fn triggers(&self, patience: Duration) -> Result<Position> {
        triggers::create(&self.client, &self.table, &self.key, &self.names, patience).await
    }

    pub async fn stream(&self, from: &Position) -> Result<PgStream> {
        let config = StreamConfig {
            options: self.options.clone(),
            oid: self.oid,
            original: self.table.clone(),
            key: self.key.clone(),
            run: RUN,
            names: self.names.clone(),
            seen: Arc::clone(&self.seen),
            capture: self.capture,
        };
        PgStream::open(config, from).await
    }

    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub async fn mark(&self, number: u64) {
        tokio::time::timeout(WAIT, self.marking(number)).await.expect("the marker is committed");
    }

    async fn marking(&self, number: u64) {
        match self.capture {
            Capture::Logical => stream::emit_marker(&self.client, RUN, number).await.unwrap(),
            Capture::Triggers => {
                triggers::emit_marker(&self.client, &self.names.log, number).await.unwrap();
            }
        }
    }

    /// The keys delivered before marker `number`, which is written first.
    pub async fn keys(&self, stream: &mut PgStream, number: u64) -> Vec<String> {
        self.mark(number).await;
        let mut keys = Vec::new();
        loop {
            match next(stream).await.unwrap() {
                Change::Keys(more) => {
                    let more: Vec<_> = more.iter().map(|key| self.key.describe(key)).collect();
                    keys.push(more.join(" | "));
                }
                Change::Marker(found) if found == number => return keys,
                Change::Foreign(what) => panic!("foreign: {what}"),
                Change::Marker(_) | Change::ShadowKeys(_) | Change::Commit { .. } => {}
            }
        }
    }
}

/// The next change; fails after a long wait.
pub async fn next(stream: &mut PgStream) -> Result<Change> {
    tokio::time::timeout(WAIT, stream.next()).await.expect("a change")
}

/// What the stream ends with.
pub async fn end(stream: &mut PgStream) -> Error {
    loop {
        if let Err(error) = next(stream).await {
            return error;
        }
    }
}

/// The first thing that ends the run.
pub async fn foreign(stream: &mut PgStream) -> String {
    loop {
        if let Change::Foreign(what) = next(stream).await.unwrap() {
            return what;
        }
    }
}

/// The position of the next commit.
pub async fn commit(stream: &mut PgStream) -> Position {
    loop {
        if let Change::Commit { position, .. } = next(stream).await.unwrap() {
            return position;
        }
    }
}
