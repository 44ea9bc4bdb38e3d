//! The checks before the start. Each is a function of its own that adds findings: what is wrong,
//! where, and what to do. Nothing is changed by any of them.

pub(crate) mod blockers;
pub(crate) mod leftovers;
pub(crate) mod rights;
pub(crate) mod server;
mod table;

use mysql_async::Conn;

use super::catalog::table::Table;
use super::clauses::change::Change;
use super::connection::version::Flavor;
use super::dependents::Dependents;
use super::dependents::foreign_keys::unlogged_cascades;
use super::name::Ident;
use super::runs::ledger::Ledger;
use crate::error::Findings;
use crate::error::Result;

/// What the checks look at.
pub(super) struct Checked<'a> {
    /// The server's family and version.
    pub flavor: Flavor,
    /// The table.
    pub original: &'a Table,
    /// What is to change.
    pub change: &'a Change,
    /// What hangs on the table.
    pub dependents: &'a Dependents,
    /// The schema of the ledger.
    pub schema: Ident,
    /// The ledger, where it is there.
    pub ledger: Option<&'a Ledger>,
}

/// Runs the checks that an undo needs: it makes no table, so that nothing can be in its place.
pub(super) async fn of_an_undo(conn: &mut Conn, checked: &Checked<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    table::definition(checked, &mut findings);
    server::binlog(conn, checked, &mut findings).await?;
    server::topology(conn, checked, &mut findings).await?;
    rights::granted(conn, checked, &mut findings).await?;
    let cascades = unlogged_cascades(conn, &checked.dependents.outgoing).await?;
    findings.refusals.extend(cascades);
    let foreseen = checked.dependents.foreseen(conn, checked.original, checked.change).await?;
    findings.refusals.extend(foreseen);
    Ok(findings)
}

/// Runs all checks that a copy needs.
pub(super) async fn all(conn: &mut Conn, checked: &Checked<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    table::definition(checked, &mut findings);
    table::constraint_names(checked, &mut findings);
    server::binlog(conn, checked, &mut findings).await?;
    server::topology(conn, checked, &mut findings).await?;
    server::disk(conn, checked, &mut findings).await?;
    rights::granted(conn, checked, &mut findings).await?;
    leftovers::tables(conn, checked, &mut findings).await?;
    let cascades = unlogged_cascades(conn, &checked.dependents.outgoing).await?;
    findings.refusals.extend(cascades);
    let foreseen = checked.dependents.foreseen(conn, checked.original, checked.change).await?;
    findings.refusals.extend(foreseen);
    Ok(findings)
}
