//! The orders of a run on PostgreSQL, and its samples: `osc_order` and `osc_sample`.
//!
//! What others wrote there is data: it is read cut to a length, parsed by the control floor, and no part of it is
//! rendered into a statement.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryRow};

use super::ledger::Ledger;
use crate::control::Author;
use crate::control::order::{Answer, MOST_ARGUMENTS, Written};
use crate::engine::orders::Book;
use crate::error::{Error, Result};
use crate::ledger::{FencingToken, MOST_ORDERS, RunId, SAMPLES_DAYS, SAMPLES_SECONDS};
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::session::{plain, rows, run, value};
use crate::postgres::name::Text;

const READING: &str = "reading the run's orders";
const ANSWERING: &str = "answering an order";
const KEEPING: &str = "storing the run's figures";

/// The server's time to the microsecond, in a form that it reads back as it was.
const NOW: &str = "SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', \
                   'YYYY-MM-DD HH24:MI:SS.US+00')";

/// One attempt's orders and samples.
pub(crate) struct Orders {
    options: Options,
    ledger: Ledger,
    run: RunId,
    token: FencingToken,
    /// Taken by whoever uses it: a call that was cut off leaves it in the middle of something.
    client: Option<Client>,
    /// The server's time when this attempt began.
    begun: String,
    /// What was there before is answered.
    is_open: bool,
    /// The last sample's time.
    row: Option<String>,
}

impl Orders {
    /// Those of an attempt that has the run, since `begun` by the server's clock.
    pub(crate) fn new(
        options: Options,
        ledger: Ledger,
        run: RunId,
        token: FencingToken,
        begun: String,
    ) -> Self {
        Self { options, ledger, run, token, client: None, begun, is_open: false, row: None }
    }

    async fn client(&mut self) -> Result<Client> {
        match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => {
                let client = plain(&self.options, READING).await?;
                // A synchronous replica that does not answer must not keep orders from taking effect.
                run(&client, READING, "SET synchronous_commit = local").await?;
                Ok(client)
            }
        }
    }

    /// Nothing is written for a run that another attempt has.
    fn ours(&self) -> String {
        format!(
            "EXISTS (SELECT FROM {} WHERE {} AND owner = {})",
            self.ledger.runs,
            self.ledger.row(self.run),
            Text(self.token.as_str())
        )
    }

    /// The orders that are for this run of this server.
    fn unanswered_here(&self) -> String {
        format!(
            "run = {} AND answered IS NULL AND coalesce(server, {server}) = {server} AND {}",
            self.run.0,
            self.ours(),
            server = Text(&self.ledger.server())
        )
    }

    /// What an answer sets.
    fn answered(&self, answer: &str) -> String {
        format!(
            "answer = {}, answered = pg_catalog.clock_timestamp(), server = {}",
            Text(answer),
            Text(&self.ledger.server())
        )
    }

    /// Answers what was there before, and forgets old samples.
    async fn open(&self, client: &Client) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET {} WHERE {} AND made < {}::pg_catalog.timestamptz; \
             DELETE FROM {} WHERE at < pg_catalog.clock_timestamp() - interval '{SAMPLES_DAYS} days'",
            self.ledger.orders,
            self.answered(&Answer::early().to_string()),
            self.unanswered_here(),
            Text(&self.begun),
            self.ledger.samples
        );
        run(client, READING, &sql).await
    }

    async fn read(&self, client: &Client) -> Result<Vec<Written>> {
        let sql = format!(
            "SELECT id, \"left\"(verb, 100), \"left\"(arguments, {}), \"left\"(who, 100), \"left\"(host, 100), \
             \"left\"(why, 201), \
             pg_catalog.to_char(made AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), \
             CASE WHEN expires = '-infinity' THEN 0 WHEN isfinite(expires) THEN \
             (extract(epoch FROM expires - pg_catalog.clock_timestamp()) * 1000)::bigint END, \
             made < {}::pg_catalog.timestamptz FROM {} WHERE {} ORDER BY id LIMIT {MOST_ORDERS}",
            MOST_ARGUMENTS + 1,
            Text(&self.begun),
            self.ledger.orders,
            self.unanswered_here()
        );
        rows(client, READING, &sql).await?.iter().map(written).collect()
    }
}

/// The server's time, to the microsecond.
pub(crate) async fn now(client: &Client) -> Result<String> {
    let now = value(client, "asking for the server's time", NOW).await?;
    now.ok_or_else(|| Error::Internal("the server has no time".into()))
}

fn written(row: &SimpleQueryRow) -> Result<Written> {
    let odd = |_| Error::server(READING, "an order has text in an encoding of its own");
    let text = |at: usize| Ok::<_, Error>(row.try_get(at).map_err(odd)?.unwrap_or_default());
    let number = |at: usize| text(at)?.parse::<i64>().map_err(|_| Error::Internal(READING.into()));
    let millis = match text(7)? {
        "" => None,
        _ => Some(Duration::from_millis(u64::try_from(number(7)?).unwrap_or(0))),
    };
    Ok(Written {
        author: Author {
            order: number(0)?,
            who: text(3)?.to_owned(),
            host: text(4)?.to_owned(),
            made: text(6)?.to_owned(),
        },
        verb: text(1)?.to_owned(),
        arguments: text(2)?.to_owned(),
        why: text(5)?.to_owned(),
        lasts: millis,
        early: text(8)? == "t",
    })
}

impl Book for Orders {
    async fn unanswered(&mut self) -> Result<Vec<Written>> {
        let client = self.client().await?;
        if !self.is_open {
            self.open(&client).await?;
            self.is_open = true;
        }
        let orders = self.read(&client).await?;
        self.client = Some(client);
        Ok(orders)
    }

    async fn answer(&mut self, order: i64, answer: &str) -> Result<()> {
        let client = self.client().await?;
        let sql = format!(
            "UPDATE {} SET {} WHERE id = {order} AND {}",
            self.ledger.orders,
            self.answered(answer),
            self.unanswered_here()
        );
        run(&client, ANSWERING, &sql).await?;
        self.client = Some(client);
        Ok(())
    }

    async fn keep(&mut self, series: &str, picture: &str, new: bool) -> Result<()> {
        let client = self.client().await?;
        let (samples, ours) = (&self.ledger.samples, self.ours());
        let key = format!("server = {} AND run = {}", Text(&self.ledger.server()), self.run.0);
        let (series, picture) = (Text(series), Text(picture));
        if let Some(at) = self.row.as_ref().filter(|_| !new) {
            let sql = format!(
                "UPDATE {samples} SET series = {series}, picture = {picture} \
                 WHERE {key} AND at = {} AND {ours}",
                Text(at)
            );
            run(&client, KEEPING, &sql).await?;
        } else {
            let at = now(&client).await?;
            let before = match &self.row {
                Some(before) => format!("at = {}", Text(before)),
                None => "picture IS NOT NULL".into(),
            };
            // Only the last row needs the picture; and a long run does not fill the disk.
            let sql = format!(
                "UPDATE {samples} SET picture = NULL WHERE {key} AND {before}; \
                 DELETE FROM {samples} WHERE {key} \
                 AND at < {now}::pg_catalog.timestamptz - interval '{SAMPLES_SECONDS} seconds'; \
                 INSERT INTO {samples} (server, run, at, series, picture) \
                 SELECT {}, {}, {now}::pg_catalog.timestamptz, {series}, {picture} WHERE {ours}",
                Text(&self.ledger.server()),
                self.run.0,
                now = Text(&at)
            );
            run(&client, KEEPING, &sql).await?;
            self.row = Some(at);
        }
        self.client = Some(client);
        Ok(())
    }
}
