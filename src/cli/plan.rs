//! `osc plan`: say what a change would do, and change nothing.

use std::fmt::Write as _;

use bytesize::ByteSize;
use indicatif::HumanCount;
use serde::Serialize;

use super::arguments::ChangeArgs;
use super::backend;
use crate::engine::progress::Subject;
use crate::error::{Error, Result};
use crate::observe::notify;
use crate::output::screen::{Screen, one_line};
use crate::plan::{Job, Plan, Step};

const EXAMPLES: &str = "\
Examples:
  osc plan users \"ADD COLUMN last_seen TIMESTAMP NULL, ADD INDEX (last_seen)\"
  osc plan \"ALTER TABLE shop.orders DROP COLUMN note\" --json

It takes every flag of osc alter: replace plan with alter to run it.

Exit codes:
  0  the change can be made
  2  wrong usage
  4  the change would be refused";

/// The arguments of `osc plan`: those of `osc alter`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// What would be changed, and how.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Runs `osc plan`.
///
/// # Errors
/// Whatever keeps the plan from being made, or the change from being possible.
pub(super) async fn run(args: PlanArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let job = args.change.job(subject)?;
    Box::pin(show(&job, args.change.json, screen)).await
}

/// Makes the plan and prints it.
pub(super) async fn show(job: &Job, json: bool, screen: &Screen) -> Result<()> {
    notify::check(&job.settings.notify)?;
    let plan = backend::plan(job).await?;
    if json {
        screen.json(&Answer { server: job.target.address.to_string(), plan: &plan })?;
    } else {
        screen.page(&text(&plan))?;
    }
    let copies = plan.methods.iter().all(|step| step.what == "copy");
    if copies && !plan.refusals.is_empty() {
        return Err(Error::Refused(plan.refusals));
    }
    Ok(())
}

/// A plan in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    server: String,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// What may have lines of its own, none of which passes for a heading.
fn several(text: &str) -> String {
    let lines = text.split('\n').map(|line| one_line(line.trim_end()));
    lines.collect::<Vec<_>>().join("\n    ")
}

/// Whether the change can be undone when it is made by this method.
fn undo(plan: &Plan, step: &Step) -> String {
    let method = if plan.methods.len() > 1 { format!(" ({})", step.what) } else { String::new() };
    let Some(verdict) = &step.undo else {
        return format!("\nUndo{method}: not known beforehand\n");
    };
    let mut text = format!("\nUndo{method}: {}\n", one_line(&verdict.summary(&plan.table)));
    for line in verdict.lines() {
        let _ = writeln!(text, "  - {}", one_line(&line));
    }
    text
}

fn text(plan: &Plan) -> String {
    let recognised = plan.recognised.as_ref().map(|name| format!(" ({})", one_line(name)));
    let mut text = format!(
        "{} on {}{}: about {} rows, {}\n",
        one_line(&plan.table),
        one_line(&plan.server),
        recognised.unwrap_or_default(),
        HumanCount(plan.rows_estimate),
        ByteSize(plan.bytes)
    );
    text.push_str(match plan.decided {
        true => "\nosc will make this change by:\n",
        false => "\nosc will try, in this order:\n",
    });
    for (at, step) in plan.methods.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}: {}", at + 1, step.what, one_line(&step.why));
        if let Some(statement) = &step.statement {
            let _ = writeln!(text, "     {}", several(statement));
        }
    }
    for step in &plan.methods {
        text.push_str(&undo(plan, step));
    }
    if !plan.statements.is_empty() {
        text.push_str("\nA copy would run:\n");
        for statement in &plan.statements {
            let _ = writeln!(text, "  {}", several(statement));
        }
    }
    for (title, list) in [
        ("To know", plan.notes.clone()),
        ("A copy would be refused", plan.refusals.iter().map(ToString::to_string).collect()),
    ] {
        if !list.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            for line in list {
                let _ = writeln!(text, "  - {}", several(&line));
            }
        }
    }
    text.push_str("\nNothing was changed.");
    text
}
