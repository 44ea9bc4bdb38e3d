//! `osc cleanup`: drop the retired table and leftovers of dead runs.

use indicatif::HumanBytes;

use super::change::TableArg;
use super::confirm::confirm;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::{Scheme, Target};
use crate::engine::{Error, Result};
use crate::ledger::Leftover;
use crate::report::screen::Screen;
use crate::{mysql, postgres};

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
    pub table: String,
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
    let table = TableArg::read(&args.table, target.scheme)?;
    clean(&target, &table, args.yes, screen).await
}

/// Lists what there is to drop, asks with [`super::confirm::confirm`], and drops it.
async fn clean(target: &Target, table: &TableArg, yes: bool, screen: &Screen) -> Result<()> {
    let (schema, name) = (table.schema.as_deref(), table.table.as_str());
    let dropped = match target.scheme {
        Scheme::Mysql => {
            let cleanup = mysql::cleanup::Cleanup::find(target, schema, name).await?;
            agree(&cleanup.tables, mysql::name::TableName::plain, yes, screen)?;
            let tables = cleanup.tables.len();
            cleanup.drop_all().await?;
            tables
        }
        Scheme::Postgres => {
            let cleanup = postgres::cleanup::Cleanup::find(target, schema, name).await?;
            for stream in &cleanup.streams {
                screen.line(&format!("{stream}: the replication slot of a dead run"));
            }
            for half in &cleanup.halves {
                screen.line(&format!("half-done by a dead run: {}", half.sql));
            }
            agree(&cleanup.tables, postgres::name::TableName::plain, yes, screen)?;
            let tables = cleanup.tables.len();
            cleanup.drop_all().await?;
            tables
        }
    };
    screen.answer(&format!("{dropped} {} dropped", if dropped == 1 { "table" } else { "tables" }));
    Ok(())
}

/// Shows what would be dropped, and asks.
fn agree<T>(
    tables: &[Leftover<T>],
    plain: impl Fn(&T) -> String,
    yes: bool,
    screen: &Screen,
) -> Result<()> {
    for Leftover { table, what, bytes } in tables {
        screen.line(&format!("{}: {what}, {}", plain(table), HumanBytes(*bytes)));
    }
    if tables.is_empty() {
        screen.line("there is no table to drop");
    } else if !confirm("Drop them? Afterwards the change cannot be undone.", yes)? {
        return Err(Error::Usage {
            message: "nothing was dropped".into(),
            help: "answer yes, or give --yes".into(),
        });
    }
    Ok(())
}
