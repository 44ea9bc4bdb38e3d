//! What the server would do: the clauses on an empty copy of the table, rolled back.
//!
//! The copy is a temporary table of the same name, so that no right to create is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::catalog::table::Table;
use crate::postgres::clauses::change::Change;
use crate::postgres::clauses::{Action, ActionKind, Clauses};
use crate::postgres::connection::session::{rows, run, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::copy::layout;
use crate::postgres::copy::shadow::not_taken;
use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::trust::functions;

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The table is rewritten.
    pub rewrites: bool,
    /// Indexes are built.
    pub builds: bool,
    /// The table is read from start to end.
    pub scans: bool,
}

impl Seen {
    /// Metadata only.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    fn and(self, other: Self) -> Self {
        Self {
            rewrites: self.rewrites || other.rewrites,
            builds: self.builds || other.builds,
            scans: self.scans || other.scans,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = [
            (self.rewrites, "rewrite the table"),
            (self.builds && !self.rewrites, "build indexes"),
            (self.scans && !self.rewrites, "read the whole table"),
        ];
        let work: Vec<&str> =
            work.iter().filter(|(done, _)| *done).map(|(_, what)| *what).collect();
        match work.is_empty() {
            true => f.write_str("metadata only"),
            false => write!(f, "the server would {} under its lock", work.join(" and ")),
        }
    }
}

const ACTION: &str = "trying the clauses on an empty copy";

/// The clauses on an empty copy: all that was seen, and each clause's part in it. `absent`: the
/// original's foreign keys.
///
/// # Errors
/// The server's, where the clauses cannot be applied.
pub(crate) async fn probe(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    clauses: &Clauses,
    absent: &[Ident],
) -> Result<(Seen, Vec<Seen>)> {
    taken_back(client, inside(client, role, original, clauses, absent)).await
}

/// The user's expressions over the table's columns, as the server returns them: read under the role's
/// search path and by its settings, and written with the schema of every name. What they call must belong to
/// roles that osc trusts, unless `trusts_owner`.
///
/// # Errors
/// `Refused`; the server's, where one cannot be read.
pub async fn expressions(
    client: &Client,
    original: &TableName,
    role: &RoleSettings,
    given: &BTreeMap<Ident, String>,
    trusts_owner: bool,
) -> Result<BTreeMap<Ident, String>> {
    expressions_of(client, original, &original.table, role, given, trusts_owner).await
}

/// The same over a table that the expressions call `named`.
///
/// # Errors
/// Those of [`expressions()`].
pub(crate) async fn expressions_of(
    client: &Client,
    original: &TableName,
    named: &Ident,
    role: &RoleSettings,
    given: &BTreeMap<Ident, String>,
    trusts_owner: bool,
) -> Result<BTreeMap<Ident, String>> {
    if given.is_empty() {
        return Ok(BTreeMap::new());
    }
    let probed = async {
        let place = copy_as(client, original, named).await?;
        let oid = format!("SELECT {}::regclass::oid", Text(&place.to_string()));
        let oid = value(client, ACTION, &oid).await?.and_then(|oid| oid.parse().ok());
        let oid = oid.ok_or_else(|| Error::Internal("the copy has no number".into()))?;
        let mut probed = BTreeMap::new();
        for (column, expression) in given {
            // A check takes what USING takes, and is kept as it was read.
            let sql = format!(
                "ALTER TABLE {place} ADD CONSTRAINT osc_expression CHECK (({expression}) IS NULL)"
            );
            run(client, ACTION, &role.in_words(&sql)).await?;
            if !trusts_owner {
                functions::resolved(client, oid, original).await?;
            }
            let sql = format!(
                "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint \
                 WHERE conrelid = {}::regclass AND conname = 'osc_expression'",
                Text(&place.to_string())
            );
            let whole = value(client, ACTION, &sql).await?.unwrap_or_default();
            let inner = whole.strip_prefix('(').and_then(|text| text.strip_suffix(" IS NULL)"));
            let inner = inner.ok_or_else(|| {
                Error::Internal(format!("the server reads USING differently: {whole}"))
            })?;
            probed.insert(column.clone(), inner.to_owned());
            let sql = format!("ALTER TABLE {place} DROP CONSTRAINT osc_expression");
            run(client, ACTION, &sql).await?;
        }
        Ok(probed)
    };
    taken_back(client, probed).await
}

