//! Which server's module does what a command asks for: the one place that tells them apart.

use super::deadline::within;
use crate::config::target::{Scheme, Target};
use crate::engine::event::Summary;
use crate::engine::undo_check::UndoCheck;
use crate::error::Result;
use crate::ledger::orders::{Made, NewOrder};
use crate::ledger::undo_window::Kept;
use crate::ledger::{Leftover, RunRecord};
use crate::observe::notify::Dropped;
use crate::output::screen::one_line;
use crate::plan::{Job, Opposite, Plan, Request, TableArg, Undoing};
use crate::{mysql, postgres};

/// Reads a table as this kind of server names it.
pub(super) fn table(scheme: Scheme, text: &str) -> Result<TableArg> {
    match scheme {
        Scheme::Mysql => mysql::commands::arguments::table(text),
        Scheme::Postgres => postgres::commands::arguments::table(text),
    }
}

/// Reads `TABLE CLAUSES`, or a whole statement, by the rules of this kind of server.
pub(super) fn request(scheme: Scheme, first: &str, second: Option<&str>) -> Result<Request> {
    match scheme {
        Scheme::Mysql => mysql::commands::arguments::change(first, second),
        Scheme::Postgres => postgres::commands::arguments::change(first, second),
    }
}

/// Changes the table.
pub(super) async fn alter(job: Job) -> Result<Summary> {
    match job.target.scheme {
        Scheme::Mysql => mysql::commands::alter::alter(job).await,
        Scheme::Postgres => Box::pin(postgres::commands::alter::alter(job)).await,
    }
}

/// Undoes the table's last change.
pub(super) async fn revert(job: Job) -> Result<Summary> {
    match job.target.scheme {
        Scheme::Mysql => mysql::commands::revert::revert(job).await,
        Scheme::Postgres => Box::pin(postgres::commands::revert::revert(job)).await,
    }
}

/// The change that takes the table's last one back, where that has left no retired table.
pub(super) async fn opposite(job: &Job) -> Result<Option<Opposite>> {
    match job.target.scheme {
        Scheme::Mysql => within(&job.target, mysql::commands::revert::opposite(job)).await,
        Scheme::Postgres => within(&job.target, postgres::commands::revert::opposite(job)).await,
    }
}

/// What [`revert`] would meet.
pub(super) async fn check_undo(job: &Job) -> Result<(Undoing, UndoCheck)> {
    match job.target.scheme {
        Scheme::Mysql => mysql::commands::revert::check_undo(job).await,
        Scheme::Postgres => Box::pin(postgres::commands::revert::check_undo(job)).await,
    }
}

/// What [`alter`] would do.
pub(super) async fn plan(job: &Job) -> Result<Plan> {
    match job.target.scheme {
        Scheme::Mysql => Box::pin(within(&job.target, mysql::commands::alter::plan(job))).await,
        Scheme::Postgres => {
            Box::pin(within(&job.target, postgres::commands::alter::plan(job))).await
        }
    }
}

/// Makes an order for the run that is under way on a table, and waits for its answer.
pub(super) async fn order(target: &Target, table: &TableArg, order: &NewOrder) -> Result<Made> {
    match target.scheme {
        Scheme::Mysql => within(target, mysql::commands::order::send(target, table, order)).await,
        Scheme::Postgres => {
            within(target, postgres::commands::order::send(target, table, order)).await
        }
    }
}

/// What `osc cleanup` found on a server, and the session that found it.
pub(super) enum Cleanup {
    /// MySQL or MariaDB.
    Mysql(Box<mysql::commands::cleanup::Cleanup>),
    /// PostgreSQL.
    Postgres(Box<postgres::commands::cleanup::Cleanup>),
}

/// Finds what can be dropped of a table; with `now`, what is kept for an undo too.
pub(super) async fn cleanup(target: &Target, table: &TableArg, now: bool) -> Result<Cleanup> {
    match target.scheme {
        Scheme::Mysql => {
            let found = mysql::commands::cleanup::Cleanup::find(target, table, now);
            Ok(Cleanup::Mysql(Box::new(within(target, found).await?)))
        }
        Scheme::Postgres => {
            let found = postgres::commands::cleanup::Cleanup::find(target, table, now);
            Ok(Cleanup::Postgres(Box::new(within(target, found).await?)))
        }
    }
}

impl Cleanup {
    /// The tables that it would drop.
    pub(super) fn tables(&self) -> Vec<Dropped> {
        match self {
            Self::Mysql(found) => listed(&found.tables, mysql::name::TableName::plain),
            Self::Postgres(found) => {
                listed(&found.tables, postgres::commands::cleanup::Found::plain)
            }
        }
    }

    /// Retired tables that stay, since their time is not over.
    pub(super) fn kept(&self) -> &[Kept] {
        match self {
            Self::Mysql(found) => &found.kept,
            Self::Postgres(found) => &found.kept,
        }
    }

    /// What else there is to know before.
    pub(super) fn notes(&self) -> Vec<String> {
        match self {
            Self::Mysql(found) => found.spared.clone(),
            Self::Postgres(found) => {
                let slot = |slot: &String| {
                    format!("{}: the replication slot of an unfinished run", one_line(slot))
                };
                let half = |half: &postgres::methods::Undo| {
                    format!("half-done by an unfinished run: {}", one_line(&half.sql))
                };
                found.streams.iter().map(slot).chain(found.halves.iter().map(half)).collect()
            }
        }
    }

    /// Runs whose records this osc cannot read.
    pub(super) fn forgotten(&self) -> &[i64] {
        match self {
            Self::Mysql(found) => &found.forgotten,
            Self::Postgres(found) => &found.forgotten,
        }
    }

    /// Whether there is anything to drop, discard or forget.
    pub(super) fn has_work(&self) -> bool {
        match self {
            Self::Mysql(found) => found.has_work(),
            Self::Postgres(found) => found.has_work(),
        }
    }

    /// Drops what was found.
    pub(super) async fn drop_all(self) -> Result<()> {
        match self {
            Self::Mysql(found) => found.drop_all().await,
            Self::Postgres(found) => found.drop_all().await,
        }
    }
}

fn listed<T>(tables: &[Leftover<T>], plain: impl Fn(&T) -> String) -> Vec<Dropped> {
    let one = |left: &Leftover<T>| Dropped {
        table: plain(&left.table),
        what: left.what,
        bytes: left.bytes,
    };
    tables.iter().map(one).collect()
}

/// The latest runs of a table, or of all, newest first.
pub(super) async fn runs(target: &Target, table: Option<&TableArg>) -> Result<Vec<RunRecord>> {
    match target.scheme {
        Scheme::Mysql => within(target, mysql::commands::status::runs(target, table)).await,
        Scheme::Postgres => within(target, postgres::commands::status::runs(target, table)).await,
    }
}
