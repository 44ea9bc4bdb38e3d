//! `osc alter`: change a table online, at once.

use super::arguments::ChangeArgs;
use super::running::{self, Manner};
use super::{EXIT_CODES, backend};
use crate::engine::progress::Subject;
use crate::error::Result;
use crate::observe::notify::Kind;
use crate::output::screen::Screen;
use crate::plan::UNDOABLE;

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
    let manner = Manner { json, quiet, yes, kind: Kind::Alter, otherwise: UNDOABLE };
    running::run(job, manner, screen, backend::alter).await
}
