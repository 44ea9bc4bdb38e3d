//! Failpoints: places at which a test can end the program, fail the step, or have it wait.
//!
//! Without the feature `faults` [`hit`] is nothing at all. With it, `OSC_FAULT` names one point and what
//! happens there once: `chunk.copied=kill`, or `chunk.copied@3=kill` for the third time it is passed.
//!
//! - `kill` ends the program as `kill -9` would;
//! - `error` makes the step fail for good;
//! - `panic` is a defect: the task that passes it panics;
//! - `wait:ADDRESS` connects to whoever listens there, and waits until that side hangs up.

#[cfg(not(feature = "faults"))]
use crate::error::Result;

/// Where a point is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a migration by copy, on every server.
    Copy,
    /// The same, on MySQL and MariaDB.
    Binlog,
    /// The same, on MySQL only.
    Mysql,
    /// The same, on MariaDB only.
    Mariadb,
    /// The same, on PostgreSQL only.
    Postgres,
    /// On the methods that are PostgreSQL's own.
    Steps,
    /// In a source of the throttle, of whatever run has one.
    Source,
}

macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal on $place:ident;)+) => {
        /// A failpoint.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])+ $point,)+ }

        impl Point {
            /// All points: a test walks over them, and fails for one that is never passed.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name in `OSC_FAULT`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)+ }
            }

            /// Where it is passed.
            pub fn place(self) -> Place {
                match self { $(Self::$point => Place::$place,)+ }
            }
        }
    };
}

points! {
    /// The run's lock is held; nothing is recorded.
    Locked = "claim.locked" on Copy;
    /// The run is in the ledger.
    Claimed = "claim.recorded" on Copy;
    /// The publication is there, the slot is not.
    Published = "position.published" on Postgres;
    /// The stream's position is taken.
    Positioned = "position.taken" on Copy;
    /// The shadow is like the original.
    ShadowCreated = "shadow.created" on Binlog;
    /// The clauses are applied, what hangs on the table is not recorded.
    ShadowAltered = "shadow.altered" on Binlog;
    /// Indexes are dropped from the shadow; the ledger does not have them.
    ShadowStripped = "shadow.stripped" on Binlog;
    /// The shadow is built, in a transaction that is not committed.
    ShadowUncommitted = "shadow.uncommitted" on Postgres;
    /// The shadow is committed, and not recorded.
    ShadowUnrecorded = "shadow.unrecorded" on Postgres;
    /// The shadow is there, and recorded.
    ShadowMade = "shadow.made" on Copy;
    /// What was before the position can be read.
    Barrier = "barrier.passed" on Copy;
    /// The first checkpoint is stored.
    FirstCheckpoint = "checkpoint.first" on Copy;
    /// The stream is open.
    StreamOpened = "stream.opened" on Copy;
    /// A chunk is planned.
    ChunkPlanned = "chunk.planned" on Copy;
    /// A chunk is written, and not committed.
    ChunkUncommitted = "chunk.uncommitted" on Binlog;
    /// A chunk is committed; the run does not know it.
    ChunkCopied = "chunk.copied" on Copy;
    /// Dirty keys are taken.
    RefreshTaken = "refresh.taken" on Copy;
    /// The checkpoint before them is stored.
    RefreshCheckpointed = "refresh.checkpointed" on Copy;
    /// Rows are refreshed, and not committed.
    RefreshUncommitted = "refresh.uncommitted" on Binlog;
    /// Rows are refreshed and committed.
    RefreshWritten = "refresh.written" on Copy;
    /// The position of a cycle counts as applied.
    RefreshApplied = "refresh.applied" on Copy;
    /// The copy key's index is to be built.
    KeyBegun = "key.begun" on Postgres;
    /// It is; the run does not know it.
    KeyBuilt = "key.built" on Postgres;
    /// The deferred indexes are to be built.
    IndexBegun = "index.begun" on Copy;
    /// One of them is.
    IndexOne = "index.one" on Postgres;
    /// All are; the run does not know it.
    IndexBuilt = "index.built" on Copy;
    /// A range is compared.
    Compared = "verify.compared" on Copy;
    /// All are.
    Verified = "verify.done" on Copy;
    /// The shadow is prepared for the swap.
    SwapPrepared = "swap.prepared" on Copy;
    /// The session that will lock is ready; on MariaDB the sentry is there.
    SwapReady = "swap.ready" on Copy;
    /// The tables are locked.
    SwapLocked = "swap.locked" on Copy;
    /// The marker is committed.
    SwapMarked = "swap.marked" on Copy;
    /// The stream is drained.
    SwapDrained = "swap.drained" on Copy;
    /// The last rows are refreshed.
    SwapRefreshed = "swap.refreshed" on Copy;
    /// The shadow has its triggers, and on MariaDB its keys.
    SwapInstalled = "swap.installed" on Binlog;
    /// The tables are renamed, and still locked.
    SwapRenamed = "swap.renamed" on Mysql;
    /// Triggers and keys have their true names; the tables are still locked.
    SwapRestored = "swap.restored" on Mysql;
    /// The rename waits for the lock to go.
    SwapWaits = "swap.waits" on Mariadb;
    /// The sentry is dropped: the rename may go through.
    SwapUnguarded = "swap.unguarded" on Mariadb;
    /// The lock is gone, the rename is not answered.
    SwapUnlocked = "swap.unlocked" on Mariadb;
    /// The swap is committed, and not looked at.
    SwapCommitted = "swap.committed" on Postgres;
    /// The swap is known.
    Swapped = "swap.done" on Copy;
    /// A trigger is there under both of its names.
    TriggerDoubled = "triggers.doubled" on Binlog;
    /// A child's key is there under its stand-in's name only.
    KeyAway = "keys.away" on Binlog;
    /// The slot is dropped, the publication is not.
    SlotDropped = "stream.slot_dropped" on Postgres;
    /// Nothing of the stream is left.
    StreamDropped = "stream.dropped" on Postgres;
    /// What follows the swap is done.
    AfterDone = "after.done" on Copy;
    /// The run's markers are forgotten, its end is not recorded.
    MarkersGone = "ledger.markers_gone" on Binlog;
    /// The end is recorded.
    Finished = "ledger.finished" on Copy;
    /// A source of the throttle looks.
    SourceLooks = "throttle.source" on Source;
    /// A step is to be made.
    StepBegun = "step.begun" on Steps;
    /// A step is made.
    StepDone = "step.done" on Steps;
    /// A step that failed is to be taken back.
    StepFailed = "step.failed" on Steps;
}

