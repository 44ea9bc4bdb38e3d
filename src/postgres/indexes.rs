//! Building the indexes that were left to after the copy, several at once.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::engine::key::Key;
use crate::engine::{Error, Result};
use crate::postgres::connect::{server_error, sqlstate};
use crate::postgres::inspect::Table;
use crate::postgres::name::Ident;
use crate::postgres::rows::{self, Write};
use crate::postgres::session::run;
use crate::postgres::shadow::{Deferred, NEW};
use crate::postgres::statements::Scope;
use crate::postgres::table::PostgresTable;

/// How often a unique index is tried while its values move between rows.
const ATTEMPTS: u32 = 30;

/// Rows with the same values that are written again at once.
const MOST_DOUBLES: usize = 5000;

const ACTION: &str = "building indexes";

/// Builds what is missing, the unique ones last: what clashes then has been refreshed meanwhile.
pub async fn build(table: &PostgresTable) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    let Some(shadow) = Table::read(&client, &table.helpers.shadow).await? else {
        return Err(Error::Internal("the shadow is gone".into()));
    };
    let missing = |index: &&Deferred| shadow.index(&index.name.with_suffix(NEW)).is_none();
    let deferred: Vec<&Deferred> = table.carried()?.made.deferred.iter().filter(missing).collect();
    let (unique, plain): (Vec<&Deferred>, Vec<&Deferred>) =
        deferred.into_iter().partition(|index| index.unique);
    for group in [plain, unique] {
        let builds: Vec<_> = group.into_iter().map(|index| Box::pin(one(table, index))).collect();
        stream::iter(builds)
            .buffer_unordered(table.setting.threads.max(1))
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

async fn one(table: &PostgresTable, index: &Deferred) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    run(
        &client,
        ACTION,
        "SELECT set_config('maintenance_work_mem', '256MB', false) \
         WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < 268435456",
    )
    .await?;
    let mut all = index.build(&table.helpers.shadow);
    all.insert(0, "BEGIN".into());
    all.push("COMMIT".into());
    let sql = all.join("; ");
    for _ in 0..ATTEMPTS {
        let Err(error) = client.batch_execute(&sql).await else { return Ok(()) };
        if sqlstate(&error) != Some("23505") {
            return Err(server_error(ACTION, &error));
        }
        run(&client, ACTION, "ROLLBACK").await?;
        settle_doubles(table, index, &error).await?;
    }
    Err(Error::Stopped {
        reason: format!("the values of {} move between rows all the time", index.name.0),
        help: "run the same command again; it goes on from the checkpoint".into(),
    })
}

/// Rows of the shadow have the same values: either some are stale, since the original is read at
/// many moments; then they are read anew, all at one. Or the original has duplicates.
async fn settle_doubles(
    table: &PostgresTable,
    index: &Deferred,
    error: &tokio_postgres::Error,
) -> Result<()> {
    let statements = &table.ready()?.statements;
    let reason = || match error.as_db_error() {
        Some(db) => format!("{}: {}", db.message(), db.detail().unwrap_or_default()),
        None => error.to_string(),
    };
    let probe = probe(table, index).await?;
    let client = table.sessions.take(ACTION).await?;
    let doubles = statements.doubles(&probe, MOST_DOUBLES);
    let keys: Vec<Key> = rows::keys(&client, &statements.key, &doubles, ACTION).await?;
    if keys.is_empty() {
        table.sessions.give_back(client);
        return Ok(());
    }
    let sql = statements.duplicates(&probe, Scope::Keys(&keys))?;
    let found = crate::postgres::session::rows(&client, ACTION, &sql).await?;
    if !found.is_empty() {
        let told = |row: &tokio_postgres::SimpleQueryRow| {
            format!("{}: rows {}", row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default())
        };
        return Err(Error::Data { reason: reason(), rows: found.iter().map(told).collect() });
    }
    let refresh = statements.refresh(&keys)?;
    match rows::write(&client, &table.helpers.shadow, &refresh, ACTION).await? {
        Write::Unfit(message) => return Err(Error::Data { reason: message, rows: Vec::new() }),
        // The next attempt looks again.
        Write::Done(_) | Write::Contention | Write::Clash { .. } => {}
    }
    table.sessions.give_back(client);
    Ok(())
}

/// The index as the catalog would have it: made on an empty copy of the shadow, to learn its parts.
async fn probe(table: &PostgresTable, index: &Deferred) -> Result<crate::postgres::inspect::Index> {
    let client = table.sessions.plain(ACTION).await?;
    let place = crate::postgres::name::TableName::new("pg_temp", "osc_probe");
    let sql = format!(
        "CREATE TEMPORARY TABLE osc_probe (LIKE {}); CREATE UNIQUE INDEX osc_probed ON {place} {}",
        table.helpers.shadow, index.definition
    );
    run(&client, ACTION, &sql).await?;
    let schema = crate::postgres::session::value(
        &client,
        ACTION,
        "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()",
    )
    .await?
    .unwrap_or_default();
    let probe = crate::postgres::name::TableName::new(schema, "osc_probe");
    let found = Table::read(&client, &probe).await?;
    found
        .and_then(|found| found.index(&Ident::new("osc_probed")).cloned())
        .ok_or_else(|| Error::Internal("the probe's index is gone".into()))
}
