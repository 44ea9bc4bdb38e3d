//! Names that the server would give. To learn them, what has no name is made on an empty copy of the
//! table, in a schema that has the table's other names, and taken back.
//!
//! A step that an earlier run left has its name already: the same clause comes to it again.

use tokio_postgres::Client;

use super::constraints::mark;
use super::probe::{index_tail, tail, taken_back};
use crate::error::Result;
use crate::postgres::clauses::{Action, Clauses, Statement};
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::namesakes;
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "asking the server for names";

/// Where the copies are.
const PLACE: &str = "pg_temp";

/// Names that are tried for one thing: after them the server says that they are taken.
const MOST: u32 = 1000;

/// The statement with the names that the server would give.
///
/// # Errors
/// The server's, where it does not answer; what it cannot make keeps the name that osc gave.
pub async fn named(
    client: &Client,
    role: &RoleSettings,
    table: &TableName,
    statement: Statement,
) -> Result<Statement> {
    let Statement::Alter { table: named, mut clauses } = statement else { return Ok(statement) };
    if clauses.actions.iter().any(Action::needs_name) {
        taken_back(client, name_all(client, role, table, &mut clauses)).await?;
    }
    Ok(Statement::Alter { table: named, clauses })
}

async fn name_all(
    client: &Client,
    role: &RoleSettings,
    table: &TableName,
    clauses: &mut Clauses,
) -> Result<()> {
    let copy = empty(client, table).await?;
    let dropped = clauses.dropped_constraints();
    let mut given = Vec::new();
    for action in &mut clauses.actions {
        if action.is_foreign_key() {
            // The copy can have none: its name is the table's and its columns'.
            if action.needs_name() {
                name_key(client, table, action, &dropped, &given).await?;
            }
            given.extend(action.constraint_name());
            continue;
        }
        loop {
            run(client, ACTION, "SAVEPOINT before").await?;
            let one = Clauses { only: false, actions: vec![action.clone().unnamed()] };
            let Some(sql) = one.for_shadow(&copy, &[]) else { break };
            if client.batch_execute(&role.in_words(&sql)).await.is_err() {
                run(client, ACTION, "ROLLBACK TO before").await?;
                break;
            }
            if !action.needs_name() {
                break;
            }
            let last = format!(
                "SELECT conname FROM pg_constraint WHERE conrelid = {}::regclass \
                 ORDER BY oid DESC LIMIT 1",
                Text(&copy.to_string())
            );
            let Some(name) = value(client, ACTION, &last).await?.map(Ident::new) else { break };
            let named = action.clone().named(name.clone());
            if dropped.contains(&name) || is_free(client, table, &named, &name).await? {
                *action = named;
                break;
            }
            run(client, ACTION, "ROLLBACK TO before").await?;
            take(client, &name).await?;
        }
    }
    Ok(())
}

/// An empty copy of the table without its indexes and constraints, among the other names of its schema.
async fn empty(client: &Client, table: &TableName) -> Result<TableName> {
    namesakes::reserve(client, table, &Ident::new(PLACE)).await?;
    let copy = TableName::new(PLACE, table.table.as_str());
    run(client, ACTION, &format!("CREATE TABLE {copy} (LIKE {table} INCLUDING GENERATED)")).await?;
    Ok(copy)
}

/// Takes a name in the copy's schema: a relation's and a constraint's.
async fn take(client: &Client, name: &Ident) -> Result<()> {
    let relation = TableName { schema: Ident::new(PLACE), table: name.clone() };
    run(client, ACTION, &format!("CREATE TABLE {relation} (CONSTRAINT {name} CHECK (true))")).await
}

/// Whether nothing has the name, or an earlier run gave it to what this clause adds.
async fn is_free(
    client: &Client,
    table: &TableName,
    action: &Action,
    name: &Ident,
) -> Result<bool> {
    let oid = Text(&table.to_string()).to_string();
    let sql = format!(
        "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint \
         WHERE conrelid = {oid}::regclass AND conname = {}",
        Text(name.as_str())
    );
    let found = rows(client, ACTION, &sql).await?;
    if let Some(row) = found.first() {
        return Ok(row.get(0) == Some(mark(&action.text).as_str()));
    }
    // An index without its constraint is a step on the way to it, if it is for the same columns.
    let there = index_tail(client, &table.sibling(name.clone())).await?;
    let copied = TableName { schema: Ident::new(PLACE), table: name.clone() };
    Ok(there.is_none() || there == index_tail(client, &copied).await?)
}

/// A foreign key's name: the usual one, and a number where it is another constraint's.
async fn name_key(
    client: &Client,
    table: &TableName,
    action: &mut Action,
    dropped: &[Ident],
    given: &[Ident],
) -> Result<()> {
    let Some(usual) = action.constraint_name() else { return Ok(()) };
    for number in 0..MOST {
        let name = match number {
            0 => usual.clone(),
            _ => usual.with_suffix(&number.to_string()),
        };
        if given.contains(&name) {
            continue;
        }
        let named = action.clone().named(name.clone());
        let sql = format!(
            "SELECT obj_description(k.oid, 'pg_constraint') FROM pg_constraint k JOIN pg_class c \
             ON c.oid = {}::regclass AND c.relnamespace = k.connamespace WHERE k.conname = {}",
            Text(&table.to_string()),
            Text(name.as_str())
        );
        let found = rows(client, ACTION, &sql).await?;
        let ours = |row: &tokio_postgres::SimpleQueryRow| row.get(0) == Some(&mark(&named.text));
        if dropped.contains(&name) || found.iter().all(ours) {
            *action = named;
            return Ok(());
        }
    }
    Ok(())
}

/// The name of an index that was given none. One of the same definition is what an earlier run built.
///
/// # Errors
/// The server's, where there can be no such index.
pub(crate) async fn index(
    client: &Client,
    table: &TableName,
    unique: &str,
    definition: &str,
) -> Result<Ident> {
    let asked = async {
        let copy = empty(client, table).await?;
        loop {
            run(client, ACTION, "SAVEPOINT before").await?;
            run(client, ACTION, &format!("CREATE {unique}INDEX ON {copy} {definition}")).await?;
            let made = format!(
                "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i \
                 JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {}::regclass",
                Text(&copy.to_string())
            );
            let found = rows(client, ACTION, &made).await?;
            let made = found.first().and_then(|row| Some((row.get(0)?, row.get(1)?)));
            let Some((name, wanted)) = made else {
                return Err(crate::error::Error::Internal("an index without a name".into()));
            };
            let name = Ident::new(name);
            let there = index_tail(client, &table.sibling(name.clone())).await?;
            if there.is_none_or(|there| there == tail(wanted)) {
                return Ok(name);
            }
            run(client, ACTION, "ROLLBACK TO before").await?;
            take(client, &name).await?;
        }
    };
    taken_back(client, asked).await
}
