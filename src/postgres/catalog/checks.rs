//! The checks of a table.

use tokio_postgres::{Client, SimpleQueryRow};

use crate::error::Result;
use crate::postgres::connection::session::rows;
use crate::postgres::name::Ident;

/// A check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its name.
    pub name: Ident,
    /// `CHECK (…)`, as the server writes it.
    pub definition: String,
}

/// Reads those that rows must keep.
///
/// # Errors
/// The server's.
pub(crate) async fn checks(client: &Client, table: u32) -> Result<Vec<Check>> {
    let sql = format!(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = {table} AND contype = 'c' ORDER BY conname"
    );
    let found = rows(client, "reading the table's checks", &sql).await?;
    let check = |row: &SimpleQueryRow| {
        let definition = row.get(1)?;
        let bare = definition.strip_suffix(" NOT VALID").unwrap_or(definition);
        let enforced = !bare.ends_with("NOT ENFORCED");
        enforced.then(|| Some(Check { name: Ident::new(row.get(0)?), definition: bare.into() }))?
    };
    Ok(found.iter().filter_map(check).collect())
}
