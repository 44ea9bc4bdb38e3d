//! One change of one table, as it was asked for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::settings::AlterSettings;
use crate::config::target::Target;
use crate::control::Directives;
use crate::engine::error::Findings;
use crate::engine::key::Rows;
use crate::engine::migration::{Surroundings, migrate};
use crate::engine::progress::{Event, Progress, Sink, Summary};
use crate::engine::run::Settings;
use crate::engine::server::Server;
use crate::engine::{Error, Result};
use crate::throttle::Throttle;

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

impl Job {
    /// Tells what the checks found.
    ///
    /// # Errors
    /// `Refused`, where they found reasons not to start.
    pub fn heed(&self, findings: Findings) -> Result<()> {
        if !findings.refusals.is_empty() {
            return Err(Error::Refused(findings.refusals));
        }
        for text in findings.notes {
            self.sink.event(Event::Note { text });
        }
        Ok(())
    }

    /// Takes the copy's road with `server`.
    ///
    /// # Errors
    /// Whatever ends the run other than success.
    pub async fn copy<S: Server>(
        &self,
        server: S,
        throttle: Throttle,
        defer_indexes: bool,
    ) -> Result<Summary> {
        let settings = &self.settings;
        let around = Surroundings {
            settings: Settings {
                threads: settings.threads.get(),
                chunk_rows: Rows(settings.chunk_size.get()),
                chunk_time: settings.chunk_time,
                verify: settings.verify,
                defer_indexes,
                cut_over_attempts: settings.cut_over_attempts.get(),
                cut_over_timeout: settings.cut_over_timeout,
            },
            throttle: Arc::new(throttle),
            directives: self.directives.clone(),
            progress: Arc::clone(&self.progress),
            sink: Arc::clone(&self.sink),
            stop: self.stop.clone(),
        };
        Box::pin(migrate(Arc::new(server), around)).await
    }
}
