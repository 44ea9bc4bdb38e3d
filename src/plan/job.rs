//! One requested change of one table.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::settings::Settings;
use crate::config::target::Target;
use crate::control::Directives;
use crate::engine::backend::Server;
use crate::engine::migration::{MigrationContext, migrate};
use crate::engine::permission::Permission;
use crate::engine::progress::{Event, Progress, Sink, Subject, Summary};
use crate::error::{Error, Findings, Result};
use crate::plan::request::{Request, UndoRequest};
use crate::throttle::Throttle;

/// What to do where a change cannot be undone.
pub(crate) const UNDOABLE: &str =
    "pass --yes, or --strategy copy, which keeps the old table until osc cleanup";

/// What is to be done, and with what.
pub struct Job {
    /// Where.
    pub target: Target,
    /// Replicas whose lag is watched.
    pub replicas: Vec<Target>,
    /// What.
    pub request: Request,
    /// How.
    pub settings: Arc<Settings>,
    /// The operator's directives.
    pub directives: watch::Receiver<Directives>,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Ends the run, resumably.
    pub stop: CancellationToken,
    /// Asks whoever gave the command a question of yes or no; `Usage` where there is no one to ask.
    pub ask: Ask,
    /// How an undo goes about what cannot just go back.
    pub undo: UndoRequest,
    /// Only by a method that keeps what the change takes away.
    pub undoable: bool,
}

/// How a question of yes or no is put.
pub(crate) type Ask = Arc<dyn Fn(&str) -> Result<bool> + Send + Sync>;

impl Job {
    /// A job that shows nothing, asks no one and obeys its settings alone.
    pub fn new(
        target: Target,
        replicas: Vec<Target>,
        request: Request,
        settings: Settings,
        subject: &Subject,
    ) -> Self {
        Self {
            target,
            replicas,
            request,
            directives: watch::Sender::new(Directives::from(&settings)).subscribe(),
            settings: Arc::new(settings),
            progress: Arc::new(Progress::of(subject.clone())),
            sink: Arc::new(NullSink),
            stop: CancellationToken::new(),
            ask: Arc::new(|_| Ok(false)),
            undo: UndoRequest::default(),
            undoable: false,
        }
    }

    /// Tells what the checks found.
    ///
    /// # Errors
    /// `Refused`, where they found reasons not to start.
    pub fn refuse_if_any(&self, findings: Findings) -> Result<()> {
        if !findings.refusals.is_empty() {
            return Err(Error::Refused(findings.refusals));
        }
        for text in findings.notes {
            self.sink.event(Event::Note { text });
        }
        Ok(())
    }

    /// Asks before what an own method of the server does for good: `lost` are the clauses that take away
    /// what no retired table keeps.
    ///
    /// # Errors
    /// `Usage`, where the answer is no or there is no one to ask.
    pub async fn agree(&self, table: &str, method: &str, lost: &[String]) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let question = format!(
            "{} of {table} is {method}, keeps no retired table, and cannot be undone. Go on?",
            lost.join(", ")
        );
        let ask = Arc::clone(&self.ask);
        let answer = tokio::task::spawn_blocking(move || ask(&question)).await;
        if answer.map_err(|error| Error::Internal(format!("no answer: {error}")))?? {
            return Ok(());
        }
        Err(Error::Usage { message: "nothing was changed".into(), help: UNDOABLE.into() })
    }

    /// Who must agree before the original is changed.
    pub fn permission<'a>(&'a self, throttle: &'a Throttle) -> Permission<'a> {
        Permission {
            directives: &self.directives,
            throttle,
            progress: &self.progress,
            sink: &*self.sink,
            held: false,
        }
    }

    /// Takes the copy's method with `server`.
    ///
    /// # Errors
    /// Whatever ends the run other than success.
    pub async fn copy<S: Server>(
        &self,
        server: S,
        throttle: Throttle,
        defer_indexes: bool,
    ) -> Result<Summary> {
        let context = MigrationContext {
            settings: Arc::clone(&self.settings),
            defer_indexes,
            throttle: Arc::new(throttle),
            directives: self.directives.clone(),
            progress: Arc::clone(&self.progress),
            sink: Arc::clone(&self.sink),
            stop: self.stop.clone(),
            leave_misfits: self.undo.leave_misfits,
            compare_all: self.undo.compare_all,
        };
        Box::pin(migrate(Arc::new(server), context)).await
    }
}

/// Takes events that are not shown.
struct NullSink;

impl Sink for NullSink {
    fn event(&self, _: Event) {}
}
