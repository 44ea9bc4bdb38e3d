//! What a run records of its two tables, so that it can be undone: which columns belong together, and how both
//! looked. Names and types only; what is made of them is derived from the catalog.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::engine::undo::Direction;
use crate::error::{Error, Result};
use crate::postgres::clauses::change::Change;
use crate::postgres::connection::session::value;
use crate::postgres::dependents::ForeignKey;
use crate::postgres::name::Ident;

/// The tables of a change. A run that undoes another has the same two, and its original is the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tables {
    /// The run whose clauses made the new table from the old one; `None`: this one's own.
    pub base: Option<i64>,
    /// The table before the change.
    pub old: Shape,
    /// The table after it.
    pub new: Shape,
    /// The columns of the old table that the new one has, and their names there.
    pub pairs: Vec<(Ident, Ident)>,
    /// Foreign keys that the run's swap has added: whoever undoes it takes them away. The swap writes them.
    #[serde(default)]
    pub added: Vec<Ident>,
    /// Foreign keys that the run has taken away: whoever undoes it puts them back.
    #[serde(default)]
    pub dropped: Vec<ForeignKey>,
}

/// How a table looked when a run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// Its OID.
    pub oid: u32,
    /// Its owner.
    pub owner: Ident,
    /// Its columns, in order.
    pub columns: Vec<ColumnShape>,
    /// Its checks.
    pub checks: Vec<Ident>,
    /// Its indexes; a retired table's have a suffix, and these are their names without it.
    pub indexes: Vec<Ident>,
    /// Its sequences, under their names without suffix.
    pub sequences: Vec<SequenceShape>,
    /// Its extended statistics, under their names without suffix.
    pub statistics: Vec<Ident>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnShape {
    /// Its name.
    pub name: Ident,
    /// Its type with its modifier.
    pub kind: String,
    /// Its collation, where its type has one.
    pub collation: Option<String>,
    /// It takes no NULL.
    pub not_null: bool,
    /// `GENERATED ALWAYS AS (…)`: the expression.
    pub generated: Option<String>,
    /// `pg_attribute.attidentity`.
    pub identity: String,
}

/// A sequence that belongs to a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SequenceShape {
    /// Its name.
    pub name: Ident,
    /// Its column.
    pub column: Ident,
    /// What is added each time.
    pub increment: i64,
    /// Whether it begins again after its end.
    pub cycle: bool,
}

const ACTION: &str = "reading how the tables look";

impl Shape {
    /// Reads the table of this OID; `None` when there is none.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn read(client: &Client, oid: u32) -> Result<Option<Self>> {
        let list = |what: &str, from: &str| {
            format!("(SELECT coalesce(json_agg({what}), '[]'::json) FROM {from})")
        };
        let columns = list(
            "json_build_object('name', a.attname, 'kind', format_type(a.atttypid, a.atttypmod), \
             'collation', nullif(a.attcollation, 0)::regcollation::text, 'not_null', a.attnotnull, \
             'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END, \
             'identity', a.attidentity) ORDER BY a.attnum",
            "pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped",
        );
        let checks = list(
            "k.conname ORDER BY k.conname",
            "pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'",
        );
        let indexes = list(
            "x.relname ORDER BY x.relname",
            "pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid",
        );
        let sequences = list(
            "json_build_object('name', q.relname, 'column', a.attname, 'increment', s.seqincrement, \
             'cycle', s.seqcycle) ORDER BY q.relname",
            "pg_depend d JOIN pg_class q ON q.oid = d.objid JOIN pg_sequence s ON s.seqrelid = q.oid \
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
             AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')",
        );
        let statistics =
            list("x.stxname ORDER BY x.stxname", "pg_statistic_ext x WHERE x.stxrelid = c.oid");
        let sql = format!(
            "SELECT json_build_object('oid', c.oid::bigint, 'owner', pg_get_userbyid(c.relowner), \
             'columns', {columns}, 'checks', {checks}, 'indexes', {indexes}, \
             'sequences', {sequences}, 'statistics', {statistics})::text \
             FROM pg_class c WHERE c.oid = {oid}"
        );
        let Some(text) = value(client, ACTION, &sql).await? else { return Ok(None) };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| Error::Internal(format!("{ACTION}: {error}")))
    }

    /// The same; a table that is not there ends the run.
    ///
    /// # Errors
    /// `Foreign`; the server's.
    pub(crate) async fn of(client: &Client, oid: u32) -> Result<Self> {
        let read = Self::read(client, oid).await?;
        read.ok_or_else(|| Error::Foreign("another session dropped one of the tables".into()))
    }

    /// What is not as it was in columns, in words; `None`: nothing.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        let named = |all: &[ColumnShape], name: &Ident| {
            all.iter().find(|column| column.name == *name).cloned()
        };
        for was in &self.columns {
            match named(&now.columns, &was.name) {
                None => return Some(format!("the column {} is gone", was.name)),
                // Whether NULLs are taken is the written table's matter, and looked at with each row.
                Some(is) if is != (ColumnShape { not_null: is.not_null, ..was.clone() }) => {
                    return Some(format!("the column {} is defined otherwise", was.name));
                }
                Some(_) => {}
            }
        }
        let more = now.columns.iter().find(|column| named(&self.columns, &column.name).is_none());
        more.map(|column| format!("the column {} was added", column.name))
    }
}

impl Tables {
    /// Those of a forward run, which begins.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn forward(
        client: &Client,
        change: &Change,
        (original, shadow): (u32, u32),
        unproved: &[Ident],
        owner: &Ident,
        dropped: Vec<ForeignKey>,
    ) -> Result<Self> {
        let old = Shape::of(client, original).await?;
        let mut new = Shape::of(client, shadow).await?;
        // Until the swap it is osc's, and has no check that old rows need not keep.
        new.owner = owner.clone();
        new.checks.extend(unproved.iter().cloned());
        // What they are called is looked at when they retire.
        new.indexes.clear();
        new.sequences.clear();
        new.statistics.clear();
        let pairs = old.columns.iter().filter_map(|column| {
            Some((column.name.clone(), change.columns.new_name(&column.name)?))
        });
        Ok(Self { base: None, pairs: pairs.collect(), old, new, added: Vec::new(), dropped })
    }

    /// The live table and the retired one of a run that goes this way.
    pub(crate) fn sides(&self, direction: Direction) -> (&Shape, &Shape) {
        match direction {
            Direction::Back => (&self.new, &self.old),
            Direction::Again => (&self.old, &self.new),
        }
    }

    /// What a column of the live table is called in the retired one; `None`: it has none of it.
    pub(crate) fn image(&self, direction: Direction, live: &Ident) -> Option<Ident> {
        let pair = self.pairs.iter().find_map(|(old, new)| match direction {
            Direction::Back => (new == live).then_some(old),
            Direction::Again => (old == live).then_some(new),
        });
        pair.cloned()
    }
}
