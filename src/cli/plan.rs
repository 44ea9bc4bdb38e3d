//! `osc plan`: say what a change would do, and change nothing.

use std::future::Future;

use super::change::Change;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::{AlterSettings, RunFlags, Tuning};
use crate::config::target::Target;
use crate::engine::Result;
use crate::report::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  osc plan users \"ADD COLUMN last_seen TIMESTAMP NULL, ADD INDEX (last_seen)\"
  osc plan \"ALTER TABLE shop.orders DROP COLUMN note\" --json

It takes every flag of osc alter, so that one word turns a plan into a run.

Exit codes:
  0  the change can be made
  2  wrong usage
  4  the change would be refused";

/// The arguments of `osc plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// The table: users, shop.users; or a whole ALTER TABLE statement
    pub table: String,
    /// What follows the table in an ALTER TABLE statement
    pub clauses: Option<String>,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// How `osc alter` would go about it.
    #[command(flatten)]
    pub tuning: Tuning,
    /// Plan for a swap without comparing both tables first
    #[arg(long, help_heading = "Cut-over")]
    pub no_verify: bool,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Runs `osc plan`.
///
/// # Errors
/// Whatever keeps the plan from being made, or the change from being possible.
pub async fn run(args: PlanArgs, screen: &Screen) -> Result<()> {
    let change = Change::read(&args.table, args.clauses.as_deref())?;
    let flags = RunFlags { dry_run: true, json: args.json, ..RunFlags::default() };
    let mut tuning = args.tuning;
    tuning.verify = args.no_verify.then_some(false);
    let (target, settings) =
        resolve::alter(&args.connection, tuning, flags, &Environment::of_process())?;
    show(&target, &change, &settings, screen).await
}

/// Makes the plan and prints it.
pub(super) fn show(
    _target: &Target,
    _change: &Change,
    _settings: &AlterSettings,
    _screen: &Screen,
) -> impl Future<Output = Result<()>> {
    std::future::ready(Err(super::not_served("plan")))
}