/// Makes the index `pg_temp.osc_probe` on an empty copy of the table.
async fn index_on_copy(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    unique: &str,
    definition: &str,
) -> Result<()> {
    let place = copy(client, original).await?;
    let sql = format!("CREATE {unique}INDEX osc_probe ON {place} {definition}");
    run(client, ACTION, &role.in_words(&sql)).await
}

/// How the server shows an index that is defined like this, from its access method on; `None`:
/// nothing.
///
/// # Errors
/// The server's, where there can be no such index.
pub(crate) async fn index_definition(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    unique: &str,
    definition: &str,
) -> Result<Option<String>> {
    let probed = async {
        index_on_copy(client, role, original, unique, definition).await?;
        let sql = "SELECT pg_get_indexdef('pg_temp.osc_probe'::regclass)";
        value(client, ACTION, sql).await
    };
    Ok(taken_back(client, probed).await?.map(|probed| tail(&probed).to_owned()))
}

/// What follows the table in the `CREATE INDEX` of an index that is defined like this, in the server's words:
/// every name with its schema, and the tablespace.
///
/// # Errors
/// The server's, where there can be no such index.
pub(crate) async fn told_definition(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    unique: &str,
    definition: &str,
) -> Result<String> {
    let probed = async {
        index_on_copy(client, role, original, unique, definition).await?;
        let sql = "SELECT pg_get_indexdef(i.indexrelid), ' TABLESPACE ' || quote_ident(s.spcname), \
                   ' WHERE ' || pg_get_expr(i.indpred, i.indrelid) \
                   FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                   LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace \
                   WHERE i.indexrelid = 'pg_temp.osc_probe'::regclass";
        let found = rows(client, ACTION, sql).await?;
        let text = |at| found.first().and_then(|row| row.get(at)).unwrap_or_default();
        let (whole, tablespace, only) = (tail(text(0)).trim_start(), text(1), text(2));
        let rest = whole.strip_suffix(only).unwrap_or(whole);
        Ok(format!("{rest}{tablespace}{}", if rest.len() == whole.len() { "" } else { only }))
    };
    taken_back(client, probed).await
}

/// The table as it would be with the clauses and in its form, tried on an empty copy; the error is
/// the server's, where the form cannot be.
///
/// # Errors
/// The server's, where the other clauses cannot be applied.
pub async fn formed(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    change: &Change,
) -> Result<Result<Table>> {
    let formed = async {
        let place = copy(client, original).await?;
        complete(client, original, &place).await?;
        let sql = "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()";
        let schema = value(client, ACTION, sql).await?.unwrap_or_default();
        let place = TableName { schema: Ident::new(schema), table: place.table };
        if let Some(clauses) = change.for_shadow(&place) {
            run(client, ACTION, &role.in_words(&clauses)).await?;
        }
        if let Err(error) = layout::write(client, &place, &change.form, role).await {
            return Ok(Err(error));
        }
        let formed = Table::read(client, &place).await?;
        Ok(formed.ok_or_else(|| Error::Internal("the form left no table".into())))
    };
    taken_back(client, formed).await
}

/// An index's definition from its access method on.
pub(crate) fn tail(definition: &str) -> &str {
    let at = definition.find(" USING ").unwrap_or_default();
    definition.get(at..).unwrap_or(definition)
}

/// The same of an index that is there; `None`: there is none.
pub(crate) async fn index_tail(client: &Client, index: &TableName) -> Result<Option<String>> {
    let sql = format!("SELECT pg_get_indexdef(to_regclass({}))", Text(&index.to_string()));
    Ok(value(client, ACTION, &sql).await?.map(|there| tail(&there).to_owned()))
}

