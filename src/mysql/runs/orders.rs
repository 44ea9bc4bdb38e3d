//! The orders of a run on MySQL and MariaDB, and its samples: `osc_order` and `osc_sample`.
//!
//! What others wrote there is data: it is read cut to a length, parsed by the control floor, and no part of it is
//! rendered into a statement.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, params};

use super::ledger::Ledger;
use crate::control::Author;
use crate::control::order::{Answer, MOST_ARGUMENTS, Written};
use crate::engine::orders::Book;
use crate::error::{Error, Result};
use crate::ledger::{FencingToken, MOST_ORDERS, RunId, SAMPLES_DAYS, SAMPLES_SECONDS};
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::session::Sessions;

const READING: &str = "reading the run's orders";
const ANSWERING: &str = "answering an order";
const KEEPING: &str = "storing the run's figures";

/// One attempt's orders and samples.
pub(crate) struct Orders {
    opts: Opts,
    ledger: Ledger,
    run: RunId,
    token: FencingToken,
    /// Taken by whoever uses it: a call that was cut off leaves it in the middle of something.
    conn: Option<Conn>,
    /// The server's time when this attempt began.
    begun: String,
    /// What was there before is answered.
    is_open: bool,
    /// The last sample's time.
    row: Option<String>,
}

type Row = (i64, String, Option<String>, String, String, Option<String>, String, Option<i64>, u8);

impl Orders {
    /// Those of an attempt that has the run, since `begun` by the server's clock.
    pub(crate) fn new(
        opts: Opts,
        ledger: Ledger,
        run: RunId,
        token: FencingToken,
        begun: String,
    ) -> Self {
        Self { opts, ledger, run, token, conn: None, begun, is_open: false, row: None }
    }

    async fn conn(&mut self) -> Result<Conn> {
        match self.conn.take() {
            Some(conn) => Ok(conn),
            None => Sessions::ddl(&self.opts, READING).await,
        }
    }

    /// Whether this attempt has the run: nothing is written for one that another has. Asked by itself: within an
    /// UPDATE the question would lock the run's row, which checkpoints wait for.
    async fn is_ours(&self, conn: &mut Conn) -> Result<bool> {
        let sql = self.ledger.owned(self.run, &self.token);
        let owned: Option<u64> =
            conn.query_first(sql).await.map_err(|error| connection_error(READING, error))?;
        Ok(owned == Some(1))
    }

    /// Answers what was there before, and forgets old samples.
    async fn open(&self, conn: &mut Conn) -> Result<()> {
        let failed = |error| connection_error(READING, error);
        let early = format!(
            "UPDATE {} SET answer = :answer, answered = UTC_TIMESTAMP(3), server = :server \
             WHERE run = :run AND answered IS NULL AND (server IS NULL OR server = :server) \
             AND made < :begun",
            self.ledger.orders
        );
        let values = params! {
            "answer" => Answer::early().to_string(), "server" => self.ledger.server(),
            "run" => self.run.0, "begun" => self.begun.as_str(),
        };
        conn.exec_drop(early, values).await.map_err(failed)?;
        let old = format!(
            "DELETE FROM {} WHERE at < UTC_TIMESTAMP(3) - INTERVAL {SAMPLES_DAYS} DAY",
            self.ledger.samples
        );
        conn.query_drop(old).await.map_err(failed)
    }

    async fn read(&self, conn: &mut Conn) -> Result<Vec<Written>> {
        let sql = format!(
            "SELECT id, verb, LEFT(arguments, {}), LEFT(who, 100), LEFT(host, 100), LEFT(why, 201), \
             LEFT(CAST(made AS CHAR), 23), TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(3), expires), made < :begun \
             FROM {} WHERE run = :run AND answered IS NULL AND (server IS NULL OR server = :server) \
             ORDER BY id LIMIT {MOST_ORDERS}",
            MOST_ARGUMENTS + 1,
            self.ledger.orders
        );
        let values = params! {
            "begun" => self.begun.as_str(), "run" => self.run.0, "server" => self.ledger.server(),
        };
        let rows: Vec<Row> =
            conn.all_of(sql, values).await.map_err(|error| connection_error(READING, error))?;
        Ok(rows.into_iter().map(written).collect())
    }
}

