//! `osc cleanup`: drop the retired table and leftovers of unfinished runs.

use std::sync::Arc;

use bytesize::ByteSize;
use serde::Serialize;

use super::backend;
use super::deadline::within;
use super::prompt::confirm;
use super::running::announcing;
use crate::config::notify::NotifySettings;
use crate::config::resolve::{self, Connection, Environment};
use crate::config::target::{Scheme, Target};
use crate::engine::progress::{Progress, Subject};
use crate::error::{Error, Result};
use crate::ledger::Leftover;
use crate::observe::notify::{Dropped, Kind, Notifier};
use crate::output::screen::{Screen, one_line};
use crate::plan::TableArg;
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
    /// Who hears of it.
    #[command(flatten)]
    pub notify: NotifySettings,
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
    forgotten: Vec<i64>,
}

/// Lists what there is to drop, asks with [`super::prompt::confirm`], and drops it; returns it.
async fn clean(
    target: &Target,
    table: &TableArg,
    args: &CleanupArgs,
    screen: &Screen,
) -> Result<Vec<Dropped>> {
    let (schema, name) = (table.schema.as_deref(), table.table.as_str());
    let (dropped, forgotten) = match target.scheme {
        Scheme::Mysql => {
            let cleanup =
                within(target, mysql::commands::cleanup::Cleanup::find(target, schema, name))
                    .await?;
            for spared in &cleanup.spared {
                screen.line(spared);
            }
            let dropped = listed(&cleanup.tables, mysql::name::TableName::plain);
            agree(&dropped, args.yes, screen)?;
            let forgotten = cleanup.forgotten.clone();
            cleanup.drop_all().await?;
            (dropped, forgotten)
        }
        Scheme::Postgres => {
            let cleanup =
                within(target, postgres::commands::cleanup::Cleanup::find(target, schema, name))
                    .await?;
            for stream in &cleanup.streams {
                screen.line(&format!(
                    "{}: the replication slot of an unfinished run",
                    one_line(stream)
                ));
            }
            for half in &cleanup.halves {
                screen.line(&format!("half-done by an unfinished run: {}", one_line(&half.sql)));
            }
            let dropped = listed(&cleanup.tables, postgres::commands::cleanup::Found::plain);
            agree(&dropped, args.yes, screen)?;
            let forgotten = cleanup.forgotten.clone();
            cleanup.drop_all().await?;
            (dropped, forgotten)
        }
    };
    for run in &forgotten {
        screen.line(&format!("run {run} is forgotten: this osc cannot read its record"));
    }
    if args.json {
        let server = target.address.to_string();
        let answer = Answer { server, table: table.plain(), dropped: &dropped, forgotten };
        screen.json(&answer)?;
        return Ok(dropped);
    }
    let count = dropped.len();
    screen.answer(&format!("{count} {} dropped", if count == 1 { "table" } else { "tables" }))?;
    Ok(dropped)
}

fn listed<T>(tables: &[Leftover<T>], plain: impl Fn(&T) -> String) -> Vec<Dropped> {
    let one = |left: &Leftover<T>| Dropped {
        table: plain(&left.table),
        what: left.what,
        bytes: left.bytes,
    };
    tables.iter().map(one).collect()
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
