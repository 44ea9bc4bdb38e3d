//! Taking the retired table for a shadow: it is proved, recorded and watched, and nothing of it is changed.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::casts::casts;
use super::findings::findings;
use super::{Retired, Undo, verdict};
use crate::engine::undo::Direction;
use crate::error::{Error, Result};
use crate::postgres::catalog::table::Table;
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::columns::Columns;
use crate::postgres::connection::session::run;
use crate::postgres::copy::fingerprint;
use crate::postgres::copy::lens::{Given, lens};
use crate::postgres::copy::projection::{Projection, project};
use crate::postgres::copy::shadow::{Carried, Made};
use crate::postgres::copy::statements::Statements;
use crate::postgres::dependents::{Dependents, ForeignKey};
use crate::postgres::methods;
use crate::postgres::name::{Ident, TableName};
use crate::postgres::run::{PostgresTable, Ready};
use crate::postgres::runs::lock::lock_number;
use crate::postgres::runs::record::{self, Record};
use crate::postgres::runs::tables::{Shape, Tables};
use crate::postgres::stream::Capture;
use crate::postgres::swap::dry_run::rehearse;
use crate::postgres::trust::guards;
use crate::testing::failpoint::{self, Point};
use crate::testing::mutation::{self, Rule};

const ACTION: &str = "taking the retired table";

/// Proves the retired table, records the run's tables and makes the statements.
///
/// # Errors
/// `Foreign` where one of the tables is not what it was; `Refused` where the swap back would fail; the server's.
pub(crate) async fn take(table: &PostgresTable, undo: &Undo) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    let record = proved(&client, table, undo, table.capture()?).await?;
    failpoint::hit(Point::ShadowUnrecorded)?;
    let carried = derive(&client, table, undo, &record).await?;
    table.ledger.carry(&client, table.run()?, &table.token, &record.text()?).await?;
    set(&client, table, undo, record, carried).await?;
    rehearse(table).await
}

/// The same for who only looks: nothing is recorded, and no lock is taken to try the swap.
///
/// # Errors
/// Those of [`take`].
pub(crate) async fn look(table: &PostgresTable, undo: &Undo) -> Result<()> {
    let client = table.sessions.plain(ACTION).await?;
    // No change is captured.
    let record = proved(&client, table, undo, Capture::Logical).await?;
    let carried = derive(&client, table, undo, &record).await?;
    set(&client, table, undo, record, carried).await
}

async fn set(
    client: &Client,
    table: &PostgresTable,
    undo: &Undo,
    record: Record,
    carried: Carried,
) -> Result<()> {
    let _ = table.record.set(record);
    let _ = table.carried.set(carried);
    let _ = table.ready.set(ready(client, table, undo).await?);
    Ok(())
}

/// What is recorded of both tables, which are what they were when the undo was checked.
async fn proved(
    client: &Client,
    table: &PostgresTable,
    undo: &Undo,
    capture: Capture,
) -> Result<Record> {
    let (live, retired) = (&table.setting.original, &undo.retired()?.table);
    let mut record = Record::new(live.oid, retired.oid, capture, false);
    record.undoes = Some(undo.run);
    if mutation::active(Rule::GuardStays) {
        run(client, ACTION, &guards::disable_retired(&undo.retired()?.table.name)).await?;
    }
    // From here on every change of the tables shows.
    record.fingerprint = fingerprint::of(client, record.watched()).await?;
    let shapes = [Shape::of(client, live.oid).await?, Shape::of(client, retired.oid).await?];
    let Retired { table: there, dependents: hanging } = undo.retired()?;
    // Its size and its rows may be others by now.
    let same = Table::read(client, &there.name).await?.is_some_and(|now| {
        now.oid == there.oid && now.columns == there.columns && now.indexes == there.indexes
    }) && Dependents::read(client, &there.name).await? == *hanging;
    if !same {
        return Err(Error::Foreign(fingerprint::changed(&live.name)));
    }
    let found = findings(client, &table.setting, undo).await?;
    if !found.refusals.is_empty() {
        return Err(Error::Refused(found.refusals));
    }
    let dependents = table.setting.dependents.clone();
    record.dependents = record::digest(client, &dependents).await?;
    record.unchecked = dependents.to_validate();
    record.role = table.setting.role.clone();
    record.undo_for = table.setting.settings.undo_for().as_secs();
    record.helpers = Some(table.setting.helpers.clone());
    let outcomes = undo.outcomes(live);
    let (mut set, _) = undo.set(live, &dependents)?;
    set.indexes.clone_from(&undo.tables.sides(undo.direction).1.indexes);
    record.set = Some(set);
    record.tables = Some(tables(undo, shapes, dependents.own_foreign_keys_gone(&outcomes)));
    let change = projection(client, table, undo).await?;
    let verdict = verdict::of_undo(client, live, undo, &change, &dependents).await?;
    record.verdict = verdict.record(&live.name.plain());
    Ok(record)
}

