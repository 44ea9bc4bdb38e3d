//! `osc alter`: change a table online, at once.

use std::sync::Arc;

use super::arguments::ChangeArgs;
use super::running::{self, Manner};
use super::{EXIT_CODES, backend};
use crate::config::period::Period;
use crate::engine::event::{Event, Summary};
use crate::engine::progress::Subject;
use crate::error::{Error, Result};
use crate::observe::notify::Kind;
use crate::output::screen::Screen;
use crate::plan::{Job, UNDOABLE, WatchRequest};
use crate::throttle::query;

const EXAMPLES: &str = "\
Examples:
  osc alter users \"ADD COLUMN last_seen TIMESTAMP NULL, ADD INDEX (last_seen)\"
  osc alter shop.orders \"MODIFY total DECIMAL(12,2) NOT NULL\" --dry-run
  osc alter \"ALTER TABLE orders DROP COLUMN note\" --max-load Threads_running=50
  osc alter users \"DROP INDEX email\" --replica mysql://replica1 --max-lag 2s
  osc alter users \"ADD COLUMN age INT\" --hold --control-file /run/osc/users
  osc alter users \"DROP COLUMN note\" --watch 30m --revert-if-exec ./smoke-test
  osc alter users \"ADD COLUMN age INT\" --window \"22:00-05:00 Europe/Rome\"

Run the same command again to resume a run that was stopped or killed.";

/// The arguments of `osc alter`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct AlterArgs {
    /// What to change, and how.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Stay for this long after the change, with an undo ready: the retired table is kept up to date
    ///
    /// The change is made by a copy, since only that keeps the old table. The watch ends when its time is over,
    /// or the process does; the change stays.
    #[arg(long, value_name = "DURATION", help_heading = "Undo")]
    pub watch: Option<Period>,
    /// Undo the change by itself when this query's first value is above 0 three times in a row; needs --watch
    ///
    /// It runs every 5 s, and every second once it is above 0. NULL, no row and an error undo nothing, and are
    /// reported. Where rows cannot go back, nothing is undone. Exit code 5 says that the change was undone.
    #[arg(long, value_name = "SQL", help_heading = "Undo", requires = "watch")]
    pub revert_if_query: Option<String>,
    /// The same for a shell's command that ends with an exit code other than 0, or takes longer than 10 s
    #[arg(long, value_name = "COMMAND", help_heading = "Undo", requires = "watch")]
    pub revert_if_exec: Option<String>,
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
    let manner = Manner { json, quiet, yes, kind: Kind::Alter, otherwise: UNDOABLE };
    let watch = watch(args.watch, args.revert_if_query, args.revert_if_exec)?;
    let job = Job { watch, ..job };
    match job.watch {
        Some(_) => running::run(job, manner, screen, watched).await,
        None => {
            running::run(job, manner, screen, async |job| backend::alter(job).await.map(Some)).await
        }
    }
}

fn watch(
    period: Option<Period>,
    query: Option<String>,
    exec: Option<String>,
) -> Result<Option<WatchRequest>> {
    if let Some(Err(why)) = query.as_deref().map(query::reads) {
        return Err(Error::Usage {
            message: format!("--revert-if-query: {why}"),
            help: "give one statement that reads".into(),
        });
    }
    Ok(period.map(|period| WatchRequest { period: period.get(), query, exec }))
}

/// Makes the change, reports it, and watches it with an undo that is ready.
async fn watched(job: Job) -> Result<Option<Summary>> {
    let (sink, progress) = (Arc::clone(&job.sink), Arc::clone(&job.progress));
    let afterwards = job.afterwards();
    let summary = backend::alter(job).await?;
    let table = summary.table.clone();
    sink.event(Event::Summary(Box::new(summary)));
    progress.begin_again();
    match backend::revert(afterwards).await {
        Ok(undone) => {
            sink.event(Event::Summary(Box::new(undone)));
            Err(Error::Reverted { reason: "the health check failed three times in a row".into() })
        }
        Err(Error::WatchOver) => Ok(None),
        // Nobody resumes a watch.
        Err(error) if error.is_resumable() => Err(Error::Server {
            action: "watching the change, which is made,".into(),
            message: error.problem(),
            code: None,
            cause: None,
        }),
        Err(error) => {
            sink.event(Event::Warning { text: format!("{table} is changed, and was not undone") });
            Err(error)
        }
    }
}
