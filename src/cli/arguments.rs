//! What `osc alter` and `osc plan` are given: the same words, so that one of them turns a plan into a run.

use super::change::Change;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::{AlterSettings, RunFlags, Tuning};
use crate::config::target::Target;
use crate::error::Result;

/// The arguments of a change.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
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
    /// Do not compare the tables before the cut-over
    #[arg(long, help_heading = "Cut-over")]
    pub no_verify: bool,
    /// Do not slow down for other sessions
    ///
    /// Without it the copy has fewer chunks in flight, and pauses between them, for as long as commits
    /// or the application's statements take longer than when the server is quiet, the redo log fills
    /// up or a replica falls behind.
    #[arg(long, help_heading = "Throttle")]
    pub no_feedback: bool,
    /// Show what would happen and change nothing, as osc plan does
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// Print JSON on stdout, as docs/use/json.md describes it: a run's events line by line, or the plan
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Do not ask before a change that cannot be undone
    ///
    /// Changes that the server makes itself (instant, inplace) keep no retired table: what DROP COLUMN,
    /// or a dropped key or constraint, takes away is gone. A copy keeps it until osc cleanup, and asks
    /// nothing.
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

impl ChangeArgs {
    /// Where, what and how.
    ///
    /// # Errors
    /// `Usage`.
    pub(super) fn resolve(self) -> Result<(Target, Change, AlterSettings)> {
        let flags =
            RunFlags { dry_run: self.dry_run, json: self.json, quiet: self.quiet, yes: self.yes };
        let tuning = Tuning {
            verify: self.no_verify.then_some(false),
            feedback: self.no_feedback.then_some(false),
            ..self.tuning
        };
        let (target, settings) =
            resolve::alter(&self.connection, tuning, flags, &Environment::of_process())?;
        let change = Change::read_for(target.scheme, &self.table, self.clauses.as_deref())?;
        Ok((target, change, settings))
    }
}