/// The server's time, to the microsecond.
pub(crate) async fn now(conn: &mut Conn) -> Result<String> {
    let now: Option<String> = conn
        .query_first("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)")
        .await
        .map_err(|error| connection_error("asking for the server's time", error))?;
    now.ok_or_else(|| Error::Internal("the server has no time".into()))
}

fn written(row: Row) -> Written {
    let (order, verb, arguments, who, host, why, made, lasts, early) = row;
    let lasts = lasts.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    Written {
        author: Author { order, who, host, made },
        verb,
        arguments: arguments.unwrap_or_default(),
        why: why.unwrap_or_default(),
        lasts,
        early: early == 1,
    }
}

impl Book for Orders {
    async fn unanswered(&mut self) -> Result<Vec<Written>> {
        let mut conn = self.conn().await?;
        let mut orders = Vec::new();
        if self.is_ours(&mut conn).await? {
            if !self.is_open {
                self.open(&mut conn).await?;
                self.is_open = true;
            }
            orders = self.read(&mut conn).await?;
        }
        self.conn = Some(conn);
        Ok(orders)
    }

    async fn answer(&mut self, order: i64, answer: &str) -> Result<()> {
        let mut conn = self.conn().await?;
        let sql = format!(
            "UPDATE {} SET answer = :answer, answered = UTC_TIMESTAMP(3), server = :server \
             WHERE id = :id AND run = :run AND answered IS NULL",
            self.ledger.orders
        );
        let values = params! {
            "answer" => answer, "server" => self.ledger.server(), "id" => order, "run" => self.run.0,
        };
        if self.is_ours(&mut conn).await? {
            conn.exec_drop(sql, values)
                .await
                .map_err(|error| connection_error(ANSWERING, error))?;
        }
        self.conn = Some(conn);
        Ok(())
    }

    async fn keep(&mut self, series: &str, picture: &str, new: bool) -> Result<()> {
        let failed = |error| connection_error(KEEPING, error);
        let mut conn = self.conn().await?;
        if !self.is_ours(&mut conn).await? {
            self.conn = Some(conn);
            return Ok(());
        }
        let samples = &self.ledger.samples;
        let last = self.row.clone().filter(|_| !new);
        let (sql, at) = match &last {
            Some(at) => {
                let sql = format!(
                    "UPDATE {samples} SET series = :series, picture = :picture \
                     WHERE server = :server AND run = :run AND at = :at"
                );
                (sql, at.clone())
            }
            None => {
                let now = "SELECT CAST(UTC_TIMESTAMP(3) AS CHAR)";
                let now: Option<String> = conn.query_first(now).await.map_err(failed)?;
                let sql = format!(
                    "INSERT INTO {samples} (server, run, at, series, picture) \
                     VALUES (:server, :run, :at, :series, :picture)"
                );
                (sql, now.ok_or_else(|| Error::Internal("the server has no time".into()))?)
            }
        };
        let values = params! {
            "series" => series, "picture" => picture, "server" => self.ledger.server(),
            "run" => self.run.0, "at" => at.as_str(),
        };
        conn.exec_drop(sql, values).await.map_err(failed)?;
        if last.is_none() {
            // Only the last row needs the picture; and a long run does not fill the disk.
            let before = match &self.row {
                Some(_) => "at = :before",
                None => "at < :at AND :before IS NULL AND picture IS NOT NULL",
            };
            for sql in [
                format!(
                    "UPDATE {samples} SET picture = NULL WHERE server = :server AND run = :run AND {before}"
                ),
                format!(
                    "DELETE FROM {samples} WHERE server = :server AND run = :run \
                     AND at < :at - INTERVAL {SAMPLES_SECONDS} SECOND"
                ),
            ] {
                let values = params! {
                    "server" => self.ledger.server(), "run" => self.run.0, "at" => at.as_str(),
                    "before" => self.row.as_deref(),
                };
                conn.exec_drop(sql, values).await.map_err(failed)?;
            }
            self.row = Some(at);
        }
        self.conn = Some(conn);
        Ok(())
    }
}
