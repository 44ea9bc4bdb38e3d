//! Running the statements of the copy, and what their failures mean.

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::engine::key::{Key, Rows};
use crate::engine::{Error, Result};
use crate::postgres::connect::server_error;
use crate::postgres::key::KeyColumns;
use crate::postgres::name::Ident;
use crate::postgres::session::texts;

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// So many rows were inserted and committed.
    Done(Rows),
    /// A unique or exclusion constraint of the shadow, by its index.
    Clash {
        /// The index.
        index: Ident,
        /// The server's words.
        message: String,
    },
    /// A deadlock, a lock wait. Nothing was written.
    Contention,
    /// A value does not fit. Nothing was written.
    Unfit(String),
}

/// Runs one statement, or several that begin with BEGIN and end with COMMIT. `shadow`: the names of
/// the shadow and of its partitions.
///
/// # Errors
/// Those of [`server_error`] that are none of the outcomes.
pub async fn write(client: &Client, shadow: &[&Ident], sql: &str, action: &str) -> Result<Write> {
    match client.simple_query(sql).await {
        Ok(messages) => Ok(Write::Done(Rows(inserted(&messages)))),
        Err(error) => {
            let outcome = outcome(action, shadow, &error);
            // A statement alone has no transaction to roll back; that is a warning only.
            if !client.is_closed() {
                let _ = client.batch_execute("ROLLBACK").await;
            }
            outcome
        }
    }
}

/// The rows of the last command that tells of any: the INSERT, before COMMIT's zero.
fn inserted(messages: &[SimpleQueryMessage]) -> u64 {
    let counts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    });
    let counts: Vec<u64> = counts.collect();
    match counts.as_slice() {
        [only] => *only,
        [.., insert, _commit] => *insert,
        [] => 0,
    }
}

/// What a failed write means. `shadow`: the names of the shadow and of its partitions.
///
/// # Errors
/// Those of [`server_error`] that are none of the outcomes.
pub fn outcome(action: &str, shadow: &[&Ident], error: &tokio_postgres::Error) -> Result<Write> {
    let Some(db) = error.as_db_error() else { return Err(server_error(action, error)) };
    match db.code().code() {
        "23505" | "23P01" if shadow.iter().any(|name| db.table() == Some(name.as_str())) => {
            Ok(Write::Clash {
                index: Ident::new(db.constraint().unwrap_or_default()),
                message: said(db),
            })
        }
        "40P01" | "40001" | "55P03" => Ok(Write::Contention),
        code if code.starts_with("22") || code.starts_with("23") || code == "P0001" => {
            Ok(Write::Unfit(said(db)))
        }
        _ => Err(server_error(action, error)),
    }
}

fn said(db: &DbError) -> String {
    match db.detail() {
        Some(detail) => format!("{}: {detail}", db.message()),
        None => db.message().to_owned(),
    }
}

/// The keys in rows that begin with them.
///
/// # Errors
/// `Internal` when there are none.
pub fn keys(columns: &KeyColumns, rows: &[SimpleQueryRow]) -> Result<Vec<Key>> {
    rows.iter().map(|row| key(columns, row, 0)).collect()
}

/// The key in a row that begins at column `from`.
///
/// # Errors
/// `Internal` when there is none.
pub fn key(columns: &KeyColumns, row: &SimpleQueryRow, from: usize) -> Result<Key> {
    let texts = texts(row);
    let own = texts
        .get(from..from + columns.0.len())
        .ok_or_else(|| Error::Internal("a row without its key".into()))?;
    columns.encode(own)
}
