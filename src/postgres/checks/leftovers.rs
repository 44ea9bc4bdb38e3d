//! Tables under the helpers' names that are in the way.

use tokio_postgres::Client;

use super::Checked;
use crate::error::{Findings, Result};
use crate::postgres::copy::old_shadow::not_ours;
use crate::postgres::name::Helpers;
use crate::postgres::runs::record::{Whose, whose};
use crate::postgres::trust::own_schema::Function;

/// A retired table that is still there; tables that no run of osc made.
///
/// # Errors
/// The server's.
pub(super) async fn relations(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let original = &checked.original.name;
    let helpers = Helpers::of(original);
    let shadow = whose(client, checked.ledger, &helpers.shadow, Function::Shadow).await?;
    if shadow == Some(Whose::Others) {
        findings.refusals.push(not_ours(&helpers.shadow));
    }
    match whose(client, checked.ledger, &helpers.retired, Function::Retired).await? {
        None => {}
        Some(Whose::Others) => findings.refusals.push(not_ours(&helpers.retired)),
        Some(Whose::Ours(_)) => findings.refuse(
            "leftovers",
            format!(
                "{} still exists: the retired table of an earlier run",
                helpers.retired.plain()
            ),
            format!("when it is no longer needed: osc cleanup {}", original.plain()),
        ),
    }
    Ok(())
}
