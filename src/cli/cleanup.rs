//! `osc cleanup`: drop the retired table and leftovers of dead runs.

use std::future::Future;

use super::change::TableArg;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::Target;
use crate::engine::Result;
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
fn clean(
    _target: &Target,
    _table: &TableArg,
    _yes: bool,
    _screen: &Screen,
) -> impl Future<Output = Result<()>> {
    std::future::ready(Err(super::not_served("cleanup")))
}
