//! `osc revert`: put a table back as it was before its last change, with the rows written since.

use super::running::{self, Manner};
use super::{EXIT_CODES, backend};
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::Settings;
use crate::engine::progress::Subject;
use crate::error::{Error, Result};
use crate::output::screen::Screen;
use crate::plan::{Assignment, Job, Request, UndoRequest};

const EXAMPLES: &str = "\
Examples:
  osc revert users
  osc revert shop.users --fill title=\"'unknown'\" --hold --control-file /run/osc/users
  osc revert users --on-misfit leave

The table that the change retired goes back to its place, with every row as it was written since; the
table that is live now is retired in its turn, so that the same command undoes the undo. Rows that the
old table cannot hold are listed, and nothing is swapped.

Run the same command again to resume a run that was stopped or killed.";

/// What becomes of rows that cannot go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnMisfit {
    /// All are listed, and nothing is swapped.
    Refuse,
    /// They are left behind: they stay as they were when the table was retired.
    Leave,
}

/// The arguments of `osc revert`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    mut_arg("strategy", |arg| arg.hide(true)),
    mut_arg("indexes", |arg| arg.hide(true)),
    mut_arg("chunk_size", |arg| arg.hide(true))
)]
pub struct RevertArgs {
    /// The table whose last change is undone: users, shop.users
    pub table: String,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// How to go about it.
    #[command(flatten)]
    pub settings: Settings,
    /// For rows created since the change: the value of a column that it dropped
    ///
    /// An expression over the live table's columns. Without it the column's DEFAULT is taken, or NULL; rows
    /// that the change kept have their old value again.
    #[arg(long, value_name = "COLUMN=EXPR", help_heading = "Undo")]
    pub fill: Vec<Assignment>,
    /// For values written since the change: the way back into a column whose type it changed
    ///
    /// An expression over the live table's columns. Without it the value is converted as the server would.
    #[arg(long, value_name = "COLUMN=EXPR", help_heading = "Undo")]
    pub inverse: Vec<Assignment>,
    /// Rows that the old table cannot hold: refuse, or leave them as they were before the change
    #[arg(long, value_name = "WHAT", default_value = "refuse", help_heading = "Undo")]
    pub on_misfit: OnMisfit,
    /// Do not slow down for other sessions
    #[arg(long, help_heading = "Throttle")]
    pub no_feedback: bool,
    /// Print JSON on stdout, as docs/use/json.md describes it
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Do not ask before rows are left behind
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

/// Runs `osc revert`.
///
/// # Errors
/// Whatever ends the run other than success.
pub(super) async fn run(args: RevertArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let RevertArgs { json, quiet, yes, .. } = args;
    let manner = Manner { json, quiet, yes, otherwise: "pass --yes" };
    running::run(args.job(subject)?, manner, screen, backend::revert).await
}

impl RevertArgs {
    fn job(self, subject: &Subject) -> Result<Job> {
        if let Some(flag) = self.settings.of_a_copy() {
            return Err(Error::Usage {
                message: format!("{flag} has no meaning for an undo: nothing is copied"),
                help: "leave it out".into(),
            });
        }
        let mut given = self.settings;
        given.feedback = self.no_feedback.then_some(false);
        let (target, replicas, settings) =
            resolve::alter(&self.connection, given, &Environment::of_process())?;
        let table = backend::table(target.scheme, &self.table)?;
        subject.set_server(&target.address);
        subject.set_table(table.plain());
        let request = Request { table, clauses: String::new() };
        let leave_misfits = self.on_misfit == OnMisfit::Leave;
        let undo = UndoRequest { fill: self.fill, inverse: self.inverse, leave_misfits };
        Ok(Job { undo, ..Job::new(target, replicas, request, settings, subject) })
    }
}
