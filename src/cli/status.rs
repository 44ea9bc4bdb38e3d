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
use crate::error::{AGAIN, Error, Result};
use crate::ledger::{RunRecord, RunState};
use crate::output::screen::{Screen, one_line};
use crate::output::text;
use crate::plan::TableArg;
use crate::shell::word;

const EXAMPLES: &str = "\
Examples:
  osc status
  osc status shop.users
  osc status shop.users --json
  osc status users --follow

Works from any host that reaches the server, and after a crash: what it shows is in osc's
ledger. For one table it shows each setting with its value and where that comes from, what
holds the run and what would lift it, and the last orders with their answers.";

/// How often a run that is followed is looked at.
const FOLLOW: Duration = Duration::from_secs(2);

/// The arguments of `osc status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Only this table's runs: users, shop.users
    pub table: Option<String>,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// Print one JSON object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print a line every two seconds until the run ends; leaving it leaves the run alone
    #[arg(long, help_heading = "Output", requires = "table")]
    pub follow: bool,
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
    match &table {
        Some(table) if args.follow => follow(&target, table, args.json, screen).await,
        table => show(&target, table.as_ref(), args.json, screen).await,
    }
}

/// Prints the newest run again and again while an osc is at work on it. A server that cannot be reached for a while
/// is looked for again.
async fn follow(target: &Target, table: &TableArg, json: bool, screen: &Screen) -> Result<()> {
    let mut seen = false;
    loop {
        let runs = match backend::runs(target, Some(table)).await {
            Err(error @ (Error::Unreachable { .. } | Error::Connection { .. })) if seen => {
                screen.line(&format!("{}; trying again", error.problem()));
                tokio::time::sleep(FOLLOW).await;
                continue;
            }
            runs => runs?,
        };
        seen = true;
        let Some(run) = runs.iter().find(|run| run.elsewhere.is_none()) else {
            return screen.answer("no runs");
        };
        match json {
            true => screen.json(&Line::of(run, target))?,
            false => screen.answer(&line(run))?,
        }
        if run.held != Some(true) {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW).await;
    }
}

/// A run in one line.
fn line(run: &RunRecord) -> String {
    let mut text = format!(
        "{}  run {}  {}  {}",
        jiff::Zoned::now().strftime("%H:%M:%S"),
        run.run,
        one_line(&run.phase),
        one_line(&state(run))
    );
    if let Some(picture) = run.picture.as_ref().filter(|_| run.held == Some(true)) {
        let view = picture.view();
        let numbers =
            [text::extent(&picture.now, view.as_ref()), text::state(&picture.now, view.as_ref())];
        for part in numbers.iter().filter(|part| !part.is_empty()) {
            let _ = write!(text, " · {}", one_line(part));
        }
    }
    text
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
    /// Why it is paused or on hold, or what ended it.
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
                .filter(|_| matches!(state, RunState::Paused | RunState::Holding))
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
        RunState::Watching => "watching: an undo is ready".into(),
        RunState::Watched => "watched; nothing was undone".into(),
        RunState::Holding => match run.paused() {
            Some(reason) => format!("ready to cut over; on hold: {reason}"),
            None => "ready to cut over; on hold".into(),
        },
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
    operation(&mut text, run);
    for (at, line) in run.undo.iter().enumerate().filter(|_| whole) {
        let head = if at == 0 { "undo: " } else { "  - " };
        let _ = write!(text, "\n    {head}{}", one_line(line));
    }
    text
}

/// How the run is doing, what holds it, its settings and orders.
fn operation(text: &mut String, run: &RunRecord) {
    let unfinished = run.is_unfinished();
    if let Some(picture) = run.picture.as_ref().filter(|_| unfinished) {
        let view = picture.view();
        let figures = text::numbers(&picture.now, view.as_ref());
        if !figures.is_empty() {
            let eta = view.as_ref().and_then(|view| view.eta).map(text::length);
            let eta = eta.map_or_else(String::new, |eta| format!(" · ETA {eta}"));
            let _ = write!(text, "\n    {}{eta}", one_line(&figures));
        }
        for holder in &picture.held_by {
            let (what, lift) = (one_line(&holder.what), one_line(&holder.lift));
            let _ = write!(text, "\n    held by: {what}; to lift it: {lift}");
        }
        if let Some(slowed) = &picture.now.gives_way {
            let _ = write!(text, "\n    slowed: {}", one_line(slowed));
        }
        if let Some(waiting) = &picture.now.waiting {
            let _ = write!(text, "\n    waiting for {}", one_line(waiting));
        }
        if let Some(blocked) = &picture.blocked {
            let _ = write!(text, "\n    last attempt to lock the table: {}", one_line(blocked));
        }
        for setting in &picture.settings {
            let value = setting.value.as_deref().unwrap_or("unlimited");
            let origin = setting.origin.to_string();
            let _ = write!(
                text,
                "\n    {:<21} {}  ({})",
                one_line(&setting.key),
                one_line(value),
                one_line(&origin)
            );
        }
    }
    for order in &run.orders {
        let arguments = order.arguments.as_deref().unwrap_or_default();
        let why = order.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let whence = order.host.as_ref().map_or_else(String::new, |host| format!(" from {host}"));
        let line = format!(
            "order {} at {} UTC by {}{whence}{why}: {}: {}",
            order.order,
            order.made,
            order.who,
            [order.verb.as_str(), arguments].join(" ").trim(),
            order.answer.as_deref().unwrap_or("not answered")
        );
        let _ = write!(text, "\n    {}", one_line(&line));
    }
}
