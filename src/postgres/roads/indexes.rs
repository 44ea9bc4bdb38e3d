//! Indexes, built and dropped concurrently.

use tokio_postgres::Client;

use super::facts::Facts;
use super::probe;
use super::step::{Look, Step, Undo};
use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::postgres::clauses::CreateIndex;
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::session::{rows, value};

const ACTION: &str = "looking for the index";

fn refused(problem: impl Into<String>, help: &str) -> Error {
    Error::Refused(vec![Finding::new("index", problem, help)])
}

/// What a `CREATE INDEX` needs: its steps, none when the index is there; and its name.
///
/// # Errors
/// `Refused` when the name is another index's, or somebody builds this one just now.
pub(super) async fn create(
    client: &Client,
    create: &CreateIndex,
    table: &TableName,
    facts: &Facts,
) -> Result<(Vec<Step>, Ident)> {
    let name = create.name.clone().unwrap_or_else(|| usual_name(create, table));
    let unique = if create.unique { "UNIQUE " } else { "" };
    let definition = &create.definition;
    if facts.partitioned && !create.only {
        return Ok((on_partitions(client, table, unique, &name, definition).await?, name));
    }
    if create.if_not_exists && valid(client, table, &name).await? {
        return Ok((Vec::new(), name));
    }
    if create.only && facts.partitioned {
        let sql = format!("CREATE {unique}INDEX {name} ON ONLY {table} {definition}");
        return Ok((vec![Step::short(sql)], name));
    }
    Ok((vec![build(client, table, unique, &name, definition).await?], name))
}

/// The name that the server would give.
fn usual_name(create: &CreateIndex, table: &TableName) -> Ident {
    let between: String = create.columns.iter().map(|name| format!("_{}", name.as_str())).collect();
    Ident::new(format!("{}{between}", table.table.as_str())).with_suffix("_idx")
}

/// Whether the table has an index of this name, done or half-done.
pub(super) async fn is_there(client: &Client, table: &TableName, name: &Ident) -> Result<bool> {
    let sql = format!(
        "SELECT to_regclass({}) IS NOT NULL",
        Text(&table.sibling(name.clone()).to_string())
    );
    Ok(value(client, ACTION, &sql).await?.as_deref() == Some("t"))
}

async fn valid(client: &Client, table: &TableName, name: &Ident) -> Result<bool> {
    let sql = format!(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({})",
        Text(&table.sibling(name.clone()).to_string())
    );
    let found = rows(client, ACTION, &sql).await?;
    Ok(found.first().is_some_and(|row| row.get(0) == Some("t")))
}

/// The step that builds one index. An index of that name is taken for its work, done or half-done,
/// if it is defined just so.
///
/// # Errors
/// `Refused` as [`create`].
pub(super) async fn build(
    client: &Client,
    table: &TableName,
    unique: &str,
    name: &Ident,
    definition: &str,
) -> Result<Step> {
    let index = table.sibling(name.clone());
    let sql = format!(
        "SELECT i.indrelid = {}::regclass, pg_get_indexdef(i.indexrelid), \
         (SELECT string_agg(p.pid::text, ', ') FROM pg_stat_progress_create_index p \
          WHERE p.index_relid = i.indexrelid OR (p.relid = i.indrelid AND NOT i.indisvalid)), \
         i.indisunique \
         FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE c.oid = to_regclass({})",
        Text(&table.to_string()),
        Text(&index.to_string())
    );
    if let Some(row) = rows(client, ACTION, &sql).await?.first() {
        if row.get(0) != Some("t") {
            return Err(refused(
                format!("{} is the name of something else already", index.plain()),
                "give the index another name",
            ));
        }
        if let Some(pid) = row.get(2) {
            return Err(refused(
                format!("session {pid} is building an index on {} now", table.plain()),
                "wait for it, or end it",
            ));
        }
        let wanted = probe::index_definition(client, table, unique, definition).await?;
        let there = row.get(1).unwrap_or_default();
        let same_kind = (row.get(3) == Some("t")) != unique.is_empty();
        if !same_kind || Some(probe::tail(there)) != wanted.as_deref() {
            return Err(refused(
                format!("there is another index of this name: {there}"),
                "give the new one another name, or drop that one",
            ));
        }
    }
    Ok(build_new(table, unique, name, definition))
}

