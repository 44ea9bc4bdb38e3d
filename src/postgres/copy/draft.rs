//! The new table as it will be, before it is.

use tokio_postgres::Client;

use super::shadow::Made;
use crate::error::{Error, Result};
use crate::postgres::catalog::checks::{Check, checks};
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::name::{Ident, TableName};

/// The table that the clauses make, as it will be.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The table, with all its indexes.
    pub table: Table,
    /// Its checks.
    pub checks: Vec<Check>,
    /// Checks that it gets in the swap.
    pub unproved: Vec<Ident>,
}

impl Draft {
    /// The shadow as it will be with all that is left to later.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn read(client: &Client, name: &TableName, made: &Made) -> Result<Self> {
        let table = Table::read(client, name).await?;
        let mut table = table.ok_or_else(|| Error::Internal("the clauses left no table".into()))?;
        let missing = |index: &&Index| table.index(&index.name).is_none();
        let later: Vec<Index> = made.deferred.iter().filter(missing).cloned().collect();
        table.indexes.extend(later);
        let checks = checks(client, table.oid).await?;
        Ok(Self { table, checks, unproved: made.unproved.clone() })
    }
}
