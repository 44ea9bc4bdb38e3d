//! Making the shadow: the original's columns, defaults, checks and indexes, and then the clauses.
//!
//! It is built in a schema of its own, under the original's names, so that the clauses mean what
//! they say: `DROP CONSTRAINT users_email_key` finds it. Then it gets its own names and moves beside
//! the original; all in one transaction.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::draft::Draft;
use super::fingerprint::{self, Watched};
use super::index_ddl::{deferrable, index_with_constraint, tablespace};
use super::{layout, namesakes};
use crate::error::{Error, Finding, Result, ServerCode};
use crate::postgres::catalog::table::{Index, Table};
use crate::postgres::clauses::form::Form;
use crate::postgres::connection::errors::server_error;
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::dependents::{Dependents, IS_UNPROVED};
use crate::postgres::name::{Helpers, Ident, NEW, TableName, Text};
use crate::postgres::trust::functions;
use crate::postgres::trust::own_schema::{self};
use crate::testing::failpoint::Point;
use crate::testing::mutation::Rule;
use crate::testing::{failpoint, mutation};

/// What was made: what the swap must know. A later attempt derives it ([`derive()`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// The shadow's OID: whatever its name is.
    pub shadow: u32,
    /// The original's.
    pub original: u32,
    /// Indexes that the shadow has: their names after the swap.
    pub indexes: Vec<Ident>,
    /// Sequences that belong to it, named the same way.
    pub sequences: Vec<Ident>,
    /// Its identity columns whose sequences the clauses have set to a place of their own.
    pub restarted: Vec<Ident>,
    /// Checks that are not valid, the original's and the clauses': it gets them in the swap.
    pub unproved: Vec<Ident>,
    /// Its owner after the swap. Until then it is osc's role's, so that no one else hangs anything on it.
    pub owner: Ident,
    /// The shadow's own setting of `autovacuum_enabled`, which is off until the swap.
    pub autovacuum: Option<String>,
    /// Indexes that are built after the copy, by their names after the swap.
    pub deferred: Vec<Index>,
    /// The partitions, where the shadow has them: they bear their own names from the start.
    pub partitions: Vec<Ident>,
    /// What the names of its indexes and sequences end in until the swap: [`NEW`], or a retired table's suffix.
    pub suffix: String,
}

impl Made {
    /// The tables that hold the rows of `table`, which is the shadow or has become the new table: its
    /// partitions, or itself. Storage parameters are theirs.
    pub(crate) fn holders(&self, table: &TableName) -> Vec<TableName> {
        match self.partitions.as_slice() {
            [] => vec![table.clone()],
            partitions => partitions.iter().map(|name| table.sibling(name.clone())).collect(),
        }
    }
}

/// What the shadow is made from.
pub(crate) struct Blueprint<'a> {
    /// The original.
    pub original: &'a Table,
    /// The index that backs the copy key.
    pub copy_key: &'a Ident,
    /// The statement that applies the clauses, given the table's name; `None`: no clauses.
    pub clauses: Option<&'a str>,
    /// What osc's own clauses make of the table.
    pub form: &'a Form,
    /// How the role's own sessions read the clauses.
    pub role: &'a RoleSettings,
    /// What hangs on the original: some of it the shadow has from the start.
    pub dependents: &'a Dependents,
    /// Where the shadow is built; the clauses' statement names the table there.
    pub place: &'a TableName,
    /// Leave indexes to after the copy.
    pub defer: bool,
    /// The schema of osc's own, whose mark the shadow bears.
    pub own: &'a Ident,
    /// Whether functions may run whoever they belong to.
    pub trusts_owner: bool,
}

const ACTION: &str = "creating the shadow";

/// Where a shadow of `original` is drafted: a schema whose name cannot be guessed.
pub(crate) fn place(original: &TableName) -> TableName {
    let schema = format!("osc_build_{:016x}", rand::random::<u64>());
    TableName { schema: Ident::new(schema), table: original.table.clone() }
}

/// Creates the empty shadow. Returns with it how both tables look.
///
/// # Errors
/// The server's, where the clauses cannot be applied.
pub(crate) async fn create(
    client: &Client,
    from: &Blueprint<'_>,
    helpers: &Helpers,
) -> Result<(Made, String)> {
    run(client, ACTION, "BEGIN").await?;
    let made = build(client, from, helpers).await;
    failpoint::hit(Point::ShadowUncommitted)?;
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    run(client, ACTION, end).await?;
    made
}

