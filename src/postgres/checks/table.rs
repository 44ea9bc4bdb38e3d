//! Whether the table is one that can be copied and swapped.

use super::Checked;
use crate::engine::{Error, Result};
use crate::error::{Finding, Findings};
use crate::postgres::catalog::name::Ident;
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::copy::key::KeyColumns;

/// Whether it is a table at all, partitioned or not: no road is for anything else.
///
/// # Errors
/// `Refused`.
pub fn is_table(original: &Table) -> Result<()> {
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

/// The key must order the shadow as it orders the original, and be unique there, if only by an index that
/// is built after the copy: what only the made shadow can tell.
///
/// # Errors
/// `Refused`.
pub fn key_stays(
    original: &Table,
    shadow: &Table,
    deferred: &[Index],
    key: &KeyColumns,
    shadow_key: &[Ident],
) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::Refused(vec![Finding::new(
            "copy-key",
            problem,
            "make this part of the change alone, by the server, or give the table another key first",
        )]))
    };
    for (column, new) in key.0.iter().zip(shadow_key) {
        let (Some(old), Some(new)) = (original.column(&column.name), shadow.column(new)) else {
            return refuse(format!("the change takes {} out of the copy key", column.name.0));
        };
        let same = old.type_oid == new.type_oid && old.collation == new.collation;
        let fits = same || (old.is_integer() && new.is_integer());
        if !fits {
            return refuse(format!(
                "{} orders the copy, and would be ordered otherwise as {}",
                old.name.0, new.type_sql
            ));
        }
    }
    if shadow.kind != 'p' {
        let mut indexes = shadow.indexes.iter().chain(deferred);
        // A longer key, such as `(id, created_at)`, finds rows as well, and the original's own names
        // them: docs/how-it-works.md says why none is lost or doubled.
        return match indexes.any(|index| index.begins_with_key(shadow_key)) {
            true => Ok(()),
            false => refuse(
                "the change takes the copy key's index away, and no unique index begins with its \
                 columns"
                    .into(),
            ),
        };
    }
    // A partitioned table's have the columns that it is partitioned by too: rows are found by those
    // that come first.
    if shadow.indexes.iter().any(|index| index.begins_with_key(shadow_key)) {
        return Ok(());
    }
    let names: Vec<&str> = shadow_key.iter().map(Ident::as_str).collect();
    let names = names.join(", ");
    Err(Error::Refused(vec![Finding::new(
        "copy-key",
        format!(
            "no unique index of the partitioned table begins with {names}, which name its rows"
        ),
        format!("let its primary key begin with them: ADD PRIMARY KEY ({names}, …)"),
    )]))
}
