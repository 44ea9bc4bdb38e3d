//! Reading and writing rows: transactions, results, digests.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tokio::time::Instant;

use super::put::Rewriting;
use super::statements::{Insert, Statements};
use crate::error::{AGAIN, Error, Result};
use crate::key::{Key, KeyRange, Rows};
use crate::ledger::refusals::taken_over;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::{
    ACCESS_DENIED, WriteError, connection_error, without_values, write_error,
};
use crate::mysql::connection::session::run;
use crate::mysql::connection::texts::texts;
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// How a write transaction ended; it is committed only when `Done`.
#[derive(Debug)]
pub enum Write {
    /// Committed.
    Done(Rows),
    /// A deadlock or lock wait.
    Contention,
    /// A value exists already.
    Duplicate {
        /// In this unique index.
        index: String,
        /// The server's words.
        message: String,
    },
    /// A value does not fit.
    Unfit {
        /// The server's words.
        message: String,
        /// Which row of the statement.
        row: Option<u64>,
        /// Rows that do not fit, where they are known.
        rows: Vec<String>,
    },
}

/// What a write is for.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// What osc is doing, for messages.
    pub action: &'a str,
    /// The failpoint before its commit.
    pub uncommitted: Point,
    /// A query that holds the shadow until the transaction's end, and whose first value is 0 when
    /// another attempt has taken the run over. That one takes the run over and waits for those who
    /// hold the shadow then; so either it waits for this transaction, or this one sees it.
    pub fence: &'a str,
    /// Statements that show in the log that the transaction is osc's, where that matters.
    pub signature: &'a [String],
}

/// Writes rows in one transaction. A warning counts as a failure: nothing that the server remarks upon
/// is swallowed (rule 5).
pub(crate) async fn write(
    conn: &mut Conn,
    statements: &Statements,
    rewriting: &Rewriting,
    work: Work<'_>,
) -> Result<Write> {
    let action = work.action;
    if let Some(scratch) = &rewriting.scratch {
        run(conn, action, scratch).await?;
    }
    run(conn, action, "START TRANSACTION").await?;
    let owned = conn.query_first::<(u64, Option<u64>), _>(work.fence).await;
    let outcome = match owned {
        Ok(Some((owned, _))) if owned > 0 || mutation::active(Rule::Fenced) => {
            // First: the stream must know whose the rows are that follow.
            match sign(conn, work.signature).await {
                Ok(()) => write_statements(conn, statements, rewriting, action).await,
                Err(error) => read(write_error(action, error)),
            }
        }
        Ok(_) => Err(taken_over()),
        Err(error) => read(write_error(action, error)),
    };
    match outcome {
        Ok(Write::Done(rows)) => {
            failpoint::hit(work.uncommitted)?;
            match conn.query_drop("COMMIT").await {
                Ok(()) => Ok(Write::Done(rows)),
                Err(error) => read(write_error(action, error)),
            }
        }
        Err(error) if error.is_connection() => Err(error),
        outcome => {
            run(conn, action, "ROLLBACK").await?;
            outcome
        }
    }
}

async fn sign(
    conn: &mut Conn,
    signature: &[String],
) -> std::result::Result<(), mysql_async::Error> {
    for statement in signature {
        conn.query_drop(statement).await?;
    }
    Ok(())
}

/// Runs the statements in a session that must not begin a transaction: one that holds LOCK TABLES, which
/// START TRANSACTION would release without a word. The session has `autocommit = 0`; the caller
/// commits, or ends the session.
pub(crate) async fn write_under_lock(
    conn: &mut Conn,
    statements: &Statements,
    rewriting: &Rewriting,
    action: &str,
) -> Result<Write> {
    write_statements(conn, statements, rewriting, action).await
}

async fn write_statements(
    conn: &mut Conn,
    statements: &Statements,
    rewriting: &Rewriting,
    action: &str,
) -> Result<Write> {
    for sql in &rewriting.first {
        if let Err(error) = conn.query_drop(sql).await {
            return read(write_error(action, error));
        }
    }
    let mut written = 0;
    for insert in &rewriting.inserts {
        match write_statement(conn, insert, action).await? {
            Write::Done(rows) => written += rows.0,
            outcome => return Ok(outcome),
        }
    }
    match &rewriting.proof {
        Some(proof) => proved(conn, statements, proof, written).await,
        None => Ok(Write::Done(Rows(written))),
    }
}

