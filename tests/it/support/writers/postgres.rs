//! The writers for PostgreSQL.
//!
//! Each transaction runs the same statements on the table and then on its twin, with all values
//! computed here, so that whatever the transaction's end, both tables have it or neither. That holds
//! because the rows that a statement matched in the first table stay locked while it runs on the
//! second. Under READ COMMITTED, which every third writer uses, it can match more rows there: then
//! the transaction rolls back. The others have one snapshot for both.

mod operations;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::{Application, Broken, Crew, Place, Report, Step};
use crate::support::postgres::connect;
use crate::support::postgres_twin::{TABLES, Twin};

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
    fn rows(&self) -> u64 {
        Self::rows(self)
    }

    async fn write(self, crew: Arc<Crew>, place: Place) -> Report {
        let report = Report::default();
        let name = format!("{}{}", self.prepared(), place.index);
        let isolation = ISOLATION[place.index % ISOLATION.len()];
        let Some(client) = open(&self, &crew, isolation).await else { return report };
        let rng = place.rng();
        let mut writer = Writer { twin: self, crew, rng, name, isolation, client, report };
        while !writer.crew.stopped() {
            let outcome = writer.transactions().await;
            if writer.settle(outcome).await.is_none() {
                break;
            }
            writer.crew.rest().await;
        }
        writer.report
    }
}

struct Writer {
    twin: Twin,
    crew: Arc<Crew>,
    rng: SmallRng,
    /// The name of its prepared transactions.
    name: String,
    isolation: &'static str,
    client: Client,
    report: Report,
}

impl Writer {
    /// Recovers from what broke a transaction; `None` when asked to stop meanwhile.
    async fn settle(&mut self, outcome: Step) -> Option<()> {
        let mut lost = match outcome {
            Ok(()) => return Some(()),
            Err(Broken::Lost) => true,
            Err(Broken::RollBack) => false,
            Err(Broken::Unexpected(error)) => {
                self.report.unexpected(error);
                false
            }
        };
        self.report.rolled_back += 1;
        loop {
            if lost {
                self.report.reconnects += 1;
                self.client = open(&self.twin, &self.crew, self.isolation).await?;
            } else if self.client.batch_execute("ROLLBACK").await.is_err() {
                lost = true;
                continue;
            }
            if self.forget_prepared().await.is_ok() {
                return Some(());
            }
            lost = true;
        }
    }

    /// Rolls back what it had prepared when its session ended.
    async fn forget_prepared(&self) -> Result<(), Error> {
        let prepared = "SELECT gid FROM pg_prepared_xacts \
                        WHERE database = current_database() AND gid = $1";
        if !self.client.query(prepared, &[&self.name]).await?.is_empty() {
            self.client.batch_execute(&format!("ROLLBACK PREPARED '{}'", self.name)).await?;
        }
        Ok(())
    }

    /// One transaction, or two that belong together.
    async fn transactions(&mut self) -> Step {
        match self.rng.random_range(0..1000) {
            0..4 => {
                self.send("BEGIN").await?;
                self.large().await?;
                self.finish().await
            }
            4..40 => self.move_unique_in_two().await,
            _ => {
                self.send("BEGIN").await?;
                let operations = *[1, 1, 1, 1, 2, 2, 3, 5].choose(&mut self.rng).unwrap_or(&1);
                for _ in 0..operations {
                    if self.rng.random_ratio(1, 25) {
                        self.send("SAVEPOINT s").await?;
                        self.operation().await?;
                        self.send("ROLLBACK TO SAVEPOINT s").await?;
                    } else if self.rng.random_ratio(1, 25) {
                        self.send("SAVEPOINT s").await?;
                        self.operation().await?;
                        self.send("RELEASE SAVEPOINT s").await?;
                    }
                    self.operation().await?;
                }
                self.finish().await
            }
        }
    }

    async fn finish(&mut self) -> Step {
        match self.rng.random_range(0..60) {
            0..5 => {
                self.send("ROLLBACK").await?;
                self.report.rolled_back += 1;
                Ok(())
            }
            5..7 => self.in_two_phases().await,
            _ => self.commit().await,
        }
    }

    async fn commit(&mut self) -> Step {
        self.send("COMMIT").await?;
        self.committed();
        Ok(())
    }

    async fn in_two_phases(&mut self) -> Step {
        self.send(&format!("PREPARE TRANSACTION '{}'", self.name)).await?;
        let wait = self.rng.random_range(0..50);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if self.rng.random_ratio(1, 4) {
            self.send(&format!("ROLLBACK PREPARED '{}'", self.name)).await?;
            self.report.rolled_back += 1;
        } else {
            self.send(&format!("COMMIT PREPARED '{}'", self.name)).await?;
            self.committed();
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.report.transactions += 1;
        self.crew.committed();
    }

    /// Runs a statement on both tables.
    async fn both(&mut self, sql: impl Fn(&str) -> String) -> Step {
        let mut matched = Vec::with_capacity(2);
        for table in TABLES {
            matched.push(self.send(&sql(table)).await?);
        }
        if matched[0] != matched[1] {
            return Err(Broken::RollBack);
        }
        Ok(())
    }

    /// Runs a statement, by the simple or the extended protocol, and returns how many rows it
    /// matched.
    async fn send(&mut self, sql: &str) -> Step<u64> {
        let begun = Instant::now();
        let result = if self.rng.random_ratio(1, 2) {
            self.client.execute(sql, &[]).await
        } else {
            self.client.simple_query(sql).await.map(|messages| match messages.last() {
                Some(SimpleQueryMessage::CommandComplete(rows)) => *rows,
                _ => 0,
            })
        };
        self.stalled(begun);
        Ok(result?)
    }

    fn stalled(&mut self, begun: Instant) {
        self.report.longest_stall = self.report.longest_stall.max(begun.elapsed());
    }
}

/// A session, as soon as the server takes one; `None` when the writers are stopped before.
async fn open(twin: &Twin, crew: &Crew, isolation: &str) -> Option<Client> {
    let setup = format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}; {}",
        twin.session()
    );
    while !crew.stopped() {
        if let Ok(client) = connect(twin.url()).await
            && client.batch_execute(&setup).await.is_ok()
        {
            return Some(client);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
