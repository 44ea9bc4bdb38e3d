//! One requested change of one table.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::settings::Settings;
use crate::config::target::Target;
use crate::control::Directives;
use crate::control::sources::Desk;
use crate::engine::backend::Server;
use crate::engine::event::{Event, Sink, Start, Summary};
use crate::engine::health::{Exec, HealthCheck, Query, Watching};
use crate::engine::migration::{MigrationContext, migrate};
use crate::engine::orders::Scene;
use crate::engine::permission::{Approval, Permission};
use crate::engine::progress::{Progress, Subject};
use crate::error::{Error, Finding, Findings, Result};
use crate::plan::request::{Request, UndoRequest, WatchRequest};
use crate::throttle::probe::StatusProbe;
use crate::throttle::{Throttle, sound};

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
    /// Where orders are handed in.
    pub(crate) desk: Desk,
    /// Counters for whoever shows them.
    pub progress: Arc<Progress>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// Who is asked before the original is changed.
    pub approval: Option<Arc<dyn Approval>>,
    /// Ends the run, resumably.
    pub stop: CancellationToken,
    /// Asks whoever gave the command a question of yes or no; `Usage` where there is no one to ask.
    pub ask: Ask,
    /// How an undo goes about what cannot just go back.
    pub undo: UndoRequest,
    /// Only by a method that keeps what the change takes away.
    pub undoable: bool,
    /// Whether to watch the change afterwards, and what then undoes it.
    pub watch: Option<WatchRequest>,
    /// The same, ready: what an undo waits for.
    pub(crate) watching: Option<Arc<Watching>>,
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
        let desk = Desk::new(Directives::from(&settings));
        Self {
            target,
            replicas,
            request,
            directives: desk.directives(),
            desk,
            settings: Arc::new(settings),
            progress: Arc::new(Progress::of(subject.clone())),
            sink: Arc::new(NullSink),
            approval: None,
            stop: CancellationToken::new(),
            ask: Arc::new(|_| Ok(false)),
            undo: UndoRequest::default(),
            undoable: false,
            watch: None,
            watching: None,
        }
    }

    /// The undo of this change that watches it: nothing of it is seen where all is well.
    #[must_use]
    pub fn afterwards(&self) -> Self {
        let mut settings = (*self.settings).clone();
        settings.hold = false;
        Self {
            target: self.target.clone(),
            replicas: self.replicas.clone(),
            request: Request { clauses: String::new(), ..self.request.clone() },
            settings: Arc::new(settings),
            directives: self.directives.clone(),
            desk: self.desk.clone(),
            progress: Arc::clone(&self.progress),
            sink: Arc::clone(&self.sink),
            approval: None,
            stop: self.stop.clone(),
            ask: Arc::clone(&self.ask),
            undo: UndoRequest::default(),
            undoable: false,
            watch: self.watch.clone(),
            watching: None,
        }
    }

    /// The same with its health checks; `probe`: asks the server.
    #[must_use]
    pub(crate) fn with_checks<P: StatusProbe + Sync>(self, probe: P) -> Self {
        let Some(watch) = &self.watch else { return self };
        let query = watch
            .query
            .as_ref()
            .map(|sql| Box::new(Query::new(probe, sql)) as Box<dyn HealthCheck>);
        let exec = watch.exec.as_ref().map(|command| Box::new(Exec::new(command)) as _);
        let checks = query.into_iter().chain(exec).collect();
        let watching = Some(Arc::new(Watching::new(watch.period, checks)));
        Self { watching, ..self }
    }

    /// What is wrong with the query that is to undo the change.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) async fn unsound_check<P: StatusProbe>(
        &self,
        mut probe: P,
    ) -> Result<Option<Finding>> {
        let Some(sql) = self.watch.as_ref().and_then(|watch| watch.query.as_deref()) else {
            return Ok(None);
        };
        let found = sound::query(&mut probe, sql, "undoes the change").await?;
        Ok(found.map(|(why, help)| {
            Finding::new("revert-if-query", format!("--revert-if-query: {why}"), help)
        }))
    }

    /// Why no other method than a copy will do for a change that takes `lost` away for good.
    pub(crate) fn needs_a_copy(&self, lost: &[String]) -> Option<&'static str> {
        if self.watch.is_some() {
            Some("--watch: only a copy keeps the old table")
        } else if self.undoable && !lost.is_empty() {
            Some("--undoable: only a copy keeps what the change takes away")
        } else {
            None
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

    /// What orders for the job are about.
    pub(crate) fn scene<'a>(&'a self, throttle: &'a Throttle) -> Scene<'a> {
        Scene {
            desk: &self.desk,
            throttle,
            progress: &self.progress,
            sink: &*self.sink,
            held: false,
        }
    }

    /// Who must agree before the original is changed.
    pub fn permission<'a>(&'a self, throttle: &'a Throttle) -> Permission<'a> {
        Permission {
            directives: &self.directives,
            throttle,
            progress: &self.progress,
            sink: &*self.sink,
            approval: self.approval.as_deref(),
            held: false,
        }
    }

    /// Takes the copy's method with `server`; `start` is what is reported when it begins.
    ///
    /// # Errors
    /// Whatever ends the run other than success.
    pub async fn copy<S: Server>(
        &self,
        server: S,
        throttle: Throttle,
        defer_indexes: bool,
        start: Start,
    ) -> Result<Summary> {
        let context = MigrationContext {
            settings: Arc::clone(&self.settings),
            defer_indexes,
            throttle: Arc::new(throttle),
            desk: self.desk.clone(),
            progress: Arc::clone(&self.progress),
            sink: Arc::clone(&self.sink),
            approval: self.approval.clone(),
            start,
            stop: self.stop.clone(),
            leave_misfits: self.undo.leave_misfits,
            compare_all: self.undo.compare_all,
            watching: self.watching.clone(),
        };
        Box::pin(migrate(Arc::new(server), context)).await
    }
}

/// Takes events that are not shown.
struct NullSink;

impl Sink for NullSink {
    fn event(&self, _: Event) {}
}
