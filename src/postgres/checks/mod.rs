//! The checks before the start. Each adds findings: what is wrong, where, and what to do. Nothing is
//! changed by any of them.

mod form;
mod leftovers;
mod parents;
mod server;
mod table;

pub(super) use parents::parents;
pub(super) use table::is_table;

use tokio_postgres::Client;

use super::catalog::table::Table;
use super::clauses::change::Change;
use super::connection::settings::RoleSettings;
use super::dependents::Dependents;
use super::name::Helpers;
use super::runs::ledger::Ledger;
use crate::error::{Findings, Result};

/// What the checks look at.
pub(super) struct Checked<'a> {
    /// The server's version number.
    pub version: u32,
    /// The table.
    pub original: &'a Table,
    /// What is to change.
    pub change: &'a Change,
    /// What hangs on the table.
    pub dependents: &'a Dependents,
    /// What a plain session of the role has.
    pub role: &'a RoleSettings,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The names of the run's tables.
    pub helpers: &'a Helpers,
}

/// Those that an undo needs: of the server, the role, and the names.
///
/// # Errors
/// The server's.
pub(super) async fn of_server(client: &Client, checked: &Checked<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    server::settings(client, checked, &mut findings).await?;
    server::rights(client, checked, &mut findings).await?;
    leftovers::relations(client, checked, &mut findings).await?;
    Ok(findings)
}

/// Runs all checks that a copy needs.
///
/// # Errors
/// The server's.
pub(super) async fn all(client: &Client, checked: &Checked<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    table::definition(checked, &mut findings);
    server::settings(client, checked, &mut findings).await?;
    server::rights(client, checked, &mut findings).await?;
    server::disk(checked, &mut findings);
    leftovers::relations(client, checked, &mut findings).await?;
    let outcomes = checked.change.outcomes(checked.original);
    findings.refusals.extend(checked.dependents.refusals(&outcomes));
    findings.notes.extend(checked.dependents.notes(&outcomes));
    form::tried(client, checked, &mut findings).await?;
    Ok(findings)
}
