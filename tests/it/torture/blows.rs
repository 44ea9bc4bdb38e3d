//! Torture: osc is killed, loses its sessions and its server while it changes a table that an application
//! writes. What was done to a run is counted: one that ended before enough was done to it shows nothing.
#![allow(unreachable_pub, reason = "a part of one test program, as the kit is")]

use std::fmt;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::support;
use crate::support::writers::Writers;

/// How long the application writes as fast as it can when nothing more is done to osc.
const PEAK: Duration = Duration::from_secs(40);

/// How long a run may take.
const LONG: Duration = Duration::from_secs(400);

/// What is done to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// osc is killed.
    Kill,
    /// osc loses its sessions.
    Cut,
    /// The server is killed.
    Crash,
}

/// Each of them, and how often at most.
const BLOWS: [(Blow, usize); 3] = [(Blow::Kill, 5), (Blow::Cut, 20), (Blow::Crash, 1)];

/// A server with a table that is being changed.
pub trait Victim {
    /// Where osc connects to.
    fn url(&self) -> String;

    /// Ends osc's sessions, and says how many.
    fn cut(&self) -> impl Future<Output = u64>;

    /// Kills the server and starts it again.
    fn crash(&mut self);

    /// Whether the table is the new one.
    fn swapped(&self) -> impl Future<Output = bool>;

    /// So many blows have been dealt.
    fn struck(&mut self, _blows: usize) {}

    /// What else happens now and then.
    fn trouble(&mut self, rng: &mut SmallRng) -> impl Future<Output = ()>;
}

/// What was done to a run: how often, and how often before its swap.
#[derive(Debug, Default)]
pub struct Blows(Vec<(Blow, bool)>);

impl Blows {
    /// Fails unless each was done at least once before the swap.
    pub fn assert_enough(&self) {
        for (blow, _) in BLOWS {
            assert!(self.0.contains(&(blow, true)), "no {blow:?} before the swap: {self}");
        }
    }
}

impl Blows {
    /// The writers end; fails unless enough was done to the run, and they saw nothing of it.
    pub async fn end(&self, writers: Writers) {
        let report = writers.stop().await;
        eprintln!(
            "  {} transactions, longest stall {:?}; {self}",
            report.transactions, report.longest_stall
        );
        self.assert_enough();
        report.assert_undisturbed();
    }
}

/// A control file that holds an undo until enough blows have fallen.
pub struct Hold {
    file: PathBuf,
    free: bool,
    looks: u32,
}

/// As many blows fall before.
const BLOWS_ON_HOLD: usize = 5;

impl Hold {
    /// The undo is to be held; `name` is no other test's.
    pub fn new(name: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("undo-{name}"));
        let hold = Self { file, free: false, looks: 0 };
        hold.write("hold");
        hold
    }

    /// The command that it holds.
    pub fn command(&self) -> [String; 5] {
        let file = self.file.to_str().unwrap();
        ["revert", "t", "--hold", "--control-file", file].map(str::to_owned)
    }

    /// So many have fallen.
    pub fn struck(&mut self, blows: usize) {
        self.free |= blows >= BLOWS_ON_HOLD;
    }

    /// To be looked at again and again: what was permitted before an attempt began does not count.
    pub fn look(&mut self) {
        self.looks += 1;
        match self.looks % 16 {
            0 => self.write("hold"),
            8 if self.free => self.write("now"),
            _ => {}
        }
    }

    fn write(&self, word: &str) {
        std::fs::write(&self.file, format!("cut_over = \"{word}\"\n")).unwrap();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl fmt::Display for Blows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (blow, most) in BLOWS {
            let all = self.0.iter().filter(|(done, _)| *done == blow).count();
            let before = self.0.iter().filter(|done| **done == (blow, true)).count();
            write!(f, "{blow:?}: {all} of {most}, {before} before the swap; ")?;
        }
        Ok(())
    }
}

