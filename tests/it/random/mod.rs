//! One case: a table that was made up, a change of it, and writers that keep it and its twin equal
//! while osc changes it, is killed now and then, and goes on.

#![allow(unreachable_pub, reason = "a part of one test program, as the kit is")]

pub mod draw;
pub mod mysql;
pub mod postgres;
pub mod undo;

use std::fmt;
use std::ops::Range;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use crate::support;

/// Rows that are tried at first; some clash.
const ROWS: usize = 220;
/// Sessions that write.
const WRITERS: u64 = 3;
/// How long one case may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);
/// What stands for the table's name in a statement.
pub const TABLE: &str = "{t}";

/// Makes a literal of a column's type.
pub type Value = Arc<dyn Fn(&mut SmallRng) -> String + Send + Sync>;

/// A column that writers write.
#[derive(Clone)]
pub struct Column {
    /// Its name, quoted.
    pub name: String,
    pub value: Value,
}

/// A table and its change.
#[derive(Clone)]
pub struct Made {
    /// The statements that make it, with [`TABLE`] for its name.
    pub create: Vec<String>,
    pub columns: Vec<Column>,
    /// Which of the columns are the key.
    pub key: Vec<usize>,
    pub clauses: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};\n  {}", self.create.join(";\n"), self.clauses)
    }
}

/// A row's key, as literals.
type Key = Vec<String>;

impl Made {
    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn insert(&self, rng: &mut SmallRng) -> (Key, String) {
        let values: Vec<String> = self.columns.iter().map(|column| (column.value)(rng)).collect();
        let key = self.key.iter().map(|&at| values[at].clone()).collect();
        (key, format!("INSERT INTO {TABLE} ({}) VALUES ({})", self.names(), values.join(", ")))
    }

    fn pairs(&self, values: &Key) -> Vec<String> {
        let pair = |(&at, value): (&usize, &String)| format!("{} = {value}", self.columns[at].name);
        self.key.iter().zip(values).map(pair).collect()
    }

    /// One statement of a writer.
    fn statement(&self, rng: &mut SmallRng, keys: &Mutex<Vec<Key>>) -> String {
        let Some(key) = keys.lock().unwrap().choose(rng).cloned() else {
            return self.insert(rng).1;
        };
        let found = self.pairs(&key).join(" AND ");
        let others = (0..self.columns.len()).filter(|at| !self.key.contains(at));
        match rng.random_range(0..10) {
            0..2 => {
                let (key, sql) = self.insert(rng);
                keys.lock().unwrap().push(key);
                sql
            }
            2..4 => format!("DELETE FROM {TABLE} WHERE {found}"),
            4..6 => {
                let moved = self.key.iter().map(|&at| (self.columns[at].value)(rng)).collect();
                let set = self.pairs(&moved).join(", ");
                keys.lock().unwrap().push(moved);
                format!("UPDATE {TABLE} SET {set} WHERE {found}")
            }
            _ => {
                let count = rng.random_range(1..=3);
                let set: Vec<String> = others
                    .choose_multiple(rng, count)
                    .into_iter()
                    .map(|at| &self.columns[at])
                    .map(|column| format!("{} = {}", column.name, (column.value)(rng)))
                    .collect();
                if set.is_empty() {
                    return format!("DELETE FROM {TABLE} WHERE {found}");
                }
                format!("UPDATE {TABLE} SET {} WHERE {found}", set.join(", "))
            }
        }
    }
}

/// How a statement of a writer failed.
#[derive(Debug)]
pub enum Failure {
    /// The data do not allow it, or another transaction.
    Refused,
    /// What no application should see.
    Unexpected(String),
}

