//! What no ALTER TABLE of the server does to a table: another order of its columns, and partitions.
//!
//! The other clauses are applied to an empty draft first, so that they mean what they say. Then the
//! draft is read back from the catalog, dropped, and rewritten in its form under the same name.

use tokio_postgres::Client;

use super::index_ddl::index_with_constraint;
use crate::error::{Error, Result};
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::clauses::Partitioning;
use crate::postgres::clauses::form::Form;
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::dependents::Dependents;
use crate::postgres::name::{Ident, TableName, Text};

const ACTION: &str = "writing the shadow's form";

/// Drops the empty table `place` and rewrites it in its form, under the same name and with all
/// that it had. To be run in a transaction.
///
/// # Errors
/// The server's; `Refused` where the form names what is not there.
pub(crate) async fn write(
    client: &Client,
    place: &TableName,
    form: &Form,
    role: &RoleSettings,
) -> Result<()> {
    let Some(draft) = Table::read(client, place).await? else {
        return Err(Error::Internal("there is no draft to be rewritten".into()));
    };
    let settings = Dependents::read(client, place).await?;
    let by = match &form.partitioning {
        Some(how) => Some(partitioned_by(client, place, how, role).await?),
        None => None,
    };
    let written = read(client, &draft, form, by.as_deref()).await?;
    let sequences = owned_sequences(client, draft.oid).await?;
    for (sequence, _) in &sequences {
        run(client, ACTION, &format!("ALTER SEQUENCE {sequence} OWNED BY NONE")).await?;
    }
    run(client, ACTION, &format!("DROP TABLE {place}")).await?;
    for sql in &written {
        run(client, ACTION, sql).await?;
    }
    run_all(client, &settings.sequence_statements(place)).await?;
    match &form.partitioning {
        None => run_all(client, &settings.shadow_statements(place)).await?,
        Some(how) => {
            run_all(client, &settings.parent_statements(place)).await?;
            for partition in &how.partitions {
                let name = place.sibling(partition.name.clone());
                let create = format!(
                    "CREATE {}TABLE {name} PARTITION OF {place} {} {}",
                    unlogged(&draft),
                    partition.bound,
                    storage(&draft)
                );
                let action = format!("making the partition {}", partition.name);
                run(client, &action, &role.in_words(&create)).await?;
                run_all(client, &settings.shadow_statements(&name)).await?;
            }
        }
    }
    for index in &draft.indexes {
        let index = as_in(index, form);
        let action = format!("making the index {} of the shadow", index.name);
        run(client, &action, &index_with_constraint(&index, &index.name, place)).await?;
    }
    for (sequence, column) in &sequences {
        let owned = format!("ALTER SEQUENCE {sequence} OWNED BY {place}.{column}");
        run(client, ACTION, &owned).await?;
    }
    Ok(())
}

/// The key of a partitioning as the server shows it, every name with its schema: the user's words are read
/// on an empty table of the same columns, and osc's definitions never under the user's search path.
async fn partitioned_by(
    client: &Client,
    place: &TableName,
    how: &Partitioning,
    role: &RoleSettings,
) -> Result<String> {
    let probe = place.sibling(Ident::new("osc_partitioned"));
    let sql =
        format!("CREATE TABLE {probe} (LIKE {place}) PARTITION BY {} {}", how.strategy, how.key);
    run(client, ACTION, &role.in_words(&sql)).await?;
    let sql = format!("SELECT pg_get_partkeydef({}::regclass)", Text(&probe.to_string()));
    let clause = value(client, ACTION, &sql).await?;
    run(client, ACTION, &format!("DROP TABLE {probe}")).await?;
    clause.ok_or_else(|| Error::Internal("a partitioned table without a key".into()))
}

async fn run_all(client: &Client, statements: &[String]) -> Result<()> {
    run(client, ACTION, &statements.join("; ")).await
}

/// The index as a table of this form has it.
fn as_in(index: &Index, form: &Form) -> Index {
    let mut index = index.clone();
    if let Some(constraint) = &mut index.constraint {
        constraint.whole = form.partitioning.is_some();
    }
    index
}

fn unlogged(draft: &Table) -> &'static str {
    if draft.persistence == 'u' { "UNLOGGED " } else { "" }
}

fn storage(draft: &Table) -> String {
    let tablespace =
        draft.tablespace.as_ref().map_or(String::new(), |name| format!(" TABLESPACE {name}"));
    format!("USING {}{tablespace}", draft.access_method)
}

