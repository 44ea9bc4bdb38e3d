//! The application on MySQL and MariaDB. Under REPEATABLE READ also the gaps between rows stay locked;
//! under READ COMMITTED, which every other writer uses, a statement may match more rows in the twin.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use rand::Rng;
use rand::rngs::SmallRng;

use super::{Application, Broken, Place, Session, Step};
use crate::support::twin::{KeyKind, TABLES, Twin};

/// Errors that an application under contention must live with: it rolls back and goes on.
const CONTENTION: [u16; 4] = [
    1062, // duplicate key
    1205, // lock wait timeout
    1213, // deadlock
    1020, // record has changed since last read (MariaDB's innodb_snapshot_isolation)
];

/// Errors of a session or server that is being ended.
const ENDED: [u16; 6] = [1040, 1053, 1317, 1927, 3169, 4031];

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) if CONTENTION.contains(&error.code) => Self::RollBack,
            Error::Server(error) if ENDED.contains(&error.code) => Self::Lost,
            Error::Io(_) | Error::Driver(_) => Self::Lost,
            other => Self::Unexpected(other.to_string()),
        }
    }
}

impl Application for Twin {
    type Session = Client;

    const TABLES: [&str; 2] = TABLES;

    fn rows(&self) -> u64 {
        Self::rows(self)
    }

    fn groups(&self) -> u64 {
        Self::groups(self)
    }

    fn condition(&self, n: u64) -> String {
        self.key().condition(n)
    }

    fn assignment(&self, n: u64, shout: bool) -> String {
        self.key().assignment(n, shout)
    }

    fn has_spellings(&self) -> bool {
        self.key() != KeyKind::Int
    }

    fn insert(&self, table: &str, numbers: &[u64], rng: &mut SmallRng) -> String {
        Self::insert(self, "INSERT", table, numbers, rng)
    }

    fn put(&self, table: &str, n: u64, rng: &mut SmallRng) -> String {
        if rng.random_ratio(4, 7) {
            return Self::insert(self, "REPLACE", table, &[n], rng);
        }
        let (columns, values) = (self.key().columns().join(", "), self.key().values(n, false));
        let (values, set) = (values.join(", "), Self::assignments(self, rng));
        format!("INSERT INTO {table} ({columns}) VALUES ({values}) ON DUPLICATE KEY UPDATE {set}")
    }

    fn assignments(&self, rng: &mut SmallRng) -> String {
        Self::assignments(self, rng)
    }

    fn has_steady_keys(&self) -> bool {
        self.steady
    }
}

/// A session, and whether it reads under READ COMMITTED.
pub struct Client {
    conn: Conn,
    read_committed: bool,
}

impl Session<Twin> for Client {
    async fn open(twin: &Twin, place: Place) -> Result<Self, ()> {
        let read_committed = place.index % 2 == 1;
        let level = if read_committed { "READ COMMITTED" } else { "REPEATABLE READ" };
        // Matched rather than changed rows are counted, or an update that changes nothing in one of
        // the tables would look like a row that is missing there.
        let opts = OptsBuilder::from_opts(twin.opts())
            .client_found_rows(true)
            .setup(vec![format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")]);
        let conn = Conn::new(opts).await.map_err(|_| ())?;
        Ok(Self { conn, read_committed })
    }

    async fn run(&mut self, sql: &str, _: &mut SmallRng) -> Step<u64> {
        self.conn.query_drop(sql).await?;
        Ok(self.conn.affected_rows())
    }

    async fn number(&mut self, sql: &str) -> Step<Option<i64>> {
        Ok(self.conn.query_first::<Option<i64>, _>(sql).await?.flatten())
    }

    async fn forget(&mut self) -> Result<(), ()> {
        self.conn.query_drop("ROLLBACK").await.map_err(|_| ())
    }

    fn may_match_more(&self) -> bool {
        self.read_committed
    }
}
