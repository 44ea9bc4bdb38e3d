//! What a run on MySQL or MariaDB is made from.

use std::sync::Arc;

use mysql_async::Opts;

use super::catalog::table::Table;
use super::clauses::change::Change;
use super::connection::settings::Role;
use super::connection::version::Flavor;
use super::copy::put::{Given, Manner};
use super::copy::shadow::Draft;
use super::dependents::Dependents;
use super::name::Helpers;
use super::runs::ledger::Ledger;
use super::runs::proof::Tables;
use super::runs::record::SwapMark;
use crate::config::settings::Settings;
use crate::engine::progress::Progress;
use crate::engine::undo::Direction;

/// What a migration on MySQL or MariaDB is made from.
pub(super) struct Setting {
    /// The server.
    pub opts: Opts,
    /// Its family and version.
    pub flavor: Flavor,
    /// What plain sessions of the same login have, where it changes values.
    pub role: Role,
    /// The table as it is now.
    pub original: Table,
    /// What is to change.
    pub change: Change,
    /// What hangs on the table.
    pub dependents: Dependents,
    /// What was asked for.
    pub settings: Arc<Settings>,
    /// The run's counters, recorded at each checkpoint.
    pub progress: Arc<Progress>,
    /// The ledger, which has been looked at.
    pub ledger: Ledger,
    /// The helpers' names in this run.
    pub helpers: Helpers,
    /// The run that this one undoes.
    pub undone: Option<Undone>,
}

/// A run that is undone, and how.
pub(super) struct Undone {
    /// Its number.
    pub run: i64,
    /// Its tables, as it recorded them.
    pub tables: Tables,
    /// Which way rows go.
    pub direction: Direction,
    /// `--fill`.
    pub fill: Vec<Given>,
    /// `--inverse`.
    pub inverse: Vec<Given>,
    /// Where in the log its swap stands, where the undo may go by the log.
    pub swap: Option<SwapMark>,
    /// Rows that cannot go back are left behind.
    pub leaves: bool,
}

impl Setting {
    /// What the shadow is made from.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            flavor: self.flavor,
            role: &self.role,
            original: &self.original,
            change: &self.change,
            dependents: &self.dependents,
        }
    }
}

impl Undone {
    /// How it is undone.
    pub(super) fn manner(&self) -> Manner<'_> {
        Manner { direction: self.direction, fill: &self.fill, inverse: &self.inverse }
    }
}
