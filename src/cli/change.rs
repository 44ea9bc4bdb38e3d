//! Which table, and what is to be done to it, as the command line says it.

use crate::config::target::Scheme;
use crate::error::Result;
use crate::mysql::commands::arguments as mysql;
use crate::postgres::commands::arguments as postgres;

/// A table as named on a command line: `users`, `db.users`, `` `my db`.`my table` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableArg {
    /// The schema; `None`: the connection's.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

impl TableArg {
    /// As a human names it.
    pub fn plain(&self) -> String {
        self.schema.iter().chain([&self.table]).map(String::as_str).collect::<Vec<_>>().join(".")
    }

    /// Reads a table by the rules of a kind of server.
    ///
    /// # Errors
    /// `Usage`.
    pub fn read(text: &str, scheme: Scheme) -> Result<Self> {
        let (schema, table) = match scheme {
            Scheme::Mysql => mysql::table(text)?,
            Scheme::Postgres => postgres::table(text)?,
        };
        Ok(Self { schema, table })
    }
}

/// One ALTER TABLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: TableArg,
    /// What stands behind the table in an ALTER TABLE statement.
    pub clauses: String,
}

impl Change {
    /// Reads `TABLE CLAUSES`, or a whole statement in place of either, by the rules of a kind of
    /// server.
    ///
    /// # Errors
    /// `Usage`.
    pub fn read_for(scheme: Scheme, first: &str, second: Option<&str>) -> Result<Self> {
        let (schema, table, clauses) = match scheme {
            Scheme::Mysql => {
                let ((schema, table), clauses) = mysql::change(first, second)?;
                (schema, table, clauses)
            }
            Scheme::Postgres => {
                let asked = postgres::change(first, second)?;
                (asked.schema, asked.table, asked.clauses)
            }
        };
        Ok(Self { table: TableArg { schema, table }, clauses })
    }
}
