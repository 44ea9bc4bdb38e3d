//! The soak: a run of many minutes, most of it waiting for leave to cut over while the application
//! writes; with pauses, other rates and kills. Its memory and its connections must stay what they
//! were, and the tables must be equal in the end.
//!
//! `OSC_SOAK_MINUTES=30` runs that long on each server; the usual run is a short one.

use crate::support;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::postgres::{Major, Postgres};
use crate::support::server::{Kind, Server};
use crate::support::writers::Writers;
use crate::support::{postgres_twin, twin};
use crate::torture::blows;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A usual run lasts so long.
const SHORT: Duration = Duration::from_secs(15);

/// Writers, and how long each waits between its transactions.
const WRITERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// osc may have so much in memory, whatever the table's size (issue 2).
const MOST_MEMORY_KIB: u64 = 64 * 1024;

/// Sessions that a run with four threads may have: chunks, refresher, stream, claim, watchers.
const MOST_SESSIONS: u64 = 24;

fn length() -> Duration {
    let minutes = std::env::var("OSC_SOAK_MINUTES").ok();
    minutes.map_or(SHORT, |text| Duration::from_secs(60 * text.parse::<u64>().unwrap()))
}

/// What was seen at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    memory_kib: u64,
    sessions: u64,
}

/// A run that starts over whenever it was killed.
struct Soak {
    url: String,
    clauses: &'static str,
    control: PathBuf,
    child: Child,
}

impl Soak {
    fn start(url: String, clauses: &'static str, name: &str) -> Self {
        let control = format!("{}/soak-{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let control = PathBuf::from(control);
        fs::write(&control, "cut_over = \"hold\"").unwrap();
        let child = Self::command(&url, clauses, &control).spawn().unwrap();
        Self { url, clauses, control, child }
    }

    fn command(url: &str, clauses: &str, control: &PathBuf) -> Command {
        let mut osc = support::osc();
        osc.args(["alter", "t", clauses, "--url", url, "--strategy", "copy", "--yes"])
            .args(["--chunk-size", "500", "--max-rows-per-second", "5000", "--json"])
            .arg("--control-file")
            .arg(control)
            .stdout(fs::File::create(control.with_extension("log")).unwrap())
            .stderr(Stdio::piped());
        osc
    }

    fn again(&mut self) {
        self.child = Self::command(&self.url, self.clauses, &self.control).spawn().unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again();
    }

    /// Resident memory; `None` once it has ended.
    fn memory_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Its dirty keys, by the last line that it wrote of them.
    fn dirty(&self) -> u64 {
        let log = fs::read_to_string(self.control.with_extension("log")).unwrap_or_default();
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        let lines = log.lines().rev().filter_map(read);
        lines.filter_map(|line| line["dirty_keys"].as_u64()).next().unwrap_or(0)
    }

    /// Lets it cut over, and waits for its end.
    fn finish(mut self) {
        loop {
            fs::write(&self.control, "cut_over = \"now\"").unwrap();
            let output = self.child.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => break,
                Some(3) => {
                    self.child =
                        Self::command(&self.url, self.clauses, &self.control).spawn().unwrap();
                }
                code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
        fs::remove_file(&self.control).unwrap();
        fs::remove_file(self.control.with_extension("log")).unwrap();
    }
}

/// Soaks until the time is over. `sessions` counts those of osc on the server.
async fn soak(
    soak: &mut Soak,
    name: &str,
    seed: u64,
    writers: &Writers,
    sessions: impl AsyncFn() -> u64,
) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (began, length) = (Instant::now(), length());
    let kill_every = (length / 16).max(Duration::from_secs(3));
    let steer_every = (length / 24).max(Duration::from_secs(1));
    let (mut killed, mut reported, mut steered) = (began, began, began);
    let mut samples: Vec<Sample> = Vec::new();
    while began.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some(status) = soak.child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(3), "{name}: it ended before it had leave");
            soak.again();
            continue;
        }
        if let Some(memory_kib) = soak.memory_kib() {
            samples.push(Sample { memory_kib, sessions: sessions().await });
        }
        if steered.elapsed() > steer_every {
            steered = Instant::now();
            let wish = match rng.random_range(0..4) {
                0 => "pause = true\n".to_owned(),
                1 => format!("max_rows_per_second = {}\n", rng.random_range(500..20_000)),
                2 => format!("threads = {}\n", rng.random_range(1..5)),
                _ => String::new(),
            };
            fs::write(&soak.control, format!("cut_over = \"hold\"\n{wish}")).unwrap();
        }
        // One process lives through the middle half: what it gathers shows.
        let calm = (length / 4..length * 3 / 4).contains(&began.elapsed());
        if killed.elapsed() > kill_every && !calm {
            killed = Instant::now();
            soak.kill();
        }
        if reported.elapsed() > Duration::from_secs(60) {
            reported = Instant::now();
            let last = samples.last().unwrap();
            println!(
                "{name}: {} min, {} KiB, {} sessions, {} dirty keys, {} transactions",
                began.elapsed().as_secs() / 60,
                last.memory_kib,
                last.sessions,
                soak.dirty(),
                writers.transactions()
            );
        }
    }
    judge(name, &samples);
}

