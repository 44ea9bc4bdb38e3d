//! An application that writes at a fixed rate, and how long each of its transactions takes.
//!
//! The rate does not depend on the answers: a transaction is due at its moment, and its latency counts
//! from that moment, also where no writer was free to begin it. So a table that is locked for a
//! second shows as all the transactions of that second, and not as a few that waited.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::machine::{Address, Session};

/// Sessions that the application has.
const SESSIONS: u32 = 16;

/// Transactions that fail are tried no more often than this.
const AFTER_A_FAILURE: Duration = Duration::from_millis(10);

/// What the application saw while a contender ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Transactions a second that were committed meanwhile.
    pub served: f64,
    /// The median latency of those that fell due meanwhile, in milliseconds.
    pub median_ms: f64,
    /// The latency that one of a hundred exceeded.
    pub p99_ms: f64,
    /// The longest latency.
    pub longest_ms: f64,
    /// Transactions that failed.
    pub failed: u64,
    /// What the first of those was told.
    pub error: Option<String>,
    /// The longest latency of those that waited in each phase of the contender, in milliseconds.
    #[serde(default)]
    pub by_phase: Vec<(String, f64)>,
    #[serde(skip)]
    waits: Vec<Wait>,
}

/// One transaction: when it was due and when it was answered.
type Wait = (Instant, Instant);

impl Seen {
    /// Notes what was seen in each of the phases, the last of which ended then.
    pub fn split(&mut self, phases: &[(String, f64)], ended: Instant) {
        let all = phases.iter().map(|(_, seconds)| seconds).sum();
        let Some(mut from) = ended.checked_sub(Duration::from_secs_f64(all)) else { return };
        for (phase, seconds) in phases {
            let to = from + Duration::from_secs_f64(*seconds);
            let waits = self.waits.iter().filter(|(due, done)| *due < to && *done > from);
            let longest = waits.map(|(due, done)| *done - *due).max().unwrap_or_default();
            self.by_phase.push((phase.clone(), longest.as_secs_f64() * 1000.0));
            from = to;
        }
    }
}

/// Longer latencies count as this.
const LONGEST_MICROS: u64 = 3_600_000_000;

struct Shared {
    start: Instant,
    rate: f64,
    rows: u64,
    /// The number of the next transaction, which tells its moment.
    next: AtomicU64,
    begun: OnceLock<Instant>,
    ended: OnceLock<Instant>,
    counting: AtomicBool,
    served: AtomicU64,
    micros: Mutex<Histogram<u64>>,
    waits: Mutex<Vec<Wait>>,
    failed: AtomicU64,
    error: OnceLock<String>,
}

/// Writers at work, on a thread of their own.
pub struct Writers {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Writers {
    /// Starts an application that writes `rate` transactions a second to a table of so many rows.
    pub fn start(address: &Address, rate: u32, rows: u64) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            rate: f64::from(rate),
            rows,
            next: AtomicU64::new(0),
            begun: OnceLock::new(),
            ended: OnceLock::new(),
            counting: AtomicBool::new(false),
            served: AtomicU64::new(0),
            micros: Mutex::new(
                Histogram::new_with_max(LONGEST_MICROS, 3).expect("three digits are allowed"),
            ),
            waits: Mutex::default(),
            failed: AtomicU64::new(0),
            error: OnceLock::new(),
        });
        let (address, theirs) = (address.clone(), Arc::clone(&shared));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let writer = |seed| write(Arc::clone(&theirs), address.clone(), seed);
                let writers: Vec<_> =
                    (0..SESSIONS).map(|seed| tokio::spawn(writer(seed.into()))).collect();
                for writer in writers {
                    writer.await.expect("a writer does not panic");
                }
            });
        });
        Self { shared, thread }
    }

    /// From now on it counts.
    pub fn begin(&self) {
        let _ = self.shared.begun.set(Instant::now());
        self.shared.counting.store(true, Ordering::Relaxed);
    }

    /// Until now it counted. Waits for the transactions that are due.
    pub fn end(self) -> Seen {
        let shared = &self.shared;
        let ended = Instant::now();
        shared.counting.store(false, Ordering::Relaxed);
        let _ = shared.ended.set(ended);
        self.thread.join().expect("the writers do not panic");
        let during = ended - *shared.begun.get().expect("an end has a beginning");
        let micros = shared.micros.lock().expect("no holder panics");
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let served = u32::try_from(shared.served.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        Seen {
            served: f64::from(served) / during.as_secs_f64(),
            median_ms: millis(micros.value_at_quantile(0.5)),
            p99_ms: millis(micros.value_at_quantile(0.99)),
            longest_ms: millis(micros.max()),
            failed: shared.failed.load(Ordering::Relaxed),
            error: shared.error.get().cloned(),
            by_phase: Vec::new(),
            waits: std::mem::take(&mut *shared.waits.lock().expect("no holder panics")),
        }
    }
}

impl Shared {
    /// The moment of the next transaction.
    fn due(&self) -> Instant {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let after = number as f64 / self.rate;
        self.start + Duration::from_secs_f64(after)
    }

    fn is_over(&self, due: Instant) -> bool {
        self.ended.get().is_some_and(|ended| due > *ended)
    }

    fn note(&self, due: Instant, outcome: &Result<(), String>) {
        if self.begun.get().is_none_or(|begun| due < *begun) {
            return;
        }
        match outcome {
            Ok(()) => {
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.micros.lock().expect("no holder panics").saturating_record(micros);
                self.waits.lock().expect("no holder panics").push((due, Instant::now()));
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let _ = self.error.set(error.clone());
            }
        }
    }
}

async fn write(shared: Arc<Shared>, address: Address, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut session = Session::open(&address).await.ok();
    loop {
        let due = shared.due();
        tokio::time::sleep_until(due.into()).await;
        if shared.is_over(due) {
            return;
        }
        let sql = transaction(&mut rng, shared.rows);
        let outcome = match &mut session {
            Some(session) => session.run(&sql).await,
            None => Err("no session".to_owned()),
        };
        shared.note(due, &outcome);
        if outcome.is_ok() {
            if shared.counting.load(Ordering::Relaxed) {
                shared.served.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            tokio::time::sleep(AFTER_A_FAILURE).await;
            session = Session::open(&address).await.ok();
        }
    }
}

/// One statement, which is a transaction of its own: eight of ten updates, an insert, a delete.
fn transaction(rng: &mut SmallRng, rows: u64) -> String {
    let (id, value) = (rng.random_range(1..=rows), rng.random_range(0..1_000_000));
    match rng.random_range(0..10) {
        0 => format!(
            "INSERT INTO t (k, c, pad) VALUES ({value}, REPEAT('{value:010}', 12), '{value:060}')"
        ),
        1 => format!("DELETE FROM t WHERE id = {id}"),
        _ => format!("UPDATE t SET k = {value}, pad = '{value:060}' WHERE id = {id}"),
    }
}
