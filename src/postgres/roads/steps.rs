//! The server's own online ways, in steps. Each step can be found done, and is then left out: a
//! rerun goes on where the last one ended.

use tokio_postgres::Client;

use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::postgres::clauses::{Action, ActionKind, Constraint, ConstraintKind, CreateIndex, Key};
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::session::rows;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The statement.
    pub sql: String,
    /// Whether it asks for a lock that stops the application, so that it must not wait for it long.
    pub short: bool,
    /// How to see that it is done already.
    pub done: Option<Look>,
    /// What to run when it fails for good, so that nothing half-made is left.
    pub undo: Option<String>,
}

/// A question to the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A query whose first value says `t`.
    Query(String),
    /// An index, valid; an invalid one of this name is dropped first.
    Index(TableName),
}

impl Step {
    /// A step that needs a strong lock for a moment.
    pub fn short(sql: String) -> Self {
        Self { sql, short: true, done: None, undo: None }
    }

    /// A step that takes long, and stops nobody.
    fn long(sql: String) -> Self {
        Self { sql, short: false, done: None, undo: None }
    }

    fn unless(mut self, done: Look) -> Self {
        self.done = Some(done);
        self
    }

    fn or(mut self, undo: String) -> Self {
        self.undo = Some(undo);
        self
    }
}

/// `CREATE INDEX`, concurrently.
pub(super) fn create_index(create: &CreateIndex, table: &TableName) -> Result<Vec<Step>> {
    let unique = if create.unique { "UNIQUE " } else { "" };
    let definition = &create.definition;
    let Some(name) = &create.name else {
        return Err(Error::Refused(vec![Finding::new(
            "clauses",
            "the index has no name, so that a build that failed could not be found again",
            "name it: CREATE INDEX name ON …",
        )]));
    };
    let index = table.sibling(name.clone());
    let sql = format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {definition}");
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
    Ok(vec![Step::long(sql).unless(Look::Index(index)).or(drop)])
}

/// `DROP INDEX`, concurrently.
///
/// # Errors
/// `Refused` for an index of another table, and for one that backs a constraint.
pub(super) async fn drop_index(
    client: &Client,
    indexes: &[(Option<String>, String)],
    if_exists: bool,
    table: &TableName,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (schema, name) in indexes {
        let index = match schema {
            Some(schema) => TableName::new(schema.clone(), name.clone()),
            None => table.sibling(Ident::new(name.clone())),
        };
        let sql = format!(
            "SELECT i.indrelid = {}::regclass, EXISTS (SELECT FROM pg_constraint k \
             WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid) FROM pg_index i \
             WHERE i.indexrelid = to_regclass({})",
            Text(&table.to_string()),
            Text(&index.to_string())
        );
        let found = rows(client, "looking for the index", &sql).await?;
        let refuse = |problem: String, help: &str| {
            Err(Error::Refused(vec![Finding::new("index", problem, help)]))
        };
        match found.first() {
            None if if_exists => continue,
            None => {
                return refuse(format!("there is no index {}", index.plain()), "check the name");
            }
            Some(row) if row.get(0) != Some("t") => {
                return refuse(
                    format!("{} is no index of {}", index.plain(), table.plain()),
                    "name the table that it belongs to",
                );
            }
            Some(row) if row.get(1) == Some("t") => {
                return refuse(
                    format!("{} backs a constraint", index.plain()),
                    "ALTER TABLE … DROP CONSTRAINT it",
                );
            }
            Some(_) => {}
        }
        let gone = format!("SELECT to_regclass({}) IS NULL", Text(&index.to_string()));
        let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        steps.push(Step::long(sql).unless(Look::Query(gone)));
    }
    Ok(steps)
}

