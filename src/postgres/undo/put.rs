//! Putting rows into the retired table, by a session that its guard lets through.

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::engine::backend::CopyOutcome;
use crate::error::{Error, Result};
use crate::key::{Key, Rows};
use crate::postgres::connection::session::run;
use crate::postgres::copy::rows::{self, Write};
use crate::postgres::copy::statements::Scope;
use crate::postgres::name::{Ident, Text};
use crate::postgres::run::PostgresTable;
use crate::postgres::run::held::For;
use crate::postgres::trust::own_schema::TOKEN;
use crate::testing::mutation::{self, Rule};

const ACTION: &str = "putting rows back";

/// The statement after which the guard lets the transaction through.
fn let_through(table: &PostgresTable) -> String {
    format!("SET LOCAL {TOKEN} = {}", Text(table.token.as_str()))
}

/// How the statement ended, before anything is committed.
enum Put {
    Written,
    /// A row cannot go back.
    Misfit(String, Vec<SimpleQueryRow>),
    /// The outcome of a write, for whoever looks into clashes.
    Other(Write),
}

/// Runs the statement in a transaction that has begun.
async fn statement(table: &PostgresTable, client: &Client, keys: &[Key]) -> Result<Put> {
    let statements = &table.ready()?.statements;
    let sql = statements.put(Scope::Keys(keys))?;
    let answers = match client.simple_query(&sql).await {
        Ok(answers) => answers,
        Err(error) => {
            if let Some(needed) = error.as_db_error().and_then(|db| needs_fill(table, db)) {
                return Ok(Put::Misfit(needed, Vec::new()));
            }
            return Ok(match rows::outcome(ACTION, &table.shadow_tables()?, &error)? {
                Write::Unfit(reason) => Put::Misfit(reason, Vec::new()),
                other => Put::Other(other),
            });
        }
    };
    let unequal: Vec<SimpleQueryRow> = answers
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect();
    if unequal.is_empty() || mutation::active(Rule::PutCompared) {
        return Ok(Put::Written);
    }
    let names: Vec<&str> = statements.lens()?.converted().map(Ident::as_str).collect();
    let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
    Ok(Put::Misfit(format!("a value{of} would not be the same after its way back"), unequal))
}

/// What a row needs that the retired table does not have: a value for a column that the change dropped.
fn needs_fill(table: &PostgresTable, db: &DbError) -> Option<String> {
    let column = Ident::new(db.column().filter(|_| db.code().code() == "23502")?);
    let lens = table.ready().ok()?.statements.lens().ok()?;
    let name = column.as_str();
    lens.defaults(&column)
        .then(|| format!("the retired table needs a value of {name}: --fill {name}=EXPR"))
}

fn described(table: &PostgresTable, found: &[SimpleQueryRow]) -> Result<Vec<String>> {
    let key = &table.ready()?.statements.key;
    rows::keys(key, found).map(|keys| keys.iter().map(|one| key.describe(one)).collect())
}

/// Puts the rows of these keys, in one transaction.
///
/// # Errors
/// `Data` where a row cannot go back; the server's.
pub(crate) async fn put(table: &PostgresTable, keys: &[Key]) -> Result<CopyOutcome> {
    transaction(table, keys, "", "COMMIT").await
}

/// The same, taken back at once. The guard lets through who has an unfinished undo in the ledger: this
/// transaction has one, which no other session ever sees.
///
/// # Errors
/// Those of [`put`].
pub(crate) async fn try_to_put(table: &PostgresTable, keys: &[Key]) -> Result<CopyOutcome> {
    let (original, record) = (&table.setting.original.name, table.record()?);
    let begun = table.ledger.as_if_begun(original, &table.token, &record.text()?);
    transaction(table, keys, &format!("{begun}; "), "ROLLBACK").await
}

/// Puts rows in a transaction that goes on with `first`, a statement with its semicolon, and ends with `last`.
async fn transaction(
    table: &PostgresTable,
    keys: &[Key],
    first: &str,
    last: &str,
) -> Result<CopyOutcome> {
    without_inverse(table, keys).await?;
    let statements = &table.ready()?.statements;
    let client = table.sessions.take(ACTION).await?;
    let first = format!(
        "BEGIN; {}; {}; {first}{}; {}SELECT 1",
        statements.in_order(),
        table.held(For::Writing)?,
        let_through(table),
        table.role().for_values()
    );
    let shadow = table.shadow_tables()?;
    let begun = rows::write(&client, &shadow, &[first], ACTION).await?;
    let put = match begun {
        Write::Done(_) => statement(table, &client, keys).await?,
        other => Put::Other(other),
    };
    let outcome = match put {
        Put::Written => rows::write(&client, &shadow, &[last.to_owned()], ACTION).await?,
        Put::Misfit(reason, found) => {
            run(&client, ACTION, "ROLLBACK").await?;
            table.sessions.give_back(client);
            return Err(Error::Data { reason, rows: described(table, &found)? });
        }
        Put::Other(write) => {
            // Where the server has taken it back already, that is a warning only.
            if !client.is_closed() {
                let _ = client.batch_execute("ROLLBACK").await;
            }
            write
        }
    };
    table.sessions.give_back(client);
    match outcome {
        Write::Done(_) => Ok(CopyOutcome::Written(Rows(keys.len() as u64))),
        Write::Unfit(reason) => Err(Error::Data { reason, rows: Vec::new() }),
        other => table.outcome(other, Scope::Keys(keys), ACTION).await,
    }
}

/// Fails for rows that nothing turns back.
async fn without_inverse(table: &PostgresTable, keys: &[Key]) -> Result<()> {
    let statements = &table.ready()?.statements;
    let Some(sql) = statements.without_inverse(Scope::Keys(keys))? else { return Ok(()) };
    let found = table.converting(ACTION, &sql).await?;
    if found.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = statements
        .lens()?
        .without_inverse()
        .map(|name| format!("--inverse {}=EXPR", name.0))
        .collect();
    let reason = format!("nothing is known to convert the row back; it needs {}", names.join(" "));
    Err(Error::Data { reason, rows: described(table, &found)? })
}

/// Puts the rows of these keys by the session that holds the cut-over's lock: all at once, so that unique
/// values may move between any of them.
///
/// # Errors
/// `Data` where a row cannot go back; `Stopped` where a lock was not granted; the server's.
pub(crate) async fn put_under_lock(
    table: &PostgresTable,
    holder: &Client,
    keys: &[Key],
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    run(holder, ACTION, &let_through(table)).await?;
    match statement(table, holder, keys).await? {
        Put::Written => Ok(()),
        Put::Misfit(reason, found) => {
            Err(Error::Data { reason, rows: described(table, &found).unwrap_or_default() })
        }
        Put::Other(Write::Clash { message, .. }) => {
            Err(Error::Data { reason: message, rows: Vec::new() })
        }
        Put::Other(_) => Err(crate::engine::under_lock::lock_wait()),
    }
}
