//! An order for a run on MySQL or MariaDB, by an account that may only make orders.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, params};
use tokio::time::{Instant, sleep};

use super::arguments::whole_name;
use crate::config::target::Target;
use crate::control::order::Answer;
use crate::error::{Error, Result};
use crate::ledger::RunId;
use crate::ledger::orders::{LOOK, Made, NewOrder, WAIT, no_attempt, no_right};
use crate::mysql::catalog::table;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::connect::first_in_none;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::name::{Text, account};
use crate::mysql::runs::ledger::Ledger;
use crate::mysql::runs::lock::lock_name;
use crate::plan::TableArg;

/// ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR.
const NO_RIGHT: [u16; 2] = [1142, 1143];

/// Makes an order for the run that is under way on a table, and waits for its answer.
///
/// # Errors
/// `Order` where no attempt is running, or the account may not make orders.
pub(crate) async fn send(target: &Target, named: &TableArg, order: &NewOrder) -> Result<Made> {
    let name = whole_name(named, target)?;
    let mut conn = first_in_none(target).await?;
    let flavor = table::flavor(&mut conn).await?;
    let ledger = match Ledger::for_orders(&mut conn, flavor, &target.ledger).await {
        Err(Error::Refused(findings)) if findings.iter().all(|found| found.check == "ledger") => {
            let problem = Error::Refused(findings).problem();
            return Err(no_right(&problem, &grant(&mut conn, &target.ledger).await));
        }
        outcome => outcome?,
    };
    let lock = format!("SELECT IS_USED_LOCK({}) IS NOT NULL", Text(&lock_name(&name)));
    let held: Option<u8> = conn
        .query_first(lock)
        .await
        .map_err(|error| connection_error("asking who holds the run's lock", error))?;
    let run = match held {
        Some(1) => ledger.unended(&mut conn, &name).await?,
        _ => None,
    };
    let run = run.ok_or_else(|| no_attempt(&name.plain()))?;
    let number = match insert(&mut conn, &ledger, run, order, true).await {
        // A right on columns may leave this one out: then the server says whence it comes.
        Err(mysql_async::Error::Server(error)) if error.code == NO_RIGHT[1] => {
            insert(&mut conn, &ledger, run, order, false).await
        }
        outcome => outcome,
    };
    let number = match number {
        Err(mysql_async::Error::Server(error)) if NO_RIGHT.contains(&error.code) => {
            return Err(no_right(&error.message, &grant(&mut conn, &target.ledger).await));
        }
        outcome => outcome.map_err(|error| connection_error("making the order", error))?,
    };
    let answer = answer(&mut conn, &ledger, number).await?;
    Ok(Made { order: number, run: run.0, table: name.plain(), answer })
}

async fn insert(
    conn: &mut Conn,
    ledger: &Ledger,
    run: RunId,
    order: &NewOrder,
    whence: bool,
) -> mysql_async::Result<i64> {
    let (column, value) = if whence { (", host", ", :host") } else { ("", "") };
    let sql = format!(
        "INSERT INTO {} (run, verb, arguments, why, expires{column}) VALUES (:run, :verb, :arguments, :why, \
         UTC_TIMESTAMP(3) + INTERVAL :lasts MICROSECOND{value})",
        ledger.orders
    );
    let lasts = order.lasts.map(|lasts| u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX));
    let arguments = Some(order.arguments.as_str()).filter(|text| !text.is_empty());
    let mut values: Vec<(String, mysql_async::Value)> = vec![
        ("run".to_owned(), run.0.into()),
        ("verb".to_owned(), order.verb.word().into()),
        ("arguments".to_owned(), arguments.into()),
        ("why".to_owned(), order.why.as_deref().into()),
        ("lasts".to_owned(), lasts.into()),
    ];
    if whence {
        values.push(("host".to_owned(), order.host.as_str().into()));
    }
    conn.exec_drop(sql, values).await?;
    Ok(conn.last_insert_id().and_then(|id| i64::try_from(id).ok()).unwrap_or_default())
}

/// The run's answer, if it comes in time.
async fn answer(conn: &mut Conn, ledger: &Ledger, order: i64) -> Result<Option<Answer>> {
    let begun = Instant::now();
    let sql = format!(
        "SELECT answer FROM {} WHERE id = :id AND answered IS NOT NULL AND answer IS NOT NULL LIMIT 1",
        ledger.orders
    );
    while begun.elapsed() < WAIT {
        sleep(LOOK).await;
        let found: Vec<String> = conn
            .all_of(sql.as_str(), params! { "id" => order })
            .await
            .map_err(|error| connection_error("waiting for the answer", error))?;
        if let Some(text) = found.first() {
            return Ok(Some(Answer::of(text)));
        }
    }
    Ok(None)
}

/// The statements that give the account the rights to make orders.
async fn grant(conn: &mut Conn, schema: &str) -> String {
    let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.ok().flatten();
    let (user, schema) =
        (account(&user.unwrap_or_default()), crate::mysql::name::Ident::new(schema));
    format!(
        "GRANT SELECT ON {schema}.* TO {user}; \
         GRANT INSERT (run, verb, arguments, host, why, expires) ON {schema}.osc_order TO {user}"
    )
}