/// Flat, and not large.
fn judge(name: &str, samples: &[Sample]) {
    let mean = |part: &[Sample]| {
        part.iter().map(|sample| sample.memory_kib).sum::<u64>() / part.len().max(1) as u64
    };
    let eighth = samples.len() / 8;
    let early = mean(&samples[3 * eighth..4 * eighth]);
    let late = mean(&samples[5 * eighth..6 * eighth]);
    let memory = samples.iter().map(|sample| sample.memory_kib).max().unwrap();
    let sessions = samples.iter().map(|sample| sample.sessions).max().unwrap();
    println!(
        "{name}: memory {early} KiB early, {late} KiB late, {memory} KiB at most; {sessions} sessions at most"
    );
    assert!(memory < MOST_MEMORY_KIB, "{name}: {memory} KiB");
    assert!(late < early + early / 3 + 4096, "{name}: memory grew from {early} to {late} KiB");
    assert!(sessions <= MOST_SESSIONS, "{name}: {sessions} sessions");
}

async fn a_long_run_stays_small(kind: Kind) {
    const CLAUSES: &str = "MODIFY n BIGINT, ADD COLUMN added INT NOT NULL DEFAULT 7, \
                           ADD INDEX d (d)";
    let seed = 7;
    println!("soak: {} seed {seed}", kind.name());
    let server = Server::start(kind);
    let database = support::database(&server).await;
    let rows = blows::rows(20_000);
    let twin = twin::Twin::create(&server, &database, twin::KeyKind::Int, rows).await;
    let writers = Writers::paced(&twin, WRITERS, seed, PAUSE);
    let url = server.as_osc(&database).await;
    let mut run = Soak::start(url, CLAUSES, kind.name());
    let sessions = async || {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'osc'";
        server.value(sql).await.parse().unwrap()
    };
    soak(&mut run, kind.name(), seed, &writers, sessions).await;
    run.finish();
    writers.stop().await.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_on_postgresql_stays_small() {
    const CLAUSES: &str = "ALTER COLUMN n TYPE bigint, ADD COLUMN added integer NOT NULL DEFAULT 7";
    let seed = 7;
    println!("soak: PostgreSQL seed {seed}");
    let server = Postgres::start(Major::SYSTEM);
    let database = support::postgres_database(&server).await;
    let rows = blows::rows(20_000);
    let key = postgres_twin::KeyKind::Int;
    let twin = postgres_twin::Twin::create(&server, &database, key, rows).await;
    let writers = Writers::paced(&twin, WRITERS, seed, PAUSE);
    let mut run = Soak::start(server.url(&database), CLAUSES, "postgresql");
    let sessions = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'osc%'";
        server.value("postgres", sql).await.parse().unwrap()
    };
    soak(&mut run, "PostgreSQL", seed, &writers, sessions).await;
    run.finish();
    writers.stop().await.assert_undisturbed();
    twin.assert_equal(CLAUSES).await;
}

on_both_servers! {
    a_long_run_stays_small
}
