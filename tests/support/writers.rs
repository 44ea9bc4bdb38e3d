//! The twin-table torture's writers: an application that writes everything twice.
//!
//! Each transaction runs the same statements on `t` and then on `t_twin`, with all values computed
//! here, so that whatever the transaction's end, both tables have it or neither. That holds because
//! the rows that a statement matched in `t` stay locked while it runs on `t_twin`: under REPEATABLE
//! READ also the gaps are, and under READ COMMITTED, which every other writer uses, a statement
//! that matches more rows in the second table rolls the transaction back.

mod operations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::twin::{TABLES, Twin};

/// Errors that an application under contention must live with: it rolls back and goes on.
const CONTENTION: [u16; 4] = [
    1062, // duplicate key
    1205, // lock wait timeout
    1213, // deadlock
    1020, // record has changed since last read (MariaDB's innodb_snapshot_isolation)
];

/// Errors of a session or server that is being ended.
const ENDED: [u16; 6] = [1040, 1053, 1317, 1927, 3169, 4031];

/// Different unexpected errors that are kept.
const ERRORS_KEPT: usize = 20;

/// What the writers did.
#[derive(Debug, Default)]
pub struct Report {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Transactions that were rolled back, meant or not.
    pub rolled_back: u64,
    /// Times a session was lost.
    pub reconnects: u64,
    /// The longest that one statement or COMMIT took.
    pub longest_stall: Duration,
    /// Errors that no application should see, such as a missing table, and how often they came.
    pub unexpected: BTreeMap<String, u64>,
}

impl Report {
    /// Fails unless something was written and nothing unexpected happened.
    pub fn assert_undisturbed(&self) {
        assert!(self.unexpected.is_empty(), "the application saw errors: {self:#?}");
        assert!(self.transactions > 0, "nothing was written: {self:#?}");
    }

    fn merge(mut self, other: Self) -> Self {
        self.transactions += other.transactions;
        self.rolled_back += other.rolled_back;
        self.reconnects += other.reconnects;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        for (error, count) in other.unexpected {
            *self.unexpected.entry(error).or_default() += count;
        }
        self
    }
}

/// Writers at work, on a thread of their own.
pub struct Writers {
    shared: Arc<Shared>,
    thread: JoinHandle<Report>,
}

struct Shared {
    twin: Twin,
    stop: AtomicBool,
    /// The next key number that no row has had.
    fresh: AtomicU64,
    committed: watch::Sender<u64>,
    pause: Duration,
}

impl Writers {
    /// Starts `n` writers that write as fast as they can, the same in each run with this seed as
    /// far as timing allows.
    pub fn start(twin: &Twin, n: usize, seed: u64) -> Self {
        Self::paced(twin, n, seed, Duration::ZERO)
    }

    /// Starts writers that wait so long between transactions.
    pub fn paced(twin: &Twin, n: usize, seed: u64, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            twin: twin.clone(),
            stop: AtomicBool::new(false),
            // Far from the loaded rows, so that other writers of a test can have keys between.
            fresh: AtomicU64::new(twin.rows() * 2 + 1),
            committed: watch::Sender::new(0),
            pause,
        });
        let ours = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let writers = (0..n).map(|i| Writer::run(Arc::clone(&ours), seed, i));
                let writers: Vec<_> = writers.map(tokio::spawn).collect();
                let mut report = Report::default();
                for writer in writers {
                    report = report.merge(writer.await.expect("a writer does not panic"));
                }
                report
            })
        });
        Self { shared, thread }
    }

    /// Transactions committed so far.
    pub fn transactions(&self) -> u64 {
        *self.shared.committed.borrow()
    }

    /// Waits until so many more transactions are committed.
    pub async fn wait_for_more(&self, transactions: u64) {
        let target = self.transactions() + transactions;
        let mut committed = self.shared.committed.subscribe();
        let _ = committed.wait_for(|count| *count >= target).await;
    }

    /// Lets each writer end its transaction and reports.
    pub async fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        joined.expect("joining does not panic").expect("the writers do not panic")
    }
}

/// Why a transaction did not get to its end.
enum Broken {
    /// Roll back and go on.
    RollBack,
    /// The session is gone.
    Lost,
    /// What no application should see.
    Unexpected(String),
}

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

type Step<T = ()> = Result<T, Broken>;

struct Writer {
    shared: Arc<Shared>,
    rng: SmallRng,
    read_committed: bool,
    conn: Conn,
    report: Report,
}

impl Writer {
    async fn run(shared: Arc<Shared>, seed: u64, index: usize) -> Report {
        let read_committed = index % 2 == 1;
        let Some(conn) = connect(&shared, read_committed).await else { return Report::default() };
        let index = u64::try_from(index).unwrap_or_default();
        let rng = SmallRng::seed_from_u64(seed.wrapping_mul(1009).wrapping_add(index));
        let mut writer = Self { shared, rng, read_committed, conn, report: Report::default() };
        while !writer.shared.stop.load(Ordering::Relaxed) {
            let outcome = writer.transactions().await;
            if writer.settle(outcome).await.is_none() {
                break;
            }
            if !writer.shared.pause.is_zero() {
                tokio::time::sleep(writer.shared.pause).await;
            }
        }
        let _ = writer.conn.disconnect().await;
        writer.report
    }

    /// Recovers from what broke a transaction; `None` when asked to stop meanwhile.
    async fn settle(&mut self, outcome: Step) -> Option<()> {
        let lost = match outcome {
            Ok(()) => return Some(()),
            Err(Broken::Lost) => true,
            Err(Broken::RollBack) => false,
            Err(Broken::Unexpected(error)) => {
                let errors = &mut self.report.unexpected;
                if errors.len() < ERRORS_KEPT || errors.contains_key(&error) {
                    *errors.entry(error).or_default() += 1;
                }
                false
            }
        };
        self.report.rolled_back += 1;
        if lost || self.conn.query_drop("ROLLBACK").await.is_err() {
            self.report.reconnects += 1;
            self.conn = connect(&self.shared, self.read_committed).await?;
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
        self.shared.committed.send_modify(|count| *count += 1);
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
async fn connect(shared: &Shared, read_committed: bool) -> Option<Conn> {
    // Matched rather than changed rows are counted, or an update that changes nothing in one of
    // the tables would look like a row that is missing there.
    let opts =
        OptsBuilder::from_opts(shared.twin.opts()).client_found_rows(true).setup(vec![format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL {}",
            if read_committed { "READ COMMITTED" } else { "REPEATABLE READ" }
        )]);
    while !shared.stop.load(Ordering::Relaxed) {
        if let Ok(conn) = Conn::new(opts.clone()).await {
            return Some(conn);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
