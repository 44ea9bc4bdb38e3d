//! What is set on the table and its columns, and neither data nor another object.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Names;
use super::grants::{self, Grant, On};
use super::sql;
use crate::error::{Error, Result};
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName, Text};

/// The original's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Its owner.
    pub owner: Ident,
    /// Whether osc's role has the owner's rights.
    pub owned: bool,
    /// Storage parameters, `name=value`, those of the TOAST table with `toast.` before them.
    pub options: Vec<String>,
    /// Whether row security is on.
    pub row_security: bool,
    /// Whether it binds the owner too.
    pub forced_row_security: bool,
    /// Whether row security hides rows from osc's role: then it could not copy them.
    pub hides_rows: bool,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub identity: String,
    /// The index that is the replica identity.
    pub identity_index: Option<Ident>,
    /// The index that `CLUSTER` goes by.
    pub cluster_index: Option<Ident>,
    /// Its comment.
    pub comment: Option<String>,
    /// The comment of its row type.
    #[serde(default)]
    pub type_comment: Option<String>,
    /// Rights on it and on its columns.
    pub grants: Vec<Grant>,
    /// What is set on columns.
    pub columns: Vec<Column>,
    /// Statistics targets and comments of indexes.
    pub indexes: Vec<Index>,
    /// Comments of constraints.
    pub constraints: Vec<Constraint>,
}

/// What is set on a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    /// Its name.
    pub name: Ident,
    /// Statistics target, where one was set.
    pub target: Option<i32>,
    /// Options such as `n_distinct=5`.
    pub options: Vec<String>,
    /// Its comment.
    pub comment: Option<String>,
}

/// What is set on an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Its name.
    pub name: Ident,
    /// Statistics targets of its expressions: number of the index's column, and target.
    pub targets: Vec<(i32, i32)>,
    /// Extensions that it was made to depend on.
    #[serde(default)]
    pub extensions: Vec<Ident>,
    /// Its comment.
    pub comment: Option<String>,
}

/// The comment of a constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Constraint {
    /// The constraint.
    pub name: Ident,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Settings> {
    let grants = grants::of("c", On::Table);
    let index = |flag: &str| {
        format!(
            "(SELECT i.relname FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i \
             ON i.oid = x.indexrelid WHERE x.indrelid = c.oid AND x.{flag})"
        )
    };
    let (identity, cluster) = (index("indisreplident"), index("indisclustered"));
    let list = |inner: &str| {
        format!("(SELECT coalesce(json_agg(row_to_json(l)), '[]'::json) FROM ({inner}) l)")
    };
    // The server itself counts a column's versions in an option since 15.20 and its like.
    let columns = list(
        "SELECT a.attname AS name, nullif(a.attstattarget, -1) AS target, \
         ARRAY(SELECT o FROM pg_catalog.unnest(a.attoptions) AS o WHERE o NOT LIKE 'pg\\_attver=%') \
         AS options, \
         pg_catalog.col_description(c.oid, a.attnum) AS comment FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    );
    let indexes = list(
        "SELECT i.relname AS name, (SELECT coalesce(json_agg(json_build_array(a.attnum, \
         a.attstattarget) ORDER BY a.attnum), '[]'::json) FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = i.oid AND a.attstattarget >= 0 AND x.indkey[a.attnum - 1] = 0) AS targets, \
         ARRAY(SELECT e.extname::text FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.oid AND d.deptype = 'x' \
         AND d.refclassid = 'pg_catalog.pg_extension'::regclass ORDER BY 1) AS extensions, \
         pg_catalog.obj_description(i.oid, 'pg_class') AS comment \
         FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
         WHERE x.indrelid = c.oid ORDER BY i.relname",
    );
    let constraints = list(
        "SELECT k.conname AS name, pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment \
         FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype NOT IN ('f', 't') \
         AND pg_catalog.obj_description(k.oid, 'pg_constraint') IS NOT NULL ORDER BY k.conname",
    );
    let query = format!(
        "SELECT pg_catalog.pg_get_userbyid(c.relowner) AS owner, \
         pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned, \
         coalesce(c.reloptions, '{{}}') || ARRAY(SELECT 'toast.' || o \
         FROM pg_catalog.pg_class t, pg_catalog.unnest(t.reloptions) o \
         WHERE t.oid = c.reltoastrelid) AS options, \
         c.relrowsecurity AS row_security, c.relforcerowsecurity AS forced_row_security, \
         pg_catalog.row_security_active(c.oid) AS hides_rows, \
         c.relreplident::text AS identity, {identity} AS identity_index, \
         {cluster} AS cluster_index, pg_catalog.obj_description(c.oid, 'pg_class') AS comment, \
         pg_catalog.obj_description(c.reltype, 'pg_type') AS type_comment, \
         {grants} AS grants, {columns} AS columns, {indexes} AS indexes, \
         {constraints} AS constraints FROM pg_catalog.pg_class c WHERE c.oid = $1"
    );
    let found = sql::rows(client, "the table's settings", &query, oid).await?;
    found.into_iter().next().ok_or_else(|| Error::Foreign("the table is gone".into()))
}

/// `name=value` of the catalog as a setting in SQL. `toast.` is a prefix, not part of the name.
fn option(text: &str) -> String {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    match name.split_once('.') {
        Some((space, name)) => {
            format!("{}.{} = {}", Ident::new(space), Ident::new(name), Text(value))
        }
        None => format!("{} = {}", Ident::new(name), Text(value)),
    }
}

/// `WITH`-style list of settings.
pub(super) fn options(list: &[String]) -> String {
    list.iter().map(|text| option(text)).collect::<Vec<_>>().join(", ")
}

/// What the shadow needs before the clauses are applied to it, so that they have the last word.
pub(super) fn on_shadow(settings: &Settings, shadow: &TableName) -> Vec<String> {
    let owner = &settings.owner;
    let mut statements = vec![
        // A table's owner must be one who could have made it there.
        format!("GRANT CREATE ON SCHEMA {} TO {owner}", shadow.schema),
        format!("ALTER TABLE {shadow} OWNER TO {owner}"),
        grants::clear(On::Table, shadow),
        format!("GRANT ALL ON TABLE {shadow} TO {owner}"),
    ];
    if !settings.options.is_empty() {
        statements.push(format!("ALTER TABLE {shadow} SET ({})", options(&settings.options)));
    }
    for column in &settings.columns {
        let name = &column.name;
        let target = column.target.map(|target| format!("SET STATISTICS {target}"));
        let options =
            (!column.options.is_empty()).then(|| format!("SET ({})", options(&column.options)));
        for action in target.into_iter().chain(options) {
            statements.push(format!("ALTER TABLE {shadow} ALTER COLUMN {name} {action}"));
        }
    }
    let identity = match settings.identity.as_str() {
        "f" => Some("FULL"),
        "n" => Some("NOTHING"),
        _ => None,
    };
    statements.extend(identity.map(|what| format!("ALTER TABLE {shadow} REPLICA IDENTITY {what}")));
    statements
}

/// A condition: the relation `kind` of this name is there, and on the new table.
fn index_there(table: &TableName, index: &TableName) -> String {
    let (table, index) = (table.to_string(), index.to_string());
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = {}::regclass \
         AND indexrelid = pg_catalog.to_regclass({}))",
        Text(&table),
        Text(&index)
    )
}