/// The statements that write the draft's columns, constraints that need no index and extended
/// statistics. They are read before the draft goes.
async fn read(
    client: &Client,
    draft: &Table,
    form: &Form,
    by: Option<&str>,
) -> Result<Vec<String>> {
    let place = &draft.name;
    let columns = columns(client, draft.oid).await?;
    let order = form.order(columns.iter().map(|column| column.name.clone()).collect())?;
    let definitions: Vec<&str> = order
        .iter()
        .filter_map(|name| columns.iter().find(|column| column.name == *name))
        .map(|column| column.definition.as_str())
        .collect();
    let definitions = definitions.join(", ");
    let mut all = vec![match by {
        None => {
            format!("CREATE {}TABLE {place} ({definitions}) {}", unlogged(draft), storage(draft))
        }
        Some(by) => format!("CREATE TABLE {place} ({definitions}) PARTITION BY {by}"),
    }];
    all.extend(columns.into_iter().flat_map(|column| column.then));
    // Those that are validated stand with the columns, where they are about one.
    let constraints = format!(
        "SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = {} AND (contype = 'c' OR contype = 'n' AND NOT convalidated) ORDER BY 1",
        draft.oid
    );
    for row in rows(client, ACTION, &constraints).await? {
        let (Some(name), Some(definition)) = (row.get(0), row.get(1)) else { continue };
        all.push(format!("ALTER TABLE {place} ADD CONSTRAINT {name} {definition}"));
    }
    let statistics = format!(
        "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = {} \
         ORDER BY stxname",
        draft.oid
    );
    let statistics = rows(client, ACTION, &statistics).await?;
    all.extend(statistics.iter().filter_map(|row| row.get(0)).map(str::to_owned));
    Ok(all)
}

struct Column {
    name: Ident,
    /// As it stands in CREATE TABLE.
    definition: String,
    /// What can only be added afterwards.
    then: Vec<String>,
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT a.attname, concat_ws(' ', quote_ident(a.attname), \
         format_type(a.atttypid, a.atttypmod), \
         (SELECT format('COLLATE %I.%I', n.nspname, l.collname) FROM pg_collation l \
          JOIN pg_namespace n ON n.oid = l.collnamespace \
          WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation), \
         CASE WHEN a.attnotnull THEN coalesce((SELECT format('CONSTRAINT %I ', k.conname) || CASE \
          WHEN k.connoinherit THEN 'NOT NULL NO INHERIT' ELSE 'NOT NULL' END FROM pg_constraint k \
          WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] \
          AND k.convalidated), CASE WHEN NOT EXISTS (SELECT FROM pg_constraint k \
          WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]) \
          THEN 'NOT NULL' END) END, \
         CASE a.attgenerated::text WHEN 's' THEN format('GENERATED ALWAYS AS (%s) STORED', x.text) \
          WHEN 'v' THEN format('GENERATED ALWAYS AS (%s) VIRTUAL', x.text) \
          ELSE 'DEFAULT ' || x.text END, \
         CASE WHEN a.attidentity <> '' THEN (SELECT format('GENERATED %s AS IDENTITY (START %s \
          INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %s)', \
          CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.seqstart, \
          s.seqincrement, s.seqmin, s.seqmax, s.seqcache, \
          CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) FROM pg_depend d \
          JOIN pg_sequence s ON s.seqrelid = d.objid WHERE d.classid = 'pg_class'::regclass \
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid \
          AND d.refobjsubid = a.attnum AND d.deptype = 'i') END), \
         CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'PLAIN' \
          WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END, \
         CASE a.attcompression::text WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END, \
         a.attrelid::regclass \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum, \
         LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid) AS text) x \
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let column = |row: &tokio_postgres::SimpleQueryRow| {
        let name = Ident::new(row.get(0).unwrap_or_default());
        let table = row.get(4).unwrap_or_default();
        let set = |what: &str, value: Option<&str>| {
            value.map(|to| format!("ALTER TABLE {table} ALTER COLUMN {name} SET {what} {to}"))
        };
        let then = [set("STORAGE", row.get(2)), set("COMPRESSION", row.get(3))];
        Column {
            definition: row.get(1).unwrap_or_default().to_owned(),
            then: then.into_iter().flatten().collect(),
            name,
        }
    };
    Ok(rows(client, ACTION, &sql).await?.iter().map(column).collect())
}

/// Sequences that belong to columns, identity columns' apart, with the column of each.
async fn owned_sequences(client: &Client, oid: u32) -> Result<Vec<(String, Ident)>> {
    let sql = format!(
        "SELECT d.objid::regclass, a.attname FROM pg_depend d \
         JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' \
         JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
         AND d.refobjid = {oid} AND d.deptype = 'a'"
    );
    let found = rows(client, ACTION, &sql).await?;
    let pair = |row: &tokio_postgres::SimpleQueryRow| {
        Some((row.get(0)?.to_owned(), Ident::new(row.get(1)?)))
    };
    Ok(found.iter().filter_map(pair).collect())
}

/// Names of the partitions that something else has already, in the table's schema: not the
/// partitions of a shadow that an unfinished run left.
///
/// # Errors
/// The server's.
pub(crate) async fn taken(client: &Client, shadow: &TableName, form: &Form) -> Result<Vec<Ident>> {
    let mut taken = Vec::new();
    for name in form.partitions() {
        let sql = format!(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND NOT EXISTS (SELECT FROM pg_inherits \
             WHERE inhrelid = c.oid AND inhparent = to_regclass({}))",
            Text(shadow.schema.as_str()),
            Text(name.as_str()),
            Text(&shadow.to_string())
        );
        if !rows(client, "looking for tables of the partitions' names", &sql).await?.is_empty() {
            taken.push(name.clone());
        }
    }
    Ok(taken)
}
