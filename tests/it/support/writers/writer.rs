//! One writer: its transactions, and what it does when one breaks.
//!
//! Each transaction runs the same statements on the table and then on its twin, with all values computed
//! here, so that whatever the transaction's end, both tables have it or neither. That holds because the rows
//! that a statement matched in the first table stay locked while it runs on the second. Where it can match
//! more rows there all the same, the transaction rolls back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::{Application, Broken, Place, Report, Session, Step, WriterPool};

pub(super) struct Writer<A: Application> {
    pub(super) twin: A,
    pub(super) writer_pool: Arc<WriterPool>,
    pub(super) rng: SmallRng,
    place: Place,
    session: A::Session,
    report: Report,
}

impl<A: Application> Writer<A> {
    /// Writes transactions until the writer_pool's end.
    pub(super) async fn work(twin: A, writer_pool: Arc<WriterPool>, place: Place) -> Report {
        let report = Report::default();
        let Some(session) = open(&twin, &writer_pool, place).await else { return report };
        let mut writer = Self { twin, writer_pool, rng: place.rng(), place, session, report };
        while !writer.writer_pool.stopped() {
            let outcome = writer.transactions().await;
            if writer.settle(outcome).await.is_none() {
                break;
            }
            writer.writer_pool.rest().await;
        }
        writer.report
    }

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
                self.session = open(&self.twin, &self.writer_pool, self.place).await?;
            }
            if self.session.forget().await.is_ok() {
                return Some(());
            }
            lost = true;
        }
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
                    let end = match self.rng.random_range(0..25) {
                        0 => Some("ROLLBACK TO SAVEPOINT s"),
                        1 => Some("RELEASE SAVEPOINT s"),
                        _ => None,
                    };
                    if let Some(end) = end {
                        self.send("SAVEPOINT s").await?;
                        self.operation().await?;
                        self.send(end).await?;
                    }
                    self.operation().await?;
                }
                self.finish().await
            }
        }
    }

    pub(super) async fn finish(&mut self) -> Step {
        let prepared = self.session.prepared().map(str::to_owned);
        match (self.rng.random_range(0..60), prepared) {
            (0..5, _) => {
                self.send("ROLLBACK").await?;
                self.report.rolled_back += 1;
                Ok(())
            }
            (5..7, Some(name)) => self.in_two_phases(&name).await,
            _ => self.commit().await,
        }
    }

    pub(super) async fn commit(&mut self) -> Step {
        self.send("COMMIT").await?;
        self.committed();
        Ok(())
    }

    async fn in_two_phases(&mut self, name: &str) -> Step {
        self.send(&format!("PREPARE TRANSACTION '{name}'")).await?;
        let wait = self.rng.random_range(0..50);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if self.rng.random_ratio(1, 4) {
            self.send(&format!("ROLLBACK PREPARED '{name}'")).await?;
            self.report.rolled_back += 1;
        } else {
            self.send(&format!("COMMIT PREPARED '{name}'")).await?;
            self.committed();
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.report.transactions += 1;
        self.writer_pool.committed();
    }

    /// Runs a statement on both tables.
    pub(super) async fn both(&mut self, sql: impl Fn(&str) -> String) -> Step {
        let mut matched = Vec::with_capacity(2);
        for table in A::TABLES {
            matched.push(self.send(&sql(table)).await?);
        }
        if self.session.may_match_more() && matched[0] != matched[1] {
            return Err(Broken::RollBack);
        }
        Ok(())
    }

    /// Runs a statement, and returns how many rows it matched.
    pub(super) async fn send(&mut self, sql: &str) -> Step<u64> {
        let begun = Instant::now();
        let matched = self.session.run(sql, &mut self.rng).await;
        self.report.stalled(begun);
        matched
    }

    /// The number that a query returns, if it returns one.
    pub(super) async fn number(&mut self, sql: &str) -> Step<Option<i64>> {
        let begun = Instant::now();
        let found = self.session.number(sql).await;
        self.report.stalled(begun);
        found
    }
}

/// A session, as soon as the server takes one; `None` when the writers are stopped before.
async fn open<A: Application>(
    twin: &A,
    writer_pool: &WriterPool,
    place: Place,
) -> Option<A::Session> {
    while !writer_pool.stopped() {
        if let Ok(session) = A::Session::open(twin, place).await {
            return Some(session);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
