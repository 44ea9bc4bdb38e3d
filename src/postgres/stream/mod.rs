//! The change stream of PostgreSQL: logical decoding by `pgoutput`; where that cannot be had
//! (`capture`), a log that triggers write (`triggers`). What follows is about the first.
//!
//! # What is read
//!
//! Only keys. The publication lists the columns of the replica identity alone where the server can
//! (15 and later), so that wide rows and values stored out of line never travel. A row's change is
//! delivered as the key before and the key after it, as text in the one form that
//! the settings of every session ([`settings`](super::connection::settings)) give.
//!
//! # What the application must not feel
//!
//! A published table without a usable replica identity refuses the application's UPDATE and DELETE,
//! and so does one whose identity is not within the publication's columns. Both are checked before
//! the publication is made (`publication`).
//!
//! # Order
//!
//! Publication, then slot, then the start barrier, then the copy. The slot delivers what committed
//! after its position; what committed before it may still be invisible while a standby is waited
//! for, so the barrier waits until every transaction that was underway has ended (`waits`). For the
//! same reason a delivered change is looked up only when a snapshot shows its transaction (`seen`).
//!
//! Transactions come whole and in commit order; prepared ones when they are committed, under the
//! number that snapshots know them by; what a savepoint took back does not come.
//!
//! # Where it resumes
//!
//! After any commit's end. The server keeps what follows the last position that was confirmed, and
//! osc confirms only what it has stored as applied. A stream that is opened at an older position would
//! begin later without a word, so the slot is looked at first (`logical`).
//!
//! # What must not be missed
//!
//! | what hides changes | what is done |
//! |---|---|
//! | TRUNCATE | the run ends |
//! | DDL | the server describes the published columns again before the next change, and the catalog is looked at (`shape`): a difference ends the run |
//! | a slot that was dropped, invalidated, or read by another session | an error, the stream has a gap |
//! | a key that was not logged | the run ends |
//! | a connection that died without a word | the server gives a sign of life, and silence is an error |

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod triggers;

mod capture;
mod changes;
mod logical;
mod marker;
mod names;
mod pgoutput;
mod position;
mod publication;
mod schema_watch;
mod slot;
mod transaction_wait;
mod visibility;

use std::fmt;
use std::sync::Arc;

use super::catalog::key::KeyColumns;
use super::connection::connect::Options;
use super::name::TableName;
use crate::engine::backend::{Change, ChangeStream};
use crate::error::Result;
use crate::key::Position;

pub use self::transaction_wait::start_barrier;
pub use self::visibility::Seen;
pub use capture::{Capture, choose, drop_all};
pub use marker::emit_marker;
pub use names::{Names, left, names};
pub use publication::prepare;
pub use slot::{Retained, create_slot, retained};

/// What a stream is about.
#[derive(Clone)]
pub struct StreamConfig {
    /// Where to connect to, and as whom.
    pub options: Options,
    /// The original's OID.
    pub oid: u32,
    /// The table whose changed keys are delivered.
    pub original: TableName,
    /// The copy key of the original.
    pub key: KeyColumns,
    /// This run, as in the ledger: its markers are delivered.
    pub run: i64,
    /// What the run's slot and publication, or its log and triggers, are called.
    pub names: Names,
    /// How changes are captured.
    pub capture: Capture,
    /// Where delivered transactions are noted, and from where confirmations come.
    pub seen: Arc<Seen>,
}

impl fmt::Debug for StreamConfig {
    /// Without the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfig")
            .field("original", &self.original)
            .field("run", &self.run)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The change stream.
#[derive(Debug)]
pub struct PgStream {
    way: Way,
    watcher: schema_watch::Watcher,
}

#[derive(Debug)]
enum Way {
    Logical(Box<logical::LogicalStream>),
    Triggers(Box<triggers::TriggerStream>),
}

impl PgStream {
    /// Opens the stream after `from`, and ends a session of a dead attempt that still reads it.
    ///
    /// # Errors
    /// `Connection`: the server was not reached; worth another try. `StreamGap`: the server no
    /// longer has what follows `from`. `Refused`: the user may not replicate.
    pub async fn open(config: StreamConfig, from: &Position) -> Result<Self> {
        let watcher = Box::pin(schema_watch::Watcher::start(&config)).await?;
        let way = match config.capture {
            Capture::Logical => {
                let opening = Box::pin(logical::LogicalStream::open(config, from));
                Way::Logical(Box::new(opening.await?))
            }
            Capture::Triggers => {
                let opening = Box::pin(triggers::TriggerStream::open(config, from));
                Way::Triggers(Box::new(opening.await?))
            }
        };
        Ok(Self { way, watcher })
    }
}

impl ChangeStream for PgStream {
    async fn next(&mut self) -> Result<Change> {
        let next = async {
            match &mut self.way {
                Way::Logical(stream) => stream.next().await,
                Way::Triggers(stream) => stream.next().await,
            }
        };
        tokio::select! {
            // The watcher has ended then, and so must the stream.
            what = self.watcher.changed() => what.map(Change::Foreign),
            change = next => change,
        }
    }
}
