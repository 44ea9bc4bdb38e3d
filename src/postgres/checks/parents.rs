//! The tables that new foreign keys refer to.

use tokio_postgres::Client;

use crate::error::Finding;
use crate::error::{Error, Result};
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::{ActionKind, Statement};
use crate::postgres::connection::session::value;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::Text;

/// They must be there before hours of copying: a foreign key is added in the swap.
///
/// # Errors
/// `Refused` where one is not; the server's.
pub(crate) async fn parents(
    client: &Client,
    role: &RoleSettings,
    change: &mut Change,
) -> Result<()> {
    const ACTION: &str = "looking for the table of a foreign key";
    let Statement::Alter { clauses, .. } = &mut change.statement else { return Ok(()) };
    for action in clauses.actions.iter_mut().filter(|action| action.is_foreign_key()) {
        let ActionKind::AddConstraint(added) = &mut action.kind else { continue };
        let Some(parent) = &mut added.parent else { continue };
        let sql = format!("SELECT pg_catalog.to_regclass({})::pg_catalog.oid", Text(parent));
        let Some(oid) = value(client, ACTION, &role.in_words(&sql)).await? else {
            return Err(Error::Refused(vec![Finding::new(
                "foreign-key",
                format!("a new foreign key refers to {parent}, and there is no such table"),
                "check its name and its schema",
            )]));
        };
        // With its schema: osc's own sessions look for it under their own path.
        if let Some(named) = value(client, ACTION, &format!("SELECT {oid}::regclass")).await? {
            *parent = named;
        }
    }
    Ok(())
}
