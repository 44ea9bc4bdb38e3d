//! `osc status` on PostgreSQL: the runs that the ledgers have.

use std::collections::HashMap;

use tokio_postgres::{Client, SimpleQueryRow};

use crate::config::target::Target;
use crate::engine::Result;
use crate::ledger::RunRecord;
use crate::postgres::connect::{Options, connect};
use crate::postgres::ledger::Ledger;
use crate::postgres::name::Ident;
use crate::postgres::session::rows;
use crate::postgres::stream;
use crate::postgres::table::Carried;

/// Runs shown at most.
const MOST: u32 = 50;

/// The latest runs of a table, or of all tables, newest first. Without a schema those of every
/// schema that has a ledger are told.
///
/// # Errors
/// The server's.
pub async fn runs(
    target: &Target,
    schema: Option<&str>,
    table: Option<&str>,
) -> Result<Vec<RunRecord>> {
    let client = connect(&Options::of(target)?, "connecting").await?;
    let schemas: Vec<Ident> = match schema {
        Some(schema) => vec![Ident::new(schema)],
        None => {
            let sql = "SELECT n.nspname FROM pg_class c JOIN pg_namespace n \
                       ON n.oid = c.relnamespace WHERE c.relname = 'osc_ledger' \
                       AND c.relkind = 'r' ORDER BY 1";
            let found = rows(&client, "looking for the ledger", sql).await?;
            found.iter().filter_map(|row| row.get(0)).map(Ident::new).collect()
        }
    };
    let mut runs = Vec::new();
    for schema in schemas {
        let ledger = Ledger::of(&schema);
        if ledger.exists(&client).await? {
            runs.extend(ledger.runs(&client, table.map(Ident::new).as_ref(), MOST).await?);
        }
    }
    runs.sort_by(|a, b| b.started.cmp(&a.started));
    let kept = kept(&client).await?;
    for run in runs.iter_mut().filter(|run| run.is_unfinished()) {
        let Some(carried) = Carried::of(run) else { continue };
        let names = stream::names(run.run, carried.made.original, target.database());
        run.kept_wal = kept.get(&names.slot).copied();
    }
    Ok(runs)
}

/// What each slot of osc's makes the server keep, in bytes.
async fn kept(client: &Client) -> Result<HashMap<String, u64>> {
    let sql = "SELECT slot_name, greatest(0, \
               pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint \
               FROM pg_replication_slots WHERE slot_name LIKE 'osc\\_%' \
               AND restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()";
    let found = rows(client, "asking how much log the slots keep", sql).await?;
    let slot = |row: &SimpleQueryRow| Some((row.get(0)?.to_owned(), row.get(1)?.parse().ok()?));
    Ok(found.iter().filter_map(slot).collect())
}