/// The step that builds one index.
pub(super) fn build_new(table: &TableName, unique: &str, name: &Ident, definition: &str) -> Step {
    let index = table.sibling(name.clone());
    let sql = format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {definition}");
    let undo = Undo::index(&index);
    Step::long(sql.trim()).unless(Look::Index(index)).or(undo)
}

/// On a partitioned table: the parent's index alone, which is invalid and fails early where it
/// cannot be; then those of the leaves, concurrently; then they are attached, from below.
async fn on_partitions(
    client: &Client,
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
    let own = |part: &TableName| {
        if part == table {
            return part.sibling(name.clone());
        }
        let long = format!("{}_{}", part.table.as_str(), name.as_str());
        part.sibling(Ident::new(long).with_suffix(""))
    };
    let exists = |index: &TableName| {
        Look::Query(format!("SELECT to_regclass({}) IS NOT NULL", Text(&index.to_string())))
    };
    let (mut parents, mut leaves, mut attached) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows(client, ACTION, &sql).await? {
        let (Some(schema), Some(part)) = (row.get(0), row.get(1)) else { continue };
        let part = TableName::new(schema, part);
        let index = own(&part);
        if row.get(2) == Some("t") {
            leaves.push(build(client, &part, unique, &index.table, definition).await?);
        } else {
            let sql = format!("CREATE {unique}INDEX {} ON ONLY {part} {definition}", index.table);
            parents.push(Step::short(sql.trim()).unless(exists(&index)).with([part.to_string()]));
        }
        if let (Some(schema), Some(parent)) = (row.get(3), row.get(4)) {
            let parent = own(&TableName::new(schema, parent));
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
    }
    let all: Vec<Undo> = leaves.iter().flat_map(|step| step.undo.clone()).collect();
    let root = Undo { sql: format!("DROP INDEX IF EXISTS {}", own(table)), short: true };
    for step in &mut leaves {
        step.undo = all.iter().cloned().chain([root.clone()]).collect();
    }
    attached.reverse();
    Ok(parents.into_iter().chain(leaves).chain(attached).collect())
}

/// `DROP INDEX`, concurrently.
///
/// # Errors
/// `Refused` for an index of another table, for one that backs a constraint, and for one of a
/// partitioned table.
pub(super) async fn drop(
    client: &Client,
    indexes: &[(Option<String>, String)],
    if_exists: bool,
    table: &TableName,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (schema, name) in indexes {
        let schema = schema.as_deref().unwrap_or(table.schema.as_str());
        let index = TableName::new(schema, name.clone());
        let sql = format!(
            "SELECT i.indrelid = {}::regclass, EXISTS (SELECT FROM pg_constraint k \
             WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid), c.relkind = 'I' \
             OR c.relispartition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indexrelid = to_regclass({})",
            Text(&table.to_string()),
            Text(&index.to_string())
        );
        let found = rows(client, ACTION, &sql).await?;
        let refuse =
            |problem: &str, help: &str| Err(refused(format!("{} {problem}", index.plain()), help));
        match found.first() {
            None if if_exists => continue,
            None => return refuse("is no index", "check the name"),
            Some(row) if row.get(0) != Some("t") => {
                return refuse(
                    &format!("is no index of {}", table.plain()),
                    "name the table that it belongs to",
                );
            }
            Some(row) if row.get(1) == Some("t") => {
                return refuse("backs a constraint", "ALTER TABLE … DROP CONSTRAINT it");
            }
            Some(row) if row.get(2) == Some("t") => {
                return refuse(
                    "is one of a partitioned table's, which the server drops under a lock only",
                    "DROP INDEX it yourself, with a short lock_timeout",
                );
            }
            Some(_) => {}
        }
        let gone = format!("SELECT to_regclass({}) IS NULL", Text(&index.to_string()));
        let step = Step::long(format!("DROP INDEX CONCURRENTLY IF EXISTS {index}"));
        steps.push(step.unless(Look::Query(gone)));
    }
    Ok(steps)
}