/// A session of the application.
pub trait Session: Send {
    /// Returns how many rows were affected.
    fn run(&mut self, sql: &str) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// Where both tables are.
pub trait Site: Sync {
    type Session: Session + 'static;
    /// The table that osc changes and its twin.
    fn tables(&self) -> [String; 2];
    fn session(&self) -> impl Future<Output = Self::Session>;
    /// Where osc finds the first of them, which is called `t`.
    fn url(&self) -> String;
    /// Changes the twin by the server itself.
    fn native(&self, clauses: &str) -> impl Future<Output = Result<(), String>>;
    /// Both tables have one definition and the same rows.
    fn same(&self) -> impl Future<Output = Result<(), String>>;
}

/// How osc's run ended, when it ended right.
pub enum Verdict {
    /// Both tables were changed, and are the same.
    Done,
    /// Neither could be.
    Impossible(String),
    /// osc refused what the server does, and says why.
    Refused(String),
}

/// The seeds to try.
pub fn cases() -> Range<u64> {
    let from = support::from_environment("OSC_RANDOM_FROM").unwrap_or(1);
    from..from + support::from_environment("OSC_RANDOM_CASES").unwrap_or(12)
}

/// What came of all cases.
#[derive(Default)]
pub struct Tally {
    done: u64,
    impossible: u64,
    refused: u64,
    wrong: Vec<String>,
}

impl Tally {
    /// Tries one case at a site where its tables are.
    pub async fn count<S: Site>(&mut self, seed: u64, made: &Made, site: S) {
        eprintln!("seed {seed}: {made}");
        let begun = Instant::now();
        match trial(&site, made, seed).await {
            Ok(verdict) => {
                let took = begun.elapsed();
                match verdict {
                    Verdict::Done => {
                        eprintln!("  done in {took:?}");
                        self.done += 1;
                    }
                    Verdict::Impossible(why) => {
                        eprintln!("  impossible: {why}");
                        self.impossible += 1;
                    }
                    Verdict::Refused(why) => {
                        eprintln!("  REFUSED: {why}");
                        self.refused += 1;
                    }
                }
            }
            Err(why) => {
                eprintln!("  WRONG: {why}");
                self.wrong.push(format!("— seed {seed}: {made}\n  {why}"));
            }
        }
    }

    /// Fails unless all was right and most of it was done.
    pub fn assert_sound(&self) {
        let Self { done, impossible, refused, .. } = self;
        eprintln!("{done} done, {impossible} impossible, {refused} refused");
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(*done > impossible + refused, "too little was done for this to tell anything");
    }
}

async fn trial<S: Site>(site: &S, made: &Made, seed: u64) -> Result<Verdict, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let keys = Arc::new(Mutex::new(fill(site, made, &mut rng).await));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for index in 0..WRITERS {
        let rng = SmallRng::seed_from_u64(seed * WRITERS + index);
        let (session, tables, made) = (site.session().await, site.tables(), made.clone());
        let (keys, stop) = (Arc::clone(&keys), Arc::clone(&stop));
        writers.push(tokio::spawn(write(session, tables, made, keys, stop, rng)));
    }
    let kills = rng.random_range(0..3_u32).saturating_sub(1);
    let url = site.url();
    let ended = to_its_end(|| alter(&made.clauses, &url), kills, &mut rng).await;
    stop.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for writer in writers {
        committed += writer.await.unwrap()?;
    }
    eprintln!("  {committed} transactions, {kills} kills");

    let mut output = ended?;
    // What did not fit may be gone since.
    if output.status.code() == Some(1) {
        output = to_its_end(|| alter(&made.clauses, &url), 0, &mut rng).await?;
    }
    match output.status.code() {
        Some(0) => {
            site.native(&made.clauses).await.map_err(|why| format!("osc did it; {why}"))?;
            site.same().await?;
            Ok(Verdict::Done)
        }
        Some(1 | 4) => {
            site.same().await.map_err(|why| format!("{} — and {why}", printed(&output)))?;
            match site.native(&made.clauses).await {
                Err(why) => Ok(Verdict::Impossible(format!("{why} — osc: {}", printed(&output)))),
                Ok(()) if output.status.code() == Some(4) => Ok(Verdict::Refused(printed(&output))),
                Ok(()) => Err(format!("the server does it, osc failed: {}", printed(&output))),
            }
        }
        code => Err(format!("exit {code:?}: {}", printed(&output))),
    }
}

