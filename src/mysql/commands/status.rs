//! `osc status` on MySQL and MariaDB: the runs that the ledger has.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::config::target::Target;
use crate::error::{Error, Finding, Result};
use crate::ledger::{Outcome, RunRecord, SHOWN};
use crate::mysql::catalog::table;
use crate::mysql::connection::connect::first_in_none;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::name::{TableName, Text};
use crate::mysql::runs::ledger::{Ledger, Purpose, RunQuery};
use crate::mysql::runs::lock::lock_name;
use crate::mysql::runs::proof::Catalog;
use crate::mysql::runs::record::Record;
use crate::mysql::runs::undone;
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
    let mut conn = first_in_none(target).await?;
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
    if vetted.whole {
        let here = |run: &&mut RunRecord| run.elsewhere.is_none();
        for run in runs.iter_mut().filter(here).filter(|run| table.is_some() || run.is_unfinished())
        {
            vetted.ledger.add_operation(&mut conn, run).await?;
        }
    }
    let mut seen = Vec::new();
    for run in runs.iter_mut().filter(|run| run.elsewhere.is_none()) {
        let name = TableName::new(&run.schema, &run.table);
        if run.result == Some(Outcome::Done) && !seen.contains(&name) {
            match tell_undo(&mut conn, flavor.is_mariadb(), run, &name).await {
                // An account that may read the ledger alone sees the runs.
                Err(error) if table.is_none() && !error.is_connection() => {
                    tracing::debug!(%error, "whether it can be undone is not known");
                }
                told => told?,
            }
            seen.push(name);
        }
    }
    Ok(runs)
}

/// Says of the last change of a table whether it can be undone, as it was judged beforehand, and until when its
/// retired table is kept.
async fn tell_undo(
    conn: &mut Conn,
    mariadb: bool,
    last: &mut RunRecord,
    name: &TableName,
) -> Result<()> {
    let Ok(record) = Record::of(last) else { return Ok(()) };
    if !last.retires() {
        last.undo = record.verdict;
        return Ok(());
    }
    let catalog = match Catalog::read(conn, mariadb, name).await {
        // An operator's account is not shown what the tables are.
        Err(Error::Refused(_)) => return Ok(()),
        catalog => catalog?,
    };
    match undone::choose(vec![last.clone()], &catalog, name) {
        Ok(_) => {
            last.undo = record.verdict;
            last.undo_until = last.kept_until(Duration::from_secs(record.undo_for));
        }
        Err(Error::Refused(findings)) => {
            let why = |finding: Finding| format!("impossible: {}", finding.problem);
            last.undo = findings.into_iter().map(why).collect();
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
