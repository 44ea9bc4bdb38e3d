//! Extended statistics: `LIKE` brings them under names of its own.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Names;
use super::sql;
use crate::error::Result;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName, Text};

/// A statistics object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statistic {
    /// Its name.
    pub name: TableName,
    /// Its owner.
    pub owner: Ident,
    /// Its columns.
    pub columns: Vec<Ident>,
    /// Its expressions.
    pub expressions: Option<String>,
    /// Its kinds, as the catalog abbreviates them.
    pub kinds: String,
    /// Its target, where one was set.
    pub target: Option<i32>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Columns of the statistics object `s`.
const COLUMNS: &str = "ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys) ORDER BY 1)";

/// Expressions of the statistics object `s`.
const EXPRESSIONS: &str = "pg_catalog.pg_get_expr(s.stxexprs, s.stxrelid)";

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Statistic>> {
    let query = format!(
        "SELECT json_build_object('schema', n.nspname, 'table', s.stxname) AS name, \
         pg_catalog.pg_get_userbyid(s.stxowner) AS owner, {COLUMNS} AS columns, \
         {EXPRESSIONS} AS expressions, s.stxkind::text AS kinds, \
         nullif(s.stxstattarget, -1) AS target, \
         pg_catalog.obj_description(s.oid, 'pg_statistic_ext') AS comment \
         FROM pg_catalog.pg_statistic_ext s \
         JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace \
         WHERE s.stxrelid = $1 ORDER BY n.nspname, s.stxname"
    );
    sql::rows(client, "extended statistics", &query, oid).await
}

/// Frees the name, before the renames.
pub(super) fn before(statistic: &Statistic, suffix: &str) -> String {
    let away = statistic.name.table.with_suffix(suffix);
    format!("ALTER STATISTICS {} RENAME TO {away}", statistic.name)
}

/// Finds the new table's object of the same definition and gives it name, schema, owner, target
/// and comment. Where the clauses dropped one of its columns, the server dropped it too.
pub(super) fn after(statistic: &Statistic, names: &Names, outcomes: &ColumnOutcomes) -> String {
    let name = &statistic.name;
    let mut columns: Vec<&str> =
        statistic.columns.iter().filter_map(|c| outcomes.of(c)).map(Ident::as_str).collect();
    columns.sort_unstable();
    let columns: Vec<String> = columns.iter().map(|column| Text(column).to_string()).collect();
    let table = names.original.to_string();
    let mut then = vec![format!("ALTER STATISTICS {name} OWNER TO {}", statistic.owner)];
    then.extend(
        statistic.target.map(|target| format!("ALTER STATISTICS {name} SET STATISTICS {target}")),
    );
    then.extend(sql::comment(&format!("STATISTICS {name}"), statistic.comment.as_ref()));
    let then: String = then.iter().map(|one| format!("EXECUTE {}; ", Text(one))).collect();
    let expressions =
        statistic.expressions.as_ref().map_or("NULL".to_owned(), |text| Text(text).to_string());
    let body = format!(
        "DECLARE space text; own text; BEGIN \
         SELECT n.nspname, s.stxname INTO space, own FROM pg_catalog.pg_statistic_ext s \
         JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace \
         WHERE s.stxrelid = {}::regclass AND s.stxkind::text = {} \
         AND {COLUMNS} = ARRAY[{}]::text[] AND {EXPRESSIONS} IS NOT DISTINCT FROM {expressions} \
         ORDER BY s.oid LIMIT 1; \
         IF FOUND THEN \
         EXECUTE pg_catalog.format('ALTER STATISTICS %I.%I RENAME TO %I', space, own, {shown}); \
         IF space <> {schema} THEN \
         EXECUTE pg_catalog.format('ALTER STATISTICS %I.%I SET SCHEMA %I', space, {shown}, {schema}); \
         END IF; {then}END IF; END",
        Text(&table),
        Text(&statistic.kinds),
        columns.join(", "),
        shown = Text(name.table.as_str()),
        schema = Text(name.schema.as_str()),
    );
    format!("DO {}", Text(&body))
}
