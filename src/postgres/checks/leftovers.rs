//! Tables under the helpers' names that this run cannot account for.

use tokio_postgres::Client;

use crate::engine::Result;
use crate::engine::error::Findings;
use crate::postgres::checks::Checked;
use crate::postgres::ledger::Ledger;
use crate::postgres::name::Helpers;
use crate::postgres::shadow::oid_of;

/// A retired table that is still there; a shadow that no run of ours made.
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
    let ledger = Ledger::of(&original.schema);
    let known = ledger.exists(client).await?
        && !ledger.runs(client, Some(&original.table), 1).await?.is_empty();
    if oid_of(client, &helpers.shadow).await?.is_some() && !known {
        findings.refuse(
            "leftovers",
            format!("{} exists, and no run of osc made it", helpers.shadow.plain()),
            "rename or drop it, if nobody needs it",
        );
    }
    if oid_of(client, &helpers.retired).await?.is_some() {
        findings.refuse(
            "leftovers",
            format!(
                "{} still exists: the retired table of an earlier run",
                helpers.retired.plain()
            ),
            format!("when it is no longer needed: osc cleanup {}", original.plain()),
        );
    }
    Ok(())
}
