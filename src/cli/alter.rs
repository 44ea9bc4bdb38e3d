//! `osc alter`: change a table online, at once.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::EXIT_CODES;
use super::arguments::ChangeArgs;
use super::prompt::confirm;
use crate::config::target::Scheme;
use crate::control::{Directives, sources};
use crate::engine::progress::{Event, Progress, Subject};
use crate::error::{Error, Result};
use crate::output::screen::Screen;
use crate::output::{self, Mode};
use crate::plan::{Ask, Job, UNDOABLE};
use crate::{mysql, postgres};

const EXAMPLES: &str = "\
Examples:
  osc alter users \"ADD COLUMN last_seen TIMESTAMP NULL, ADD INDEX (last_seen)\"
  osc alter shop.orders \"MODIFY total DECIMAL(12,2) NOT NULL\" --dry-run
  osc alter \"ALTER TABLE orders DROP COLUMN note\" --max-load Threads_running=50
  osc alter users \"DROP INDEX email\" --replica mysql://replica1 --max-lag 2s
  osc alter users \"ADD COLUMN age INT\" --hold --control-file /run/osc/users
  osc alter users \"ADD COLUMN age INT\" --window \"22:00-05:00 Europe/Rome\"

Run the same command again to resume a run that was stopped or killed.";

/// The arguments of `osc alter`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct AlterArgs {
    /// What to change, and how.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Runs `osc alter`.
///
/// # Errors
/// Whatever ends the run other than success.
pub(super) async fn run(args: AlterArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let (target, change, settings) = args.change.resolve()?;
    subject.set_server(&target.address);
    subject.set_table(change.table.plain());
    if settings.dry_run {
        return Box::pin(super::plan::show(target, change, settings, screen, subject)).await;
    }

    let progress = Arc::new(Progress::of(subject.clone()));
    let mode = Mode::choose(settings.json, settings.quiet);
    let failed = |what: &str, error| Error::Internal(format!("{what}: {error}"));
    let (directives, _steering) =
        sources::steer(settings.control_file.clone(), Directives::from(&settings))
            .map_err(|error| failed("cannot listen to signals", error))?;
    let reporter = output::reporter(mode, Arc::clone(&progress), screen)
        .map_err(|error| failed("cannot start a thread", error))?;
    let sink = reporter.sink();
    let stop = CancellationToken::new();
    let mut aborts = directives.clone();
    let job = Job {
        target,
        schema: change.table.schema,
        table: change.table.table,
        clauses: change.clauses,
        settings,
        directives,
        progress,
        sink: Arc::clone(&sink),
        stop: stop.clone(),
        ask: asking(screen),
    };
    let work = async {
        match job.target.scheme {
            Scheme::Mysql => mysql::commands::alter::alter(job).await,
            Scheme::Postgres => Box::pin(postgres::commands::alter::alter(job)).await,
        }
    };
    let aborted = async move {
        // The sender ends with the process only.
        if aborts.wait_for(|directives| directives.abort).await.is_ok() {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = work => result,
        () = aborted => Err(Error::Internal("an abort that never ends".into())),
    };
    let result = result.map(|summary| sink.event(Event::Summary(Box::new(summary))));
    reporter.finish().await;
    result
}

/// Asks on the terminal. A bar is drawn again after the answer.
fn asking(screen: &Screen) -> Ask {
    let screen = screen.clone();
    Arc::new(move |question| screen.suspended(|| confirm(question, false, UNDOABLE)))
}
