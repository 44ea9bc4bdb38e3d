//! Making the shadow: the original's columns, defaults, checks and indexes, and then the clauses.
//!
//! It is built in a schema of its own, under the original's names, so that the clauses mean what
//! they say: `DROP CONSTRAINT users_email_key` finds it. Then it gets its own names and moves beside
//! the original; all in one transaction.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::engine::{Error, Result};
use crate::fault::{self, Point};
use crate::ledger::RunId;
use crate::postgres::connect::server_error;
use crate::postgres::dependents::Dependents;
use crate::postgres::fingerprint;
use crate::postgres::form::{self, Form};
use crate::postgres::inspect::{Index, Table, number};
use crate::postgres::name::{Helpers, Ident, TableName, Text};
use crate::postgres::session::{rows, run, value};

/// The suffix of names that belong to the shadow until the swap.
pub const NEW: &str = "_osc_new";

/// The suffix of names that belong to the retired table.
pub const OLD: &str = "_osc_old";

/// What was made: what the swap and a later sitting must know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The shadow's OID: whatever its name is.
    pub shadow: u32,
    /// The original's.
    pub original: u32,
    /// Indexes that the shadow has: their names after the swap. Until then they end in [`NEW`].
    pub indexes: Vec<Ident>,
    /// Sequences that belong to it, named the same way.
    pub sequences: Vec<Ident>,
    /// The shadow's own setting of `autovacuum_enabled`, which is off until the swap.
    pub autovacuum: Option<String>,
    /// Indexes that are built after the copy, by their names after the swap.
    pub deferred: Vec<Index>,
    /// The partitions, where the shadow has them: they bear their own names from the start.
    #[serde(default)]
    pub partitions: Vec<Ident>,
}

impl Made {
    /// The tables that hold the rows of `table`, which is the shadow or has become the new table: its
    /// partitions, or itself. Storage parameters are theirs.
    pub fn holders(&self, table: &TableName) -> Vec<TableName> {
        match self.partitions.as_slice() {
            [] => vec![table.clone()],
            partitions => partitions.iter().map(|name| table.sibling(name.clone())).collect(),
        }
    }
}

/// What the shadow is made from.
pub struct Blueprint<'a> {
    /// The original.
    pub original: &'a Table,
    /// The index that backs the copy key.
    pub copy_key: &'a Ident,
    /// The statement that applies the clauses, given the table's name; `None`: no clauses.
    pub clauses: Option<&'a str>,
    /// What osc's own clauses make of the table.
    pub form: &'a Form,
    /// What hangs on the original: some of it the shadow has from the start.
    pub dependents: &'a Dependents,
    /// Where the shadow is built; the clauses' statement names the table there.
    pub place: &'a TableName,
    /// Leave indexes to after the copy.
    pub defer: bool,
}

const ACTION: &str = "creating the shadow";

/// Where a run builds the shadow of `original`.
pub fn place(run: RunId, original: &TableName) -> TableName {
    TableName { schema: Ident::new(format!("osc_build_{}", run.0)), table: original.table.clone() }
}

/// Creates the empty shadow; a dead one of ours is dropped first. Returns with it how both tables
/// look.
///
/// # Errors
/// The server's, where the clauses cannot be applied.
pub async fn create(
    client: &Client,
    from: &Blueprint<'_>,
    helpers: &Helpers,
) -> Result<(Made, String)> {
    drop_table(client, &helpers.shadow).await?;
    run(client, ACTION, "BEGIN").await?;
    let made = build(client, from, helpers).await;
    fault::at(Point::ShadowUncommitted)?;
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    run(client, ACTION, end).await?;
    made
}

async fn build(client: &Client, from: &Blueprint<'_>, helpers: &Helpers) -> Result<(Made, String)> {
    let (original, place) = (from.original, from.place);
    run(client, ACTION, &format!("CREATE SCHEMA {}", place.schema)).await?;
    run(client, ACTION, &table(from)).await?;
    // Nobody changes the original from here to the commit.
    let now = Table::read(client, &original.name).await?;
    if now.is_none_or(|now| now.columns != original.columns || now.indexes != original.indexes) {
        return Err(Error::Foreign(format!(
            "somebody changed {} while the run was being prepared",
            original.name.plain()
        )));
    }
    for index in &original.indexes {
        run(client, ACTION, &index_with_constraint(index, &index.name, place)).await?;
    }
    for sql in from.dependents.shadow_statements(place) {
        run(client, ACTION, &sql).await?;
    }
    if let Some(clauses) = from.clauses {
        client
            .batch_execute(clauses)
            .await
            .map_err(|error| server_error("applying the clauses to the empty shadow", &error))?;
    }
    if !from.form.is_plain() {
        form::write(client, place, from.form).await?;
    }
    let Some(shadow) = Table::read(client, place).await? else {
        return Err(Error::Internal("the clauses left no table".into()));
    };
    let partitions = from.form.partitions().cloned().collect();
    let mut made =
        Made { shadow: shadow.oid, original: original.oid, partitions, ..Made::default() };
    for index in &shadow.indexes {
        let later = match index.name == *from.copy_key {
            // Chunks of a partitioned shadow always clear their range.
            true => shadow.kind != 'p',
            false => deferrable(index),
        };
        if from.defer && later {
            made.deferred.push(index.clone());
            let sql = match &index.constraint {
                Some(_) => format!("ALTER TABLE {place} DROP CONSTRAINT {}", index.name),
                None => format!("DROP INDEX {}", place.sibling(index.name.clone())),
            };
            run(client, ACTION, &sql).await?;
        } else {
            let named = place.sibling(index.name.clone());
            let name = index.name.with_suffix(NEW);
            run(client, ACTION, &format!("ALTER INDEX {named} RENAME TO {name}")).await?;
            made.indexes.push(index.name.clone());
        }
    }
    made.sequences = sequences(client, shadow.oid).await?;
    for sequence in &made.sequences {
        let (named, name) = (place.sibling(sequence.clone()), sequence.with_suffix(NEW));
        run(client, ACTION, &format!("ALTER SEQUENCE {named} RENAME TO {name}")).await?;
    }
    let schema = &helpers.shadow.schema;
    for statistics in &statistics(client, shadow.oid).await? {
        let (named, name) = (place.sibling(statistics.clone()), statistics.with_suffix(NEW));
        let moved = place.sibling(name.clone());
        let sql = format!(
            "ALTER STATISTICS {named} RENAME TO {name}; ALTER STATISTICS {moved} SET SCHEMA {schema}"
        );
        run(client, ACTION, &sql).await?;
    }
    let holders = made.holders(place);
    made.autovacuum = autovacuum(client, holders.first().unwrap_or(place)).await?;
    for holder in &holders {
        let sql = format!("ALTER TABLE {holder} SET (autovacuum_enabled = off)");
        run(client, ACTION, &sql).await?;
    }
    for partition in holders.iter().filter(|holder| *holder != place) {
        run(client, ACTION, &format!("ALTER TABLE {partition} SET SCHEMA {schema}")).await?;
    }
    let renamed = place.sibling(helpers.shadow.table.clone());
    let sql = format!(
        "ALTER TABLE {place} RENAME TO {}; ALTER TABLE {renamed} SET SCHEMA {schema}; \
         DROP SCHEMA {}",
        helpers.shadow.table, place.schema
    );
    run(client, ACTION, &sql).await?;
    let fingerprint = fingerprint::of(client, &made).await?;
    Ok((made, fingerprint))
}

