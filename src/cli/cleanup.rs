//! `osc cleanup`: drop the retired table and leftovers of unfinished runs.

use std::sync::Arc;

use bytesize::ByteSize;
use serde::Serialize;

use super::backend;
use super::prompt::confirm;
use super::running::announcing;
use crate::config::notify::NotifySettings;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::Target;
use crate::engine::progress::{Progress, Subject};
use crate::error::{Error, Finding, Result};
use crate::ledger::undo_window::Kept;
use crate::observe::notify::{Dropped, Kind, Notifier};
use crate::output::screen::{Screen, one_line};
use crate::plan::TableArg;
use crate::shell::word;

const EXAMPLES: &str = "\
Examples:
  osc cleanup users
  osc cleanup shop.users --yes
  osc cleanup shop.users --now

A retired table is kept until the time of --undo-for is over (24 h after the change, unless said
otherwise). Once it is dropped, the change cannot be undone. A run that is under way is never touched.";

/// The arguments of `osc cleanup`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CleanupArgs {
    /// The table that was changed: users, shop.users
    pub table: String,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// Who hears of it.
    #[command(flatten)]
    pub notify: NotifySettings,
    /// Drop retired tables that are still kept for an undo, too
    #[arg(long)]
    pub now: bool,
    /// Print one JSON object, as docs/use/json.md describes it
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Drop without asking
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

/// Runs `osc cleanup`.
///
/// # Errors
/// When something cannot be dropped, or permission was not given.
pub(super) async fn run(args: CleanupArgs, screen: &Screen, subject: &Subject) -> Result<()> {
    let given = args.notify.clone();
    let (target, notify) = resolve::notifying(&args.connection, given, &Environment::of_process())?;
    subject.set_server(&target.address);
    let table = backend::table(target.scheme, &args.table)?;
    subject.set_table(table.plain());
    let progress = Arc::new(Progress::of(subject.clone()));
    let announce = announcing(screen, args.json);
    let notifier = Notifier::start(&notify, Kind::Cleanup, "", &progress, announce)?;
    let dropped = clean(&target, &table, &args, screen).await?;
    if let Some(notifier) = notifier {
        if !dropped.is_empty() {
            notifier.cleaned(dropped);
        }
        notifier.finish(None).await;
    }
    Ok(())
}

#[derive(Serialize)]
struct Answer<'a> {
    server: String,
    table: String,
    dropped: &'a [Dropped],
    kept: Vec<Kept>,
    forgotten: Vec<i64>,
}

/// Lists what there is to drop, asks with [`super::prompt::confirm`], and drops it; returns it.
async fn clean(
    target: &Target,
    table: &TableArg,
    args: &CleanupArgs,
    screen: &Screen,
) -> Result<Vec<Dropped>> {
    let found = Box::pin(backend::cleanup(target, table, args.now)).await?;
    if !found.has_work() && !found.kept().is_empty() {
        return Err(Error::Refused(found.kept().iter().map(|kept| refused(kept, table)).collect()));
    }
    for note in found.notes() {
        screen.line(&note);
    }
    for Kept { table, run, until } in found.kept() {
        let table = one_line(table);
        screen.line(&format!(
            "{table} stays until {until} UTC, to undo run {run} with; --now drops it"
        ));
    }
    let (dropped, kept, forgotten) =
        (found.tables(), found.kept().to_vec(), found.forgotten().to_vec());
    agree(&dropped, args.yes, screen)?;
    Box::pin(found.drop_all()).await?;
    for run in &forgotten {
        screen.line(&format!("run {run} is forgotten: this osc cannot read its record"));
    }
    if args.json {
        let server = target.address.to_string();
        let table = table.plain();
        screen.json(&Answer { server, table, dropped: &dropped, kept, forgotten })?;
        return Ok(dropped);
    }
    let count = dropped.len();
    screen.answer(&format!("{count} {} dropped", if count == 1 { "table" } else { "tables" }))?;
    Ok(dropped)
}

fn refused(kept: &Kept, table: &TableArg) -> Finding {
    let Kept { table: retired, run, until } = kept;
    Finding::new(
        "undo-window",
        format!("{retired} is kept until {until} UTC: osc revert can undo run {run} with it"),
        format!("wait until then, or drop it now: osc cleanup {} --now", word(&table.plain())),
    )
}

const QUESTION: &str = "Drop them? Afterwards the change cannot be undone.";

/// Shows what would be dropped, and asks.
fn agree(tables: &[Dropped], yes: bool, screen: &Screen) -> Result<()> {
    for Dropped { table, what, bytes } in tables {
        screen.line(&format!("{}: {what}, {}", one_line(table), ByteSize(*bytes)));
    }
    if tables.is_empty() {
        screen.line("there is no table to drop");
    } else if !confirm(QUESTION, yes, "pass --yes to drop them")? {
        return Err(Error::Usage {
            message: "nothing was dropped".into(),
            help: "answer yes, or give --yes".into(),
        });
    }
    Ok(())
}
