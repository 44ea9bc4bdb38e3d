//! `osc alter`: change a table online.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::change::Change;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::{RunFlags, Tuning};
use crate::config::target::Scheme;
use crate::control::steer;
use crate::engine::progress::{Event, Progress};
use crate::engine::{Error, Result};
use crate::plan::Job;
use crate::report::{self, Mode, screen::Screen};
use crate::{mysql, postgres};

const EXAMPLES: &str = "\
Examples:
  osc alter users \"ADD COLUMN last_seen TIMESTAMP NULL, ADD INDEX (last_seen)\"
  osc alter shop.orders \"MODIFY total DECIMAL(12,2) NOT NULL\" --dry-run
  osc alter \"ALTER TABLE orders DROP COLUMN note\" --max-load Threads_running=50
  osc alter users \"DROP INDEX email\" --replica mysql://replica1 --max-lag 2s
  osc alter users \"ADD COLUMN age INT\" --hold --control-file /run/osc/users
  osc alter users \"ADD COLUMN age INT\" --window \"22:00-05:00 Europe/Rome\"

A run that was killed goes on when the same command line is given again.

Exit codes:
  0  done
  1  failed, the original table is untouched
  2  wrong usage
  3  stopped; the same command line again goes on
  4  refused by the checks before the start
  5  verification failed, not swapped";

/// The arguments of `osc alter`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AlterArgs {
    /// The table: users, shop.users; or a whole ALTER TABLE statement (on PostgreSQL also
    /// CREATE INDEX and DROP INDEX)
    pub table: String,
    /// What follows the table in an ALTER TABLE statement
    pub clauses: Option<String>,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// How to go about it.
    #[command(flatten)]
    pub tuning: Tuning,
    /// Swap without comparing both tables first
    #[arg(long, help_heading = "Cut-over")]
    pub no_verify: bool,
    /// Copy at full width, whatever others on the server feel of it
    ///
    /// Without it the copy has fewer chunks in flight, and pauses between them, for as long as commits
    /// or the application's statements take longer than when the server is quiet, the redo log fills
    /// up or a replica falls behind.
    #[arg(long, help_heading = "Throttle")]
    pub no_feedback: bool,
    /// Say what would happen, and change nothing (= osc plan)
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// Print one JSON object a line on stdout: events, progress each second, the summary
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Ask nothing
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

/// Runs `osc alter`.
///
/// # Errors
/// Whatever ends the run other than success.
pub async fn run(args: AlterArgs, screen: &Screen) -> Result<()> {
    let flags =
        RunFlags { dry_run: args.dry_run, json: args.json, quiet: args.quiet, yes: args.yes };
    let mut tuning = args.tuning;
    tuning.verify = args.no_verify.then_some(false);
    tuning.feedback = args.no_feedback.then_some(false);
    let (target, settings) =
        resolve::alter(&args.connection, tuning, flags, &Environment::of_process())?;
    let change = Change::read_for(target.scheme, &args.table, args.clauses.as_deref())?;
    if settings.dry_run {
        return super::plan::show(target, change, settings, screen).await;
    }

    let progress = Arc::new(Progress::default());
    let mode = Mode::choose(settings.json, settings.quiet);
    let failed = |what: &str, error| Error::Internal(format!("{what}: {error}"));
    let (directives, _steering) =
        steer::steer(settings.control_file.clone(), settings.directives())
            .map_err(|error| failed("cannot listen to signals", error))?;
    let reporter = report::reporter(mode, Arc::clone(&progress), screen)
        .map_err(|error| failed("cannot start a thread", error))?;
    let sink = reporter.sink();
    let stop = CancellationToken::new();
    let mut wishes = directives.clone();
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
    };
    let work = async {
        match job.target.scheme {
            Scheme::Mysql => mysql::alter::alter(job).await,
            Scheme::Postgres => Box::pin(postgres::alter::alter(job)).await,
        }
    };
    let aborted = async move {
        // The sender ends with the process only.
        if wishes.wait_for(|wishes| wishes.abort).await.is_ok() {
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
