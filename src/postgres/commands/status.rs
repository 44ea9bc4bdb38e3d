//! `osc status` on PostgreSQL: the runs that the ledger has.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryRow};

use crate::config::target::Target;
use crate::error::{Error, Finding, Result};
use crate::ledger::{Outcome, RunRecord, SHOWN};
use crate::plan::TableArg;
use crate::postgres::catalog::table::Table;
use crate::postgres::connection::connect::{Options, at_first, connect};
use crate::postgres::connection::session::{rows, value};
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock::lock_number;
use crate::postgres::runs::record::Record;
use crate::postgres::{stream, undo};

/// The latest runs of a table, or of all tables of the database, newest first.
///
/// # Errors
/// `Refused` where the ledger is not osc's alone; the server's.
pub(crate) async fn runs(target: &Target, named: Option<&TableArg>) -> Result<Vec<RunRecord>> {
    let table = named.map(|named| named.table.as_str());
    let schema = named.and_then(|named| named.schema.as_deref());
    let client = connect(&Options::of(target)?, "connecting").await.map_err(at_first(target))?;
    let ledger = match Ledger::open(&client, &target.ledger).await {
        Err(Error::Refused(_)) if makes_orders_only(&client, &target.ledger).await? => {
            Ledger::for_orders(&client, &target.ledger).await?
        }
        ledger => ledger?,
    };
    if let Some(schema) = schema {
        ledger.no_earlier(&client, &Ident::new(schema)).await?;
    }
    let mut runs = ledger.all_runs(&client, schema, table, SHOWN).await?;
    for run in runs.iter_mut().filter(|run| run.may_be_under_way()) {
        let number = lock_number(&TableName::new(&run.schema, &run.table));
        // As the server splits the number of an advisory lock; 1: it is one number and not two.
        let sql = format!(
            "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
             pg_catalog.current_database()) AND objsubid = 1 \
             AND (classid::bigint << 32 | objid::bigint) = {number}"
        );
        let held = rows(&client, "asking who holds the run's lock", &sql).await?;
        run.held = Some(!held.is_empty());
    }
    if ledger.has_orders() {
        let here = |run: &&mut RunRecord| run.elsewhere.is_none();
        for run in runs.iter_mut().filter(here).filter(|run| table.is_some() || run.is_unfinished())
        {
            ledger.add_operation(&client, run).await?;
        }
    }
    let kept = kept(&client).await?;
    let ours = |run: &&mut RunRecord| run.is_unfinished() && run.elsewhere.is_none();
    for run in runs.iter_mut().filter(ours) {
        let Ok(Some(record)) = Record::of(run) else { continue };
        let names = stream::names(run.run, record.original, target.database(), &ledger.schema);
        run.kept_wal = kept.get(&names.slot).copied();
    }
    let mut seen = Vec::new();
    for run in runs.iter_mut().filter(|run| run.elsewhere.is_none()) {
        let name = TableName::new(&run.schema, &run.table);
        if run.result == Some(Outcome::Done) && !seen.contains(&name) {
            match tell_undo(&client, &ledger, run, &name).await {
                // An account that may read the ledger alone sees the runs.
                Err(error) if table.is_none() && !error.is_connection() => {
                    tracing::debug!(%error, "whether it can be undone is not known");
                }
                told => told?,
            }
            seen.push(name);
        }
    }
    Ok(runs)
}

/// Says of the last change of a table whether it can be undone, as it was judged beforehand, and until when its
/// retired table is kept.
async fn tell_undo(
    client: &Client,
    ledger: &Ledger,
    last: &mut RunRecord,
    name: &TableName,
) -> Result<()> {
    let Ok(Some(record)) = Record::of(last) else { return Ok(()) };
    if !last.retires() {
        last.undo = record.verdict;
        return Ok(());
    }
    let Some(live) = Table::read(client, name).await? else { return Ok(()) };
    match undo::newest(client, ledger, &live, None).await {
        Ok(_) => {
            last.undo = record.verdict;
            last.undo_until = last.kept_until(Duration::from_secs(record.undo_for));
        }
        Err(Error::Refused(findings)) => {
            let why = |finding: Finding| format!("impossible: {}", finding.problem);
            last.undo = findings.into_iter().map(why).collect();
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether the role may make orders and cannot change the ledger otherwise. Whose the ledger is was for its
/// grantor to know: what such a role is shown, it does not act upon.
async fn makes_orders_only(client: &Client, schema: &str) -> Result<bool> {
    let (schema, orders) = (Ident::new(schema), Ident::new("osc_order"));
    let sql = format!(
        "SELECT coalesce(bool_and(NOT r.rolsuper AND c.relowner <> r.oid \
         AND NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') \
         AND pg_catalog.has_any_column_privilege(c.oid, 'INSERT') \
         AND NOT pg_catalog.has_any_column_privilege(c.oid, 'UPDATE')), false) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_roles r ON r.rolname = current_user \
         WHERE n.nspname = {} AND c.relname = {}",
        Text(schema.as_str()),
        Text(orders.as_str())
    );
    Ok(value(client, "looking at the role's rights", &sql).await?.as_deref() == Some("t"))
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
