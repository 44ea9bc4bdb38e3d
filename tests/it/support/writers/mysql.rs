//! The writers for MySQL and MariaDB.
//!
//! Each transaction runs the same statements on `t` and then on `t_twin`, with all values computed
//! here, so that whatever the transaction's end, both tables have it or neither. That holds because
//! the rows that a statement matched in `t` stay locked while it runs on `t_twin`: under REPEATABLE
//! READ also the gaps are, and under READ COMMITTED, which every other writer uses, a statement
//! that matches more rows in the second table rolls the transaction back.

mod operations;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::{Application, Broken, Crew, Place, Report, Step};
use crate::support::twin::{TABLES, Twin};

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
    fn rows(&self) -> u64 {
        Self::rows(self)
    }

    async fn write(self, crew: Arc<Crew>, place: Place) -> Report {
        let read_committed = place.index % 2 == 1;
        let Some(conn) = connect(&self, &crew, read_committed).await else {
            return Report::default();
        };
        let report = Report::default();
        let rng = place.rng();
        let mut writer = Writer { twin: self, crew, rng, read_committed, conn, report };
        while !writer.crew.stopped() {
            let outcome = writer.transactions().await;
            if writer.settle(outcome).await.is_none() {
                break;
            }
            writer.crew.rest().await;
        }
        let _ = writer.conn.disconnect().await;
        writer.report
    }
}

struct Writer {
    twin: Twin,
    crew: Arc<Crew>,
    rng: SmallRng,
    read_committed: bool,
    conn: Conn,
    report: Report,
}

impl Writer {
    /// Recovers from what broke a transaction; `None` when asked to stop meanwhile.
    async fn settle(&mut self, outcome: Step) -> Option<()> {
        let lost = match outcome {
            Ok(()) => return Some(()),
            Err(Broken::Lost) => true,
            Err(Broken::RollBack) => false,
            Err(Broken::Unexpected(error)) => {
                self.report.unexpected(error);
                false
            }
        };
        self.report.rolled_back += 1;
        if lost || self.conn.query_drop("ROLLBACK").await.is_err() {
            self.report.reconnects += 1;
            self.conn = connect(&self.twin, &self.crew, self.read_committed).await?;
        }
        Some(())
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
                    }
                    self.operation().await?;
                }
                self.finish().await
            }
        }
    }

    async fn finish(&mut self) -> Step {
        if self.rng.random_ratio(1, 12) {
            self.send("ROLLBACK").await?;
            self.report.rolled_back += 1;
        } else {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Step {
        self.send("COMMIT").await?;
        self.report.transactions += 1;
        self.crew.committed();
        Ok(())
    }

    /// Runs a statement on both tables.
    async fn both(&mut self, sql: impl Fn(&str) -> String) -> Step {
        let mut matched = Vec::with_capacity(2);
        for table in TABLES {
            self.send(&sql(table)).await?;
            matched.push(self.conn.affected_rows());
        }
        if self.read_committed && matched[0] != matched[1] {
            return Err(Broken::RollBack);
        }
        Ok(())
    }

    async fn send(&mut self, sql: &str) -> Step {
        let begun = Instant::now();
        let result = self.conn.query_drop(sql).await;
        self.stalled(begun);
        Ok(result?)
    }

    fn stalled(&mut self, begun: Instant) {
        self.report.longest_stall = self.report.longest_stall.max(begun.elapsed());
    }
}

/// A session, as soon as the server takes one; `None` when the writers are stopped before.
async fn connect(twin: &Twin, crew: &Crew, read_committed: bool) -> Option<Conn> {
    // Matched rather than changed rows are counted, or an update that changes nothing in one of
    // the tables would look like a row that is missing there.
    let opts = OptsBuilder::from_opts(twin.opts()).client_found_rows(true).setup(vec![format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL {}",
        if read_committed { "READ COMMITTED" } else { "REPEATABLE READ" }
    )]);
    while !crew.stopped() {
        if let Ok(conn) = Conn::new(opts.clone()).await {
            return Some(conn);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
