//! Tables under the helpers' names that are in the way.

use tokio_postgres::Client;

use super::Checked;
use crate::error::{Findings, Result};
use crate::postgres::copy::old_shadow::not_ours;
use crate::postgres::runs::record::{Whose, whose};
use crate::postgres::trust::own_schema::Function;

/// Tables that no run of osc made.
///
/// # Errors
/// The server's.
pub(super) async fn relations(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let helpers = checked.helpers;
    let shadow = whose(client, checked.ledger, &helpers.shadow, Function::Shadow).await?;
    let retired = whose(client, checked.ledger, &helpers.shadow, Function::Retired).await?;
    // The shadow of an undo is a retired table.
    if shadow == Some(Whose::Others) && !matches!(retired, Some(Whose::Ours(_))) {
        findings.refusals.push(not_ours(&helpers.shadow));
    }
    // Retired tables of earlier runs may stand: this one's gets another name.
    let retired = whose(client, checked.ledger, &helpers.retired, Function::Retired).await?;
    if retired == Some(Whose::Others) {
        findings.refusals.push(not_ours(&helpers.retired));
    }
    Ok(())
}