/// Whether the rows that were put back become those that are live again by the change that is undone: the
/// server rounds some values without a word.
async fn proved(
    conn: &mut Conn,
    statements: &Statements,
    [live, retired]: &[String; 2],
    written: u64,
) -> Result<Write> {
    let live = digests(conn, statements, live).await?;
    let retired = digests(conn, statements, retired).await?;
    let differing = difference(live, retired);
    if differing.is_empty() {
        return Ok(Write::Done(Rows(written)));
    }
    let message = "its values would be changed on the way back".to_owned();
    let rows = differing.iter().map(|key| statements.key.describe(key)).collect();
    Ok(Write::Unfit { message, row: None, rows })
}

async fn write_statement(conn: &mut Conn, insert: &Insert, action: &str) -> Result<Write> {
    // Of what the server does not tell: that a number loses its fraction, or a member its name.
    if let Some(misfits) = insert.misfits.as_ref().filter(|_| !mutation::active(Rule::LossSeen)) {
        match conn.query::<(String, String), _>(misfits).await {
            Ok(found) => {
                if let Some(message) = found.first().map(|(why, _)| why.clone()) {
                    let rows = found.into_iter().map(|(_, row)| row).collect();
                    return Ok(Write::Unfit { message, row: None, rows });
                }
            }
            Err(error) => return read(write_error(action, error)),
        }
    }
    if let Err(error) = conn.query_drop(&insert.statement).await {
        return read(write_error(action, error));
    }
    let rows = Rows(conn.affected_rows());
    let swallowed = [Rule::PlainInsert, Rule::Strict, Rule::WarningsCount].map(mutation::active);
    if conn.get_warnings() == 0 || swallowed.contains(&true) {
        return Ok(Write::Done(rows));
    }
    match remark(conn, action).await? {
        None => Ok(Write::Done(rows)),
        Some(message) => {
            let row = message.rsplit_once(" at row ").and_then(|(_, row)| row.trim().parse().ok());
            Ok(Write::Unfit { message, row, rows: Vec::new() })
        }
    }
}

/// Warnings that are about a statement's words and not about its rows: a deprecated character set
/// that a column has (`ER_WARN_DEPRECATED_SYNTAX`, `ER_WARN_DEPRECATED_SYNTAX_NO_REPLACEMENT`,
/// `ER_DEPRECATED_UTF8_ALIAS`, `ER_WARN_DEPRECATED_UTF8MB3_COLLATION`).
const OF_WORDS: [u16; 4] = [1287, 1681, 3719, 3778];

/// The first warning about the rows of the last statement, which had some warnings.
async fn remark(conn: &mut Conn, action: &str) -> Result<Option<String>> {
    let count = usize::from(conn.get_warnings());
    let warnings: Vec<(String, u16, String)> =
        conn.all("SHOW WARNINGS").await.map_err(|error| connection_error(action, error))?;
    let kept = warnings.len();
    let about_rows = warnings.into_iter().find(|(_, code, _)| !OF_WORDS.contains(code));
    Ok(match about_rows {
        Some((_, _, message)) => Some(without_values(&message)),
        None if kept < count => Some(format!("{count} warnings, of which {kept} were kept")),
        None => None,
    })
}

/// Keys that are tried at a time in the search for a row that does not fit.
const TRIED: usize = 500;

/// The first of `keys` whose row the shadow does not take. Each is tried, and nothing stays.
pub async fn first_unfit(
    conn: &mut Conn,
    statements: &Statements,
    keys: Vec<Key>,
    action: &str,
) -> Result<Option<Key>> {
    for part in keys.chunks(TRIED) {
        let mut suspects = part;
        if fits(conn, statements, suspects, action).await? {
            continue;
        }
        while suspects.len() > 1 {
            let (left, right) = suspects.split_at(suspects.len() / 2);
            suspects = if fits(conn, statements, left, action).await? { right } else { left };
        }
        return Ok(suspects.first().cloned());
    }
    Ok(None)
}

async fn fits(
    conn: &mut Conn,
    statements: &Statements,
    keys: &[Key],
    action: &str,
) -> Result<bool> {
    let rewriting = statements.rewriting(keys, false)?;
    Ok(!matches!(attempt(conn, statements, &rewriting, action).await?, Write::Unfit { .. }))
}

/// Writes rows in one transaction, and takes it back.
pub(crate) async fn attempt(
    conn: &mut Conn,
    statements: &Statements,
    rewriting: &Rewriting,
    action: &str,
) -> Result<Write> {
    if let Some(scratch) = &rewriting.scratch {
        run(conn, action, scratch).await?;
    }
    run(conn, action, "START TRANSACTION").await?;
    let outcome = write_statements(conn, statements, rewriting, action).await;
    run(conn, action, "ROLLBACK").await?;
    outcome
}

