//! One change of one table, as it was asked for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::settings::AlterSettings;
use crate::config::target::Target;
use crate::control::Directives;
use crate::engine::progress::{Progress, Sink};

/// What is to be done, and with what.
pub struct Job {
    /// Where.
    pub target: Target,
    /// The table's schema, if it was named.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The clauses, or a whole ALTER TABLE.
    pub clauses: String,
    /// How.
    pub settings: AlterSettings,
    /// The operator's wishes.
    pub directives: watch::Receiver<Directives>,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Ends the run, resumably.
    pub stop: CancellationToken,
}