/// Makes an attempt in a transaction that is taken back, whatever comes of it.
pub(crate) async fn taken_back<T>(
    client: &Client,
    attempt: impl Future<Output = Result<T>>,
) -> Result<T> {
    let begin = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL client_min_messages = error";
    run(client, ACTION, begin).await?;
    let outcome = attempt.await;
    run(client, ACTION, "ROLLBACK").await?;
    outcome
}

/// Makes the copy, and returns its name.
async fn copy(client: &Client, original: &TableName) -> Result<TableName> {
    copy_as(client, original, &original.table).await
}

async fn copy_as(client: &Client, original: &TableName, named: &Ident) -> Result<TableName> {
    let place = TableName::new("pg_temp", named.as_str());
    let oid = format!("{}::regclass", Text(&original.to_string()));
    // Neither is taken over by LIKE, and a clause may name the one that the table has.
    let sql = format!(
        "SELECT coalesce((SELECT ' USING ' || quote_ident(amname) FROM pg_am \
         WHERE pg_am.oid = c.relam), '') || coalesce((SELECT ' TABLESPACE ' || quote_ident(spcname) \
         FROM pg_tablespace s WHERE s.oid = coalesce(nullif(c.reltablespace, 0), \
         (SELECT dattablespace FROM pg_database WHERE datname = current_database()))), '') \
         FROM pg_class c WHERE c.oid = {oid}"
    );
    let storage = value(client, ACTION, &sql).await?.unwrap_or_default();
    let create = format!("CREATE TABLE {place} (LIKE {original} INCLUDING ALL){storage}");
    run(client, ACTION, &create).await?;
    Ok(place)
}

/// Gives the copy what LIKE does not bring: names of indexes, and constraints that are not valid.
async fn complete(client: &Client, original: &TableName, place: &TableName) -> Result<()> {
    let (there, here) =
        (Text(&original.to_string()).to_string(), Text(&place.to_string()).to_string());
    let same = format!(
        "SELECT DISTINCT ON (d.oid) quote_ident(c.relname), quote_ident(d.relname) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_index j ON j.indrelid = {here}::regclass JOIN pg_class d ON d.oid = j.indexrelid \
         WHERE i.indrelid = {there}::regclass \
         AND substring(pg_get_indexdef(c.oid) FROM ' USING .*') = \
         substring(pg_get_indexdef(d.oid) FROM ' USING .*') \
         AND i.indisunique = j.indisunique AND i.indisprimary = j.indisprimary \
         ORDER BY d.oid, c.oid"
    );
    let found = rows(client, ACTION, &same).await?;
    let mut given = BTreeSet::new();
    let mut names = Vec::new();
    for row in &found {
        let (Some(name), Some(copied)) = (row.get(0), row.get(1)) else { continue };
        if given.insert(name.to_owned()) {
            names.push((name, copied));
        }
    }
    // LIKE makes each identity sequence a bigint one.
    let sequences = format!(
        "SELECT h.objid::regclass, format_type(s.seqtypid, NULL) FROM pg_depend t \
         JOIN pg_sequence s ON s.seqrelid = t.objid \
         JOIN pg_attribute a ON a.attrelid = t.refobjid AND a.attnum = t.refobjsubid \
         JOIN pg_attribute b ON b.attrelid = {here}::regclass AND b.attname = a.attname \
         JOIN pg_depend h ON h.refclassid = t.refclassid AND h.refobjid = b.attrelid \
         AND h.refobjsubid = b.attnum AND h.classid = t.classid AND h.deptype = 'i' \
         WHERE t.classid = 'pg_class'::regclass AND t.refclassid = 'pg_class'::regclass \
         AND t.refobjid = {there}::regclass AND t.deptype = 'i'"
    );
    for row in rows(client, ACTION, &sequences).await? {
        let (Some(sequence), Some(data_type)) = (row.get(0), row.get(1)) else { continue };
        run(client, ACTION, &format!("ALTER SEQUENCE {sequence} AS {data_type}")).await?;
    }
    let (mut away, mut back) = (String::new(), String::new());
    for (at, (name, copied)) in names.iter().enumerate() {
        away += &format!("ALTER INDEX pg_temp.{copied} RENAME TO osc_probe_{at};");
        back += &format!("ALTER INDEX pg_temp.osc_probe_{at} RENAME TO {name};");
    }
    run(client, ACTION, &(away + &back)).await?;
    let unproved = format!(
        "SELECT quote_ident(k.conname), pg_get_constraintdef(k.oid) FROM pg_constraint k \
         WHERE k.conrelid = {there}::regclass AND k.contype IN ('c', 'n') AND NOT k.convalidated"
    );
    for row in rows(client, ACTION, &unproved).await? {
        let (Some(name), Some(definition)) = (row.get(0), row.get(1)) else { continue };
        let sql = format!(
            "ALTER TABLE {place} DROP CONSTRAINT {name}; \
             ALTER TABLE {place} ADD CONSTRAINT {name} {definition}"
        );
        run(client, ACTION, &sql).await?;
    }
    Ok(())
}

