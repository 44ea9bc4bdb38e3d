//! Foreign keys that the undone run has taken away: they come back, as if they were clauses of the undo. Rows that
//! would have no parent are looked for before the swap.

use tokio_postgres::Client;

use super::Undo;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::catalog::table::Table;
use crate::postgres::clauses::Statement;
use crate::postgres::clauses::change::Change;
use crate::postgres::connection::session::value;
use crate::postgres::dependents::{Dependents, ForeignKey};
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::run::PostgresTable;

const ACTION: &str = "looking for rows without a parent";

/// Rows that are listed.
const SHOWN: usize = 1_000;

/// The server has no such operator where osc's sessions look for it.
const NO_OPERATOR: &str = "42883";

/// What comes back.
#[derive(Debug, Default)]
pub(crate) struct KeysBack {
    /// The keys.
    pub keys: Vec<ForeignKey>,
    /// The clauses that add them.
    pub statement: Option<Statement>,
    /// Those that do not come back, in words.
    pub lost: Vec<String>,
}

/// Which of the keys that the undone run has taken away come back on `live`.
///
/// # Errors
/// The server's.
pub(crate) async fn keys_back(
    client: &Client,
    live: &TableName,
    gone: &[ForeignKey],
    hanging: &Dependents,
) -> Result<KeysBack> {
    let mut back = KeysBack::default();
    let mut clauses = Vec::new();
    for key in gone.iter().filter(|key| hanging.own_foreign_keys().all(|own| *own != key.name)) {
        let name = key.name.as_str();
        let parent = if key.is_self() { live } else { &key.parent };
        if !is_table(client, parent).await? {
            back.lost.push(format!(
                "the foreign key {name}, which the change dropped, does not come back, for {} is no table \
                 any more",
                parent.plain()
            ));
            continue;
        }
        // The ledger's words are read as a user's would be.
        let clause = format!("ADD CONSTRAINT {} {}", key.name, key.definition);
        let read = Change::parse(&clause, live, Vec::new()).ok();
        let is_it = |change: &Change| {
            change.clauses().is_some_and(|all| match all.actions.as_slice() {
                [one] => one.is_foreign_key() && one.constraint_name().as_ref() == Some(&key.name),
                _ => false,
            })
        };
        if read.is_some_and(|change| is_it(&change)) {
            clauses.push(clause);
            back.keys.push(key.clone());
        } else {
            back.lost.push(format!(
                "the foreign key {name}, which the change dropped, does not come back: add it again \
                 afterwards"
            ));
        }
    }
    if !clauses.is_empty() {
        let change = Change::parse(&clauses.join(", "), live, Vec::new())?;
        back.statement = Some(change.statement);
    }
    Ok(back)
}

async fn is_table(client: &Client, name: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({}) \
         AND relkind IN ('r', 'p')",
        Text(&name.to_string())
    );
    Ok(value(client, ACTION, &sql).await?.is_some())
}

/// Fails where rows of the table that goes back, which has them all by now, have no parent for a key that comes
/// back.
///
/// # Errors
/// `Misfits`; the server's.
pub(crate) async fn with_parents(table: &PostgresTable, undo: &Undo) -> Result<()> {
    let (shadow, names) = (&table.helpers().shadow, &table.ready()?.statements.shadow_key);
    let mut rows = Vec::new();
    for key in undo.keys.iter().filter(|key| key.to_validate()) {
        let sql = key.children_alone(shadow, names, "TRUE", SHOWN - rows.len());
        rows.extend(alone(table, key, &sql).await?);
    }
    match rows.is_empty() {
        true => Ok(()),
        false => Err(Error::Misfits { count: rows.len() as u64, rows, may_stay: false }),
    }
}

/// Rows that would have no parent if all went back now, for a human.
///
/// # Errors
/// The server's.
pub(crate) async fn without_parent(table: &PostgresTable, undo: &Undo) -> Result<Vec<String>> {
    let statements = &table.ready()?.statements;
    let live = &table.setting.original;
    let live_key: Vec<Ident> = statements.key.0.iter().map(|one| one.name.clone()).collect();
    let mut rows = Vec::new();
    for key in undo.keys.iter().filter(|key| key.to_validate()) {
        let now = |columns: &[Ident]| -> Option<Vec<Ident>> {
            columns.iter().map(|column| undo.live_name(column)).collect()
        };
        let referenced =
            if key.is_self() { now(&key.referenced) } else { Some(key.referenced.clone()) };
        let sql = match (now(&key.columns), referenced) {
            (Some(columns), Some(referenced)) => {
                let key = ForeignKey { columns, referenced, ..key.clone() };
                key.children_alone(&live.name, &live_key, "TRUE", SHOWN - rows.len())
            }
            // Only the retired table has the values: of rows that are there still.
            _ => {
                let there = statements.there_in_live("c");
                let names = &statements.shadow_key;
                key.children_alone(&table.helpers().shadow, names, &there, SHOWN - rows.len())
            }
        };
        rows.extend(alone(table, key, &sql).await?);
    }
    Ok(rows)
}

async fn alone(table: &PostgresTable, key: &ForeignKey, sql: &str) -> Result<Vec<String>> {
    let found = match table.keys(ACTION, sql).await {
        // The server itself looks again when it validates the key.
        Err(error) if error.sqlstate() == Some(NO_OPERATOR) => return Ok(Vec::new()),
        found => found?,
    };
    let parent = if key.is_self() { "the table itself".into() } else { key.parent.plain() };
    let describe = |row: &Key| table.ready().map(|ready| ready.statements.key.describe(row));
    let name = key.name.as_str();
    found
        .iter()
        .map(|row| {
            Ok(format!("{}: the foreign key {name} finds no row in {parent}", describe(row)?))
        })
        .collect()
}

impl Undo {
    /// Statements after the keys were added: what they were commented with.
    pub(crate) fn key_comments(&self, live: &Table) -> Vec<String> {
        self.keys.iter().filter_map(|key| key.comment_on(&live.name)).collect()
    }
}
