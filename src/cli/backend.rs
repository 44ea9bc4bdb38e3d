//! Which server's module does what a command asks for: the one place that tells them apart.

use super::deadline::within;
use crate::config::target::{Scheme, Target};
use crate::engine::progress::Summary;
use crate::engine::undo_check::UndoCheck;
use crate::error::Result;
use crate::ledger::RunRecord;
use crate::plan::{Job, Plan, Request, TableArg, Undoing};
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

/// The latest runs of a table, or of all, newest first.
pub(super) async fn runs(target: &Target, table: Option<&TableArg>) -> Result<Vec<RunRecord>> {
    match target.scheme {
        Scheme::Mysql => within(target, mysql::commands::status::runs(target, table)).await,
        Scheme::Postgres => within(target, postgres::commands::status::runs(target, table)).await,
    }
}
