//! The application on PostgreSQL. Under READ COMMITTED, which every third writer uses, a statement may match
//! more rows in the twin; the others have one snapshot for both tables.

use rand::Rng;
use rand::rngs::SmallRng;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, SimpleQueryMessage};

use super::{Application, Broken, Place, Session, Step};
use crate::support::postgres::connect;
use crate::support::postgres_twin::{KeyKind, TABLES, Twin};

const ISOLATION: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// Errors that an application under contention must live with: it rolls back and goes on.
const CONTENTION: [SqlState; 3] = [
    SqlState::UNIQUE_VIOLATION,
    SqlState::T_R_SERIALIZATION_FAILURE,
    SqlState::T_R_DEADLOCK_DETECTED,
];

/// Errors of a session or server that is being ended.
const ENDED: [SqlState; 4] = [
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CRASH_SHUTDOWN,
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::TOO_MANY_CONNECTIONS,
];

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(refusal) if CONTENTION.contains(refusal.code()) => Self::RollBack,
            Some(refusal) if ENDED.contains(refusal.code()) => Self::Lost,
            Some(refusal) => Self::Unexpected(format!("{} {refusal}", refusal.code().code())),
            None => Self::Lost,
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
        Self::insert(self, table, numbers, rng)
    }

    fn put(&self, table: &str, n: u64, rng: &mut SmallRng) -> String {
        let (columns, values) = (self.key().columns().join(", "), self.key().values(n, false));
        let values = values.join(", ");
        let action = match rng.random_range(0..4) {
            0 => "NOTHING".to_owned(),
            _ => format!("UPDATE SET {}", Self::assignments(self, rng)),
        };
        format!(
            "INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({columns}) DO {action}"
        )
    }

    fn assignments(&self, rng: &mut SmallRng) -> String {
        Self::assignments(self, rng)
    }

    fn has_steady_keys(&self) -> bool {
        self.steady
    }
}

/// A session, and the name of its prepared transactions.
pub struct Client {
    client: tokio_postgres::Client,
    prepared: String,
}

impl Session<Twin> for Client {
    async fn open(twin: &Twin, place: Place) -> Result<Self, ()> {
        let setup = format!(
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}; {}",
            ISOLATION[place.index % ISOLATION.len()],
            twin.session()
        );
        let client = connect(twin.url()).await.map_err(|_| ())?;
        client.batch_execute(&setup).await.map_err(|_| ())?;
        Ok(Self { client, prepared: format!("{}{}", twin.prepared(), place.index) })
    }

    /// By the simple or the extended protocol.
    async fn run(&mut self, sql: &str, rng: &mut SmallRng) -> Step<u64> {
        if rng.random_ratio(1, 2) {
            return Ok(self.client.execute(sql, &[]).await?);
        }
        match self.client.simple_query(sql).await?.last() {
            Some(SimpleQueryMessage::CommandComplete(rows)) => Ok(*rows),
            _ => Ok(0),
        }
    }

    async fn number(&mut self, sql: &str) -> Step<Option<i64>> {
        Ok(self.client.query_opt(sql, &[]).await?.and_then(|row| row.get(0)))
    }

    async fn forget(&mut self) -> Result<(), ()> {
        self.client.batch_execute("ROLLBACK").await.map_err(|_| ())?;
        let prepared = "SELECT gid FROM pg_prepared_xacts \
                        WHERE database = current_database() AND gid = $1";
        let found = self.client.query(prepared, &[&self.prepared]).await.map_err(|_| ())?;
        if !found.is_empty() {
            let roll_back = format!("ROLLBACK PREPARED '{}'", self.prepared);
            self.client.batch_execute(&roll_back).await.map_err(|_| ())?;
        }
        Ok(())
    }

    fn may_match_more(&self) -> bool {
        true
    }

    fn prepared(&self) -> Option<&str> {
        Some(&self.prepared)
    }
}