fn read(error: WriteError) -> Result<Write> {
    match error {
        WriteError::Duplicate { index, message } => Ok(Write::Duplicate { index, message }),
        WriteError::Contention => Ok(Write::Contention),
        WriteError::Unfit { message, row } => Ok(Write::Unfit { message, row, rows: Vec::new() }),
        WriteError::Other(error) => Err(error),
    }
}

/// The keys that a statement selects.
pub async fn keys(
    conn: &mut Conn,
    statements: &Statements,
    sql: &str,
    action: &str,
) -> Result<Vec<Key>> {
    let rows: Vec<Row> = conn.all(sql).await.map_err(|error| connection_error(action, error))?;
    rows.into_iter().map(|row| statements.key_of(&texts(row)?)).collect()
}

/// The digests and keys that a statement selects.
pub async fn digests(
    conn: &mut Conn,
    statements: &Statements,
    sql: &str,
) -> Result<HashMap<Key, String>> {
    let rows: Vec<Row> =
        conn.all(sql).await.map_err(|error| connection_error("comparing the tables", error))?;
    let mut found: HashMap<Key, String> = HashMap::with_capacity(rows.len());
    for row in rows {
        if matches!(row.as_ref(0), Some(Value::NULL)) {
            return Err(Error::Internal("a row has no digest".into()));
        }
        let mut texts = texts(row)?;
        let key = statements.key_of(texts.get(1..).unwrap_or_default())?;
        let digest = std::mem::take(&mut texts[0]);
        // Two rows of one key, which a longer unique key of the shadow allows: equal to no single one.
        found
            .entry(key)
            .and_modify(|first| {
                first.push_str(" and ");
                first.push_str(&digest);
            })
            .or_insert(digest);
    }
    Ok(found)
}

/// The keys whose digests differ, or that one side lacks.
pub fn difference(original: HashMap<Key, String>, mut shadow: HashMap<Key, String>) -> Vec<Key> {
    let mut differing: Vec<Key> = original
        .into_iter()
        .filter_map(|(key, digest)| (shadow.remove(&key) != Some(digest)).then_some(key))
        .collect();
    differing.extend(shadow.into_keys());
    differing.sort_unstable();
    differing
}

/// Compares a range: rows of the original, and whether both sides are equal.
pub async fn compare(
    conn: &mut Conn,
    statements: &Statements,
    range: &KeyRange,
) -> Result<(Rows, bool)> {
    let failed = |error| connection_error("comparing the tables", error);
    let sums: Option<(u64, u64, u64, u64)> =
        conn.query_first(statements.compare(range)?).await.map_err(failed)?;
    let (rows, digest, shadow_rows, shadow_digest) =
        sums.ok_or_else(|| Error::Internal("the comparison gave no row".into()))?;
    Ok((Rows(rows), rows == shadow_rows && digest == shadow_digest))
}

/// Waits until transactions that were prepared (XA) before the stream's position have ended: their
/// rows are in the stream before it, and visible only after their end.
pub async fn wait_for_prepared(conn: &mut Conn, most: Duration) -> Result<()> {
    let prepared = |rows: Vec<Row>| -> Vec<String> {
        rows.into_iter().filter_map(|row| texts(row).ok()).map(|texts| texts.join(" ")).collect()
    };
    let list = |rows: std::result::Result<Vec<Row>, mysql_async::Error>| match rows {
        Ok(rows) => Ok(prepared(rows)),
        // Without the right to see them (XA_RECOVER_ADMIN) there is no way to know.
        Err(mysql_async::Error::Server(error)) if matches!(error.code, ACCESS_DENIED | 1401) => {
            tracing::warn!("no right to run XA RECOVER: prepared transactions cannot be seen");
            Ok(Vec::new())
        }
        Err(error) => Err(connection_error("waiting for prepared transactions", error)),
    };
    if mutation::active(Rule::StartBarrier) {
        return Ok(());
    }
    let first = list(conn.all("XA RECOVER").await)?;
    let started = Instant::now();
    let mut left = first;
    while !left.is_empty() {
        if started.elapsed() > most {
            return Err(Error::Stopped {
                reason: format!("prepared XA transactions do not end: {}", left.join("; ")),
                help: format!("end them (XA RECOVER lists them), then {AGAIN}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = list(conn.all("XA RECOVER").await)?;
        left.retain(|xid| now.contains(xid));
    }
    Ok(())
}
