//! Which clauses are known to be quick in place: they touch no rows (`docs/use/methods.md`).

use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::clauses::{Clause, ClauseKind, Clauses, ColumnDef, IndexKind};
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::Ident;

/// Whether all clauses are known to be quick in place; either way the reason.
pub(crate) fn in_place(
    clauses: &Clauses,
    flavor: Flavor,
    original: &Table,
) -> std::result::Result<String, String> {
    let mut reasons: Vec<String> = Vec::new();
    // The collation of a column that names none.
    let changes = clauses.option("CHARSET").or(clauses.option("COLLATE")).is_some();
    let collation = (!changes).then_some(original.collation.as_str());
    for clause in &clauses.clauses {
        match quick(clause, flavor, original, collation)? {
            Some(reason) if !reasons.contains(&reason) => reasons.push(reason),
            _ => {}
        }
    }
    Ok(format!("touches no rows: {}", reasons.join(", ")))
}

/// `Ok`: in place this clause is quick (with the reason; `None`: it does nothing). `Err`: why a
/// copy is the method.
fn quick(
    clause: &Clause,
    flavor: Flavor,
    original: &Table,
    collation: Option<&str>,
) -> std::result::Result<Option<String>, String> {
    let fine = |reason: &str| Ok(Some(reason.to_owned()));
    let copy = |reason: String| Err(format!("{reason}, so a copy"));
    match &clause.kind {
        ClauseKind::Algorithm(_) | ClauseKind::Lock(_) => Ok(None),
        ClauseKind::DropIndex { .. } => fine("drops an index"),
        ClauseKind::RenameIndex { .. } => fine("renames an index"),
        ClauseKind::AlterIndexVisibility { .. } => fine("changes an index's visibility"),
        ClauseKind::AlterColumnDefault { .. } => fine("changes a default"),
        ClauseKind::RenameColumn { .. } => fine("renames a column"),
        ClauseKind::DropForeignKey { .. } => fine("drops a foreign key"),
        ClauseKind::DropCheck { .. } => fine("drops a check"),
        ClauseKind::DropConstraint { .. } => fine("drops a constraint"),
        ClauseKind::TableOption { name, .. } if is_quick_option(name) => {
            fine("changes table options only")
        }
        ClauseKind::ModifyColumn { column, .. } => {
            quick_definition(&column.name, column, original, collation)
        }
        ClauseKind::ChangeColumn { from, to, .. } => {
            quick_definition(from, to, original, collation)
        }
        // NOCOPY keeps the server from rewriting the table; MySQL's INPLACE would do so.
        ClauseKind::AddColumns { columns, .. }
            if flavor.is_mariadb() && columns.iter().all(is_plain_addition) =>
        {
            fine("adds a column")
        }
        ClauseKind::DropColumn { .. } if flavor.is_mariadb() => fine("drops a column"),
        ClauseKind::AddIndex { kind: IndexKind::Fulltext | IndexKind::Spatial, .. } => {
            copy("adds an index whose building locks writers out".into())
        }
        ClauseKind::AddIndex { .. } => {
            copy("adds an index: building it in place would stall replicas".into())
        }
        ClauseKind::AddPrimaryKey { .. } | ClauseKind::DropPrimaryKey => {
            copy("changes the primary key, which rewrites every row".into())
        }
        ClauseKind::AddCheck { .. } => {
            copy("adds a check, which the server proves under a lock".into())
        }
        ClauseKind::AlterCheck { .. } => {
            copy("changes a check, which the server may prove under a lock".into())
        }
        ClauseKind::ConvertCharset { .. } => copy("converts text, which rewrites every row".into()),
        ClauseKind::Force => copy("rebuilds the table".into()),
        ClauseKind::AddColumns { .. } => copy(
            "adds a column: the server would rebuild the whole table, so osc copies it instead"
                .into(),
        ),
        ClauseKind::DropColumn { .. } => copy(
            "drops a column: the server would rebuild the whole table, so osc copies it instead"
                .into(),
        ),
        _ => copy(format!("{}: not known to be quick in place", clause.text)),
    }
}

/// Options that change the table's description only (checked on both servers).
fn is_quick_option(name: &str) -> bool {
    matches!(
        name,
        "COMMENT"
            | "AUTO_INCREMENT"
            | "CHARSET"
            | "COLLATE"
            | "AVG_ROW_LENGTH"
            | "MAX_ROWS"
            | "MIN_ROWS"
            | "STATS_AUTO_RECALC"
            | "STATS_PERSISTENT"
            | "STATS_SAMPLE_PAGES"
    )
}

fn is_plain_addition(column: &ColumnDef) -> bool {
    !column.adds_key() && !column.auto_increment && column.references.is_none()
}

fn quick_definition(
    from: &Ident,
    column: &ColumnDef,
    original: &Table,
    collation: Option<&str>,
) -> std::result::Result<Option<String>, String> {
    let known = original.columns.iter().find(|known| known.name.same(from));
    if known.is_some_and(|known| grows_within_its_class(known, column, collation)) {
        Ok(Some("lengthens a VARCHAR whose length byte stays".into()))
    } else {
        Err(format!("redefines column {from}, which may rewrite every row, so a copy"))
    }
}

/// Whether the new definition only lengthens a VARCHAR, and its length still takes as many bytes
/// (one up to 255 bytes, else two). The collation must stay for certain: MariaDB would otherwise
/// rebuild the column's indexes in place.
fn grows_within_its_class(known: &Column, column: &ColumnDef, table: Option<&str>) -> bool {
    let (Some(characters), Some(octets)) = (known.characters, known.octets) else { return false };
    let length = column.type_arguments.as_deref().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(length) = length.filter(|length| *length >= characters && characters > 0) else {
        return false;
    };
    let Some(new_octets) = (octets / characters).checked_mul(length) else { return false };
    let same_collation = match (&column.charset, &column.collate, &known.collation) {
        (_, Some(collate), Some(collation)) => collate.eq_ignore_ascii_case(collation),
        (None, None, Some(collation)) => {
            table.is_some_and(|table| collation.eq_ignore_ascii_case(table))
        }
        _ => false,
    };
    known.data_type.eq_ignore_ascii_case("varchar")
        && column.type_name == "VARCHAR"
        && (octets <= 255) == (new_octets <= 255)
        && same_collation
        && known.nullable != column.not_null
        && !(known.generated || column.generated)
        && !(column.adds_key() || column.check || column.auto_increment)
        && column.references.is_none()
        && column.place.is_none()
}
