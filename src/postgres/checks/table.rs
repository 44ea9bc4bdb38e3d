//! Whether the table is one that can be copied and swapped.

use super::Checked;
use crate::error::{Error, Finding, Findings, Result};
use crate::postgres::catalog::table::Table;

/// Whether it is a table at all, partitioned or not: no method is for anything else.
///
/// # Errors
/// `Refused`.
pub(crate) fn is_table(original: &Table) -> Result<()> {
    let what = match original.kind {
        'r' | 'p' => return Ok(()),
        'v' => "a view",
        'm' => "a materialised view",
        'f' => "a foreign table: its rows are elsewhere",
        _ => "no table",
    };
    let problem = format!("{} is {what}", original.name.plain());
    Err(Error::Refused(vec![Finding::new("kind", problem, "name a table")]))
}

/// Its kind, its indexes, its key.
pub(super) fn definition(checked: &Checked<'_>, findings: &mut Findings) {
    let original = checked.original;
    let name = original.name.plain();
    if original.kind == 'p' {
        let what = "a partitioned table: its partitions can be changed one by one";
        findings.refuse("kind", format!("{name} is {what}"), "");
        return;
    }
    if original.persistence == 't' {
        findings.refuse("kind", format!("{name} is a temporary table"), "its session can alter it");
    }
    if original.partition {
        findings.refuse(
            "partition",
            format!("{name} is a partition: a swap would take it out of its parent"),
            "ALTER TABLE … DETACH PARTITION it first, or use --strategy instant or inplace",
        );
    }
    for index in original.indexes.iter().filter(|index| !index.valid) {
        findings.refuse(
            "invalid-index",
            format!("the index {} of {name} is invalid: a build of it has failed", index.name.0),
            "DROP INDEX it, or REINDEX INDEX CONCURRENTLY it",
        );
    }
    match original.copy_key() {
        Err(Error::Refused(refusals)) => findings.refusals.extend(refusals),
        Err(error) => findings.refuse("copy-key", error.to_string(), ""),
        Ok(index) => {
            let columns = &checked.change.columns;
            let lost = index
                .keys
                .iter()
                .filter_map(|key| key.column.as_ref())
                .find(|column| columns.new_name(column).is_none());
            if let Some(column) = lost {
                findings.refuse(
                    "copy-key",
                    format!(
                        "the change drops {}, which orders the copy and names the rows that change",
                        column.0
                    ),
                    "give the table another unique index over NOT NULL columns, make it its \
                     replica identity, and drop the column in a second change",
                );
            }
        }
    }
}
