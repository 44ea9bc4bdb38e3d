//! `osc status`: the runs that the ledger knows.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::HumanCount;
use serde::Serialize;

use super::backend;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::Target;
use crate::engine::progress::Subject;
use crate::error::{AGAIN, Result};
use crate::ledger::{RunRecord, RunState};
use crate::output::screen::{Screen, one_line};
use crate::output::text;
use crate::plan::TableArg;
use crate::shell::word;

/// The arguments of `osc status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  osc status\n  osc status shop.users --json")]
pub struct StatusArgs {
    /// Only this table's runs: users, shop.users
    pub table: Option<String>,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// Print one JSON object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Runs `osc status`.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) async fn run(args: StatusArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let target = resolve::target(&args.connection, &Environment::of_process())?;
    subject.set_server(&target.address);
    let table = args.table.map(|table| backend::table(target.scheme, &table)).transpose()?;
    if let Some(table) = &table {
        subject.set_table(table.plain());
    }
    show(&target, table.as_ref(), args.json, screen).await
}

async fn show(
    target: &Target,
    table: Option<&TableArg>,
    json: bool,
    screen: &Screen,
) -> Result<()> {
    let runs = backend::runs(target, table).await?;
    if json {
        for run in &runs {
            screen.json(&Line::of(run, target))?;
        }
        return Ok(());
    }
    if runs.is_empty() {
        screen.answer("no runs")?;
    }
    for run in &runs {
        screen.answer(&shown(run, table.is_some()))?;
    }
    Ok(())
}

/// A run in JSON.
#[derive(Serialize)]
struct Line<'a> {
    server: String,
    table: String,
    state: RunState,
    /// Why it is paused, or what ended it.
    reason: Option<String>,
    #[serde(flatten)]
    run: &'a RunRecord,
}

impl<'a> Line<'a> {
    fn of(run: &'a RunRecord, target: &Target) -> Self {
        let state = run.state();
        Self {
            server: target.address.to_string(),
            table: full_name(run),
            state,
            reason: run
                .paused()
                .filter(|_| state == RunState::Paused)
                .or_else(|| run.detail.clone()),
            run,
        }
    }
}

fn full_name(run: &RunRecord) -> String {
    format!("{}.{}", run.schema, run.table)
}

/// The state in words.
fn state(run: &RunRecord) -> String {
    let seen = || text::length(Duration::from_secs(run.silent_seconds));
    match run.state() {
        RunState::Running => "running".into(),
        RunState::Paused => format!("paused: {}", run.paused().unwrap_or_default()),
        RunState::Holding => "ready to cut over; on hold".into(),
        RunState::NotRunning => {
            format!("not running (last seen {} ago); {AGAIN}", seen())
        }
        RunState::Stopped => format!("stopped; {AGAIN}"),
        RunState::Failed => "failed".into(),
        RunState::Done => "done".into(),
    }
}

/// A run in words; with `whole`, the reasons of its undo verdict too.
fn shown(run: &RunRecord, whole: bool) -> String {
    let mut text = format!(
        "run {}  {}  {}  {}, {}\n    {}\n    started {} UTC, last seen {} UTC; {} of about {} rows",
        run.run,
        one_line(&full_name(run)),
        one_line(&run.method),
        one_line(&run.phase),
        one_line(&state(run)),
        if run.clauses.is_empty() {
            "(no clauses: a rewrite)".into()
        } else {
            one_line(&run.clauses)
        },
        run.started,
        run.updated,
        HumanCount(run.rows_copied),
        HumanCount(run.rows_estimate),
    );
    match (run.verification.as_str(), run.rows_verified) {
        ("passed", Some(rows)) => {
            let _ = write!(text, "; {} rows verified equal", HumanCount(rows));
        }
        ("off", _) => text.push_str("; verification off"),
        (_, Some(rows)) => {
            let _ = write!(text, "; {} rows compared", HumanCount(rows));
        }
        _ => {}
    }
    if let Some(server) = &run.elsewhere {
        let _ = write!(text, "; begun on another server ({server})");
    }
    if let Some(lock) = run.lock_ms {
        let _ = write!(text, "; locked for {lock:.0} ms");
    }
    if let Some(bytes) = run.kept_wal {
        let _ = write!(text, "; its slot keeps {} of WAL", ByteSize(bytes));
    }
    if let Some(detail) = &run.detail {
        let _ = write!(text, "\n    {}", one_line(detail));
    }
    if let Some(until) = &run.undo_until {
        let _ = write!(text, "\n    undo until {until} UTC: osc revert {}", word(&full_name(run)));
    }
    for (at, line) in run.undo.iter().enumerate().filter(|_| whole) {
        let head = if at == 0 { "undo: " } else { "  - " };
        let _ = write!(text, "\n    {head}{}", one_line(line));
    }
    text
}
