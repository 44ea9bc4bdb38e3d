//! What the swap of an undo does otherwise than that of a forward run: the retired table's names come back,
//! and what it alone has stays on it.

use std::collections::BTreeSet;

use super::Undo;
use crate::postgres::catalog::table::Table;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::copy::shadow::Made;
use crate::postgres::dependents::Dependents;
use crate::postgres::name::{Helpers, Ident, TableName, Text};
use crate::postgres::trust::guards;

/// First of all: a serial column goes on where the identity column is that the change has made of it.
pub(crate) fn counters(undo: &Undo, live: &Table) -> Vec<String> {
    let Some(retired) = &undo.retired else { return Vec::new() };
    let mut all = Vec::new();
    for column in live.columns.iter().filter(|column| column.identity) {
        let Some(image) = undo.tables.image(undo.direction, &column.name) else { continue };
        if retired.table.column(&image).is_some_and(|image| image.identity) {
            continue;
        }
        let body = format!(
            "DECLARE live text; own text; BEGIN SELECT d.objid::regclass INTO live \
             FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid \
             AND a.attnum = d.refobjsubid WHERE d.classid = 'pg_catalog.pg_class'::regclass \
             AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = {} \
             AND a.attname = {} AND d.deptype = 'i'; \
             SELECT d.refobjid::regclass INTO own FROM pg_catalog.pg_attrdef f \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum \
             JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass \
             AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
             JOIN pg_catalog.pg_class q ON q.oid = d.refobjid AND q.relkind = 'S' \
             WHERE f.adrelid = {} AND a.attname = {}; \
             IF live IS NOT NULL AND own IS NOT NULL THEN EXECUTE pg_catalog.format(\
             'SELECT pg_catalog.setval(%L::regclass, last_value, is_called) FROM %s', own, live); \
             END IF; END",
            live.oid,
            Text(column.name.as_str()),
            retired.table.oid,
            Text(image.as_str())
        );
        all.push(format!("DO {}", Text(&body)));
    }
    all
}

/// Before the tables are renamed: the guard goes, in the transaction that makes the table live.
pub(crate) fn renames(undo: &Undo, made: &Made, helpers: &Helpers) -> Vec<String> {
    let shadow = &helpers.shadow;
    let own = undo.tables.sides(undo.direction).1;
    let mut all = vec![guards::release_retired(shadow)];
    // A sequence that was stopped when its table retired goes on as it did.
    for sequence in own.sequences.iter().filter(|one| made.sequences.contains(&one.name)) {
        let now = shadow.sibling(sequence.name.with_suffix(&made.suffix));
        let cycle = if sequence.cycle { "CYCLE" } else { "NO CYCLE" };
        all.push(format!("ALTER SEQUENCE {now} INCREMENT BY {} {cycle}", sequence.increment));
    }
    all
}

/// After the renames, and after what hangs on the live table has gone to the one that goes back.
pub(crate) fn after_renames(
    undo: &Undo,
    live: &Table,
    hanging: &Dependents,
    outcomes: &ColumnOutcomes,
) -> Vec<String> {
    let Some(retired) = &undo.retired else { return Vec::new() };
    let original = &live.name;
    let mut all = retired.dependents.taken_back(hanging, original, outcomes);
    if let Ok((wanted, own)) = undo.set(live, hanging) {
        all.extend(own.to(&wanted, original));
    }
    let own: BTreeSet<Ident> = retired
        .table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .filter(|name| {
            live.columns.iter().all(|column| {
                undo.tables.image(undo.direction, &column.name).as_ref() != Some(name)
            })
        })
        .collect();
    // The live table's rights have taken the place of the retired one's: but for columns that only it has.
    all.extend(retired.dependents.column_rights(original, &own));
    let shape = undo.tables.sides(undo.direction).1;
    for name in &shape.statistics {
        all.push(statistics_named(original, &name.with_suffix(&undo.suffix), name));
    }
    all
}

/// Statistics that only the table that goes back has get their name again; the others have it already.
fn statistics_named(table: &TableName, now: &Ident, plain: &Ident) -> String {
    let name = table.to_string();
    let body = format!(
        "DECLARE space text; BEGIN SELECT n.nspname INTO space FROM pg_catalog.pg_statistic_ext s \
         JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace \
         WHERE s.stxrelid = {}::regclass AND s.stxname = {}; IF FOUND THEN \
         EXECUTE pg_catalog.format('ALTER STATISTICS %I.%I RENAME TO %I', space, {}, {}); END IF; END",
        Text(&name),
        Text(now.as_str()),
        Text(now.as_str()),
        Text(plain.as_str())
    );
    format!("DO {}", Text(&body))
}
