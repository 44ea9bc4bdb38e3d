//! Whose a table and its run are: the lock that one osc holds, and the dead run that it goes on with.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::ledger::Ledger;
use super::record::{Proof, Record, prove};
use crate::engine::backend::Resumable;
use crate::engine::{Error, Result};
use crate::fnv::fnv1a;
use crate::ledger::{
    End, NewRun, RunId, RunRecord, altered_meanwhile, lock_lost, locked_by, other_clauses,
    other_run, related_run,
};
use crate::postgres::catalog::name::{TableName, Text};
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::same::same;
use crate::postgres::clauses::{ActionKind, Clauses, Constraint};
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::copy::shadow;
use crate::postgres::run::PostgresTable;
use crate::postgres::stream;
use crate::testing::failpoint;
use crate::testing::failpoint::Point;

/// How often the run's lock is looked at.
const CLAIM_PERIOD: Duration = Duration::from_secs(2);

/// The advisory lock of a table: "osc" in the upper half, the name in the lower.
pub(crate) fn lock_number(table: &TableName) -> i64 {
    0x006f_7363_i64 << 32 | i64::from(fnv1a(table.plain().as_bytes()))
}

/// The tables that foreign keys join with `original`, those that the clauses add included. A run on one of
/// them changes these keys: two runs side by side would each find its tables altered by the other.
pub(crate) async fn related(
    client: &Client,
    change: &Change,
    original: &TableName,
) -> Result<Vec<TableName>> {
    let own = format!("to_regclass({})", Text(&original.to_string()));
    let mut others = vec![format!(
        "SELECT CASE WHEN k.conrelid = {own} THEN k.confrelid ELSE k.conrelid END AS oid \
         FROM pg_constraint k WHERE k.contype = 'f' AND {own} IN (k.conrelid, k.confrelid)"
    )];
    let added = change.clauses().into_iter().flat_map(Clauses::foreign_keys);
    others.extend(added.filter_map(|action| match &action.kind {
        ActionKind::AddConstraint(Constraint { parent: Some(parent), .. }) => {
            Some(format!("SELECT to_regclass({})::oid", Text(parent.as_str())))
        }
        _ => None,
    }));
    let sql = format!(
        "SELECT DISTINCT n.nspname, c.relname FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN ({}) AND c.oid <> {own}",
        others.join(" UNION ")
    );
    let found = rows(client, "looking for related tables", &sql).await?;
    Ok(found.iter().filter_map(|row| Some(TableName::new(row.get(0)?, row.get(1)?))).collect())
}

/// The locks of a run: its table's, and one for each pair of tables that a foreign key joins, so that of
/// two runs on such a pair one has it. In an order that all runs share, so that one always gets all.
fn lock_numbers<'a>(
    table: &TableName,
    related: &'a [TableName],
) -> Vec<(i64, Option<&'a TableName>)> {
    let pair = |other: &TableName| {
        let mut names = [table.plain(), other.plain()];
        names.sort();
        0x0066_6b6f_i64 << 32 | i64::from(fnv1a(names.join("|").as_bytes()))
    };
    let mut pairs: Vec<_> = related.iter().map(|other| (pair(other), Some(other))).collect();
    pairs.sort_by_key(|(number, _)| *number);
    std::iter::once((lock_number(table), None)).chain(pairs).collect()
}

/// The refusal where another session has the lock `number`, which every login can take: with who it is,
/// as far as the server shows it.
pub(crate) async fn taken(
    client: &Client,
    number: i64,
    table: &TableName,
    by: Option<&TableName>,
) -> Error {
    if let Some(other) = by {
        return related_run(&table.plain(), &other.plain());
    }
    let sql = format!(
        "SELECT l.pid, pg_catalog.quote_ident(a.usename), a.application_name {} LIMIT 1",
        holders(number)
    );
    let found = match rows(client, "looking for who has the lock", &sql).await {
        Ok(found) => found,
        Err(error) => return error,
    };
    let Some(row) = found.first() else { return other_run(&table.plain()) };
    let text = |at, none: &'static str| {
        row.get(at).filter(|text| !text.is_empty()).unwrap_or(none).to_owned()
    };
    let pid = text(0, "0");
    let holder = format!(
        "pid {pid}, role {}, application {:?}",
        text(1, "not shown to osc's role"),
        text(2, "")
    );
    locked_by(&table.plain(), &holder, &format!("SELECT pg_terminate_backend({pid})"))
}

/// The sessions that have an advisory lock, as the server splits its number; 1: it is one and not two.
fn holders(number: i64) -> String {
    format!(
        "FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         AND l.classid::bigint = {} AND l.objid::bigint = {} AND l.objsubid = 1",
        number >> 32,
        number & 0xffff_ffff
    )
}