/// Passes a point.
///
/// # Errors
/// What was asked for with `error`.
#[cfg(not(feature = "faults"))]
#[inline]
pub const fn hit(_: Point) -> Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
pub use acting::hit;

#[cfg(feature = "faults")]
mod acting {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;
    use crate::error::{Error, Result};

    struct Wish {
        point: Point,
        /// Passes until then, this one included.
        left: AtomicU64,
        action: Action,
    }

    enum Action {
        Kill,
        Error,
        Panic,
        Wait(String),
    }

    static WISH: LazyLock<Option<Wish>> = LazyLock::new(|| {
        let text = std::env::var("OSC_FAULT").ok()?;
        let wish = read(&text);
        if wish.is_none() {
            say(&format!("OSC_FAULT makes no sense: {text}"));
            std::process::exit(2);
        }
        wish
    });

    fn read(text: &str) -> Option<Wish> {
        let (place, action) = text.split_once('=')?;
        let (name, left) = match place.split_once('@') {
            Some((name, times)) => (name, times.parse().ok()?),
            None => (place, 1),
        };
        let action = match action.split_once(':') {
            None if action == "kill" => Action::Kill,
            None if action == "error" => Action::Error,
            None if action == "panic" => Action::Panic,
            Some(("wait", address)) => Action::Wait(address.to_owned()),
            _ => return None,
        };
        let point = Point::ALL.iter().copied().find(|point| point.name() == name)?;
        Some(Wish { point, left: AtomicU64::new(left), action })
    }

    /// Passes a point.
    ///
    /// # Errors
    /// What was asked for with `error`.
    pub fn hit(point: Point) -> Result<()> {
        let Some(wish) = WISH.as_ref().filter(|wish| wish.point == point) else { return Ok(()) };
        let less = |left: u64| left.checked_sub(1);
        if wish.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) != Ok(1) {
            return Ok(());
        }
        say(&format!("fault at {}", point.name()));
        match &wish.action {
            Action::Kill => std::process::abort(),
            Action::Error => Err(Error::server(point.name(), "a fault was asked for")),
            #[allow(clippy::panic, reason = "a defect on demand, for the tests")]
            Action::Panic => panic!("a panic was asked for"),
            Action::Wait(address) => {
                // Whether the other side could be reached is its test's affair.
                let _ = TcpStream::connect(address).map(|mut line| line.read(&mut [0]));
                Ok(())
            }
        }
    }

    fn say(text: &str) {
        let _ = writeln!(std::io::stderr(), "osc: {text}");
    }
}
