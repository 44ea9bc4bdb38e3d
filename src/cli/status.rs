//! `osc status`: the runs that the ledger knows.

use std::future::Future;

use super::change::TableArg;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::Target;
use crate::engine::Result;
use crate::report::screen::Screen;

/// The arguments of `osc status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  osc status\n  osc status shop.users --json")]
pub struct StatusArgs {
    /// Only this table's runs: users, shop.users
    pub table: Option<TableArg>,
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
    show(&target, args.table.as_ref(), args.json, screen).await
}

fn show(
    _target: &Target,
    _table: Option<&TableArg>,
    _json: bool,
    _screen: &Screen,
) -> impl Future<Output = Result<()>> {
    std::future::ready(Err(super::not_served("status")))
}
