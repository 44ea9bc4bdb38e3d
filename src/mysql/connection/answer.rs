//! Rows of answers, up to a bound: a server that is none of ours could send rows without end.

use mysql_async::prelude::{AsQuery, FromRow, Protocol, Queryable, StatementLike};
use mysql_async::{Conn, DriverError, Error, Params, QueryResult, Result, Row, Value};

/// What the rows of one answer may take: far beyond the keys of the largest chunk.
const MOST: usize = 256 << 20;

/// The server sent more than osc takes.
#[derive(Debug, thiserror::Error)]
#[error("the server sent more than {} MiB as one answer; this is no honest server", MOST >> 20)]
pub(crate) struct TooMuch;

/// Asks for all rows.
pub(crate) trait Answers {
    /// Those of a query.
    fn all<T>(&mut self, sql: impl AsQuery) -> impl Future<Output = Result<Vec<T>>> + Send
    where
        T: FromRow + Send + 'static;

    /// Those of a prepared statement.
    fn all_of<T>(
        &mut self,
        statement: impl StatementLike,
        values: impl Into<Params> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send
    where
        T: FromRow + Send + 'static;
}

impl Answers for Conn {
    async fn all<T>(&mut self, sql: impl AsQuery) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        collected(self.query_iter(sql).await?).await
    }

    async fn all_of<T>(
        &mut self,
        statement: impl StatementLike,
        values: impl Into<Params> + Send,
    ) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        collected(self.exec_iter(statement, values).await?).await
    }
}

async fn collected<T, P>(mut answer: QueryResult<'_, '_, P>) -> Result<Vec<T>>
where
    T: FromRow + Send + 'static,
    P: Protocol,
{
    let (mut rows, mut held) = (Vec::new(), 0);
    if !answer.is_empty() {
        while let Some(row) = answer.next().await? {
            held += size(&row);
            if held > MOST {
                return Err(Error::Other(Box::new(TooMuch)));
            }
            rows.push(
                T::from_row_opt(row).map_err(|unlike| DriverError::FromRow { row: unlike.0 })?,
            );
        }
    }
    answer.drop_result().await?;
    Ok(rows)
}

/// About what a row takes in memory.
fn size(row: &Row) -> usize {
    let text = |at| match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    };
    size_of::<Row>() + (0..row.len()).map(|at| size_of::<Value>() + text(at)).sum::<usize>()
}