/// Drafts the shadow and takes it back: whether it can be made, and its names are free. Returns it as it
/// would be.
///
/// # Errors
/// Those of [`create()`].
pub(crate) async fn rehearse(client: &Client, from: &Blueprint<'_>) -> Result<Draft> {
    run(client, ACTION, "BEGIN; SET LOCAL lock_timeout = '2s'").await?;
    let drafted = async {
        let made = draft(client, from, not_taken).await?;
        free(client, from.original, &made).await?;
        Draft::read(client, from.place, &made).await
    };
    let drafted = drafted.await;
    run(client, ACTION, "ROLLBACK").await?;
    drafted
}

/// What was made by an earlier attempt, whose shadow is there: the same is drafted once more from the
/// clauses and the catalog, and taken back.
///
/// # Errors
/// The server's.
pub(crate) async fn derive(client: &Client, from: &Blueprint<'_>, shadow: u32) -> Result<Made> {
    run(client, ACTION, "BEGIN").await?;
    // The clauses were taken once: what fails now may not fail the next time.
    let made = draft(client, from, |error| error).await;
    run(client, ACTION, "ROLLBACK").await?;
    Ok(Made { shadow, ..made? })
}

/// States of SQLSTATE, and whole classes of them, that are about the server at that moment and nothing of
/// the clauses. Class 55 is not among them: it also says that a column is no identity.
const OF_THE_MOMENT: [&str; 8] = ["08", "40", "53", "55006", "55P03", "57", "58", "XX"];

/// The refusal of clauses that the server did not take on an empty copy of the table.
pub(crate) fn not_taken(error: Error) -> Error {
    match error {
        Error::Server { message, code, .. } if !code.as_ref().is_some_and(is_of_the_moment) => {
            Error::Refused(vec![Finding::new(
                "clauses",
                format!("the server does not take these clauses: {message}"),
                "they were tried on an empty copy of the table; the original is untouched",
            )])
        }
        other => other,
    }
}

/// Whether an error says nothing of the clauses, only of the moment.
fn is_of_the_moment(code: &ServerCode) -> bool {
    let ServerCode::SqlState(state) = code else { return false };
    OF_THE_MOMENT.iter().any(|class| state.starts_with(class))
}

async fn build(client: &Client, from: &Blueprint<'_>, helpers: &Helpers) -> Result<(Made, String)> {
    let made = draft(client, from, not_taken).await?;
    settle(client, from, helpers, &made).await?;
    let watched = Watched { original: made.original, shadow: made.shadow, taken: false };
    let fingerprint = fingerprint::of(client, watched).await?;
    Ok((made, fingerprint))
}

