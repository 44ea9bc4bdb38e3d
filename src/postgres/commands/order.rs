//! An order for a run on PostgreSQL, by a role that may only make orders.

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::config::target::Target;
use crate::control::order::Answer;
use crate::error::{Error, Result};
use crate::ledger::orders::{LOOK, Made, NewOrder, WAIT, ambiguous, no_attempt, no_right};
use crate::ledger::{RunRecord, SHOWN};
use crate::plan::TableArg;
use crate::postgres::catalog::table::number;
use crate::postgres::connection::connect::{Options, at_first, connect};
use crate::postgres::connection::session::value;
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::lock::{holders, lock_number};

/// Makes an order for the run that is under way on a table, and waits for its answer.
///
/// # Errors
/// `Order` where no attempt is running, or the role may not make orders.
pub(crate) async fn send(target: &Target, named: &TableArg, order: &NewOrder) -> Result<Made> {
    let client = connect(&Options::of(target)?, "connecting").await.map_err(at_first(target))?;
    let outcome = make(&client, target, named, order).await;
    match outcome {
        // A right that is missing, on whichever table.
        Err(Error::Refused(findings)) if findings.iter().all(|found| found.check == "rights") => {
            let problem = Error::Refused(findings).problem();
            Err(no_right(&problem, &grant(&client, &target.ledger).await))
        }
        outcome => outcome,
    }
}

async fn make(
    client: &Client,
    target: &Target,
    named: &TableArg,
    order: &NewOrder,
) -> Result<Made> {
    let ledger = Ledger::for_orders(client, &target.ledger).await?;
    let runs = ledger.all_runs(client, named.schema.as_deref(), Some(&named.table), SHOWN).await?;
    let mut under_way: Vec<RunRecord> = Vec::new();
    for run in runs.into_iter().filter(RunRecord::may_be_under_way) {
        let lock = lock_number(&TableName::new(&run.schema, &run.table));
        let sql = format!("SELECT EXISTS (SELECT {})", holders(lock));
        let held = value(client, "asking who holds the run's lock", &sql).await?;
        let known = |other: &RunRecord| other.schema == run.schema;
        if held.as_deref() == Some("t") && !under_way.iter().any(known) {
            under_way.push(run);
        }
    }
    let run = match under_way.as_slice() {
        [] => return Err(no_attempt(&named.plain())),
        [run] => run,
        several => return Err(ambiguous(several)),
    };
    let table = format!("{}.{}", run.schema, run.table);
    let id = match insert(client, &ledger, run.run, order, true).await {
        // A right on columns may leave this one out: then the server says whence it comes.
        Err(Error::Refused(_)) => insert(client, &ledger, run.run, order, false).await?,
        outcome => outcome?,
    };
    let answer = answer(client, &ledger, run.run, id).await?;
    Ok(Made { order: id, run: run.run, table, answer })
}

async fn insert(
    client: &Client,
    ledger: &Ledger,
    run: i64,
    order: &NewOrder,
    whence: bool,
) -> Result<i64> {
    let text = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| Text(text).to_string());
    let expires = order.lasts.map_or("NULL".to_owned(), |lasts| {
        format!("pg_catalog.clock_timestamp() + interval '{} milliseconds'", lasts.as_millis())
    });
    let (column, host) = match whence {
        true => (", host", format!(", {}", Text(&order.host))),
        false => ("", String::new()),
    };
    let sql = format!(
        "INSERT INTO {} (run, verb, arguments, why, expires{column}) \
         VALUES ({run}, {}, {}, {}, {expires}{host}) RETURNING id",
        ledger.orders,
        Text(order.verb.word()),
        text(Some(order.arguments.as_str()).filter(|text| !text.is_empty())),
        text(order.why.as_deref()),
    );
    number(value(client, "making the order", &sql).await?.as_deref())
}

/// The run's answer, if it comes in time.
async fn answer(client: &Client, ledger: &Ledger, run: i64, order: i64) -> Result<Option<Answer>> {
    let begun = Instant::now();
    let sql = format!(
        "SELECT answer FROM {} WHERE run = {run} AND id = {order} AND answered IS NOT NULL",
        ledger.orders
    );
    while begun.elapsed() < WAIT {
        sleep(LOOK).await;
        if let Some(text) = value(client, "waiting for the answer", &sql).await? {
            return Ok(Some(Answer::of(&text)));
        }
    }
    Ok(None)
}

/// The statements that give the role the rights to make orders.
async fn grant(client: &Client, schema: &str) -> String {
    let sql = "SELECT pg_catalog.quote_ident(current_user)";
    let role = value(client, "asking who osc is", sql).await.ok().flatten().unwrap_or_default();
    let schema = Ident::new(schema);
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}; \
         GRANT INSERT (run, verb, arguments, host, why, expires) ON {schema}.osc_order TO {role}"
    )
}
