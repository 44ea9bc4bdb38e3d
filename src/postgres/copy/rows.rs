//! Running the statements of the copy, and what their failures mean.

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Error, Result};
use crate::key::{Key, Rows};
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::connection::errors::{
    DEADLOCK, LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE, UNIQUE_VIOLATION, detail, server_error,
};
use crate::postgres::connection::session::texts;
use crate::postgres::name::Ident;

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
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

/// Runs messages, the first of which begins with BEGIN and the last of which ends with COMMIT; or statements
/// of their own. `shadow`: the names of the shadow and of its partitions.
///
/// # Errors
/// Those of [`server_error`] that are none of the outcomes.
pub(crate) async fn write(
    client: &Client,
    shadow: &[&Ident],
    messages: &[String],
    action: &str,
) -> Result<Write> {
    let mut written = 0;
    for sql in messages {
        match client.simple_query(sql).await {
            Ok(answers) => written = inserted(&answers),
            Err(error) => {
                let outcome = outcome(action, shadow, &error);
                // A statement alone has no transaction to roll back; that is a warning only.
                if !client.is_closed() {
                    let _ = client.batch_execute("ROLLBACK").await;
                }
                return outcome;
            }
        }
    }
    Ok(Write::Done(Rows(written)))
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
pub(crate) fn outcome(
    action: &str,
    shadow: &[&Ident],
    error: &tokio_postgres::Error,
) -> Result<Write> {
    let Some(db) = error.as_db_error() else { return Err(server_error(action, error)) };
    match db.code().code() {
        UNIQUE_VIOLATION | "23P01"
            if shadow.iter().any(|name| db.table() == Some(name.as_str())) =>
        {
            Ok(Write::Clash {
                index: Ident::new(db.constraint().unwrap_or_default()),
                message: message_of(db),
            })
        }
        DEADLOCK | SERIALIZATION_FAILURE | LOCK_NOT_AVAILABLE => Ok(Write::Contention),
        code if code.starts_with("22") || code.starts_with("23") || code == "P0001" => {
            Ok(Write::Unfit(message_of(db)))
        }
        // So some types tell a value that they cannot be made of: NaN to bigint, text to tsvector and
        // regtype. The statement itself was prepared on an empty copy.
        "0A000" | "42601" | "42704" | "42883" => Ok(Write::Unfit(message_of(db))),
        _ => Err(server_error(action, error)),
    }
}

/// The server's words for a row that cannot be written, without its values: the row is named by its key.
fn message_of(db: &DbError) -> String {
    let message = match detail(db) {
        Some(detail) => format!("{}: {detail}", db.message()),
        None => db.message().to_owned(),
    };
    // What a constraint says has names in quotes; whatever says that a value is none has the value.
    if db.code().code().starts_with("23") { message } else { without_values(&message) }
}

/// From the first quote to the last: a value may have quotes, too.
fn without_values(message: &str) -> String {
    let (Some(from), Some(to)) = (message.find('"'), message.rfind('"')) else {
        return message.to_owned();
    };
    let (before, after) = (message.get(..from), message.get(to + 1..));
    format!("{}(value not shown){}", before.unwrap_or_default(), after.unwrap_or_default())
}

/// The keys in rows that begin with them.
///
/// # Errors
/// `Internal` when there are none.
pub(crate) fn keys(columns: &KeyColumns, rows: &[SimpleQueryRow]) -> Result<Vec<Key>> {
    rows.iter().map(|row| key(columns, row, 0)).collect()
}

/// The keys in rows that have the original's and then the shadow's, of which one may be missing.
///
/// # Errors
/// `Internal` when both are.
pub(crate) fn either(columns: &KeyColumns, rows: &[SimpleQueryRow]) -> Result<Vec<Key>> {
    let of = |row: &SimpleQueryRow| {
        let here = (0..columns.0.len()).all(|at| row.get(at).is_some());
        key(columns, row, if here { 0 } else { columns.0.len() })
    };
    rows.iter().map(of).collect()
}

/// The key in a row that begins at column `from`.
///
/// # Errors
/// `Internal` when there is none.
pub(crate) fn key(columns: &KeyColumns, row: &SimpleQueryRow, from: usize) -> Result<Key> {
    let texts = texts(row);
    let own = texts
        .get(from..from + columns.0.len())
        .ok_or_else(|| Error::Internal("a row without its key".into()))?;
    columns.encode(own)
}
