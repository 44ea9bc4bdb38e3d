//! `osc status` on MySQL and MariaDB: the runs that the ledger has.

use crate::config::target::Target;
use crate::engine::{Error, Result};
use crate::ledger::RunRecord;
use crate::mysql::connect::{connect, opts};
use crate::mysql::ledger::Ledger;
use crate::mysql::name::Ident;

/// Runs shown at most.
const MOST: u32 = 50;

/// The latest runs of a table, or of all in the schema, newest first.
pub async fn runs(
    target: &Target,
    schema: Option<&str>,
    table: Option<&str>,
) -> Result<Vec<RunRecord>> {
    let schema = schema.or(target.database.as_deref()).ok_or_else(|| Error::Usage {
        message: "in which schema?".into(),
        help: "name it in the URL: mysql://host/shop, or with the table: shop.users".into(),
    })?;
    let ledger = Ledger::of(&Ident::new(schema));
    let mut conn = connect(&opts(target)?, "connecting").await?;
    if !ledger.exists(&mut conn).await? {
        return Ok(Vec::new());
    }
    ledger.runs(&mut conn, table.map(Ident::new).as_ref(), MOST).await
}
