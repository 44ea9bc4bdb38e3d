//! Constraints in steps: added first, proved afterwards.
//!
//! A constraint that osc adds has a comment until the road is at its end. By it a rerun tells a
//! half-done step of its own from a constraint that somebody else made.

use super::facts::Facts;
use super::step::{Look, Step, Undo, constraint_exists};
use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::postgres::clauses::{Action, Constraint, ConstraintKind, Key};
use crate::postgres::name::{Ident, TableName, Text, fnv1a};

/// A clause's online way.
#[derive(Debug, Default)]
pub(super) struct Online {
    /// Its steps.
    pub(super) steps: Vec<Step>,
    /// What is said last, when the whole road is behind: the mark goes.
    pub(super) last: Option<String>,
    /// An earlier run got as far as adding the constraint.
    pub(super) begun: bool,
}

/// The comment of what is being added by this clause.
pub(super) fn mark(clause: &str) -> String {
    format!("osc is adding this ({:08x})", fnv1a(clause.as_bytes()))
}

/// Whether an earlier run added it for this clause.
///
/// # Errors
/// `Refused` when somebody else's constraint has the name.
fn begun(facts: &Facts, name: &Ident, mark: &str) -> Result<bool> {
    match facts.constraints.get(name) {
        None => Ok(false),
        Some(there) if there.comment.as_deref() == Some(mark) => Ok(true),
        Some(_) => Err(taken(name)),
    }
}

/// Added without looking at the rows that are there, which are looked at afterwards.
///
/// # Errors
/// `Refused` when somebody else's constraint has the name.
pub(super) fn not_valid_first(
    table: &TableName,
    action: &Action,
    added: &Constraint,
    name: &Ident,
    facts: &Facts,
) -> Result<Online> {
    let mark = mark(&action.text);
    let begun = begun(facts, name, &mark)?;
    let suffix = if added.not_valid { "" } else { " NOT VALID" };
    let on = format!("COMMENT ON CONSTRAINT {name} ON {table} IS");
    let mut add = Step::short(format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {}{suffix}; {on} {}",
        added.definition,
        Text(&mark)
    ))
    .unless(Look::Query(constraint_exists(table, name, "")))
    .or(Undo::constraint(table, name));
    if let Some(parent) = &added.parent {
        add = add.with([parent.clone()]);
    }
    let mut steps = vec![add];
    if !added.not_valid {
        let valid = constraint_exists(table, name, " AND convalidated");
        let validate = Step::long(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))
            .unless(Look::Query(valid))
            .or(Undo::constraint(table, name))
            .showing(name);
        steps.push(validate);
    }
    Ok(Online { steps, last: Some(format!("{on} NULL")), begun })
}

fn taken(name: &Ident) -> Error {
    Error::Refused(vec![Finding::new(
        "constraint",
        format!("the table has a constraint {name} already"),
        "give the new one another name: ADD CONSTRAINT name …",
    )])
}

/// The index is built concurrently by the step `build`; the constraint takes it.
pub(super) fn by_index(
    table: &TableName,
    action: &Action,
    kind: ConstraintKind,
    name: &Ident,
    key: &Key,
    build: Option<Step>,
    facts: &Facts,
) -> Result<Online> {
    let mark = mark(&action.text);
    let begun = begun(facts, name, &mark)?;
    let on = format!("COMMENT ON CONSTRAINT {name} ON {table} IS");
    let word = if kind == ConstraintKind::Unique { "UNIQUE" } else { "PRIMARY KEY" };
    let add = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {word} USING INDEX {name} {}; {on} {}",
        key.checked,
        Text(&mark)
    );
    let mut steps = Vec::from_iter(build);
    if kind == ConstraintKind::PrimaryKey {
        steps.extend(key.columns.iter().flat_map(|column| set_not_null(table, column, facts)));
    }
    let there = constraint_exists(table, name, "");
    let undo = Undo::constraint(table, name);
    steps.push(Step::short(add).unless(Look::Query(there)).or(undo));
    Ok(Online { steps, last: Some(format!("{on} NULL")), begun })
}

/// The name that the server would give to a key.
pub(super) fn key_name(table: &TableName, kind: ConstraintKind, columns: &[Ident]) -> Ident {
    if kind == ConstraintKind::PrimaryKey {
        return table.table.with_suffix("_pkey");
    }
    let between: String = columns.iter().map(|column| format!("_{}", column.as_str())).collect();
    Ident::new(format!("{}{between}", table.table.as_str())).with_suffix("_key")
}

/// A check that is proved without a lock lets the server believe it without a scan.
pub(super) fn set_not_null(table: &TableName, column: &Ident, facts: &Facts) -> Vec<Step> {
    if let Some(constraint) = facts.unproved.get(column) {
        let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}");
        let done = constraint_exists(table, constraint, " AND convalidated");
        return vec![Step::long(validate).unless(Look::Query(done))];
    }
    let check = column.with_suffix("_osc_not_null");
    let not_null = format!(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = {}::regclass AND attname = {}",
        Text(&table.to_string()),
        Text(column.as_str())
    );
    let or_so = |there: String| Look::Query(format!("SELECT ({there}) OR ({not_null})"));
    vec![
        Step::short(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        ))
        .unless(or_so(constraint_exists(table, &check, "")))
        .or(Undo::constraint(table, &check)),
        Step::long(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {check}"))
            .unless(or_so(constraint_exists(table, &check, " AND convalidated")))
            .or(Undo::constraint(table, &check))
            .showing(&check),
        Step::short(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL, \
             DROP CONSTRAINT IF EXISTS {check}"
        ))
        .unless(Look::Query(format!(
            "SELECT ({not_null}) AND NOT ({})",
            constraint_exists(table, &check, "")
        )))
        .or(Undo {
            sql: format!("ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"),
            short: true,
        }),
    ]
}
