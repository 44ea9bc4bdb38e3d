//! What stands under a table's name after a swap: the retired table, or the sentry that held its place.

use mysql_async::Conn;

use crate::error::Result;
use crate::mysql::catalog::table::Table;
use crate::mysql::copy::shadow;
use crate::mysql::name::TableName;

/// What the sentry's comment says.
pub(crate) const SENTRY: &str = "osc sentry";

/// Whether the retired name holds a real table, not a sentry.
pub(crate) async fn is_retired(conn: &mut Conn, retired: &TableName) -> Result<bool> {
    match Table::read(conn, retired).await? {
        Some(table) => Ok(!is_sentry(conn, &table).await?),
        None => Ok(false),
    }
}

pub(crate) async fn is_sentry_of(conn: &mut Conn, retired: &TableName) -> Result<bool> {
    match Table::read(conn, retired).await? {
        Some(table) => is_sentry(conn, &table).await,
        None => Ok(false),
    }
}

/// Whether it is a sentry: a comment can be anybody's, but a table that has no row and one column
/// holds nothing that anybody could miss.
pub(crate) async fn is_sentry(conn: &mut Conn, table: &Table) -> Result<bool> {
    let looks = table.create.contains(&format!("COMMENT='{SENTRY}'")) && table.columns.len() == 1;
    Ok(looks && shadow::is_empty(conn, &table.name).await?)
}
