//! Which names a run's retired table can have, and which retired tables stand.

use tokio_postgres::Client;

use super::ledger::Ledger;
use super::record::{Whose, whose};
use crate::error::{Error, Finding, Result};
use crate::postgres::catalog::table::{Table, number};
use crate::postgres::connection::session::{rows, value};
use crate::postgres::name::{Helpers, Ident, TableName, Text};
use crate::postgres::trust::own_schema::Function;

const ACTION: &str = "looking for a retired table's name";

/// Retired tables of one table that may stand.
const MOST: u32 = 100;

/// The names of a run that begins: the first retired name that neither an earlier run's retired table has nor
/// anything that would get its suffix. A name that another user's table has is given too: it is for the
/// checks to refuse it.
///
/// # Errors
/// `Refused` where none is left; the server's.
pub(crate) async fn free(client: &Client, ledger: &Ledger, original: &Table) -> Result<Helpers> {
    for number in 1..=MOST {
        let helpers = Helpers::numbered(&original.name, number);
        match whose(client, ledger, &helpers.retired, Function::Retired).await? {
            Some(Whose::Ours(_)) => continue,
            Some(Whose::Others) => return Ok(helpers),
            None => {}
        }
        if !is_taken(client, original, &helpers.suffix).await? {
            return Ok(helpers);
        }
    }
    Err(Error::Refused(vec![Finding::new(
        "leftovers",
        format!("{} has as many retired tables as osc keeps", original.name.plain()),
        format!("drop those that are no longer needed: osc cleanup {}", original.name.plain()),
    )]))
}

/// Whether the schema has a relation that is called like one of the original's indexes and sequences will be.
async fn is_taken(client: &Client, original: &Table, suffix: &str) -> Result<bool> {
    let sql = format!(
        "SELECT q.relname FROM pg_depend d JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S' \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
         AND d.refobjid = {} AND d.deptype IN ('a', 'i')",
        original.oid
    );
    let sequences = rows(client, ACTION, &sql).await?;
    let sequences = sequences.iter().filter_map(|row| row.get(0)).map(Ident::new);
    let retiring = original.indexes.iter().map(|index| index.name.clone()).chain(sequences);
    let names: Vec<String> =
        retiring.map(|name| Text(name.with_suffix(suffix).as_str()).to_string()).collect();
    if names.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname IN ({}))",
        Text(original.name.schema.as_str()),
        names.join(", ")
    );
    Ok(value(client, ACTION, &sql).await?.as_deref() == Some("t"))
}

/// The retired tables of `original` that stand, by their guards, with their OIDs.
///
/// # Errors
/// The server's.
pub(crate) async fn standing(
    client: &Client,
    ledger: &Ledger,
    original: &TableName,
) -> Result<Vec<(TableName, u32)>> {
    let names: Vec<TableName> =
        (1..=MOST).map(|number| Helpers::numbered(original, number).retired).collect();
    let list: Vec<String> =
        names.iter().map(|name| Text(name.table.as_str()).to_string()).collect();
    let sql = format!(
        "SELECT c.relname, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname IN ({}) AND c.relkind IN ('r', 'p')",
        Text(original.schema.as_str()),
        list.join(", ")
    );
    let mut found = Vec::new();
    for row in rows(client, ACTION, &sql).await? {
        let name = original.sibling(Ident::new(row.get(0).unwrap_or_default()));
        let oid: u32 = number(row.get(1))?;
        match whose(client, ledger, &name, Function::Retired).await? {
            Some(Whose::Ours(marked)) if marked == oid => found.push((name, oid)),
            _ => tracing::warn!("{} stays: no run of osc made it what it is", name.plain()),
        }
    }
    found.sort_by_key(|(name, _)| names.iter().position(|one| one == name));
    Ok(found)
}