/// Makes the table in its schema, under the original's names. `clauses_fail` is what becomes of the server's
/// error at the clauses.
async fn draft(
    client: &Client,
    from: &Blueprint<'_>,
    clauses_fail: fn(Error) -> Error,
) -> Result<Made> {
    let (original, place) = (from.original, from.place);
    // Whatever the role's is, the table stays where it is.
    run(client, ACTION, &format!("{}; CREATE SCHEMA {}", tablespace(None), place.schema)).await?;
    run(client, ACTION, &table(from)).await?;
    run_all(client, from.dependents.sequence_statements(place)).await?;
    run_all(client, from.dependents.counter_statements(place)).await?;
    // No session changes the original from here to the commit.
    let now = Table::read(client, &original.name).await?;
    let same = |now: Table| {
        now.oid == original.oid
            && now.columns == original.columns
            && now.indexes == original.indexes
    };
    if !now.is_some_and(same) {
        return Err(Error::Foreign(format!(
            "another session changed {} while the run was being prepared",
            original.name.plain()
        )));
    }
    for index in &original.indexes {
        run(client, ACTION, &index_with_constraint(index, &index.name, place)).await?;
    }
    run(client, ACTION, &tablespace(None)).await?;
    run_all(client, from.dependents.shadow_statements(place)).await?;
    run_all(client, from.dependents.unproved_statements(place)).await?;
    let before = counters(client, place).await?;
    if let Some(clauses) = from.clauses {
        let reserved = namesakes::reserve(client, &original.name, &place.schema).await?;
        client
            .batch_execute(&from.role.in_words(clauses))
            .await
            .map_err(|error| clauses_fail(server_error("applying the clauses", &error)))?;
        reserved.release(client, &place.schema).await?;
    }
    let after = counters(client, place).await?;
    if !from.form.is_plain() {
        layout::write(client, place, from.form, from.role).await?;
    }
    let Some(shadow) = Table::read(client, place).await? else {
        return Err(Error::Internal("the clauses left no table".into()));
    };
    if !from.trusts_owner {
        functions::resolved(client, shadow.oid, &original.name).await?;
    }
    let moved = |(column, place): (Ident, String)| {
        (before.get(&column).is_some_and(|old| *old != place)).then_some(column)
    };
    let mut made = Made {
        shadow: shadow.oid,
        original: original.oid,
        owner: owner(client, shadow.oid).await?,
        partitions: from.form.partitions().cloned().collect(),
        restarted: after.into_iter().filter_map(moved).collect(),
        indexes: Vec::new(),
        sequences: Vec::new(),
        unproved: Vec::new(),
        autovacuum: None,
        deferred: Vec::new(),
        suffix: NEW.to_owned(),
    };
    if !mutation::active(Rule::UnprovedLater) {
        made.unproved = take_unproved(client, place).await?;
    }
    let resolved = resolved_again(client, shadow.oid).await?;
    for index in &shadow.indexes {
        let later = match index.name == *from.copy_key {
            // Chunks of a partitioned shadow always clear their range.
            true => shadow.kind != 'p',
            false => deferrable(index) && !resolved.contains(&index.name),
        };
        if from.defer && later {
            made.deferred.push(index.clone());
        } else {
            made.indexes.push(index.name.clone());
        }
    }
    made.sequences = sequences(client, shadow.oid).await?;
    let holders = made.holders(place);
    made.autovacuum = autovacuum(client, holders.first().unwrap_or(place)).await?;
    Ok(made)
}

/// Gives the draft its own names, and moves it beside the original.
async fn settle(
    client: &Client,
    from: &Blueprint<'_>,
    helpers: &Helpers,
    made: &Made,
) -> Result<()> {
    let place = from.place;
    for index in &made.deferred {
        let sql = match &index.constraint {
            Some(_) => format!("ALTER TABLE {place} DROP CONSTRAINT {}", index.name),
            None => format!("DROP INDEX {}", place.sibling(index.name.clone())),
        };
        run(client, ACTION, &sql).await?;
    }
    for index in &made.indexes {
        let (named, name) = (place.sibling(index.clone()), index.with_suffix(NEW));
        run(client, ACTION, &format!("ALTER INDEX {named} RENAME TO {name}")).await?;
    }
    for sequence in &made.sequences {
        let (named, name) = (place.sibling(sequence.clone()), sequence.with_suffix(NEW));
        run(client, ACTION, &format!("ALTER SEQUENCE {named} RENAME TO {name}")).await?;
    }
    free(client, from.original, made).await?;
    let schema = &helpers.shadow.schema;
    for statistics in &statistics(client, made.shadow).await? {
        let (named, name) = (place.sibling(statistics.clone()), statistics.with_suffix(NEW));
        let moved = place.sibling(name.clone());
        let sql = format!(
            "ALTER STATISTICS {named} RENAME TO {name}; ALTER STATISTICS {moved} SET SCHEMA {schema}"
        );
        run(client, ACTION, &sql).await?;
    }
    let holders = made.holders(place);
    for holder in &holders {
        let sql = format!("ALTER TABLE {holder} SET (autovacuum_enabled = off)");
        run(client, ACTION, &sql).await?;
    }
    if !mutation::active(Rule::PgShadowOwned) {
        for table in holders.iter().filter(|holder| *holder != place).chain([place]) {
            let sql = format!("ALTER TABLE {table} OWNER TO CURRENT_USER");
            run(client, ACTION, &sql).await?;
        }
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
    run(client, ACTION, &own_schema::mark_shadow(from.own, &helpers.shadow)).await
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

/// Indexes that call what is not the server's own. Their words are read once, in the transaction that makes
/// the shadow and looks at what the server made of them: read again after the copy they may mean more.
async fn resolved_again(client: &Client, table: u32) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = {table} AND EXISTS (SELECT FROM pg_depend d \
         LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid \
         LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid \
         LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid \
         AND coalesce(p.pronamespace, o.oprnamespace, t.typnamespace) \
         <> 'pg_catalog'::regnamespace)"
    );
    names(client, &sql).await
}