/// What the new table gets by its final name. The owner stays the shadow's, which the clauses may
/// have changed.
pub(super) fn after(settings: &Settings, names: &Names, outcomes: &ColumnOutcomes) -> Vec<String> {
    let table = &names.original;
    let mut statements = vec![grants::clear(On::Table, table)];
    statements
        .extend(grants::give(&settings.grants, On::Table, table, |column| outcomes.of(column)));
    statements.extend(sql::comment(&format!("TABLE {table}"), settings.comment.as_ref()));
    statements.extend(sql::comment(&format!("TYPE {table}"), settings.type_comment.as_ref()));
    for column in &settings.columns {
        if let Some(name) = outcomes.of(&column.name) {
            let object = format!("COLUMN {table}.{name}");
            statements.extend(sql::comment(&object, column.comment.as_ref()));
        }
    }
    let name = table.to_string();
    let name = Text(&name);
    for constraint in &settings.constraints {
        let object = format!("CONSTRAINT {} ON {table}", constraint.name);
        let there = format!(
            "EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = {name}::regclass \
             AND conname = {})",
            Text(constraint.name.as_str())
        );
        let comment = sql::comment(&object, constraint.comment.as_ref());
        statements.extend(comment.map(|comment| sql::when(&there, &comment)));
    }
    for index in &settings.indexes {
        let relation = table.sibling(index.name.clone());
        let mut made: Vec<String> = index
            .targets
            .iter()
            .map(|(place, target)| {
                format!("ALTER INDEX {relation} ALTER COLUMN {place} SET STATISTICS {target}")
            })
            .collect();
        made.extend(
            index.extensions.iter().map(|extension| {
                format!("ALTER INDEX {relation} DEPENDS ON EXTENSION {extension}")
            }),
        );
        made.extend(sql::comment(&format!("INDEX {relation}"), index.comment.as_ref()));
        let there = index_there(table, &relation);
        statements.extend(made.iter().map(|statement| sql::when(&there, statement)));
    }
    if let Some(index) = &settings.identity_index {
        let there = format!(
            "{} AND (SELECT relreplident = 'd' FROM pg_catalog.pg_class WHERE oid = {name}::regclass)",
            index_there(table, &table.sibling(index.clone()))
        );
        let using = format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}");
        statements.push(sql::when(&there, &using));
    }
    if let Some(index) = &settings.cluster_index {
        let there = index_there(table, &table.sibling(index.clone()));
        statements.push(sql::when(&there, &format!("ALTER TABLE {table} CLUSTER ON {index}")));
    }
    statements
}

/// What `own` has and `live` has not, of what [`after()`] gives: comments and row security.
pub(super) fn taken_back(
    own: &Settings,
    live: &Settings,
    table: &TableName,
    outcomes: &ColumnOutcomes,
) -> Vec<String> {
    let mut statements = Vec::new();
    if own.comment.is_some() && live.comment.is_none() {
        statements.push(format!("COMMENT ON TABLE {table} IS NULL"));
    }
    for column in live.columns.iter().filter(|column| column.comment.is_none()) {
        let Some(name) = outcomes.of(&column.name) else { continue };
        if own.columns.iter().any(|one| one.name == *name && one.comment.is_some()) {
            statements.push(format!("COMMENT ON COLUMN {table}.{name} IS NULL"));
        }
    }
    if own.row_security && !live.row_security {
        statements.push(format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
    }
    statements
}

/// Row security of the new table, after its policies were made.
pub(super) fn row_security(settings: &Settings, table: &TableName) -> Vec<String> {
    let enable = settings.row_security.then_some("ENABLE");
    let force = settings.forced_row_security.then_some("FORCE");
    let actions = enable.into_iter().chain(force);
    actions.map(|action| format!("ALTER TABLE {table} {action} ROW LEVEL SECURITY")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_parameters_are_quoted() {
        let list = ["fillfactor=70".to_owned(), "toast.autovacuum_enabled=off".to_owned()];
        assert_eq!(
            options(&list),
            "\"fillfactor\" = '70', \"toast\".\"autovacuum_enabled\" = 'off'"
        );
    }
}
