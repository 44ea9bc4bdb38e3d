//! Constraints in steps: added first, proved afterwards.
//!
//! A constraint that osc adds has a comment until the method is at its end. By it a rerun tells a
//! half-done step of its own from a constraint that osc did not make.

use super::facts::Facts;
use super::step::{HELPER_CHECK, Look, Step, Undo, constraint_exists};
use crate::error::Finding;
use crate::error::{Error, Result};
use crate::fnv::fnv1a;
use crate::postgres::clauses::{Action, ActionKind, Constraint, ConstraintKind};
use crate::postgres::name::{Ident, TableName, Text};

/// A clause's online way.
#[derive(Debug, Default)]
pub(crate) struct Online {
    /// Its steps.
    pub(crate) steps: Vec<Step>,
    /// The last step: the mark goes.
    pub(crate) last: Vec<String>,
    /// An earlier run got as far as adding the constraint.
    pub(crate) begun: bool,
    /// The index that a constraint needs is there, done or half-done.
    pub(crate) has_index: bool,
}

/// The name that a constraint has until the one that it replaces is dropped.
fn for_now(name: &Ident, replaces: bool) -> Ident {
    if replaces { name.with_suffix("_osc_new") } else { name.clone() }
}

/// The comment of what is being added by this clause.
pub(crate) fn mark(clause: &str) -> String {
    format!("osc is adding this ({:08x})", fnv1a(clause.as_bytes()))
}

/// Whether an earlier run added it for this clause.
///
/// # Errors
/// `Refused` when a constraint that osc did not make has the name.
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
/// `Refused` when a constraint that osc did not make has the name.
pub(crate) fn not_valid_first(
    table: &TableName,
    action: &Action,
    added: &Constraint,
    wanted: &Ident,
    replaces: bool,
    facts: &Facts,
) -> Result<Online> {
    let mark = mark(&action.text);
    let name = &for_now(wanted, replaces);
    let begun = begun(facts, name, &mark)?;
    let suffix = if added.not_valid { "" } else { " NOT VALID" };
    let on = format!("COMMENT ON CONSTRAINT {name} ON {table} IS");
    let mut add = Step::short(format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {}{suffix}; {on} {}",
        added.definition,
        Text(&mark)
    ))
    .unless(Look::Query(constraint_exists(table, name, "")))
    .or(Undo::constraint(table, name))
    .in_words();
    if let Some(parent) = &added.parent {
        add = add.with([parent.clone()]);
    }
    let mut steps = vec![add];
    if !added.not_valid {
        let valid = constraint_exists(table, name, " AND convalidated");
        let validate = Step::long(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))
            .unless(Look::Query(valid))
            .or(Undo::constraint(table, name))
            .validating(name)
            .showing(name);
        steps.push(validate);
    }
    let mut last = vec![format!("{on} NULL")];
    if replaces {
        last.push(format!("ALTER TABLE {table} RENAME CONSTRAINT {name} TO {wanted}"));
    }
    Ok(Online { steps, last, begun, ..Online::default() })
}

fn taken(name: &Ident) -> Error {
    Error::Refused(vec![Finding::new(
        "constraint",
        format!("the table has a constraint {name} already"),
        "give the new one another name: ADD CONSTRAINT name …",
    )])
}

/// What a key's index is called while it is built.
pub(crate) fn index_name(name: &Ident, replaces: bool) -> Ident {
    for_now(name, replaces)
}

/// The index is built concurrently by the step `build`; the constraint takes it. One that replaces
/// another one does so at the end, in one transaction.
///
/// # Errors
/// `Refused` when a constraint that osc did not make has the name.
pub(crate) fn by_index(
    table: &TableName,
    action: &Action,
    name: &Ident,
    replaces: bool,
    build: Option<Step>,
    facts: &Facts,
) -> Result<Online> {
    let ActionKind::AddConstraint(Constraint { kind, key: Some(key), .. }) = &action.kind else {
        return Err(Error::Internal("a key without columns".into()));
    };
    let mark = mark(&action.text);
    let begun = !replaces && begun(facts, name, &mark)?;
    let on = format!("COMMENT ON CONSTRAINT {name} ON {table} IS");
    let word = if *kind == ConstraintKind::Unique { "UNIQUE" } else { "PRIMARY KEY" };
    let index = index_name(name, replaces);
    let add = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {word} USING INDEX {index} {}",
        key.checked
    );
    let add = add.trim();
    let mut steps = Vec::from_iter(build);
    if *kind == ConstraintKind::PrimaryKey {
        steps.extend(key.columns.iter().flat_map(|column| set_not_null(table, column, facts)));
    }
    if replaces {
        return Ok(Online { steps, last: vec![add.to_owned()], begun, ..Online::default() });
    }
    let there = constraint_exists(table, name, "");
    let undo = Undo::constraint(table, name);
    let add = format!("{add}; {on} {}", Text(&mark));
    steps.push(Step::short(add).unless(Look::Query(there)).or(undo));
    Ok(Online { steps, last: vec![format!("{on} NULL")], begun, ..Online::default() })
}

/// The name that the server would give to a key.
pub(crate) fn key_name(table: &TableName, kind: ConstraintKind, columns: &[Ident]) -> Ident {
    if kind == ConstraintKind::PrimaryKey {
        return table.table.with_suffix("_pkey");
    }
    let between: String = columns.iter().map(|column| format!("_{}", column.as_str())).collect();
    Ident::new(format!("{}{between}", table.table.as_str())).with_suffix("_key")
}

/// A check that is proved without a lock lets the server believe it without a scan.
pub(crate) fn set_not_null(table: &TableName, column: &Ident, facts: &Facts) -> Vec<Step> {
    if let Some(constraint) = facts.unproved.get(column) {
        let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}");
        let done = constraint_exists(table, constraint, " AND convalidated");
        return vec![Step::long(validate).unless(Look::Query(done)).validating(constraint)];
    }
    let check = column.with_suffix(HELPER_CHECK);
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
            .validating(&check)
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
