//! Whether the table can have the form that osc's own clauses ask for: known before the start, since
//! it is tried on an empty temporary copy.

use tokio_postgres::Client;

use super::Checked;
use crate::error::Findings;
use crate::error::{Error, Result};
use crate::postgres::catalog::table::Table;
use crate::postgres::copy::key_stays::key_stays;
use crate::postgres::copy::layout::taken;
use crate::postgres::methods;
use crate::postgres::name::Ident;

/// Tries the form, and looks at what the swap would have to carry over to it.
///
/// # Errors
/// The server's, where the other clauses cannot be applied.
pub(super) async fn tried(
    client: &Client,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    let (original, change) = (checked.original, checked.change);
    if change.form.is_plain() || original.kind != 'r' {
        return Ok(());
    }
    if change.form.partitioning.is_some() {
        let outcomes = change.outcomes(original);
        findings.refusals.extend(checked.dependents.unpartitionable(&outcomes));
        let adds = change.adds_foreign_keys() && checked.version < 180_000;
        if adds {
            findings.refuse(
                "foreign-key-partitioned",
                "up to 17 PostgreSQL adds a foreign key to a partitioned table only by a scan under \
                 its lock",
                "leave it out, and add it to each partition afterwards",
            );
        }
        names(client, checked, findings).await?;
    }
    if !change.form.moves.is_empty() {
        findings.notes.push(
            "statements that name no columns (INSERT without a list, SELECT *, COPY) meet the new \
             order from the swap on"
                .into(),
        );
    }
    if !findings.refusals.is_empty() {
        return Ok(());
    }
    match methods::formed(client, checked.role, &original.name, change).await? {
        Ok(formed) => look(original, &formed, checked, findings)?,
        Err(Error::Refused(refusals)) => findings.refusals.extend(refusals),
        Err(error) if error.is_connection() => return Err(error),
        Err(error) => {
            let partitioned = "each unique key must have the columns that the table is partitioned by: \
                        change it in the same command, as in DROP CONSTRAINT t_pkey, ADD PRIMARY KEY \
                        (id, created)";
            let is_partitioned = change.form.partitioning.is_some();
            let help = if is_partitioned { partitioned } else { "" };
            findings.refuse("form", error.to_string(), help);
        }
    }
    Ok(())
}

/// The partitions' names must be free when they are made.
async fn names(client: &Client, checked: &Checked<'_>, findings: &mut Findings) -> Result<()> {
    let helpers = checked.helpers;
    let mut clashing = taken(client, &helpers.shadow, &checked.change.form).await?;
    let ours = [&helpers.shadow.table, &helpers.retired.table];
    clashing.extend(checked.change.form.partitions().filter(|name| ours.contains(name)).cloned());
    for name in clashing {
        findings.refuse(
            "partition-name",
            format!(
                "the name {} of a partition is taken in the schema {}",
                name.0, checked.original.name.schema.0
            ),
            "give the partition another name",
        );
    }
    Ok(())
}

/// The copy key in the table as it will be.
fn look(
    original: &Table,
    formed: &Table,
    checked: &Checked<'_>,
    findings: &mut Findings,
) -> Result<()> {
    // Without one it is refused already.
    let Ok(index) = original.copy_key() else { return Ok(()) };
    let key = original.key_columns(index)?;
    let columns = &checked.change.columns;
    let renamed: Option<Vec<Ident>> =
        key.0.iter().map(|column| columns.new_name(&column.name)).collect();
    let Some(renamed) = renamed else { return Ok(()) };
    match key_stays(original, formed, &[], &key, &renamed) {
        Err(Error::Refused(refusals)) => findings.refusals.extend(refusals),
        other => other?,
    }
    if formed.kind == 'p' && !formed.indexes.iter().any(|index| index.keys.len() == key.0.len()) {
        let names: Vec<&str> = renamed.iter().map(Ident::as_str).collect();
        let names = names.join(", ");
        findings.notes.push(format!(
            "PostgreSQL keeps {names} unique within each partition only, from the swap on, and ON \
             CONFLICT ({names}) finds no index any more"
        ));
    }
    Ok(())
}
