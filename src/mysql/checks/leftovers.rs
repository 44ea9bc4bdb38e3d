//! Tables under the helpers' names that this run cannot account for, and those of other tools.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::engine::Result;
use crate::engine::error::Findings;
use crate::mysql::checks::Checked;
use crate::mysql::connect::connection_error;
use crate::mysql::inspect::Table;
use crate::mysql::ledger::Ledger;
use crate::mysql::name::{Helpers, Text};
use crate::mysql::swap::is_retired;

/// A retired table that is still there; a shadow that no run of ours made; another tool at work.
pub async fn tables(conn: &mut Conn, checked: &Checked<'_>, findings: &mut Findings) -> Result<()> {
    let original = &checked.original.name;
    let helpers = Helpers::of(original);
    let ledger = Ledger::of(&original.schema);
    let runs = if ledger.exists(conn).await? {
        ledger.runs(conn, Some(&original.table), 1).await?
    } else {
        Vec::new()
    };
    let unfinished = runs.first().is_some_and(|run| run.result.as_deref() != Some("done"));
    // In this order: a rename of a dead run that comes through in between shows neither.
    let retired = is_retired(conn, &helpers.retired).await?;
    let shadow = Table::read(conn, &helpers.shadow).await?.is_some();
    if shadow && runs.is_empty() {
        findings.refuse(
            "leftovers",
            format!("{} exists, and no run of osc made it", helpers.shadow.plain()),
            "rename or drop it, if nobody needs it",
        );
    }
    // After a swap that a dead run did not finish, the retired table is that run's own.
    if retired && (shadow || !unfinished) {
        findings.refuse(
            "leftovers",
            format!(
                "{} still exists: the retired table of an earlier run",
                helpers.retired.plain()
            ),
            format!("when it is no longer needed: osc cleanup {}", original.plain()),
        );
    }
    let name = original.table.as_str();
    let others = [
        format!("_{name}_gho"),
        format!("_{name}_ghc"),
        format!("_{name}_new"),
        format!("_{name}_chkpnt"),
    ];
    let list: Vec<String> = others.iter().map(|name| Text(name).to_string()).collect();
    let found: Vec<String> = conn
        .query(format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({})",
            Text(original.schema.as_str()),
            list.join(", ")
        ))
        .await
        .map_err(|error| connection_error("looking for leftovers", error))?;
    if !found.is_empty() {
        findings.refuse(
            "other-tool",
            format!("another tool is at work on the table, or died: {}", found.join(", ")),
            "let it end, or drop what it left",
        );
    }
    Ok(())
}