/// The arguments of a change by copy that takes its time.
pub fn alter(clauses: &str) -> Vec<String> {
    let command = ["alter", "t", clauses, "--strategy", "copy", "--chunk-size", "300"];
    let pace = ["--max-rows-per-second", "2500", "--chunk-time", "50ms"];
    [&command[..], &pace, flags()].concat().into_iter().map(str::to_owned).collect()
}

/// Runs the command, in as many attempts as that takes; how the last one ended, what it printed, and what was
/// done to the run. One blow of each kind comes first; the others may meet the cut-over.
pub async fn to_its_end(
    victim: &mut impl Victim,
    command: &[String],
    writers: &Writers,
    rng: &mut SmallRng,
) -> (ExitStatus, String, Blows) {
    let mut left: Vec<Blow> = BLOWS.iter().flat_map(|&(blow, most)| vec![blow; most - 1]).collect();
    left.shuffle(rng);
    let mut first = BLOWS.map(|(blow, _)| blow);
    first.shuffle(rng);
    left.extend(first);

    let mut blows = Blows::default();
    let (began, mut calm) = (Instant::now(), Instant::now());
    let mut child = osc(&victim.url(), command);
    loop {
        if calm.elapsed() > PEAK {
            writers.ease();
        }
        if began.elapsed() > LONG {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("no end after {blows}: {}", String::from_utf8_lossy(&output.stderr));
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..250))).await;
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            if !may_try_again(output.status, &printed) {
                return (output.status, printed, blows);
            }
            child = osc(&victim.url(), command);
            continue;
        }
        victim.trouble(rng).await;
        let Some(&blow) = left.last() else { continue };
        if blows.0.len() >= BLOWS.len() && rng.random_ratio(1, 2) {
            continue;
        }
        let met = match blow {
            Blow::Kill => {
                child.kill().unwrap();
                child.wait().unwrap().signal().is_some()
            }
            Blow::Cut => victim.cut().await > 0,
            Blow::Crash => {
                victim.crash();
                true
            }
        };
        if met {
            left.pop();
            blows.0.push((blow, !victim.swapped().await));
            victim.struck(blows.0.len());
            calm = Instant::now();
        }
        if met && blow == Blow::Kill {
            child = osc(&victim.url(), command);
        }
    }
}

fn osc(url: &str, command: &[String]) -> Child {
    support::osc()
        .args(command)
        .args(["--url", url, "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether the same command may be given once more: the attempt was stopped and the next resumes it,
/// or was cut while it logged in, before it began anything.
fn may_try_again(status: ExitStatus, printed: &str) -> bool {
    match status.code() {
        Some(3) => true,
        Some(2) => printed.contains("cannot connect"),
        _ => false,
    }
}

/// The seeds that a torture test runs with: one, or as many as `OSC_TORTURE_SEEDS` says.
pub fn seeds() -> Range<u64> {
    1..1 + support::from_environment("OSC_TORTURE_SEEDS").unwrap_or(1)
}

/// The rows that a torture test begins with: `usual`, or what `OSC_TORTURE_ROWS` says.
pub fn rows(usual: u64) -> u64 {
    support::from_environment("OSC_TORTURE_ROWS").unwrap_or(usual)
}

/// What a torture test runs osc with besides: nothing, or `--no-verify` when `OSC_TORTURE_UNVERIFIED`
/// says so.
fn flags() -> &'static [&'static str] {
    let unverified = std::env::var_os("OSC_TORTURE_UNVERIFIED").is_some_and(|set| !set.is_empty());
    if unverified { &["--no-verify"] } else { &[] }
}

#[test]
#[should_panic(expected = "no Kill before the swap")]
fn a_run_that_was_not_killed_before_its_swap_shows_nothing() {
    Blows(vec![(Blow::Cut, true), (Blow::Crash, true), (Blow::Kill, false)]).assert_enough();
}
