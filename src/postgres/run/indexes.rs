//! Building the indexes that were left to after the copy, several at once; their constraints come at the
//! end, since each of those needs the shadow for itself.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::PostgresTable;
use super::held::For;
use crate::engine::backend::Server;
use crate::error::{Error, Result};
use crate::postgres::catalog::table::Index;
use crate::postgres::connection::errors::{UNIQUE_VIOLATION, detail, server_error, sqlstate};
use crate::postgres::connection::session::run;
use crate::postgres::copy::index_ddl::index_like;
use crate::postgres::copy::statements::Scope;
use crate::postgres::name::NEW;
use crate::testing::failpoint::{self, Point};

/// How often a unique index is tried while its values move between rows.
const ATTEMPTS: u32 = 30;

/// Rows with the same values that are written again at once.
const MOST_DOUBLES: usize = 5000;

const ACTION: &str = "building indexes";

/// Builds those of the deferred ones that are wanted and missing, the unique ones last: what clashes
/// then has been refreshed meanwhile.
pub(crate) async fn build(table: &PostgresTable, wanted: impl Fn(&Index) -> bool) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    let shadow = table.read_shadow(&client).await?;
    let missing =
        |index: &&Index| wanted(index) && shadow.index(&index.name.with_suffix(NEW)).is_none();
    let deferred: Vec<&Index> = table.carried()?.made.deferred.iter().filter(missing).collect();
    let (unique, plain): (Vec<&Index>, Vec<&Index>) =
        deferred.into_iter().partition(|index| index.unique);
    for group in [plain, unique] {
        let builds: Vec<_> = group.into_iter().map(|index| Box::pin(one(table, index))).collect();
        stream::iter(builds)
            .buffer_unordered(table.setting.settings.threads().get())
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

/// Gives the indexes that were built the constraints that they back, where they are missing.
pub(crate) async fn constrain(table: &PostgresTable) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    let name = &table.helpers().shadow;
    let shadow = table.read_shadow(&client).await?;
    for index in &table.carried()?.made.deferred {
        let new = index.name.with_suffix(NEW);
        let bare = shadow.index(&new).is_some_and(|there| there.constraint.is_none());
        if let (_, Some(sql)) = index_like(index, &new, name)
            && bare
        {
            let held = table.held(For::Altering)?;
            run(&client, ACTION, &format!("{held}; {sql}")).await?;
        }
    }
    Ok(())
}

async fn one(table: &PostgresTable, index: &Index) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    run(
        &client,
        ACTION,
        "SELECT set_config('maintenance_work_mem', '256MB', false) \
         WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < 268435456",
    )
    .await?;
    let (sql, _) = index_like(index, &index.name.with_suffix(NEW), &table.helpers().shadow);
    let held = format!("BEGIN; {}", table.held(For::Building)?);
    for _ in 0..ATTEMPTS {
        run(&client, ACTION, &held).await?;
        let Err(error) = client.batch_execute(&format!("{sql}; COMMIT")).await else {
            return failpoint::hit(Point::IndexOne);
        };
        let _ = client.batch_execute("ROLLBACK").await;
        if sqlstate(&error) != Some(UNIQUE_VIOLATION) {
            return Err(server_error(ACTION, &error));
        }
        settle_doubles(table, index, &error).await?;
    }
    Err(Error::stopped(format!("the values of {} move between rows all the time", index.name.0)))
}

/// Rows of the shadow have the same values: either some are stale, since the original is read at
/// many moments; then they are read again, all at one. Or the original has duplicates.
async fn settle_doubles(
    table: &PostgresTable,
    index: &Index,
    error: &tokio_postgres::Error,
) -> Result<()> {
    let statements = &table.ready()?.statements;
    let keys = table.keys(ACTION, &statements.doubles(index, MOST_DOUBLES)).await?;
    if keys.is_empty() {
        return Ok(());
    }
    let rows = table.duplicates_in(index, Scope::Keys(&keys)).await?;
    if !rows.is_empty() {
        let reason = match error.as_db_error() {
            Some(db) => format!("{}: {}", db.message(), detail(db).unwrap_or_default()),
            None => error.to_string(),
        };
        return Err(Error::Data { reason, rows });
    }
    // A lock wait, or a clash with others: the next attempt at the index looks again.
    table.refresh(&keys).await.map(|_| ())
}
