//! What the original is made of, watched for the DDL of others.
//!
//! A publication of key columns tells nothing of the other columns, and nothing tells of a table
//! that was taken out of its publication or lost its triggers: the catalog is read every two seconds.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::connection::connect::connect;
use crate::postgres::connection::errors::server_error;

use super::StreamConfig;

/// What is being done, for errors.
const ACTION: &str = "watching the table";

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// A look that takes longer has lost its connection.
const SILENCE: Duration = Duration::from_secs(60);

/// Watches from its making on. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Watcher(Option<JoinHandle<Result<String>>>);

impl Watcher {
    /// Notes what the original looks like, and begins to watch.
    pub(super) async fn start(config: &StreamConfig) -> Result<Self> {
        let client = connect(&config.options, ACTION).await?;
        let first = shape(&client, config).await?;
        let config = config.clone();
        Ok(Self(Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let look = tokio::time::timeout(SILENCE, shape(&client, &config));
                let now = look.await.map_err(|_| Error::silence(ACTION, SILENCE))??;
                if now != first {
                    return Ok(format!(
                        "{}: its definition, its publication or osc's triggers were changed",
                        config.original.plain()
                    ));
                }
            }
        }))))
    }

    /// Waits for DDL of another session, and says what it was. Cancel-safe.
    pub(super) async fn changed(&mut self) -> Result<String> {
        let Some(watch) = &mut self.0 else {
            return Err(Error::connection(ACTION, "it has ended"));
        };
        let ended = watch.await;
        self.0 = None;
        ended.map_err(|error| Error::Internal(format!("the table's watch: {error}")))?
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.abort();
        }
    }
}

/// The columns, the name, the replica identity, our triggers and our publication, as one text; empty
/// when the table is gone.
async fn shape(client: &Client, config: &StreamConfig) -> Result<String> {
    let sql = "SELECT concat_ws(' ', n.nspname, c.relname, c.relreplident,
           (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod,
                                        a.attnotnull, a.attgenerated), ',' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
           (SELECT string_agg(concat_ws(' ', g.tgname, g.tgenabled), ',' ORDER BY g.tgname)
            FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
            WHERE g.tgrelid = c.oid AND p.proname = $2::text),
           (SELECT concat_ws(' ', r.oid, b.pubinsert, b.pubupdate, b.pubdelete, b.pubtruncate)
            FROM pg_catalog.pg_publication_rel r
            JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid
            WHERE r.prrelid = c.oid AND b.pubname = $2::text))
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = $1";
    let failed = |error| server_error(ACTION, &error);
    let row = client.query_opt(sql, &[&config.oid, &config.names.slot]).await.map_err(failed)?;
    row.map_or(Ok(String::new()), |row| row.try_get(0).map_err(failed))
}
