//! What a run on PostgreSQL is made from.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use super::catalog::table::Table;
use super::clauses::change::Change;
use super::connection::connect::Options;
use super::connection::settings::RoleSettings;
use super::dependents::Dependents;
use super::runs::ledger::Ledger;
use crate::engine::progress::Progress;

/// What a run on one table is made from.
pub(super) struct Setting {
    /// How to connect.
    pub options: Options,
    /// The server's version number.
    pub version: u32,
    /// The original.
    pub original: Table,
    /// The change.
    pub change: Change,
    /// What hangs on the original.
    pub dependents: Dependents,
    /// What a plain session of the role has now.
    pub role: RoleSettings,
    /// Run functions of roles that osc's is stronger than.
    pub trusts_owner: bool,
    /// Compare before the swap.
    pub verify: bool,
    /// Indexes built at once.
    pub threads: usize,
    /// How long a cut-over attempt may hold its lock while the stream is drained.
    pub cut_over_timeout: Duration,
    /// Log that the run's slot may make the server keep.
    pub max_wal: Option<ByteSize>,
    /// Blockers of the cut-over older than this are ended.
    pub kill_blockers_after: Option<Duration>,
    /// The ledger, looked at.
    pub ledger: Ledger,
    /// Counters, for the ledger.
    pub progress: Arc<Progress>,
}
