//! `osc revert`: put a table back as it was before its last change, with the rows written since.

use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

use super::prompt::confirm;
use super::running::{self, Manner};
use super::{EXIT_CODES, backend};
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::Settings;
use crate::engine::progress::Subject;
use crate::engine::undo_check::UndoCheck;
use crate::error::{Error, Finding, Result};
use crate::observe::notify::{self, Kind};
use crate::output::screen::{Screen, one_line};
use crate::output::text::length;
use crate::plan::{Assignment, Job, Opposite, Request, UndoRequest, Undoing};

const EXAMPLES: &str = "\
Examples:
  osc revert users --check
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

/// Which rows are compared before the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compared {
    /// Those written since the change, where the server's log names them; else all.
    Touched,
    /// All rows of both tables.
    All,
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
    /// Which rows to compare: those written since the change, which takes seconds, or all
    ///
    /// MySQL and MariaDB: the binary log names what was written since, as long as it reaches back to the change.
    /// Where it does not, and on PostgreSQL, all rows are compared.
    #[arg(long, value_name = "ROWS", default_value = "touched", help_heading = "Undo")]
    pub verify: Compared,
    /// Show what an undo would meet now, and change nothing
    ///
    /// Compares both tables, counts the rows written since the change, and tries each in a transaction that is
    /// rolled back. Ends with exit code 4 where rows cannot go back.
    #[arg(long, help_heading = "Undo")]
    pub check: bool,
    /// Do not slow down for other sessions
    #[arg(long, help_heading = "Throttle")]
    pub no_feedback: bool,
    /// Print JSON on stdout, as docs/use/json.md describes it
    #[arg(long, help_heading = "Output", conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Taken as by osc alter; an undo asks nothing, for it can be undone itself
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

/// Runs `osc revert`.
///
/// # Errors
/// Whatever ends the run other than success.
pub(super) async fn run(args: RevertArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let RevertArgs { json, quiet, yes, check, .. } = args;
    let manner = Manner { json, quiet, yes, kind: Kind::Revert, otherwise: "pass --yes" };
    let job = args.job(subject)?;
    notify::check(&job.settings.notify)?;
    if let Some(opposite) = Box::pin(backend::opposite(&job)).await? {
        return Box::pin(make(job, opposite, manner, check, screen)).await;
    }
    if check {
        return Box::pin(show(&job, json, screen)).await;
    }
    running::run(job, manner, screen, async |job| backend::revert(job).await.map(Some)).await
}

/// Makes the opposite change of a run that has left no retired table; with `check`, only its plan.
async fn make(
    job: Job,
    opposite: Opposite,
    manner: Manner,
    check: bool,
    screen: &Screen,
) -> Result<()> {
    let Opposite { run, method, clauses, statement, verdict } = opposite;
    if !job.undo.fill.is_empty() || !job.undo.inverse.is_empty() {
        return Err(Error::Usage {
            message: format!(
                "--fill and --inverse have no meaning: run {run} kept no retired table"
            ),
            help: "leave them out".into(),
        });
    }
    let said = verdict.iter().map(|line| format!("\n  - {}", one_line(line))).collect::<String>();
    let text = format!(
        "run {run} was {method} and kept no retired table; its opposite is: {}{}{said}",
        one_line(&statement),
        if said.is_empty() { "" } else { "\nwhat was said of an undo beforehand:" },
    );
    screen.line(&text);
    let request = Request { clauses, ..job.request.clone() };
    let job = Job { request, ..job };
    if check {
        return Box::pin(super::plan::show(&job, manner.json, screen)).await;
    }
    if !confirm("Make the opposite change?", manner.yes, "pass --yes")? {
        return Err(Error::Usage { message: "nothing was changed".into(), help: String::new() });
    }
    let manner = Manner { yes: true, ..manner };
    running::run(job, manner, screen, async |job| backend::alter(job).await.map(Some)).await
}

#[derive(Serialize)]
struct Answer<'a> {
    server: String,
    #[serde(flatten)]
    undoing: &'a Undoing,
    #[serde(flatten)]
    found: &'a UndoCheck,
}

/// Looks and prints what was found.
async fn show(job: &Job, json: bool, screen: &Screen) -> Result<()> {
    let (undoing, found) = backend::check_undo(job).await?;
    if json {
        let answer =
            Answer { server: job.target.address.to_string(), undoing: &undoing, found: &found };
        screen.json(&answer)?;
    } else {
        screen.answer(&text(&undoing, &found))?;
    }
    if found.misfits == 0 {
        return Ok(());
    }
    let rows: String = found.misfit_rows.iter().map(|row| format!("\n  - {row}")).collect();
    Err(Error::Refused(vec![Finding::new(
        "misfits",
        format!("{} rows cannot go back:{rows}", found.misfits),
        "change these rows, or leave them behind: osc revert --on-misfit leave",
    )]))
}

fn text(undoing: &Undoing, found: &UndoCheck) -> String {
    let Undoing { table, run, retired, by_log, not_by_log } = undoing;
    let way = match (by_log, not_by_log) {
        (true, _) => {
            "by the log, which names the rows written since: they alone are compared".into()
        }
        (false, Some(why)) => format!("both tables are compared; the log cannot help: {why}"),
        (false, None) => "both tables are compared".to_owned(),
    };
    format!(
        "{table}: osc revert would bring {retired} back, and undo run {run}\n  \
         rows        {} compared in {}\n  \
         to be put   {} rows were written since the change\n  \
         misfits     {}\n  \
         way         {way}",
        HumanCount(found.rows),
        length(Duration::try_from_secs_f64(found.seconds).unwrap_or_default()),
        HumanCount(found.touched),
        if found.misfits == 0 {
            "none: every row can go back".into()
        } else {
            format!("{} rows cannot go back", HumanCount(found.misfits))
        }
    )
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
        let undo = UndoRequest {
            fill: self.fill,
            inverse: self.inverse,
            leave_misfits,
            compare_all: self.verify == Compared::All,
        };
        Ok(Job { undo, ..Job::new(target, replicas, request, settings, subject) })
    }
}
