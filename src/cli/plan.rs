//! `osc plan`: say what a change would do, and change nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use indicatif::{HumanBytes, HumanCount};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::change::Change;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::settings::{AlterSettings, RunFlags, Tuning};
use crate::config::target::{Scheme, Target};
use crate::engine::progress::{Event, Sink};
use crate::engine::{Error, Result};
use crate::plan::{Job, Plan};
use crate::report::screen::Screen;
use crate::{mysql, postgres};

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
    let flags = RunFlags { dry_run: true, json: args.json, ..RunFlags::default() };
    let mut tuning = args.tuning;
    tuning.verify = args.no_verify.then_some(false);
    let (target, settings) =
        resolve::alter(&args.connection, tuning, flags, &Environment::of_process())?;
    let change = Change::read_for(target.scheme, &args.table, args.clauses.as_deref())?;
    show(target, change, settings, screen).await
}

/// Makes the plan and prints it.
pub(super) async fn show(
    target: Target,
    change: Change,
    settings: AlterSettings,
    screen: &Screen,
) -> Result<()> {
    let json = settings.json;
    let directives = watch::Sender::new(settings.directives()).subscribe();
    let job = Job {
        target,
        schema: change.table.schema,
        table: change.table.table,
        clauses: change.clauses,
        settings,
        directives,
        progress: Arc::default(),
        sink: Arc::new(Silence),
        stop: CancellationToken::new(),
    };
    let plan = match job.target.scheme {
        Scheme::Mysql => mysql::alter::plan(&job).await?,
        Scheme::Postgres => postgres::alter::plan(&job).await?,
    };
    if json {
        let text = serde_json::to_string(&plan)
            .map_err(|error| Error::Internal(format!("the plan cannot be written: {error}")))?;
        screen.answer(&text);
    } else {
        screen.answer(&text(&plan));
    }
    let copies = plan.roads.iter().all(|step| step.what == "copy");
    if copies && !plan.refusals.is_empty() {
        return Err(Error::Refused(plan.refusals));
    }
    Ok(())
}

/// Takes events that nobody asked for.
struct Silence;

impl Sink for Silence {
    fn event(&self, _: Event) {}
}

fn text(plan: &Plan) -> String {
    let mut text = format!(
        "{} on {}: about {} rows, {}\n",
        plan.table,
        plan.server,
        HumanCount(plan.rows_estimate),
        HumanBytes(plan.bytes)
    );
    text.push_str("\nRoads, in the order in which they are tried:\n");
    for (at, step) in plan.roads.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}: {}", at + 1, step.what, step.why);
        if let Some(statement) = &step.statement {
            let _ = writeln!(text, "     {statement}");
        }
    }
    if !plan.statements.is_empty() {
        text.push_str("\nA copy would run:\n");
        for statement in &plan.statements {
            let _ = writeln!(text, "  {statement}");
        }
    }
    for (title, list) in [
        ("To know", plan.notes.clone()),
        ("A copy would be refused", plan.refusals.iter().map(ToString::to_string).collect()),
    ] {
        if !list.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            for line in list {
                let _ = writeln!(text, "  - {line}");
            }
        }
    }
    text.push_str("\nNothing was changed.");
    text
}
