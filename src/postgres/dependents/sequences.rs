//! Sequences of the table's columns: `serial` ones, which the new table shares, and those of
//! identity columns, of which it has its own.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Names;
use super::grants::{self, Grant, On};
use super::sql;
use crate::error::Result;
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName, Text};
use crate::testing::mutation::{self, Rule};

/// A sequence that belongs to a column of the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    /// Its name.
    pub name: TableName,
    /// Its column.
    pub column: Ident,
    /// Whether the column is an identity column; else the sequence is merely owned by it.
    pub identity: bool,
    /// Type of its values, such as `integer`: not always the column's.
    pub data_type: String,
    /// Its last possible value in its direction.
    pub end: i64,
    /// What is added each time.
    pub increment: i64,
    /// Whether it begins again after its end.
    pub cycle: bool,
    /// Whether it has another `pg_class.relpersistence` than its table: `p` or `u`.
    pub persistence: Option<String>,
    /// Its owner: the table's.
    pub owner: Ident,
    /// Rights on it.
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads them.
pub(super) async fn read(client: &Client, oid: u32) -> Result<Vec<Sequence>> {
    let (name, grants) = (sql::table_name("c", "n"), grants::of("c", On::Sequence));
    let query = format!(
        "SELECT {name} AS name, a.attname AS \"column\", d.deptype = 'i' AS identity, \
         pg_catalog.format_type(s.seqtypid, NULL) AS data_type, \
         CASE WHEN s.seqincrement > 0 THEN s.seqmax ELSE s.seqmin END AS \"end\", \
         s.seqincrement AS increment, s.seqcycle AS cycle, \
         nullif(c.relpersistence, t.relpersistence)::text AS persistence, \
         pg_catalog.pg_get_userbyid(c.relowner) AS owner, {grants} AS grants, \
         pg_catalog.obj_description(c.oid, 'pg_class') AS comment \
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid \
         JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid \
         JOIN pg_catalog.pg_class t ON t.oid = d.refobjid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0 \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1 \
         AND d.deptype IN ('a', 'i') ORDER BY a.attnum, c.relname"
    );
    sql::rows(client, "sequences", &query, oid).await
}

/// An expression: the OID of the sequence of an identity column; NULL where it is none.
/// `pg_get_serial_sequence` may name another one, which the column merely owns.
fn of_identity(table: &TableName, column: &Ident) -> String {
    let table = table.to_string();
    format!(
        "(SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = {}::regclass \
         AND a.attname = {} AND d.deptype = 'i')",
        Text(&table),
        Text(column.as_str())
    )
}

/// Gives the identity sequences of the empty table `place`, which LIKE has made, the names and types of
/// the original's: LIKE makes each a `bigint` one that ends where the original's does, and names it
/// after the table.
pub(super) fn on_shadow(sequences: &[Sequence], place: &TableName) -> Vec<String> {
    let identity = || sequences.iter().filter(|one| one.identity).enumerate();
    // A name may be another one's until that has its own.
    let for_now = |number: usize| place.sibling(Ident::new(format!("osc sequence {number}")));
    let away = identity().map(|(number, one)| {
        let name = for_now(number).table;
        let body = format!(
            "BEGIN EXECUTE pg_catalog.format('ALTER SEQUENCE %s RENAME TO %I', {}::regclass, {}); END",
            of_identity(place, &one.column),
            Text(name.as_str())
        );
        format!("DO {}", Text(&body))
    });
    let made = identity().flat_map(|(number, one)| {
        let now = for_now(number);
        let logged = one.persistence.as_ref().map(|kind| match kind.as_str() {
            "u" => format!("ALTER SEQUENCE {now} SET UNLOGGED"),
            _ => format!("ALTER SEQUENCE {now} SET LOGGED"),
        });
        let typed = (!mutation::active(Rule::SequencesTyped))
            .then(|| format!("ALTER SEQUENCE {now} AS {}", one.data_type));
        let named = format!("ALTER SEQUENCE {now} RENAME TO {}", one.name.table);
        typed.into_iter().chain(logged).chain([named])
    });
    away.chain(made).collect()
}

/// Gives the identity sequences of `place` the original's places before the clauses are applied: a new
/// type that the counter does not fit is refused then as the server would.
pub(super) fn counters(sequences: &[Sequence], place: &TableName) -> Vec<String> {
    let identity = sequences.iter().filter(|one| one.identity);
    from_no_view(identity.map(|one| set(&one.name, &of_identity(place, &one.column), "")).collect())
}

/// The statements, which read sequences by their names: a view may stand in the place of one by now, for
/// not all of them can be locked.
pub(super) fn from_no_view(mut statements: Vec<String>) -> Vec<String> {
    if !(statements.is_empty() || mutation::active(Rule::ObjectsProved)) {
        statements.insert(0, views_refused("view, foreign-table"));
        statements.push(views_refused(""));
    }
    statements
}

/// Makes the server refuse to read views and foreign tables in this transaction, where it can; as it is
/// since 12.20, 13.16, 14.13, 15.8 and 16.4, for `pg_dump` and the same attack.
fn views_refused(kinds: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config(name, {}, true) FROM pg_catalog.pg_settings \
         WHERE name = 'restrict_nonsystem_relation_kind'",
        Text(kinds)
    )
}

