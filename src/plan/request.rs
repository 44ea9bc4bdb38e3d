//! What a command line asks for.

use std::time::Duration;

/// A table as a command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableArg {
    /// The schema; `None`: the connection's, or whichever the search path finds the table in.
    pub schema: Option<String>,
    /// The table; of a `DROP INDEX` that names none, the index.
    pub table: String,
}

impl TableArg {
    /// As a human names it.
    pub fn plain(&self) -> String {
        self.schema.iter().chain([&self.table]).map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

/// A table, and what is to be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The table.
    pub table: TableArg,
    /// What follows the table in an ALTER TABLE statement; on PostgreSQL maybe a whole statement.
    pub clauses: String,
}

/// What an undo would take back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Undoing {
    /// The table.
    pub table: String,
    /// The run that would be undone.
    pub run: i64,
    /// The table that would go back.
    pub retired: String,
    /// The server's log names the rows that were written since: an undo would compare them alone.
    pub by_log: bool,
    /// Why not, where a log could.
    pub not_by_log: Option<String>,
}

/// The change that takes back one of the server's own methods, which keep no retired table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opposite {
    /// The run that is undone.
    pub run: i64,
    /// Its method.
    pub method: String,
    /// The clauses of the opposite change.
    pub clauses: String,
    /// The whole statement, to be shown.
    pub statement: String,
    /// What was said beforehand of undoing the run, in a line, and below it the reasons.
    pub verdict: Vec<String>,
}

/// How a change is watched once it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// For how long.
    pub period: Duration,
    /// Undo it where this query's first value is above 0.
    pub query: Option<String>,
    /// Undo it where this command fails.
    pub exec: Option<String>,
}

/// How an undo goes about what the retired table cannot just take back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UndoRequest {
    /// Of a column that the change dropped, the value for rows that were created since.
    pub fill: Vec<Assignment>,
    /// Of a column that the change converted, the way back for values that were written since.
    pub inverse: Vec<Assignment>,
    /// Leave rows behind that cannot go back, instead of giving up.
    pub leave_misfits: bool,
    /// Compare all rows, whatever the log says.
    pub compare_all: bool,
}

/// `COLUMN=EXPRESSION`, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The column of the retired table.
    pub column: String,
    /// An expression over the columns of the live table.
    pub expression: String,
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let given = text.split_once('=').map(|(column, value)| (column.trim(), value.trim()));
        match given {
            Some((column, expression)) if !column.is_empty() && !expression.is_empty() => {
                Ok(Self { column: column.into(), expression: expression.into() })
            }
            _ => Err("write COLUMN=EXPRESSION, such as: title='unknown'".into()),
        }
    }
}
