//! What there is to see at one moment: this process's run, or all runs of a server.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::page::Parts;
use super::trail::Trail;
use crate::engine::picture::Picture;
use crate::engine::times::Buckets;

/// All that there is to see.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// The server answers, and the numbers are of now.
    pub(super) ready: bool,
    /// The runs, the one that is under way first.
    pub(super) runs: Vec<Arc<Shown>>,
}

/// One run.
#[derive(Debug)]
pub(super) struct Shown {
    /// What programs read of it.
    pub(super) view: View,
    /// How it went so far.
    pub(super) trail: Trail,
    /// What was counted.
    pub(super) counts: Counts,
    /// Its page, once somebody has looked.
    pub(super) parts: OnceLock<Parts>,
}

/// A run, as `/status` has it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct View {
    /// Host and port, or socket.
    pub(super) server: String,
    /// The table.
    pub(super) table: String,
    /// Its number in the ledger; `None`: it has none yet.
    pub(super) run: Option<i64>,
    /// `alter` or `revert`.
    pub(super) kind: &'static str,
    /// `instant`, `inplace`, `copy`, `revert`; `None`: not chosen yet.
    pub(super) method: Option<String>,
    /// The clauses.
    pub(super) clauses: String,
    /// As in `osc status`.
    pub(super) state: &'static str,
    /// Why it is paused or on hold, or what ended it.
    pub(super) reason: Option<String>,
    /// When this attempt began, RFC 3339.
    pub(super) started: String,
    /// What keeps it from being faster, in one line.
    pub(super) pace: String,
    /// The least and the greatest time until the phase is through, in seconds; `None`: not known.
    pub(super) eta_range_seconds: Option<(u64, u64)>,
    /// All numbers, settings and holders.
    pub(super) snapshot: Picture,
    /// The last orders, newest first.
    pub(super) orders: Vec<Ordered>,
    /// What became of it, once it has ended.
    pub(super) ended: Option<Ended>,
}

/// An order that was answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ordered {
    /// Its number.
    pub(super) order: i64,
    /// What it asks for.
    pub(super) verb: String,
    /// With what.
    pub(super) arguments: String,
    /// The account that made it.
    pub(super) who: String,
    /// From where.
    pub(super) host: String,
    /// Why.
    pub(super) why: String,
    /// `accepted`, `refused`, `expired`.
    pub(super) outcome: &'static str,
    /// What that means, or why not.
    pub(super) answer: String,
    /// When it was answered, RFC 3339.
    pub(super) time: String,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ended {
    /// What happened.
    pub(super) message: String,
    /// What to do.
    pub(super) help: Option<String>,
    /// Things to act upon.
    pub(super) warnings: Vec<String>,
}

/// What is counted of a run, beside its numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// When the attempt began, in seconds since 1970.
    pub(super) started: f64,
    /// The attempt resumed the run from a checkpoint.
    pub(super) resumed: u64,
    /// Attempts to lock the table that failed.
    pub(super) failed_locks: u64,
    /// Times that the connection was lost.
    pub(super) connections_lost: u64,
    /// Warnings.
    pub(super) warnings: u64,
    /// Orders, by verb and outcome.
    pub(super) orders: BTreeMap<(&'static str, &'static str), u64>,
    /// Whether the operator pauses the run, and for how long in all, in seconds.
    pub(super) paused: Paused,
    /// The same of the throttle's sources.
    pub(super) throttled: Paused,
    /// How long chunks took.
    pub(super) chunks: Buckets,
    /// How long refreshes took.
    pub(super) refreshes: Buckets,
    /// The lock of the cut-over, in seconds.
    pub(super) lock: Option<f64>,
}

/// A pause.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Paused {
    /// Now.
    pub(super) now: bool,
    /// In all, in seconds.
    pub(super) seconds: f64,
}

impl Paused {
    /// Time passes.
    pub(super) fn pass(&mut self, now: bool, seconds: f64) {
        self.seconds += if now { seconds } else { 0.0 };
        self.now = now;
    }
}
