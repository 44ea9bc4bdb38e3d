//! Answers whose values are read as text.

use mysql_async::{Conn, FromValueError, Row, Value};

use super::answer::Answers as _;
use super::errors::connection_error;
use crate::error::{Error, Result};

/// The columns of a row as text.
pub(crate) fn texts(row: Row) -> Result<Vec<String>> {
    row.unwrap()
        .into_iter()
        .map(|value| match value {
            Value::NULL => Ok("NULL".to_owned()),
            Value::Int(number) => Ok(number.to_string()),
            Value::UInt(number) => Ok(number.to_string()),
            other => mysql_async::from_value_opt::<String>(other)
                .map_err(|FromValueError(_)| Error::Internal("a result is no text".into())),
        })
        .collect()
}

/// A query's rows as bytes; NULL is `None`.
pub(crate) async fn raw_rows(
    conn: &mut Conn,
    action: &str,
    sql: &str,
) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    let rows: Vec<Row> = conn.all(sql).await.map_err(|error| connection_error(action, error))?;
    Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(bytes).collect()).collect())
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol sends nothing else.
        other => Some(other.as_sql(true).into_bytes()),
    }
}

/// A query's rows of exactly `N` columns as text; NULL is empty.
pub(crate) async fn text_rows<const N: usize>(
    conn: &mut Conn,
    action: &str,
    sql: &str,
) -> Result<Vec<[String; N]>> {
    let rows = raw_rows(conn, action, sql).await?;
    rows.into_iter()
        .map(|row| {
            let texts: Vec<String> = row
                .into_iter()
                .map(|value| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned())
                .collect();
            <[String; N]>::try_from(texts).map_err(|texts| {
                Error::Internal(format!("{action}: {N} columns expected, got {}", texts.len()))
            })
        })
        .collect()
}