/// The first rows, the same in both tables. Returns their keys.
async fn fill<S: Site>(site: &S, made: &Made, rng: &mut SmallRng) -> Vec<Key> {
    let mut session = site.session().await;
    let [ours, twin] = site.tables();
    let mut keys = Vec::new();
    for _ in 0..ROWS {
        let (key, sql) = made.insert(rng);
        match session.run(&sql.replace(TABLE, &ours)).await {
            Ok(_) => keys.push(key),
            Err(Failure::Refused) => {}
            Err(Failure::Unexpected(why)) => panic!("{sql}: {why}"),
        }
    }
    assert!(keys.len() > 1, "no row could be made");
    let names = made.names();
    let copy = format!("INSERT INTO {twin} ({names}) SELECT {names} FROM {ours}");
    session.run(&copy).await.unwrap_or_else(|why| panic!("{copy}: {why:?}"));
    keys
}

/// Writes each transaction to both tables, until it is to stop. Returns how many were committed.
async fn write(
    mut session: impl Session,
    tables: [String; 2],
    made: Made,
    keys: Arc<Mutex<Vec<Key>>>,
    stop: Arc<AtomicBool>,
    mut rng: SmallRng,
) -> Result<u64, String> {
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        let statements: Vec<String> =
            (0..rng.random_range(1..=4)).map(|_| made.statement(&mut rng, &keys)).collect();
        let whole = match both(&mut session, &tables, &statements).await {
            Ok(whole) => whole && !rng.random_ratio(1, 10),
            Err(Failure::Refused) => false,
            Err(Failure::Unexpected(why)) => return Err(format!("a writer saw {why}")),
        };
        let end = if whole { "COMMIT" } else { "ROLLBACK" };
        session.run(end).await.map_err(|why| format!("no {end}: {why:?}"))?;
        committed += u64::from(whole);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..12))).await;
    }
    Ok(committed)
}

/// Begins a transaction and runs each statement on both tables. False where one did not do the same
/// to both: it had waited for a row of the first that was replaced meanwhile.
async fn both(
    session: &mut impl Session,
    tables: &[String; 2],
    statements: &[String],
) -> Result<bool, Failure> {
    session.run("BEGIN").await?;
    for statement in statements {
        let ours = session.run(&statement.replace(TABLE, &tables[0])).await?;
        let twin = session.run(&statement.replace(TABLE, &tables[1])).await?;
        if ours != twin {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `osc alter t CLAUSES`, slow enough for writers to come between.
fn alter(clauses: &str, url: &str) -> Command {
    let mut command = support::osc();
    command
        .env("RUST_BACKTRACE", "0")
        .args(["alter", "t", clauses, "--url", url, "--strategy", "copy", "--yes"])
        .args(["--chunk-size", "20", "--max-rows-per-second", "300"]);
    command
}

/// Runs osc, kills it so many times, and lets the next go on.
async fn to_its_end(
    command: impl Fn() -> Command,
    mut kills: u32,
    rng: &mut SmallRng,
) -> Result<Output, String> {
    let begun = Instant::now();
    loop {
        let mut child = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let patience = Duration::from_millis(rng.random_range(100..1500));
        let started = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if child.try_wait().unwrap().is_some() {
                let output = child.wait_with_output().unwrap();
                if output.status.code() == Some(3) {
                    break;
                }
                return Ok(output);
            }
            if begun.elapsed() > LONG {
                child.kill().unwrap();
                return Err(format!("no end: {}", printed(&child.wait_with_output().unwrap())));
            }
            if kills > 0 && started.elapsed() > patience {
                kills -= 1;
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
        }
    }
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ⏎ ")
}
