//! What every command that changes a table does around it: directives, the bar, questions, the summary.

use std::future::Future;
use std::sync::Arc;

use super::backend;
use super::prompt::confirm;
use crate::control::{Directives, sources};
use crate::engine::event::{Event, Summary};
use crate::error::{Error, Result};
use crate::observe::http::{Listener, Orderly};
use crate::observe::notify::{Announce, Kind, Notifier};
use crate::output::screen::Screen;
use crate::output::{self, Mode};
use crate::plan::{Ask, Job};

/// How a run shows itself and whom it asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// `--json`.
    pub json: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--yes`.
    pub yes: bool,
    /// The command.
    pub kind: Kind,
    /// What to do where there is no one to ask.
    pub otherwise: &'static str,
}

/// Does the job, shown and steered, and prints its summary, unless that is done.
///
/// # Errors
/// Whatever ends the run other than success.
pub(super) async fn run<F>(
    job: Job,
    manner: Manner,
    screen: &Screen,
    change: impl FnOnce(Job) -> F,
) -> Result<()>
where
    F: Future<Output = Result<Option<Summary>>>,
{
    let failed = |what: &str, error| Error::Internal(format!("{what}: {error}"));
    let listener = Listener::open(&job.settings.http).await?;
    let notifier = Notifier::start(
        &job.settings.notify,
        manner.kind,
        &job.request.clauses,
        &job.progress,
        announcing(screen, manner.json),
    )?;
    let (desk, _steering) =
        sources::steer(job.settings.control_file.clone(), Directives::from(&*job.settings))
            .map_err(|error| failed("cannot listen to signals", error))?;
    let mode = Mode::choose(manner.json, manner.quiet);
    let reporter = output::reporter(mode, Arc::clone(&job.progress), screen)
        .map_err(|error| failed("cannot start a thread", error))?;
    let shown = reporter.sink();
    let sink = match &notifier {
        Some(notifier) => notifier.sink(shown),
        None => shown,
    };
    let http = listener.map(|listener| {
        let (clauses, directives) = (&job.request.clauses, desk.directives());
        listener.answer_for(manner.kind, clauses, &job.progress, directives, ordering(&job))
    });
    let sink = match &http {
        Some(http) => {
            let sink = http.sink(sink);
            sink.event(Event::Note { text: format!("the live page is at {}", http.url()) });
            sink
        }
        None => sink,
    };
    let approval = notifier.as_ref().and_then(Notifier::approval);
    let stop = job.stop.clone();
    let (directives, mut aborts) = (desk.directives(), desk.directives());
    let ask = asking(screen, manner);
    let job = Job { desk, directives, sink: Arc::clone(&sink), approval, ask, ..job };
    let aborted = async move {
        // The sender ends with the process only.
        if aborts.wait_for(|directives| directives.abort).await.is_ok() {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = change(job) => result,
        () = aborted => Err(Error::Internal("an abort that never ends".into())),
    };
    let result = result
        .map(|summary| summary.into_iter().for_each(|it| sink.event(Event::Summary(Box::new(it)))));
    reporter.finish().await;
    if let Some(http) = http {
        http.finish(result.as_ref().err()).await;
    }
    if let Some(notifier) = notifier {
        // What undid a change was told when it had done so.
        let failed = result.as_ref().err().filter(|error| !matches!(error, Error::Reverted { .. }));
        notifier.finish(failed).await;
    }
    result
}

/// Orders that come over HTTP: they are made as those of `osc pause` and its like are.
fn ordering(job: &Job) -> Orderly {
    let (target, table) = (job.target.clone(), job.request.table.clone());
    Arc::new(move |_, order| {
        let (target, table) = (target.clone(), table.clone());
        Box::pin(async move { backend::order(&target, &table, &order).await })
    })
}

/// Prints what announces a message in the outbox: on stdout, or beside the JSON that is there.
pub(super) fn announcing(screen: &Screen, json: bool) -> Announce {
    let screen = screen.clone();
    Arc::new(move |line| if json { screen.line(line) } else { screen.remark(line) })
}

/// Asks on the terminal, unless `yes` was given. A bar is drawn again after the answer.
fn asking(screen: &Screen, manner: Manner) -> Ask {
    let screen = screen.clone();
    Arc::new(move |question| screen.suspended(|| confirm(question, manner.yes, manner.otherwise)))
}
