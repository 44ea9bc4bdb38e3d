//! What a run on PostgreSQL is made from.

use std::sync::Arc;

use super::catalog::table::Table;
use super::clauses::change::Change;
use super::connection::connect::Options;
use super::connection::settings::RoleSettings;
use super::dependents::Dependents;
use super::name::Helpers;
use super::runs::ledger::Ledger;
use super::undo::Undo;
use crate::config::settings::Settings;
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
    /// The names of its tables beside the original.
    pub helpers: Helpers,
    /// What the run undoes, if it is an undo.
    pub undo: Option<Undo>,
    /// What hangs on the original.
    pub dependents: Dependents,
    /// What a plain session of the role has now.
    pub role: RoleSettings,
    /// What was asked for.
    pub settings: Arc<Settings>,
    /// The ledger, looked at.
    pub ledger: Ledger,
    /// Counters, for the ledger.
    pub progress: Arc<Progress>,
}