/// Takes a run's locks, each within `patience`.
pub(crate) async fn take(
    client: &Client,
    table: &TableName,
    related: &[TableName],
    patience: Duration,
) -> Result<()> {
    let begun = Instant::now();
    for (number, other) in lock_numbers(table, related) {
        let sql = format!("SELECT pg_try_advisory_lock({number})");
        while value(client, "claiming the table", &sql).await?.as_deref() != Some("t") {
            if begun.elapsed() >= patience {
                return Err(taken(client, number, table, other).await);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// Fails where another run has one of these locks.
pub(crate) async fn look(client: &Client, table: &TableName, related: &[TableName]) -> Result<()> {
    for (number, other) in lock_numbers(table, related) {
        let sql = format!("SELECT EXISTS (SELECT {})", holders(number));
        if value(client, "looking for other runs", &sql).await?.as_deref() == Some("t") {
            return Err(taken(client, number, table, other).await);
        }
    }
    Ok(())
}

impl PostgresTable {
    /// Takes the table's lock, and takes over its unfinished run or begins one.
    pub(crate) async fn claim_run(&self) -> Result<Option<Resumable>> {
        *self.claim.lock().await = Some(self.take_lock(Duration::ZERO).await?);
        failpoint::at(Point::Locked)?;
        let client = self.sessions.plain("reading the ledger").await?;
        self.ledger.create(&client).await?;
        // What was opened before may have been without the table.
        let ledger = Ledger::open(&client, self.ledger.schema.as_str()).await?;
        let original = &self.setting.original.name;
        let earlier = ledger.runs(&client, original, 1).await?.into_iter().next();
        let Some(earlier) = earlier.filter(RunRecord::is_unfinished) else {
            self.begin(&client).await?;
            return Ok(None);
        };
        if !same(&earlier.clauses, &self.setting.change.text) {
            return Err(other_clauses(&earlier));
        }
        let id = RunId(earlier.run);
        let record = Record::of(&earlier)?.filter(|_| earlier.state.is_some());
        let proof = match &record {
            Some(record) => prove(&client, &ledger, &self.setting.original, record).await?,
            None => Proof::Nothing,
        };
        let Some(record) = record.filter(|_| proof != Proof::Nothing) else {
            self.forget(&client, &earlier).await?;
            self.begin(&client).await?;
            return Ok(None);
        };
        self.ledger.take_over(&client, id, &self.owner).await?;
        let _ = self.run.set(id);
        if proof == Proof::Whole {
            // From here on an error ends the run, and its copy must outlive what can be tried again.
            let altered = |error| altered_meanwhile(error, &original.plain(), earlier.run);
            let _ = self.record.set(record);
            shadow::wait_for_the_dead(&client, &self.helpers.shadow).await.map_err(altered)?;
            let _ = self.carried.set(self.derive(&client).await.map_err(altered)?);
            self.get_ready(&client).await.map_err(altered)?;
        } else {
            let _ = self.record.set(record);
        }
        let swapped = proof == Proof::Swapped;
        Ok(Some(Resumable { state: earlier.state.unwrap_or_default(), swapped }))
    }

    /// Ends a dead run that nothing can be made of.
    async fn forget(&self, client: &Client, dead: &RunRecord) -> Result<()> {
        let database = self.setting.options.target.database();
        for names in stream::left(client, dead.run, database, &self.ledger.schema).await? {
            stream::drop_all(client, &names).await?;
        }
        let why = match dead.carried {
            None => "died before its first checkpoint",
            Some(_) => "its shadow is not there, or not as the run left it",
        };
        self.ledger.end(client, RunId(dead.run), None, &End::failed(why)).await.map(drop)
    }

    /// Looks whether the session with the lock is there, and takes it again where it was lost.
    pub(crate) async fn hold_run(&self) -> Result<()> {
        {
            let mut seen = self.claim_seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_some_and(|seen| seen.elapsed() < CLAIM_PERIOD) {
                return Ok(());
            }
            *seen = Some(Instant::now());
        }
        let mut claim = self.claim.lock().await;
        if let Some(client) = claim.as_ref()
            && !client.is_closed()
            && run(client, "holding the claim", "SELECT 1").await.is_ok()
        {
            return Ok(());
        }
        // Closed first: the server may still hold the lock for it.
        *claim = None;
        *claim = Some(self.take_lock(Duration::from_secs(10)).await.map_err(lock_lost)?);
        Ok(())
    }

    async fn take_lock(&self, patience: Duration) -> Result<Client> {
        let client = self.sessions.plain("claiming the table").await?;
        let name = &self.setting.original.name;
        let related = related(&client, &self.setting.change, name).await?;
        take(&client, name, &related, patience).await?;
        Ok(client)
    }

    async fn begin(&self, client: &Client) -> Result<()> {
        let new = NewRun {
            schema: self.setting.original.name.schema.as_str(),
            table: self.setting.original.name.table.as_str(),
            clauses: &self.setting.change.text,
            road: "copy",
            verify: self.setting.verify,
            owner: &self.owner,
        };
        let _ = self.run.set(self.ledger.begin(client, &new).await?);
        Ok(())
    }
}