/// The online way of one clause; `None`: it has none.
pub(super) fn online(table: &TableName, action: &Action, version: u32) -> Option<Vec<Step>> {
    match &action.kind {
        ActionKind::AddConstraint(added) if !added.not_enforced => {
            let Constraint { name, kind, not_valid, definition, key, .. } = added;
            match (kind, name, key) {
                (ConstraintKind::ForeignKey | ConstraintKind::Check, Some(name), _) => {
                    Some(not_valid_first(table, name, definition, *not_valid))
                }
                (ConstraintKind::NotNull, Some(name), _) if version >= 180_000 => {
                    Some(not_valid_first(table, name, definition, *not_valid))
                }
                (ConstraintKind::Unique | ConstraintKind::PrimaryKey, _, Some(key)) => {
                    Some(by_index(table, name.as_ref(), *kind, key))
                }
                _ => None,
            }
        }
        ActionKind::SetNotNull { column } => Some(set_not_null(table, column)),
        ActionKind::Validate { .. } => {
            Some(vec![Step::long(format!("ALTER TABLE {table} {}", action.text))])
        }
        _ => None,
    }
}

fn constraint_exists(table: &TableName, name: &Ident, more: &str) -> Look {
    Look::Query(format!(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {}::regclass \
         AND conname = {}{more})",
        Text(&table.to_string()),
        Text(name.as_str())
    ))
}

/// Added without looking at the rows that are there, which are looked at afterwards.
fn not_valid_first(table: &TableName, name: &Ident, definition: &str, stays_so: bool) -> Vec<Step> {
    let suffix = if stays_so { "" } else { " NOT VALID" };
    let add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}{suffix}");
    let drop = format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}");
    let mut steps = vec![Step::short(add).unless(constraint_exists(table, name, ""))];
    if !stays_so {
        let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}");
        steps.push(
            Step::long(validate)
                .unless(constraint_exists(table, name, " AND convalidated"))
                .or(drop),
        );
    }
    steps
}

/// The index is built concurrently; the constraint takes it.
fn by_index(table: &TableName, name: Option<&Ident>, kind: ConstraintKind, key: &Key) -> Vec<Step> {
    let unique = kind == ConstraintKind::Unique;
    let name = name.cloned().unwrap_or_else(|| key_name(table, unique, &key.columns));
    let columns: Vec<String> = key.columns.iter().map(ToString::to_string).collect();
    let index = table.sibling(name.clone());
    let create = format!(
        "CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({}) {}",
        columns.join(", "),
        key.index
    );
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
    let word = if unique { "UNIQUE" } else { "PRIMARY KEY" };
    let add = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} {word} USING INDEX {name} {}",
        key.checked
    );
    let mut steps = vec![Step::long(create.trim().to_owned()).unless(Look::Index(index)).or(drop)];
    if !unique {
        steps.extend(key.columns.iter().flat_map(|column| set_not_null(table, column)));
    }
    steps.push(Step::short(add.trim().to_owned()).unless(constraint_exists(table, &name, "")));
    steps
}

/// The name that the server would give to a key.
fn key_name(table: &TableName, unique: bool, columns: &[Ident]) -> Ident {
    if !unique {
        return table.table.with_suffix("_pkey");
    }
    let between: String = columns.iter().map(|column| format!("_{}", column.as_str())).collect();
    Ident::new(format!("{}{between}", table.table.as_str())).with_suffix("_key")
}

/// A check that is proved without a lock lets the server believe it without a scan.
fn set_not_null(table: &TableName, column: &Ident) -> Vec<Step> {
    let check = column.with_suffix("_osc_not_null");
    let already = Look::Query(format!(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = {}::regclass AND attname = {}",
        Text(&table.to_string()),
        Text(column.as_str())
    ));
    let Look::Query(not_null) = &already else { return Vec::new() };
    let proved = |more: &str| match constraint_exists(table, &check, more) {
        Look::Query(there) => Look::Query(format!("SELECT ({there}) OR ({not_null})")),
        look @ Look::Index(_) => look,
    };
    let drop = format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}");
    vec![
        Step::short(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        ))
        .unless(proved("")),
        Step::long(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {check}"))
            .unless(proved(" AND convalidated"))
            .or(drop.clone()),
        Step::short(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL, \
             DROP CONSTRAINT IF EXISTS {check}"
        ))
        .unless(already),
    ]
}
