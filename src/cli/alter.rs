//! `osc alter`: change a table online, at once.

use std::sync::Arc;

use super::arguments::ChangeArgs;
use super::prompt::confirm;
use super::{EXIT_CODES, backend};
use crate::control::{Directives, sources};
use crate::engine::progress::{Event, Subject};
use crate::error::{Error, Result};
use crate::output::screen::Screen;
use crate::output::{self, Mode};
use crate::plan::{Ask, Job, UNDOABLE};

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
    let ChangeArgs { dry_run, json, quiet, yes, .. } = args.change;
    let job = args.change.job(subject)?;
    if dry_run {
        return Box::pin(super::plan::show(&job, json, screen)).await;
    }
    let failed = |what: &str, error| Error::Internal(format!("{what}: {error}"));
    let (directives, _steering) =
        sources::steer(job.settings.control_file.clone(), Directives::from(&*job.settings))
            .map_err(|error| failed("cannot listen to signals", error))?;
    let reporter = output::reporter(Mode::choose(json, quiet), Arc::clone(&job.progress), screen)
        .map_err(|error| failed("cannot start a thread", error))?;
    let sink = reporter.sink();
    let stop = job.stop.clone();
    let mut aborts = directives.clone();
    let job = Job { directives, sink: Arc::clone(&sink), ask: asking(screen, yes), ..job };
    let aborted = async move {
        // The sender ends with the process only.
        if aborts.wait_for(|directives| directives.abort).await.is_ok() {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = backend::alter(job) => result,
        () = aborted => Err(Error::Internal("an abort that never ends".into())),
    };
    let result = result.map(|summary| sink.event(Event::Summary(Box::new(summary))));
    reporter.finish().await;
    result
}

/// Asks on the terminal, unless `yes` was given. A bar is drawn again after the answer.
fn asking(screen: &Screen, yes: bool) -> Ask {
    let screen = screen.clone();
    Arc::new(move |question| screen.suspended(|| confirm(question, yes, UNDOABLE)))
}
