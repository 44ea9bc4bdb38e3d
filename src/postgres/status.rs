//! `osc status` on PostgreSQL: the runs that the ledgers have.

use crate::config::target::Target;
use crate::engine::Result;
use crate::ledger::RunRecord;
use crate::postgres::connect::{Options, connect};
use crate::postgres::ledger::Ledger;
use crate::postgres::name::Ident;
use crate::postgres::session::rows;

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
    Ok(runs)
}
