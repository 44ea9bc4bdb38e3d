//! The command line: one file a command, each of them arguments, a call, and rendering.

pub mod diagnostics;

mod alter;
mod arguments;
mod backend;
mod cleanup;
mod completions;
mod deadline;
mod order;
mod plan;
mod prompt;
mod revert;
mod running;
mod status;

use clap::{ArgAction, Parser, Subcommand};

use crate::engine::progress::Subject;
use crate::error::Result;
use crate::output::screen::Screen;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, the original table is untouched
  2  wrong usage, or cannot connect
  3  stopped; run the same command again to resume
  4  refused, nothing was changed
  5  not swapped: verification failed, or rows that cannot go back";

/// Online schema change for MySQL, MariaDB and PostgreSQL
///
/// Changes the schema of a large, busy table while the application keeps reading and writing
/// it: takes the cheapest safe method, proves that the new table holds the same data, swaps it in,
/// and can be throttled, paused, killed and resumed at any moment.
#[derive(Debug, Parser)]
#[command(name = "osc", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log more: -v what is done, -vv details, -vvv everything; $OSC_LOG takes filters
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Change a table online; --dry-run shows what it would do
    Alter(Box<alter::AlterArgs>),
    /// Show what a change would do, and change nothing
    Plan(Box<plan::PlanArgs>),
    /// Undo the last change of a table, and keep what was written since
    Revert(Box<revert::RevertArgs>),
    /// Show runs: state, phase, progress, and what an interrupted one left
    Status(status::StatusArgs),
    /// Pause a run: the copy stops, and it does not cut over
    Pause(order::PauseArgs),
    /// Lift what orders have paused
    Resume(order::ResumeArgs),
    /// Change settings of a run while it is under way
    Set(order::SetArgs),
    /// Permit the cut-over of a run that is on hold
    CutOver(order::CutOverArgs),
    /// Stop a run; the same command resumes it
    Abort(order::AbortArgs),
    /// Drop the retired table and leftovers of unfinished runs
    Cleanup(cleanup::CleanupArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Does what was asked for; `subject` learns what it is about.
    ///
    /// # Errors
    /// Whatever ends the command other than success.
    pub async fn run(self, screen: &Screen, subject: &Subject) -> Result<()> {
        match self.command {
            Command::Alter(args) => Box::pin(alter::run(*args, screen, subject)).await,
            Command::Plan(args) => Box::pin(plan::run(*args, screen, subject)).await,
            Command::Revert(args) => Box::pin(revert::run(*args, screen, subject)).await,
            Command::Status(args) => status::run(args, screen, subject).await,
            Command::Pause(args) => order::Given::from(args).run(screen, subject).await,
            Command::Resume(args) => order::Given::from(args).run(screen, subject).await,
            Command::Set(args) => order::Given::from(args).run(screen, subject).await,
            Command::CutOver(args) => order::Given::from(args).run(screen, subject).await,
            Command::Abort(args) => order::Given::from(args).run(screen, subject).await,
            Command::Cleanup(args) => cleanup::run(args, screen, subject).await,
            Command::Completions(args) => completions::run(args, screen),
        }
    }

    /// Whether stdout is for a program: a failure is then printed there too.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Alter(args) => args.change.json,
            Command::Plan(args) => args.change.json,
            Command::Revert(args) => args.json,
            Command::Status(args) => args.json,
            Command::Pause(args) => args.json(),
            Command::Resume(args) => args.json(),
            Command::Set(args) => args.json(),
            Command::CutOver(args) => args.json(),
            Command::Abort(args) => args.json(),
            Command::Cleanup(args) => args.json,
            Command::Completions(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