async fn run_all(client: &Client, statements: Vec<String>) -> Result<()> {
    run(client, ACTION, &statements.join("; ")).await
}

/// Where the identity sequences of a table stand, by column.
async fn counters(client: &Client, table: &TableName) -> Result<BTreeMap<Ident, String>> {
    let sql = format!(
        "SELECT a.attname, d.objid::regclass FROM pg_depend d JOIN pg_attribute a \
         ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
         AND d.refobjid = {}::regclass AND d.deptype = 'i' AND a.attidentity <> ''",
        Text(&table.to_string())
    );
    let mut places = BTreeMap::new();
    for row in rows(client, ACTION, &sql).await? {
        let (Some(column), Some(sequence)) = (row.get(0), row.get(1)) else { continue };
        let sql = format!("SELECT last_value || ' ' || is_called FROM {sequence}");
        if let Some(place) = value(client, ACTION, &sql).await? {
            places.insert(Ident::new(column), place);
        }
    }
    Ok(places)
}

/// The names that the shadow's indexes and sequences get in the swap must be free then, or be those of the
/// original's.
async fn free(client: &Client, original: &Table, made: &Made) -> Result<()> {
    let built = made.deferred.iter().map(|index| &index.name);
    let wanted: Vec<String> = made
        .indexes
        .iter()
        .chain(built)
        .chain(&made.sequences)
        .map(|name| Text(name.as_str()).to_string())
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let (oid, wanted) = (original.oid, wanted.join(", "));
    let sql = format!(
        "SELECT c.relname FROM pg_class c WHERE c.relname IN ({wanted}) AND c.relnamespace = \
         (SELECT relnamespace FROM pg_class WHERE oid = {oid}) \
         AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = {oid} AND i.indexrelid = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
         AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {oid})"
    );
    let taken = names(client, &sql).await?;
    let Some(name) = taken.first() else { return Ok(()) };
    Err(Error::Refused(vec![Finding::new(
        "name",
        format!("{} exists already", original.name.sibling(name.clone()).plain()),
        "give what the clauses add another name",
    )]))
}

/// Takes the checks that are not valid off the shadow: rows that do not keep them must be copied too.
async fn take_unproved(client: &Client, table: &TableName) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT k.conname FROM pg_constraint k WHERE k.conrelid = {}::regclass AND {IS_UNPROVED} \
         ORDER BY 1",
        Text(&table.to_string())
    );
    let unproved = names(client, &sql).await?;
    let drops = unproved.iter().map(|name| format!("ALTER TABLE {table} DROP CONSTRAINT {name}"));
    run_all(client, drops.collect()).await?;
    Ok(unproved)
}

async fn sequences(client: &Client, table: u32) -> Result<Vec<Ident>> {
    let sql = format!(
        "SELECT c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' \
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
         AND d.refobjid = {table} AND d.deptype IN ('a', 'i') ORDER BY 1"
    );
    names(client, &sql).await
}

async fn owner(client: &Client, table: u32) -> Result<Ident> {
    let sql = format!("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = {table}");
    let owner = value(client, ACTION, &sql).await?;
    owner.map(Ident::new).ok_or_else(|| Error::Internal("the draft has no owner".into()))
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

/// What the swap must know.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    /// What was made.
    pub made: Made,
    /// What hung on the original at the start.
    pub dependents: Dependents,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_the_clauses_refuses_them() {
        let becomes = |state: &str| {
            let message = format!("something [1] is so [{state}]");
            let code = Some(ServerCode::SqlState(state.to_owned()));
            not_taken(Error::Server { action: "a".into(), message, code, cause: None }).code()
        };
        for state in ["42701", "55000", "0A000", "22023", "54011", "P0001"] {
            assert_eq!(becomes(state), "refused", "{state}");
        }
        for state in ["40P01", "53200", "55P03", "55006", "57014", "58030", "08006", "XX000"] {
            assert_eq!(becomes(state), "server", "{state}");
        }
    }
}