fn set(from: &TableName, to: &str, more: &str) -> String {
    format!(
        "SELECT pg_catalog.setval({to}::regclass, s.last_value, s.is_called) FROM {from} s{more}"
    )
}

/// Locks the sequence of an identity column without a change. To draw from it no lock on its table is
/// needed.
pub(super) fn lock(sequence: &Sequence) -> Option<String> {
    let (name, owner) = (&sequence.name, &sequence.owner);
    let locked = sequence.identity && !mutation::active(Rule::CountersLocked);
    locked.then(|| format!("ALTER SEQUENCE {name} OWNER TO {owner}"))
}

/// Before the renames, under the lock: carries a sequence's place over, and frees its name where it
/// stays with the retired table.
pub(super) fn before(sequence: &Sequence, names: &Names, outcomes: &ColumnOutcomes) -> Vec<String> {
    let Sequence { name, column, .. } = sequence;
    let old = name.sibling(name.table.with_suffix(&names.suffix));
    let away = format!("ALTER SEQUENCE {name} RENAME TO {}", old.table);
    let Some(new) = outcomes.of(column) else { return vec![away] };
    let to = of_identity(&names.shadow, new);
    if !sequence.identity {
        // A serial column that becomes an identity column goes on where it is, unless the clauses
        // say where it begins.
        let usual = format!(
            ", pg_catalog.pg_sequence q WHERE q.seqrelid = {to} AND s.last_value BETWEEN q.seqmin \
             AND q.seqmax AND q.seqstart = CASE WHEN q.seqincrement > 0 THEN q.seqmin ELSE q.seqmax END"
        );
        return vec![set(name, &to, &usual)];
    }
    let carried = (!outcomes.restarted.contains(new)).then(|| set(&old, &to, ""));
    let stop = (!mutation::active(Rule::CountersLocked)).then(|| stop(sequence, &old));
    [away, go_on(sequence, &to)].into_iter().chain(carried).chain(stop).collect()
}

/// A table that was retired once has a sequence that was stopped: it goes on as this one does.
fn go_on(sequence: &Sequence, to: &str) -> String {
    let (increment, cycle) =
        (sequence.increment, if sequence.cycle { "CYCLE" } else { "NO CYCLE" });
    let body = format!(
        "DECLARE own text; BEGIN SELECT seqrelid::regclass INTO own FROM pg_catalog.pg_sequence \
         WHERE seqrelid = {to} AND seqincrement IN ({far}, -{far}); IF FOUND THEN \
         EXECUTE pg_catalog.format('ALTER SEQUENCE %s INCREMENT BY {increment} {cycle}', own); \
         END IF; END",
        far = i64::MAX
    );
    format!("DO {}", Text(&body))
}

/// Whoever waits for the lock to draw from the original's sequence draws from this one then, by its
/// OID: that must fail, for the new table's sequence gives out the same numbers. `setval` would
/// stay when the swap is rolled back; this does not.
fn stop(sequence: &Sequence, old: &TableName) -> String {
    let far = if sequence.increment > 0 { i64::MAX } else { -i64::MAX };
    let end = sequence.end;
    let body = format!(
        "BEGIN IF (SELECT is_called FROM {old}) THEN \
         ALTER SEQUENCE {old} NO CYCLE INCREMENT BY {far}; \
         ELSE ALTER SEQUENCE {old} NO CYCLE INCREMENT BY {far} RESTART WITH {end}; END IF; END"
    );
    format!("DO {}", Text(&body))
}

/// Gives the sequence to the new table, or the new sequence its rights and comment, after the
/// renames. A sequence whose column is dropped stays with the retired table.
pub(super) fn after(sequence: &Sequence, names: &Names, outcomes: &ColumnOutcomes) -> Vec<String> {
    let (Some(column), name) = (outcomes.of(&sequence.column), &sequence.name) else {
        return Vec::new();
    };
    if !sequence.identity {
        return vec![format!("ALTER SEQUENCE {name} OWNED BY {}.{column}", names.original)];
    }
    let mut statements = vec![grants::clear(On::Sequence, name)];
    statements.extend(grants::give(&sequence.grants, On::Sequence, name, Some));
    statements.extend(sql::comment(&format!("SEQUENCE {name}"), sequence.comment.as_ref()));
    let text = name.to_string();
    let there = format!(
        "{} = pg_catalog.to_regclass({})",
        of_identity(&names.original, column),
        Text(&text)
    );
    statements.iter().map(|statement| sql::when(&there, statement)).collect()
}

/// A sequence that is left narrower than its column becomes.
pub(super) fn note(sequence: &Sequence, outcomes: &ColumnOutcomes) -> Option<String> {
    let narrow = !sequence.identity
        && sequence.data_type != "bigint"
        && outcomes.retyped.contains(&sequence.column);
    narrow.then(|| {
        let name = sequence.name.plain();
        format!(
            "the sequence {name} stays of type {} and ends at {}, as after the server's own ALTER; to \
             widen it: ALTER SEQUENCE {name} AS bigint",
            sequence.data_type, sequence.end
        )
    })
}
