//! The change stream of MySQL and MariaDB: the binary log, read as a replica reads it.
//!
//! # What is read
//!
//! Only keys. A row event of the original gives the copy key's values before and after the change;
//! all other columns are stepped over by their width (`rows`). So row images of any size, partial
//! JSON and compressed columns do no harm, and the values of keys come out as
//! a SELECT of the key gives them (`value`).
//!
//! # How it is cut
//!
//! A transaction begins with a GTID event and ends with XID, COMMIT, or the one statement that it
//! consists of (`changes`). Keys are delivered while it is read (the log holds whole
//! transactions only), markers and the commit at its end. Transactions of other tables are reported
//! now and then, and when the log is idle the server's heartbeats are, so a position is never old.
//!
//! An XA transaction is logged when it is prepared and becomes visible when it is committed, which
//! may be much later. Its keys wait for that, and the reported position stays before it, so that a
//! stream that begins there reads its keys again (`xa`). Transactions prepared before the stream
//! began are the start barrier's business.
//!
//! # What must not be missed
//!
//! | what hides changes | what is done |
//! |---|---|
//! | changes logged as statements | every statement is looked at (`query`): the run ends where one may be to the original |
//! | DDL and TRUNCATE on the original | likewise |
//! | others' rows in a shadow that has been compared | their keys are delivered, and their DDL ends the run (`shadow`) |
//! | compressed events of MariaDB | unpacked here, the driver does not know them |
//! | compressed transactions of MySQL | unpacked by the driver, which swallows failures: their bytes are counted |
//! | events of unknown types | an error, unless the server says that they may be left out |
//! | row events without a table map | an error: the stream began inside a transaction |
//! | an incident of the server, purged files | an error, the stream has a gap |
//! | a connection that died without a word | the server sends a heartbeat every second, and silence is an error |
//!
//! What cannot be seen: `sql_log_bin=0`, `binlog_do_db` and its like, and cascades of foreign keys
//! on servers that do not log them. The checks before the start and the verification are for those.
//!
//! # Where it resumes
//!
//! By GTID where the server has them; else by file and offset, on the same server only. Either
//! names the end of a transaction.

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

mod bytes;
mod changes;
mod connect;
mod event;
mod mariadb;
mod position;
mod query;
mod reach;
mod rows;
mod shadow;
mod since;
mod table;
mod tables;
mod value;
mod xa;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use changes::Changes;
use futures_util::{FutureExt, StreamExt};
use position::Place;
use tokio::time::{Instant, timeout_at};

use super::catalog::key::KeyColumns;
use super::connection::version::Flavor;
use super::name::TableName;
use crate::engine::backend::{Change, ChangeStream};
use crate::error::{Error, Result};
use crate::key::Position;

pub use connect::current_position;
pub(super) use reach::bytes_since;
pub(super) use shadow::signature;
pub use shadow::{Shadow, ShadowWatch};
pub use since::Since;
pub(super) use since::settled;

/// Silence after which the connection counts as lost: many heartbeats.
const SILENCE: Duration = Duration::from_secs(30);

/// What a stream that was not read for longer than [`SILENCE`] gets to show that it lives.
const GRACE: Duration = Duration::from_secs(5);

/// What a stream is about.
#[derive(Clone)]
pub struct StreamConfig {
    /// Where to connect to. Needs REPLICATION SLAVE, and SELECT on the original.
    pub opts: mysql_async::Opts,
    /// The server's family and version.
    pub flavor: Flavor,
    /// The table whose changed keys are delivered.
    pub original: TableName,
    /// The table into which this run writes its markers: `run BIGINT NOT NULL` and
    /// `marker BIGINT UNSIGNED NOT NULL` are its first two columns.
    pub ledger: TableName,
    /// This run, as in the ledger.
    pub run: i64,
    /// The copy key of the original.
    pub key: KeyColumns,
    /// The shadow, where others' writes to it are to be watched for.
    pub shadow: Option<Shadow>,
    /// The swap from which an undo reads.
    pub since: Option<Since>,
}

impl fmt::Debug for StreamConfig {
    /// Without the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfig")
            .field("original", &self.original)
            .field("ledger", &self.ledger)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// The change stream.
pub struct BinlogStream {
    events: mysql_async::BinlogStream,
    changes: Box<Changes>,
    deadline: Instant,
    /// Why it ended.
    ended: Option<String>,
}

impl fmt::Debug for BinlogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BinlogStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Opens the stream after `from`.
///
/// `Connection`: the server was not reached; worth another try. `StreamGap`: the server no longer
/// has what follows `from`; which some servers say only when the stream is first read.
pub async fn open(config: &StreamConfig, from: &Position) -> Result<BinlogStream> {
    let place = Place::parse(from)?;
    let (conn, learnt) = Box::pin(connect::prepare(config)).await?;
    let events = Box::pin(connect::request(conn, config.flavor, &place)).await?;
    Ok(BinlogStream {
        events,
        changes: Box::new(Changes::new(config, learnt, place)),
        deadline: Instant::now() + SILENCE,
        ended: None,
    })
}

impl BinlogStream {
    fn lost(&mut self, message: String) -> Error {
        self.ended = Some(message.clone());
        Error::connection("reading the binary log", message)
    }
}

impl ChangeStream for BinlogStream {
    async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.changes.pop() {
                return Ok(change);
            }
            if let Some(reason) = self.ended.clone() {
                return Err(self.lost(reason));
            }
            // The engine may not have read for a while; what came meanwhile has not been read.
            if self.deadline <= Instant::now() {
                self.deadline = Instant::now() + GRACE;
            }
            // The driver panics where an event is shorter than it says. It is not used again then.
            let next = AssertUnwindSafe(self.events.next()).catch_unwind();
            let event = match timeout_at(self.deadline, next).await {
                Ok(Ok(Some(Ok(event)))) => event,
                Ok(Ok(Some(Err(error)))) => {
                    self.ended = Some(error.to_string());
                    return Err(connect::ended(self.changes.place(), error));
                }
                Ok(Err(_)) => return Err(self.lost("an event that cannot be read".into())),
                Ok(Ok(None)) => return Err(self.lost("the server ended the stream".into())),
                Err(_) => {
                    let message = format!("not a word for {} seconds", SILENCE.as_secs());
                    return Err(self.lost(message));
                }
            };
            self.deadline = Instant::now() + SILENCE;
            if let Err(error) = self.changes.read(&event) {
                self.ended = Some(error.to_string());
                return Err(error);
            }
        }
    }
}
