//! An index of a partitioned table: the parents' indexes alone, which are invalid and fail early where
//! they cannot be; then those of the leaves, concurrently; then they are attached, from below.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::build_index::build;
use super::naming;
use super::probe::{index_definition, tail};
use super::step::{Look, Step, Undo};
use crate::error::Result;
use crate::postgres::connection::session::rows;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "looking at the partitions";

/// The steps.
///
/// # Errors
/// As for the index of one table.
pub(crate) async fn steps(
    client: &Client,
    role: &RoleSettings,
    table: &TableName,
    unique: &str,
    name: &Ident,
    definition: &str,
) -> Result<Vec<Step>> {
    let sql = format!(
        "SELECT n.nspname, c.relname, p.isleaf, pn.nspname, pc.relname \
         FROM pg_partition_tree({}::regclass) p JOIN pg_class c ON c.oid = p.relid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_class pc ON pc.oid = p.parentrelid AND p.level > 0 \
         LEFT JOIN pg_namespace pn ON pn.oid = pc.relnamespace ORDER BY p.level, c.relname",
        Text(&table.to_string())
    );
    let exists = |index: &TableName| {
        Look::Query(format!("SELECT to_regclass({}) IS NOT NULL", Text(&index.to_string())))
    };
    let mut indexes = BTreeMap::<TableName, TableName>::new();
    let (mut parents, mut leaves, mut attached) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows(client, ACTION, &sql).await? {
        let (Some(schema), Some(part)) = (row.get(0), row.get(1)) else { continue };
        let part = TableName::new(schema, part);
        let above = row.get(3).zip(row.get(4)).map(|(schema, name)| TableName::new(schema, name));
        let above = above.and_then(|above| indexes.get(&above).cloned());
        let there = match &above {
            None => None,
            Some(above) => there(client, role, &part, above, unique, definition).await?,
        };
        let is_there = there.is_some();
        let index = match (there, &above) {
            (Some(there), _) => there,
            (None, None) => part.sibling(name.clone()),
            (None, Some(_)) => {
                part.sibling(naming::index(client, &part, unique, definition).await?)
            }
        };
        if row.get(2) == Some("t") {
            let mut leaf = build(client, role, &part, unique, &index.table, definition).await?;
            // Whoever built it: it was there before.
            if is_there {
                leaf.undo.clear();
            }
            leaves.push(leaf);
        } else {
            let sql = format!("CREATE {unique}INDEX {} ON ONLY {part} {definition}", index.table);
            parents.push(Step::short(sql.trim()).unless(exists(&index)).with([part.to_string()]));
        }
        if let Some(parent) = above {
            let done = format!(
                "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass({}) \
                 AND inhparent = to_regclass({}))",
                Text(&index.to_string()),
                Text(&parent.to_string())
            );
            let sql = format!("ALTER INDEX {parent} ATTACH PARTITION {index}");
            let step = Step::short(sql).unless(Look::Query(done)).with([part.to_string()]);
            attached.push(step);
        }
        indexes.insert(part, index);
    }
    let all: Vec<Undo> = leaves.iter().flat_map(|step| step.undo.clone()).collect();
    let root =
        Undo { sql: format!("DROP INDEX IF EXISTS {}", table.sibling(name.clone())), short: true };
    for step in &mut leaves {
        step.undo = all.iter().cloned().chain([root.clone()]).collect();
    }
    attached.reverse();
    Ok(parents.into_iter().chain(leaves).chain(attached).collect())
}

/// The partition's index, where it is there: the one that is attached already, or one that the server
/// would attach since it belongs to no other.
async fn there(
    client: &Client,
    role: &RoleSettings,
    part: &TableName,
    above: &TableName,
    unique: &str,
    definition: &str,
) -> Result<Option<TableName>> {
    let wanted = index_definition(client, role, part, unique, definition).await?;
    let sql = format!(
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_inherits h ON h.inhrelid = c.oid \
         WHERE i.indrelid = {}::regclass AND i.indisunique = {} AND (i.indisvalid OR c.relkind = 'I') \
         AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.conrelid = i.indrelid) \
         AND coalesce(h.inhparent = to_regclass({}), h.inhparent IS NULL) \
         ORDER BY h.inhparent IS NULL, c.oid",
        Text(&part.to_string()),
        !unique.is_empty(),
        Text(&above.to_string())
    );
    for row in rows(client, ACTION, &sql).await? {
        let (Some(name), Some(there)) = (row.get(0), row.get(1)) else { continue };
        if Some(tail(there)) == wanted.as_deref() {
            return Ok(Some(part.sibling(Ident::new(name))));
        }
    }
    Ok(None)
}
