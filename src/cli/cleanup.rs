//! `osc cleanup`: drop the retired table and leftovers of dead runs.

use indicatif::HumanBytes;

use super::change::TableArg;
use super::confirm::confirm;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::Target;
use crate::engine::{Error, Result};
use crate::mysql::cleanup::Cleanup;
use crate::report::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  osc cleanup users
  osc cleanup shop.users --yes

Afterwards the change cannot be undone. A run that is under way is never touched.";

/// The arguments of `osc cleanup`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CleanupArgs {
    /// The table that was changed: users, shop.users
    pub table: TableArg,
    /// Where to connect.
    #[command(flatten)]
    pub connection: Connection,
    /// Drop without asking
    #[arg(short, long, help_heading = "Output")]
    pub yes: bool,
}

/// Runs `osc cleanup`.
///
/// # Errors
/// When something cannot be dropped, or leave was not given.
pub async fn run(args: CleanupArgs, screen: &Screen) -> Result<()> {
    let target = resolve::target(&args.connection, &Environment::of_process())?;
    clean(&target, &args.table, args.yes, screen).await
}

/// Lists what there is to drop, asks with [`super::confirm::confirm`], and drops it.
async fn clean(target: &Target, table: &TableArg, yes: bool, screen: &Screen) -> Result<()> {
    let cleanup = Cleanup::find(target, table.schema.as_deref(), &table.table).await?;
    for leftover in &cleanup.tables {
        screen.line(&format!(
            "{}: {}, {}",
            leftover.table.plain(),
            leftover.what,
            HumanBytes(leftover.bytes)
        ));
    }
    if cleanup.tables.is_empty() {
        screen.line("there is no table to drop");
    } else if !confirm("Drop them? Afterwards the change cannot be undone.", yes)? {
        return Err(Error::Usage {
            message: "nothing was dropped".into(),
            help: "answer yes, or give --yes".into(),
        });
    }
    let dropped = cleanup.tables.len();
    cleanup.drop_all().await?;
    screen.answer(&format!("{dropped} {} dropped", if dropped == 1 { "table" } else { "tables" }));
    Ok(())
}