fn table(from: &Blueprint<'_>) -> String {
    let original = from.original;
    let unlogged = if original.persistence == 'u' { "UNLOGGED " } else { "" };
    let tablespace =
        original.tablespace.as_ref().map_or(String::new(), |name| format!(" TABLESPACE {name}"));
    format!(
        "CREATE {unlogged}TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES) USING {}{tablespace}",
        from.place, original.name, original.access_method
    )
}

/// The statement that makes an index like this one, under the name `name` on `table`; and the one that
/// then gives it the constraint that it backs, unless the first has done so already.
pub fn index_like(index: &Index, name: &Ident, table: &TableName) -> (String, Option<String>) {
    let add = |what: &str| format!("ALTER TABLE {table} ADD CONSTRAINT {name} {what}");
    let unique = if index.unique { "UNIQUE " } else { "" };
    let create = format!("CREATE {unique}INDEX {name} ON {table} {}", index.definition);
    match &index.constraint {
        None => (create, None),
        Some(constraint) => match constraint.using(name) {
            Some(using) => (create, Some(add(&using))),
            None => (add(&constraint.definition), None),
        },
    }
}

/// Both statements of [`index_like`] in one message.
pub fn index_with_constraint(index: &Index, name: &Ident, table: &TableName) -> String {
    let (make, constrain) = index_like(index, name, table);
    [Some(make), constrain].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn deferrable(index: &Index) -> bool {
    // An exclusion constraint cannot take an index that is there already.
    !index.primary && index.constraint.as_ref().is_none_or(|constraint| constraint.kind == 'u')
}

async fn sequences(client: &Client, table: u32) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
         AND d.refobjid = {table} AND d.deptype IN ('a', 'i') ORDER BY 1"
    );
    names(client, &sql).await
}

async fn statistics(client: &Client, table: u32) -> Result<Vec<Ident>> {
    let sql = format!("SELECT stxname FROM pg_statistic_ext WHERE stxrelid = {table} ORDER BY 1");
    names(client, &sql).await
}

async fn autovacuum(client: &Client, table: &TableName) -> Result<Option<String>> {
    let sql = format!(
        "SELECT o.option_value FROM pg_class c, pg_options_to_table(c.reloptions) o \
         WHERE c.oid = {}::regclass AND o.option_name = 'autovacuum_enabled'",
        Text(&table.to_string())
    );
    value(client, ACTION, &sql).await
}

async fn names(client: &Client, sql: &str) -> Result<Vec<Ident>> {
    let found = rows(client, ACTION, sql).await?;
    Ok(found.iter().filter_map(|row| row.get(0)).map(Ident::new).collect())
}

/// Waits until transactions that a dead run left on the shadow are gone.
///
/// # Errors
/// The server's.
pub async fn wait_for_the_dead(client: &Client, shadow: &TableName) -> Result<()> {
    let sql = format!("BEGIN; LOCK TABLE {shadow} IN ACCESS EXCLUSIVE MODE; COMMIT");
    run(client, "waiting for sessions of the dead run", &sql).await
}

/// Drops a helper table, if it is there; never what hangs on it.
///
/// # Errors
/// The server's.
pub async fn drop_table(client: &Client, table: &TableName) -> Result<()> {
    run(client, "dropping a helper table", &format!("DROP TABLE IF EXISTS {table}")).await
}

/// The OID of the table that has this name now.
///
/// # Errors
/// The server's.
pub async fn oid_of(client: &Client, table: &TableName) -> Result<Option<u32>> {
    let sql = format!("SELECT to_regclass({})::oid", Text(&table.to_string()));
    let found = value(client, "reading the catalog", &sql).await?;
    found.map(|text| number(Some(&text))).transpose()
}
