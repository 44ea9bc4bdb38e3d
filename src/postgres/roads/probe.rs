//! What the server would do: the clauses on an empty copy of the table, rolled back.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::Client;

use crate::engine::Result;
use crate::postgres::clauses::Clauses;
use crate::postgres::connect::server_error;
use crate::postgres::name::{TableName, Text};
use crate::postgres::session::{rows, run};

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The table is written anew.
    pub rewrites: bool,
    /// Indexes are built.
    pub builds: bool,
    /// The table is read from start to end.
    pub scans: bool,
}

impl Seen {
    /// Metadata only.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = [
            (self.rewrites, "write the table anew"),
            (self.builds && !self.rewrites, "build indexes"),
            (self.scans && !self.rewrites, "read the whole table"),
        ];
        let work: Vec<&str> =
            work.iter().filter(|(done, _)| *done).map(|(_, what)| *what).collect();
        write!(f, "the server would {} under its lock", work.join(" and "))
    }
}

const ACTION: &str = "trying the clauses on an empty copy";

/// Applies the clauses to an empty copy, looks, and takes all of it back.
///
/// # Errors
/// The server's, where the clauses cannot be applied.
pub(super) async fn probe(
    client: &Client,
    original: &TableName,
    clauses: &Clauses,
) -> Result<Seen> {
    run(client, ACTION, "BEGIN; SET LOCAL lock_timeout = '2s'").await?;
    let seen = inside(client, original, clauses).await;
    run(client, ACTION, "ROLLBACK").await?;
    seen
}

async fn inside(client: &Client, original: &TableName, clauses: &Clauses) -> Result<Seen> {
    let schema = format!("osc_probe_{:08x}", rand::random::<u32>());
    let place = TableName::new(schema, original.table.as_str());
    let create = format!(
        "CREATE SCHEMA {}; CREATE TABLE {place} (LIKE {original} INCLUDING ALL)",
        place.schema
    );
    run(client, ACTION, &create).await?;
    // Indexes and constraints get the original's names, so that the clauses find them.
    let names = format!(
        "SELECT quote_ident(c.relname), (SELECT quote_ident(d.relname) FROM pg_index j \
         JOIN pg_class d ON d.oid = j.indexrelid \
         WHERE j.indrelid = {}::regclass AND j.indkey = i.indkey AND j.indisunique = i.indisunique \
         AND j.indisprimary = i.indisprimary \
         AND pg_get_expr(j.indexprs, j.indrelid) IS NOT DISTINCT FROM pg_get_expr(i.indexprs, i.indrelid) \
         AND pg_get_expr(j.indpred, j.indrelid) IS NOT DISTINCT FROM pg_get_expr(i.indpred, i.indrelid) \
         ORDER BY d.oid LIMIT 1) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {}::regclass \
         ORDER BY c.oid",
        Text(&place.to_string()),
        Text(&original.to_string())
    );
    let mut taken = Vec::new();
    for (at, row) in rows(client, ACTION, &names).await?.iter().enumerate() {
        let (Some(name), Some(there)) = (row.get(0), row.get(1)) else { continue };
        if taken.contains(&there.to_owned()) {
            continue;
        }
        taken.push(there.to_owned());
        let schema = &place.schema;
        let aside = format!("osc_aside_{at}");
        run(client, ACTION, &format!("ALTER INDEX {schema}.{there} RENAME TO {aside}")).await?;
        let sql = format!("ALTER INDEX {schema}.{aside} RENAME TO {name}");
        if run(client, ACTION, &format!("SAVEPOINT s; {sql}")).await.is_err() {
            run(client, ACTION, "ROLLBACK TO s").await?;
        }
    }
    let before = files(client, &place).await?;
    let scans = scans(client, &place).await?;
    let absent = foreign_keys(client, original).await?;
    if let Some(sql) = clauses.for_shadow(&place, &absent) {
        client
            .batch_execute(&sql)
            .await
            .map_err(|error| server_error("trying the clauses on an empty copy", &error))?;
    }
    let after = files(client, &place).await?;
    let table = place.table.as_str();
    let built = |name: &String, file: &String| before.get(name) != Some(file) && name != table;
    Ok(Seen {
        rewrites: before.get(table) != after.get(table),
        builds: after.iter().any(|(name, file)| built(name, file)),
        scans: self::scans(client, &place).await? > scans,
    })
}

/// The names of the original's foreign keys, which its copy does not have.
pub async fn foreign_keys(
    client: &Client,
    original: &TableName,
) -> Result<Vec<crate::postgres::name::Ident>> {
    let sql = format!(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = {}::regclass",
        Text(&original.to_string())
    );
    let found = rows(client, ACTION, &sql).await?;
    Ok(found.iter().filter_map(|row| row.get(0)).map(crate::postgres::name::Ident::new).collect())
}

/// The files of the table and of its indexes, by name.
async fn files(client: &Client, place: &TableName) -> Result<BTreeMap<String, String>> {
    let sql = format!(
        "SELECT c.relname, c.relfilenode FROM pg_class c JOIN pg_namespace n \
         ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relkind IN ('r', 'i')",
        Text(place.schema.as_str())
    );
    let found = rows(client, ACTION, &sql).await?;
    Ok(found
        .iter()
        .filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())))
        .collect())
}

async fn scans(client: &Client, place: &TableName) -> Result<u64> {
    let sql = format!("SELECT pg_stat_get_xact_numscans({}::regclass)", Text(&place.to_string()));
    let found = rows(client, ACTION, &sql).await?;
    crate::postgres::inspect::number(found.first().and_then(|row| row.get(0)))
}
