//! What `osc alter` and `osc plan` are given: the same words, so that one of them turns a plan into a run.

use super::backend;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::Settings;
use crate::engine::progress::Subject;
use crate::error::Result;
use crate::plan::Job;

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
    pub settings: Settings,
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
    /// Take only a method that keeps what the change takes away, so that osc revert can bring it back
    ///
    /// DROP COLUMN, a dropped key or constraint: the server's own methods keep nothing of it, a copy keeps the
    /// old table.
    #[arg(long, help_heading = "Undo")]
    pub undoable: bool,
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
    /// Where, what and how; `subject` learns it.
    ///
    /// # Errors
    /// `Usage`.
    pub(super) fn job(&self, subject: &Subject) -> Result<Job> {
        let mut given = self.settings.clone();
        given.verify = self.no_verify.then_some(false);
        given.feedback = self.no_feedback.then_some(false);
        let (target, replicas, settings) =
            resolve::alter(&self.connection, given, &Environment::of_process())?;
        let request = backend::request(target.scheme, &self.table, self.clauses.as_deref())?;
        subject.set_server(&target.address);
        subject.set_table(request.table.plain());
        let job = Job::new(target, replicas, request, settings, subject);
        Ok(Job { undoable: self.undoable, ..job })
    }
}
