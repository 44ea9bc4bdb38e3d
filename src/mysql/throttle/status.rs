//! Numbers of MySQL and MariaDB for the throttle.

use std::collections::HashMap;
use std::fmt;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};

use crate::error::{Error, Result};
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::connect::connect;
use crate::mysql::connection::errors::{connection_error, is_of_the_moment};
use crate::mysql::connection::single;
use crate::mysql::connection::version::{Family, Flavor};
use crate::mysql::lexer::{Dialect, tokens};
use crate::mysql::name::Text;
use crate::throttle::probe::StatusProbe;

/// The server gives a statement up after so many seconds: the throttle has not waited for its
/// answer so long, and unanswered questions must not pile up.
const STATEMENT_SECONDS: u32 = 2;

/// A session that only looks, and comes back by itself after it was lost.
pub(crate) struct Session {
    opts: Opts,
    live: Option<(Conn, Flavor)>,
}

impl fmt::Debug for Session {
    /// Without the options, for the password is in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
        write!(f, "Session({host}:{port})")
    }
}

impl Session {
    /// A session that connects when it is first used.
    pub(crate) fn new(opts: Opts) -> Self {
        Self { opts, live: None }
    }

    /// The server's family and version; connects if need be.
    pub(crate) async fn flavor(&mut self, action: &str) -> Result<Flavor> {
        let (conn, flavor) = self.take(action).await?;
        self.live = Some((conn, flavor));
        Ok(flavor)
    }

    /// The rows of a query. Dropping the call drops the connection with its unread answer.
    pub(crate) async fn rows(&mut self, action: &str, sql: &str) -> Result<Vec<Row>> {
        let (mut conn, flavor) = self.take(action).await?;
        let rows = conn.all(sql).await;
        self.keep(conn, flavor, action, rows)
    }

    /// The rows of a text that a user wrote.
    async fn rows_of_one_statement(&mut self, action: &str, sql: &str) -> Result<Vec<Row>> {
        let (mut conn, flavor) = self.take(action).await?;
        // A function that the text calls cannot make this transaction one that writes.
        conn.query_drop("START TRANSACTION READ ONLY")
            .await
            .map_err(|error| connection_error(action, error))?;
        let rows = single::rows(&mut conn, sql).await;
        conn.query_drop("ROLLBACK").await.map_err(|error| connection_error(action, error))?;
        self.keep(conn, flavor, action, rows)
    }

    /// Keeps the connection for the next question, unless this one has broken it.
    fn keep<T>(
        &mut self,
        conn: Conn,
        flavor: Flavor,
        action: &str,
        answer: mysql_async::Result<T>,
    ) -> Result<T> {
        if answer.as_ref().err().is_none_or(|error| !error.is_fatal()) {
            self.live = Some((conn, flavor));
        }
        answer.map_err(|error| connection_error(action, error))
    }

    async fn take(&mut self, action: &str) -> Result<(Conn, Flavor)> {
        if let Some(live) = self.live.take() {
            return Ok(live);
        }
        let mut conn = connect(&self.opts, action).await?;
        let failed = |error| connection_error(action, error);
        let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(failed)?;
        let version = version.unwrap_or_default();
        let flavor = Flavor::parse(&version).ok_or_else(|| {
            Error::server(action, format!("the server's version {version:?} is unknown"))
        })?;
        let limit = match flavor.family {
            Family::Mysql => format!("max_execution_time={}", STATEMENT_SECONDS * 1000),
            Family::Mariadb => format!("max_statement_time={STATEMENT_SECONDS}"),
        };
        for sql in [format!("SET SESSION {limit}"), "SET SESSION TRANSACTION READ ONLY".into()] {
            conn.query_drop(sql).await.map_err(failed)?;
        }
        Ok((conn, flavor))
    }
}

/// Status variables and queries, over one session.
#[derive(Debug)]
pub struct ServerStatus {
    session: Session,
}

impl ServerStatus {
    /// ServerStatus of the server that `opts` (of [`opts`](crate::mysql::connection::connect::opts)) name. Connects
    /// at the first look, and again after the connection was lost. The session is read-only.
    pub fn new(opts: Opts) -> Self {
        Self { session: Session::new(opts) }
    }
}

impl StatusProbe for ServerStatus {
    async fn status(&mut self, names: &[&str]) -> Result<Vec<f64>> {
        const ACTION: &str = "reading the server's status";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<String> = names.iter().map(|name| Text(name).to_string()).collect();
        let sql = format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({})", list.join(", "));
        let values: HashMap<String, String> = self
            .session
            .rows(ACTION, &sql)
            .await?
            .iter()
            .filter_map(|row| Some((text(row, 0)?.to_ascii_lowercase(), text(row, 1)?)))
            .collect();
        let number = |name: &&str| {
            let wrong = |message: String| Error::server(ACTION, message);
            let value = values
                .get(&name.to_ascii_lowercase())
                .ok_or_else(|| wrong(format!("there is no status variable {name}")))?;
            value.parse().map_err(|_| wrong(format!("{name} is {value:?}, which is no number")))
        };
        names.iter().map(number).collect()
    }

    async fn number(&mut self, sql: &str) -> Result<Option<f64>> {
        const ACTION: &str = "running the query";
        let rows = self.session.rows_of_one_statement(ACTION, sql).await?;
        let Some(value) = rows.first().and_then(|row| row.as_ref(0)).and_then(shown) else {
            return Ok(None);
        };
        let number = value.trim().parse().ok().filter(|number: &f64| !number.is_nan());
        number.map(Some).ok_or_else(|| wrong(format!("it returns {value:?}, which is no number")))
    }

    async fn first_number(&mut self, sql: &str) -> Result<Option<f64>> {
        let flavor = self.session.flavor("running the query").await?;
        let tokens = tokens(sql, Dialect::of(flavor)).map_err(Error::from)?;
        // A session that only reads may lock rows all the same, and write a file.
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1);
            let locks = token.is("FOR") && next.is_some_and(|t| t.is("UPDATE") || t.is("SHARE"))
                || token.is("LOCK") && next.is_some_and(|t| t.is("IN"));
            if locks || token.is("INTO") {
                return Err(wrong(format!("it does more than read: {}", token.text)));
            }
        }
        self.number(sql).await
    }

    fn passes(&self, error: &Error) -> bool {
        error.mysql_code().is_some_and(is_of_the_moment)
    }

    const NAMES: &str = "SHOW GLOBAL STATUS lists the names; take one whose value is a number";
}

fn wrong(message: String) -> Error {
    Error::server("running the query", message)
}

/// A column of a text-protocol row; `None`: NULL or not there.
pub(crate) fn text(row: &Row, column: usize) -> Option<String> {
    match row.as_ref(column)? {
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// A value as the server would write it; `None`: NULL.
fn shown(value: &mysql_async::Value) -> Option<String> {
    use mysql_async::Value;
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(n) => Some(n.to_string()),
        Value::UInt(n) => Some(n.to_string()),
        Value::Float(n) => Some(n.to_string()),
        Value::Double(n) => Some(n.to_string()),
        Value::Date(..) | Value::Time(..) => Some(value.as_sql(true)),
        Value::NULL => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_no_password() {
        let opts = mysql_async::OptsBuilder::default().user(Some("bob")).pass(Some("s3cret"));
        assert!(!format!("{:?}", ServerStatus::new(opts.into())).contains("s3cret"));
    }
}
