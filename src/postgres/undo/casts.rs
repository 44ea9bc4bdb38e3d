//! How values come back into the old table's types.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::catalog::table::Table;
use crate::postgres::connection::errors::{server_error, sqlstate};
use crate::postgres::connection::session::rows;
use crate::postgres::copy::lens::Casts;
use crate::postgres::name::{Ident, Text};

const ACTION: &str = "looking for casts";

/// The server has no such cast.
const NO_CAST: &str = "42846";

/// The casts into the columns of `old` from those of `new` with which they are paired. Nothing is evaluated.
///
/// # Errors
/// The server's.
pub(crate) async fn casts(
    client: &Client,
    (old, new): (&Table, &Table),
    pairs: &[(Ident, Ident)],
) -> Result<Casts> {
    let types = bare(client, old).await?;
    let mut missing = BTreeSet::new();
    for (before, after) in pairs {
        let Some((to, from)) = old.column(before).zip(new.column(after)) else { continue };
        let Some(bare) = types.get(before).filter(|_| to.type_sql != from.type_sql) else {
            continue;
        };
        let sql = format!("SELECT ($1::{})::{bare}", from.type_sql);
        match client.prepare(&sql).await {
            Ok(_) => {}
            Err(error) if sqlstate(&error) == Some(NO_CAST) => {
                missing.insert(before.clone());
            }
            Err(error) => return Err(server_error(ACTION, &error)),
        }
    }
    Ok(Casts { types, missing })
}

/// The types of the table's columns without their modifiers.
async fn bare(client: &Client, table: &Table) -> Result<BTreeMap<Ident, String>> {
    let names: Vec<String> =
        table.columns.iter().map(|one| Text(one.name.as_str()).to_string()).collect();
    let sql = format!(
        "SELECT attname, format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = {} \
         AND attname = ANY (ARRAY[{}]::text[])",
        table.oid,
        names.join(", ")
    );
    let found = rows(client, ACTION, &sql).await?;
    let pair = |row: &tokio_postgres::SimpleQueryRow| {
        Some((Ident::new(row.get(0)?), row.get(1)?.to_owned()))
    };
    Ok(found.iter().filter_map(pair).collect())
}
