//! Numbers that MySQL and MariaDB tell the throttle.

use std::collections::HashMap;
use std::fmt;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};

use crate::engine::error::{Error, Result};
use crate::mysql::connect::{connect, connection_error};
use crate::mysql::flavor::{Family, Flavor};
use crate::mysql::name::Text;
use crate::throttle::gauge::Gauge;

/// The server gives a statement up after so many seconds: the throttle has not waited for its
/// answer so long, and unanswered questions must not pile up.
const STATEMENT_SECONDS: u32 = 2;

/// A session that only looks, and comes back by itself after it was lost.
pub(super) struct Session {
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
    pub(super) fn new(opts: Opts) -> Self {
        Self { opts, live: None }
    }

    /// The server's family and version; connects if need be.
    pub(super) async fn flavor(&mut self, action: &str) -> Result<Flavor> {
        let (conn, flavor) = self.take(action).await?;
        self.live = Some((conn, flavor));
        Ok(flavor)
    }

    /// The rows of a query. Dropping the call drops the connection with its unread answer.
    pub(super) async fn rows(&mut self, action: &str, sql: &str) -> Result<Vec<Row>> {
        let (mut conn, flavor) = self.take(action).await?;
        let rows = conn.query(sql).await;
        if rows.as_ref().err().is_none_or(|error| !error.is_fatal()) {
            self.live = Some((conn, flavor));
        }
        rows.map_err(|error| connection_error(action, error))
    }

    async fn take(&mut self, action: &str) -> Result<(Conn, Flavor)> {
        if let Some(live) = self.live.take() {
            return Ok(live);
        }
        let mut conn = connect(&self.opts, action).await?;
        let failed = |error| connection_error(action, error);
        let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(failed)?;
        let version = version.unwrap_or_default();
        let flavor = Flavor::parse(&version).ok_or_else(|| Error::Server {
            action: action.into(),
            message: format!("the server's version {version:?} is unknown"),
            code: None,
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
pub struct Gauges {
    session: Session,
}

impl Gauges {
    /// Gauges of the server that `opts` (of [`opts`](crate::mysql::connect::opts)) name. Connects
    /// when it is first asked, and again after the connection was lost. The session is read-only.
    pub fn new(opts: Opts) -> Self {
        Self { session: Session::new(opts) }
    }
}

impl Gauge for Gauges {
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
            let wrong = |message| Error::Server { action: ACTION.into(), message, code: None };
            let value = values
                .get(&name.to_ascii_lowercase())
                .ok_or_else(|| wrong(format!("there is no status variable {name}")))?;
            value.parse().map_err(|_| wrong(format!("{name} is {value:?}, which is no number")))
        };
        names.iter().map(number).collect()
    }

    async fn number(&mut self, sql: &str) -> Result<Option<f64>> {
        const ACTION: &str = "running the query";
        let rows = self.session.rows(ACTION, sql).await?;
        let Some(value) = rows.first().and_then(|row| text(row, 0)) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| Error::Server {
            action: ACTION.into(),
            message: format!("it returns {value:?}, which is no number"),
            code: None,
        })
    }
}

/// A column of a text-protocol row; `None`: NULL or not there.
pub(super) fn text(row: &Row, column: usize) -> Option<String> {
    match row.as_ref(column)? {
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_no_password() {
        let opts = mysql_async::OptsBuilder::default().user(Some("bob")).pass(Some("s3cret"));
        assert!(!format!("{:?}", Gauges::new(opts.into())).contains("s3cret"));
    }
}