/// The tables as a redo finds them: what retires now has its names of now, what goes back has its own again.
fn tables(undo: &Undo, [live, mut retired]: [Shape; 2], dropped: Vec<ForeignKey>) -> Tables {
    let (_, was) = undo.tables.sides(undo.direction);
    retired.indexes.clone_from(&was.indexes);
    retired.sequences.clone_from(&was.sequences);
    retired.statistics.clone_from(&was.statistics);
    let (old, new) = match undo.direction {
        Direction::Back => (retired, live),
        Direction::Again => (live, retired),
    };
    Tables {
        base: Some(undo.tables.base.unwrap_or(undo.run)),
        old,
        new,
        pairs: undo.tables.pairs.clone(),
        added: Vec::new(),
        dropped,
    }
}

/// The owner that the retired table has when it is live again: its own, unless the live table's was changed
/// since.
fn now_owner(undo: &Undo, record: &Record) -> Option<Ident> {
    let now = record.tables.as_ref()?.sides(undo.direction).0.owner.clone();
    (now != undo.tables.sides(undo.direction).0.owner).then_some(now)
}

/// What the swap must know: the retired table has everything already.
///
/// # Errors
/// The server's.
pub(crate) async fn derive(
    client: &Client,
    table: &PostgresTable,
    undo: &Undo,
    record: &Record,
) -> Result<Carried> {
    let owner = now_owner(undo, record);
    let live = &table.setting.original;
    let Retired { table: retired, dependents } = undo.retired()?;
    let was = undo.tables.sides(undo.direction).1;
    let now = Shape::of(client, retired.oid).await?;
    let there: Vec<Ident> = now.sequences.iter().map(|one| one.name.clone()).collect();
    let made = Made {
        shadow: retired.oid,
        original: live.oid,
        indexes: undo.plain_names(was.indexes.iter(), &now.indexes),
        sequences: undo.plain_names(was.sequences.iter().map(|one| &one.name), &there),
        restarted: Vec::new(),
        unproved: Vec::new(),
        owner: owner.unwrap_or_else(|| dependents.owner().0.clone()),
        autovacuum: None,
        deferred: Vec::new(),
        partitions: Vec::new(),
        suffix: undo.suffix.clone(),
    };
    Ok(Carried { made, dependents: table.setting.dependents.clone() })
}

/// The statements of the run.
///
/// # Errors
/// `Refused` where the tables have no key in common; the server's.
pub(crate) async fn ready(client: &Client, table: &PostgresTable, undo: &Undo) -> Result<Ready> {
    let (live, retired) = (&table.setting.original, &undo.retired()?.table);
    let shadow_key = undo.shadow_key(live)?.map_err(|found| Error::Refused(vec![found]))?;
    let key = live.key_columns(live.copy_key()?)?;
    let projection = projection(client, table, undo).await?;
    let trusts = table.setting.settings.trust_owner;
    let role = table.role();
    let read = |given: &BTreeMap<Ident, String>| {
        let given = given.clone();
        async move { methods::expressions(client, &live.name, role, &given, trusts).await }
    };
    let given =
        Given { inverse: read(&undo.given.inverse).await?, fill: read(&undo.given.fill).await? };
    let (old, new) = match undo.direction {
        Direction::Back => (retired, live),
        Direction::Again => (live, retired),
    };
    let casts = casts(client, (old, new), &undo.tables.pairs).await?;
    let lens = lens(undo.direction, (old, new), &undo.tables.pairs, &projection, &casts, &given);
    let statements = Statements {
        original: live.name.clone(),
        shadow: retired.name.clone(),
        projection,
        lens: Some(lens),
        lock: lock_number(&retired.name),
        operators: live.operators(&key),
        key,
        shadow_key,
    };
    Ok(Ready { statements, shadow: retired.clone() })
}

/// The projection of the change: from the old table to the new one, whichever is live.
async fn projection(client: &Client, table: &PostgresTable, undo: &Undo) -> Result<Projection> {
    let (live, retired) = (&table.setting.original, &undo.retired()?.table);
    let (old, new) = match undo.direction {
        Direction::Back => (retired, live),
        Direction::Again => (live, retired),
    };
    let pairs = &undo.tables.pairs;
    let change = Change::parse(&undo.clauses, &live.name, Vec::new())?;
    // The clauses speak of the table by the name that it had.
    let spoken = TableName { table: live.name.table.clone(), ..old.name.clone() };
    let using = methods::expressions_of(
        client,
        &old.name,
        &spoken.table,
        table.role(),
        &change.columns.using,
        table.setting.settings.trust_owner,
    )
    .await?;
    let renamed = pairs.iter().filter(|(from, to)| from != to).cloned().collect();
    let kept = |name: &Ident| pairs.iter().any(|(from, _)| from == name);
    let names = old.columns.iter().map(|column| column.name.clone());
    let dropped = names.filter(|name| !kept(name)).collect();
    Ok(project(old, new, &Columns { renamed, dropped, using }).of_numbers(old, new))
}
