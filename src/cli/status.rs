//! `osc status`: the runs that the ledger knows.

use std::fmt::Write as _;

use indicatif::{HumanBytes, HumanCount};

use super::change::TableArg;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::{Scheme, Target};
use crate::engine::{Error, Result};
use crate::ledger::RunRecord;
use crate::report::screen::Screen;
use crate::{mysql, postgres};

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
pub async fn run(args: StatusArgs, screen: &Screen) -> Result<()> {
    let target = resolve::target(&args.connection, &Environment::of_process())?;
    let table = args.table.map(|table| TableArg::read(&table, target.scheme)).transpose()?;
    show(&target, table.as_ref(), args.json, screen).await
}

async fn show(
    target: &Target,
    table: Option<&TableArg>,
    json: bool,
    screen: &Screen,
) -> Result<()> {
    let schema = table.and_then(|table| table.schema.as_deref());
    let name = table.map(|table| table.table.as_str());
    let runs = match target.scheme {
        Scheme::Mysql => mysql::status::runs(target, schema, name).await?,
        Scheme::Postgres => postgres::status::runs(target, schema, name).await?,
    };
    if json {
        for run in &runs {
            let text = serde_json::to_string(run)
                .map_err(|error| Error::Internal(format!("a run cannot be written: {error}")))?;
            screen.answer(&text);
        }
        return Ok(());
    }
    if runs.is_empty() {
        screen.answer("no runs");
    }
    for run in &runs {
        screen.answer(&text(run));
    }
    Ok(())
}

fn text(run: &RunRecord) -> String {
    let state = match run.result.as_deref() {
        Some(result) => result.to_owned(),
        None if run.silent_seconds > 30 => {
            format!("dead for {} s; the same command goes on", run.silent_seconds)
        }
        None => "running".into(),
    };
    let mut text = format!(
        "run {}  {}  {}  {}, {}\n    {}\n    started {} UTC, last seen {} UTC; {} of about {} rows",
        run.run,
        run.table,
        run.road,
        run.phase,
        state,
        if run.clauses.is_empty() { "(no clauses: written anew)" } else { &run.clauses },
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
    if let Some(lock) = run.lock_ms {
        let _ = write!(text, "; locked for {lock:.0} ms");
    }
    if let Some(bytes) = run.kept_wal {
        let _ = write!(text, "; its slot keeps {} of WAL", HumanBytes(bytes));
    }
    if let Some(detail) = &run.detail {
        let _ = write!(text, "\n    {detail}");
    }
    text
}
