//! What a command line asks for.

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