async fn inside(
    client: &Client,
    role: &RoleSettings,
    original: &TableName,
    clauses: &Clauses,
    absent: &[Ident],
) -> Result<(Seen, Vec<Seen>)> {
    let place = copy(client, original).await?;
    complete(client, original, &place).await?;
    run(client, ACTION, "SAVEPOINT before").await?;
    let mut each = Vec::new();
    for action in &clauses.actions {
        let one = Clauses { only: false, actions: vec![action.clone()] };
        match apply(client, role, &place, &one, absent).await {
            Ok(seen) => each.push(seen),
            // One clause may need another one that stands behind it: all together then.
            Err(_) => {
                run(client, ACTION, "ROLLBACK TO before").await?;
                let seen = apply(client, role, &place, clauses, absent).await?;
                return Ok((seen, vec![seen; clauses.actions.len()]));
            }
        }
    }
    Ok((each.iter().fold(Seen::default(), |all, seen| all.and(*seen)), each))
}

async fn apply(
    client: &Client,
    role: &RoleSettings,
    place: &TableName,
    clauses: &Clauses,
    absent: &[Ident],
) -> Result<Seen> {
    let actions = clauses.actions.iter().filter(|action| is_for_copies(action)).cloned();
    let clauses = Clauses { only: false, actions: actions.collect() };
    let Some(sql) = clauses.for_shadow(place, absent) else { return Ok(Seen::default()) };
    let before = look(client, place).await?;
    run(client, ACTION, &role.in_words(&sql)).await.map_err(not_taken)?;
    let after = look(client, place).await?;
    Ok(Seen {
        rewrites: before.table != after.table,
        builds: !after.indexes.is_subset(&before.indexes),
        scans: after.scans > before.scans,
    })
}

/// A copy has no triggers, rules and policies, and a temporary table is never logged.
fn is_for_copies(action: &Action) -> bool {
    !matches!(action.kind, ActionKind::InPlace { .. } | ActionKind::SetLogged(_))
}

struct State {
    table: String,
    indexes: BTreeSet<String>,
    scans: u64,
}

async fn look(client: &Client, place: &TableName) -> Result<State> {
    let oid = format!("{}::regclass", Text(&place.to_string()));
    let sql = format!(
        "SELECT relfilenode || ' ' || reltablespace, pg_stat_get_xact_numscans(oid) \
         FROM pg_class WHERE oid = {oid}"
    );
    let found = rows(client, ACTION, &sql).await?;
    let first = found.first();
    let files = format!(
        "SELECT c.relfilenode FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = {oid}"
    );
    let indexes = rows(client, ACTION, &files).await?;
    Ok(State {
        table: first.and_then(|row| row.get(0)).unwrap_or_default().to_owned(),
        scans: crate::postgres::catalog::table::number(first.and_then(|row| row.get(1)))?,
        indexes: indexes.iter().filter_map(|row| row.get(0)).map(str::to_owned).collect(),
    })
}
