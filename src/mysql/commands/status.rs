//! `osc status` on MySQL and MariaDB: the runs that the ledger has.

use mysql_async::prelude::Queryable;

use crate::config::target::Target;
use crate::error::{Error, Result};
use crate::ledger::{RunRecord, SHOWN};
use crate::mysql::catalog::table;
use crate::mysql::connection::connect::first;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::name::{TableName, Text};
use crate::mysql::runs::ledger::{Ledger, Purpose, RunQuery};
use crate::mysql::runs::lock::lock_name;
use crate::plan::TableArg;

/// The latest runs of a table, or of all on the server, newest first.
pub(crate) async fn runs(target: &Target, named: Option<&TableArg>) -> Result<Vec<RunRecord>> {
    let table = named.map(|named| named.table.as_str());
    let schema = named.and_then(|named| named.schema.as_deref());
    let application = schema.or(target.database.as_deref());
    if table.is_some() && application.is_none() {
        return Err(Error::Usage {
            message: "no database selected: put /shop in the URL, or name a table as shop.users"
                .into(),
            help: String::new(),
        });
    }
    let mut conn = first(target).await?;
    let flavor = table::flavor(&mut conn).await?;
    let vetted =
        Ledger::vetted(&mut conn, flavor, &target.ledger, application, Purpose::Read).await?;
    if !vetted.stands {
        return Ok(Vec::new());
    }
    let schema = application.filter(|_| table.is_some());
    let query = RunQuery { schema, table, here: false, most: SHOWN };
    let mut runs = vetted.ledger.runs(&mut conn, query).await?;
    for run in runs.iter_mut().filter(|run| run.may_be_under_way()) {
        let name = lock_name(&TableName::new(&run.schema, &run.table));
        let sql = format!("SELECT IS_USED_LOCK({}) IS NOT NULL", Text(&name));
        let held: Option<u8> = conn
            .query_first(sql)
            .await
            .map_err(|error| connection_error("asking who holds the run's lock", error))?;
        run.held = Some(held == Some(1));
    }
    Ok(runs)
}
