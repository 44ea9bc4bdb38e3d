//! Whether the copy key is still one on the shadow.

use crate::error::{Error, Finding, Result};
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::name::Ident;

/// The key must order the shadow as it orders the original, and be unique there, if only by an index that
/// is built after the copy: what only the made shadow can tell.
///
/// # Errors
/// `Refused`.
pub(crate) fn key_stays(
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
        // them: docs/understand/how-it-works.md says why none is lost or doubled.
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
