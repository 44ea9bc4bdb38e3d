//! The rename itself: by the session that holds the lock, or by another that waits for it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{Attempt, not_yet};
use crate::engine::backend::SwapOutcome;
use crate::error::Result;
use crate::mysql::connection::process_list::process;
use crate::mysql::connection::session::run;
use crate::mysql::run::MysqlTable;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// How long the rename may take to be seen waiting (MariaDB).
const RENAME_SEEN: Duration = Duration::from_millis(500);

/// On MySQL, by the session that holds the lock.
pub(super) async fn under_lock(
    table: &MysqlTable,
    holder: &mut Conn,
    locked_at: Instant,
) -> Result<Attempt> {
    let renamed = holder.query_drop(statement(table)).await;
    match renamed {
        Ok(()) => {
            let original = &table.setting.original.name;
            let restored = async {
                failpoint::hit(Point::SwapRenamed)?;
                if mutation::active(Rule::DependentsFollow) {
                    return Ok(());
                }
                table.carried().restore_locked(holder, original, &table.helpers).await?;
                failpoint::hit(Point::SwapRestored)
            };
            if let Err(error) = restored.await {
                table.died_in_swap.store(true, Ordering::Relaxed);
                tracing::info!(%error, "the table's dependents are settled after the lock");
            }
            run(holder, "unlocking", "UNLOCK TABLES").await?;
            let locked = locked_at.elapsed();
            Ok(Attempt { outcome: Some(SwapOutcome::Swapped { locked }), renamer: None, locked_at })
        }
        Err(mysql_async::Error::Server(error)) => Ok(not_yet(error.message, locked_at)),
        Err(_) => Ok(Attempt { outcome: None, renamer: None, locked_at }),
    }
}

fn statement(table: &MysqlTable) -> String {
    let (original, helpers) = (&table.setting.original.name, &table.helpers);
    format!("RENAME TABLE {original} TO {}, {} TO {original}", helpers.retired, helpers.shadow)
}

/// On MariaDB, by a second session, which waits for the lock that the first then gives up.
pub(super) async fn from_outside(
    table: &MysqlTable,
    holder: &mut Conn,
    locked_at: Instant,
) -> Result<Attempt> {
    let mut renamer = table.plain("renaming the tables").await?;
    let seconds = table.setting.settings.cut_over_timeout().as_secs().max(1);
    run(&mut renamer, "renaming the tables", &format!("SET SESSION lock_wait_timeout = {seconds}"))
        .await?;
    let id = renamer.id();
    let sql = statement(table);
    let renaming = tokio::spawn(async move { renamer.query_drop(sql).await });
    let waits = seen_waiting(table, id).await;
    match waits.and_then(|waits| failpoint::hit(Point::SwapWaits).map(|()| waits)) {
        Ok(true) => {}
        Ok(false) => {
            let mut conn = table.plain("renaming the tables").await?;
            let _ = conn.query_drop(format!("KILL {id}")).await;
            let _ = renaming.await;
            return Ok(not_yet("the rename was not seen waiting for the original", locked_at));
        }
        Err(error) => {
            // It still waits: it must be gone before the sentry is.
            tracing::info!(%error, "the rename was lost sight of");
            return Ok(Attempt { outcome: None, renamer: Some(id), locked_at });
        }
    }
    // From here on the rename may go through: everything is drained and refreshed.
    let dropped = holder.query_drop(format!("DROP TABLE {}", table.helpers.retired)).await;
    let unguarded = failpoint::hit(Point::SwapUnguarded);
    let unlocked = holder.query_drop("UNLOCK TABLES").await;
    let released = failpoint::hit(Point::SwapUnlocked);
    let renamed = renaming.await;
    let locked = locked_at.elapsed();
    let answered = dropped.is_ok() && unlocked.is_ok() && matches!(renamed, Ok(Ok(())));
    if answered && unguarded.and(released).is_ok() {
        return Ok(Attempt {
            outcome: Some(SwapOutcome::Swapped { locked }),
            renamer: None,
            locked_at,
        });
    }
    Ok(Attempt { outcome: None, renamer: Some(id), locked_at })
}

/// Whether the rename waits for a table's metadata lock. All helpers' names sort after the
/// original's, and RENAME takes its locks in that order, so the table it waits for first is the
/// original (`docs/decisions/0005-names.md`).
async fn seen_waiting(table: &MysqlTable, id: u32) -> Result<bool> {
    let mut conn = table.plain("watching the rename").await?;
    let started = Instant::now();
    while started.elapsed() < RENAME_SEEN {
        let process = process(&mut conn, table.setting.flavor, id, "watching the rename").await?;
        let state = process.map(|process| process.state);
        if state.is_some_and(|state| state.eq_ignore_ascii_case("Waiting for table metadata lock"))
        {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(false)
}
