//! The twin-table torture's writers: an application that writes everything twice, whatever the
//! server.

mod mysql;
mod operations;
mod postgres;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use writer::Writer;

/// Different unexpected errors that are kept.
const ERRORS_KEPT: usize = 20;

/// Two tables that writers keep equal.
pub trait Application: Clone + Send + Sync + 'static {
    /// A session of the application.
    type Session: Session<Self>;

    /// Both tables, the altered one first.
    const TABLES: [&str; 2];

    /// How many rows there were at first, numbered from 1.
    fn rows(&self) -> u64;

    /// How many values the column `k` has.
    fn groups(&self) -> u64;

    /// Which row number `n` is: `id = 5`.
    fn condition(&self, n: u64) -> String;

    /// What makes a row number `n`; `shout`: with the key in capitals.
    fn assignment(&self, n: u64, shout: bool) -> String;

    /// Whether a key can be written in capitals.
    fn has_spellings(&self) -> bool;

    /// A statement that inserts these rows.
    fn insert(&self, table: &str, numbers: &[u64], rng: &mut SmallRng) -> String;

    /// A statement that inserts a row, or does something with the one that is there.
    fn put(&self, table: &str, n: u64, rng: &mut SmallRng) -> String;

    /// New values for some of the columns, never for `u`: `v = …, n = …`.
    fn assignments(&self, rng: &mut SmallRng) -> String;

    /// Whether rows keep their keys, and no key is used again once its row is deleted.
    fn has_steady_keys(&self) -> bool {
        false
    }
}

/// A session of one writer.
pub trait Session<A>: Sized + Send + Sync {
    /// Opens one; an error is that the server takes none now.
    fn open(twin: &A, place: Place) -> impl Future<Output = Result<Self, ()>> + Send;

    /// Runs a statement, and returns how many rows it matched.
    fn run(&mut self, sql: &str, rng: &mut SmallRng) -> impl Future<Output = Step<u64>> + Send;

    /// The number that a query returns, if it returns one.
    fn number(&mut self, sql: &str) -> impl Future<Output = Step<Option<i64>>> + Send;

    /// Rolls back what is open, and what was prepared by the session before; an error is that it is lost.
    fn forget(&mut self) -> impl Future<Output = Result<(), ()>> + Send;

    /// Whether a statement that matches rows of one table may match more of the other.
    fn may_match_more(&self) -> bool;

    /// The name of its prepared transactions, if it prepares some.
    fn prepared(&self) -> Option<&str> {
        None
    }
}

/// Which of the writers one is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    seed: u64,
    index: usize,
}

impl Place {
    fn rng(self) -> SmallRng {
        let index = u64::try_from(self.index).unwrap_or_default();
        SmallRng::seed_from_u64(self.seed.wrapping_mul(1009).wrapping_add(index))
    }
}

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

    fn stalled(&mut self, begun: Instant) {
        self.longest_stall = self.longest_stall.max(begun.elapsed());
    }

    fn unexpected(&mut self, error: String) {
        if self.unexpected.len() < ERRORS_KEPT || self.unexpected.contains_key(&error) {
            *self.unexpected.entry(error).or_default() += 1;
        }
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

/// Why a transaction did not get to its end.
#[derive(Debug)]
pub enum Broken {
    /// Roll back and go on.
    RollBack,
    /// The session is gone.
    Lost,
    /// What no application should see.
    Unexpected(String),
}

/// What comes of a statement.
pub type Step<T = ()> = Result<T, Broken>;

/// What the writers share.
struct WriterPool {
    stop: AtomicBool,
    /// The rows at first.
    rows: u64,
    /// The next key number that no row has had.
    fresh: AtomicU64,
    committed: watch::Sender<u64>,
    pause: watch::Sender<Duration>,
}

impl WriterPool {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn committed(&self) {
        self.committed.send_modify(|count| *count += 1);
    }

    /// What a writer does between transactions.
    async fn rest(&self) {
        let pause = *self.pause.borrow();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// A row's number, often one of a few hot ones. The row may be gone.
    fn some_row(&self, rng: &mut SmallRng) -> u64 {
        let rows = self.rows.max(1);
        match rng.random_range(0..10) {
            0 | 1 => rng.random_range(1..=rows.min(10)),
            2 | 3 => {
                let fresh = self.fresh.load(Ordering::Relaxed);
                rng.random_range(fresh.saturating_sub(rows).max(1)..=fresh)
            }
            _ => rng.random_range(1..=rows),
        }
    }

    /// Numbers that no row has had.
    fn fresh_rows(&self, count: u64) -> Vec<u64> {
        let first = self.fresh.fetch_add(count, Ordering::Relaxed);
        (first..first + count).collect()
    }
}

/// Writers at work, on a thread of their own.
pub struct Writers {
    writer_pool: Arc<WriterPool>,
    thread: JoinHandle<Report>,
}

impl Writers {
    /// Starts `n` writers that write as fast as they can, the same in each run with this seed as
    /// far as timing allows.
    pub fn start(twin: &impl Application, n: usize, seed: u64) -> Self {
        Self::paced(twin, n, seed, Duration::ZERO)
    }

    /// Starts writers that wait so long between transactions.
    pub fn paced(twin: &impl Application, n: usize, seed: u64, pause: Duration) -> Self {
        let writer_pool = Arc::new(WriterPool {
            stop: AtomicBool::new(false),
            rows: twin.rows(),
            // Far from the loaded rows, so that other writers of a test can have keys between.
            fresh: AtomicU64::new(twin.rows() * 2 + 1),
            committed: watch::Sender::new(0),
            pause: watch::Sender::new(pause),
        });
        let (twin, theirs) = (twin.clone(), Arc::clone(&writer_pool));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let places = (0..n).map(|index| Place { seed, index });
                let writers =
                    places.map(|place| Writer::work(twin.clone(), Arc::clone(&theirs), place));
                let writers: Vec<_> = writers.map(tokio::spawn).collect();
                let mut report = Report::default();
                for writer in writers {
                    report = report.merge(writer.await.expect("a writer does not panic"));
                }
                report
            })
        });
        Self { writer_pool, thread }
    }

    /// The application's peak is over: its writers rest between transactions. Where the machine is so busy that
    /// there are open ones at every moment, no cut-over would come to its lock.
    pub fn ease(&self) {
        self.writer_pool.pause.send_replace(Duration::from_millis(200));
    }

    /// The peak is back: they write as fast as they can.
    pub fn press(&self) {
        self.writer_pool.pause.send_replace(Duration::ZERO);
    }

    /// Transactions committed so far.
    pub fn transactions(&self) -> u64 {
        *self.writer_pool.committed.borrow()
    }

    /// Waits until so many more transactions are committed.
    pub async fn wait_for_more(&self, transactions: u64) {
        let target = self.transactions() + transactions;
        let mut committed = self.writer_pool.committed.subscribe();
        let _ = committed.wait_for(|count| *count >= target).await;
    }

    /// Lets each writer end its transaction and reports.
    pub async fn stop(self) -> Report {
        self.writer_pool.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        joined.expect("joining does not panic").expect("the writers do not panic")
    }
}
