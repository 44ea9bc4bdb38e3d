//! A table as the catalog has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::key::{KeyColumn, KeyColumns, KeyKind};
use crate::error::{Error, Finding, Result};
use crate::key::Rows;
use crate::postgres::connection::session::{rows, texts, value};
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::name::{Ident, TableName, Text};

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type with its modifier, as the server writes it: `character varying(40)`.
    pub type_sql: String,
    /// Its type.
    pub type_oid: u32,
    /// Its collation.
    pub collation: u32,
    /// Two of its values have the same hash only if they are the same to the last byte.
    pub hashes_bytes: bool,
    /// The operators `<`, `<=`, `=`, `>=`, `>` by which ORDER BY and indexes order it, where they are none
    /// of pg_catalog's: no search path of osc's finds them.
    pub operators: Option<Operators>,
    /// It takes no NULL.
    pub not_null: bool,
    /// `GENERATED ALWAYS AS (…)`, stored or virtual: the expression.
    pub generated: Option<String>,
    /// `GENERATED … AS IDENTITY`.
    pub identity: bool,
    /// Its default.
    pub default: Option<String>,
}

impl Column {
    /// Whether it is `smallint`, `integer` or `bigint`: these compare with each other as numbers.
    pub fn is_integer(&self) -> bool {
        matches!(self.type_oid, 20 | 21 | 23)
    }
}

/// The operators of a type's order, as statements name them: `OPERATOR("public".<)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    /// `<`
    pub less: String,
    /// `<=`
    pub at_most: String,
    /// `=`
    pub equal: String,
    /// `>=`
    pub at_least: String,
    /// `>`
    pub greater: String,
}

impl Operators {
    /// From the five, in the order of the access method's strategies.
    fn of(text: &str) -> Option<Self> {
        let parts: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let [less, at_most, equal, at_least, greater] = parts.try_into().ok()?;
        Some(Self { less, at_most, equal, at_least, greater })
    }
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: Ident,
    /// Its columns or expressions, in the server's words, without those that are only included.
    pub keys: Vec<IndexKey>,
    /// Its predicate, where it is partial.
    pub predicate: Option<String>,
    /// No two rows may have the same.
    pub unique: bool,
    /// NULLs are the same (15 and later).
    pub nulls_not_distinct: bool,
    /// It backs the primary key.
    pub primary: bool,
    /// Its uniqueness is looked at at once, not at the end of the statement or transaction.
    pub immediate: bool,
    /// It can be used.
    pub valid: bool,
    /// It is what names rows in the change stream (`REPLICA IDENTITY USING INDEX`).
    pub identity: bool,
    /// The constraint that it backs.
    pub constraint: Option<Constraint>,
    /// What follows the table in its `CREATE INDEX`: `USING btree (email)`. Not its tablespace.
    pub definition: String,
    /// Its tablespace, if it has one of its own.
    #[serde(default)]
    pub tablespace: Option<Ident>,
}

impl Index {
    /// Whether it proves that these columns name one row.
    pub fn is_key(&self, columns: &[Ident]) -> bool {
        self.keys.len() == columns.len() && self.begins_with_key(columns)
    }

    /// Whether it is unique, and rows are found in it by these columns, in whatever order.
    pub fn begins_with_key(&self, columns: &[Ident]) -> bool {
        let first = self.keys.iter().take(columns.len());
        let own: BTreeSet<&Ident> = first.filter_map(|key| key.column.as_ref()).collect();
        self.unique && self.immediate && self.predicate.is_none() && own == columns.iter().collect()
    }
}

/// A constraint that an index backs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// `p`, `u` or `x`: pg_constraint.contype.
    pub kind: char,
    /// What follows its name in `ADD CONSTRAINT`.
    pub definition: String,
    /// ` DEFERRABLE INITIALLY DEFERRED`, or less.
    pub deferral: String,
    /// It takes no index that is there already: a partitioned table's.
    #[serde(default)]
    pub whole: bool,
}

impl Constraint {
    /// What follows its name in `ADD CONSTRAINT` where its index `index` is there already; `None`:
    /// it cannot take one.
    pub fn using(&self, index: &Ident) -> Option<String> {
        let word = match self.kind {
            'p' if !self.whole => "PRIMARY KEY",
            'u' if !self.whole => "UNIQUE",
            _ => return None,
        };
        Some(format!("{word} USING INDEX {index}{}", self.deferral))
    }
}

/// One part of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKey {
    /// The column; `None` for an expression.
    pub column: Option<Ident>,
    /// The column or the expression, quoted.
    pub expression: String,
    /// The operator by which an exclusion constraint tells a clash, such as
    /// `OPERATOR(pg_catalog.&&)`.
    pub excludes: Option<String>,
    /// The operator by which a unique index tells equals, where it is none of pg_catalog's.
    #[serde(default)]
    pub equals: Option<String>,
    /// Stored in descending order.
    pub descending: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// What names it in the catalog whatever it is called.
    pub oid: u32,
    /// `r`, `p`, `v` …: pg_class.relkind.
    pub kind: char,
    /// `p` permanent, `u` unlogged, `t` temporary: pg_class.relpersistence.
    pub persistence: char,
    /// `d`, `n`, `f` or `i`: pg_class.relreplident.
    pub replica_identity: char,
    /// It is a partition.
    pub partition: bool,
    /// Its tablespace, if it has one of its own.
    pub tablespace: Option<Ident>,
    /// Its access method.
    pub access_method: Ident,
    /// Estimated rows.
    pub rows: Rows,
    /// Bytes of data, TOAST and indexes.
    pub bytes: u64,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Its indexes by name.
    pub indexes: Vec<Index>,
}

const ACTION: &str = "reading the catalog";

impl Table {
    /// Reads a table; `None` when there is none.
    ///
    /// # Errors
    /// The server's.
    pub async fn read(client: &Client, name: &TableName) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT c.oid, c.relkind, c.relpersistence, c.relreplident, c.relispartition, \
             t.spcname, a.amname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace \
             LEFT JOIN pg_am a ON a.oid = c.relam \
             WHERE n.nspname = {} AND c.relname = {}",
            Text(name.schema.as_str()),
            Text(name.table.as_str())
        );
        let found = rows(client, ACTION, &sql).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let oid = number(row.get(0))?;
        let letter = |at| row.get(at).and_then(|text| text.chars().next()).unwrap_or(' ');
        Ok(Some(Self {
            name: name.clone(),
            oid,
            kind: letter(1),
            persistence: letter(2),
            replica_identity: letter(3),
            partition: row.get(4) == Some("t"),
            tablespace: row.get(5).map(Ident::new),
            access_method: Ident::new(row.get(6).unwrap_or_default()),
            rows: Rows(number(row.get(7))?),
            bytes: number(row.get(8))?,
            columns: columns(client, oid).await?,
            indexes: indexes(client, oid).await?,
        }))
    }

    /// The column of this name.
    pub fn column(&self, name: &Ident) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == *name)
    }

    /// The index of this name.
    pub fn index(&self, name: &Ident) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == *name)
    }

    /// The copy key: what names rows in the change stream, if it can order them as well.
    ///
    /// # Errors
    /// `Refused` where there is none.
    pub fn copy_key(&self) -> Result<&Index> {
        let usable = |index: &&Index| {
            index.unique
                && index.valid
                && index.immediate
                && index.predicate.is_none()
                && index.keys.iter().all(|key| {
                    let column = key.column.as_ref().and_then(|name| self.column(name));
                    column.is_some_and(|column| column.not_null) && !key.descending
                })
        };
        let mut candidates = self.indexes.iter().filter(usable);
        let found = match self.replica_identity {
            'i' => candidates.find(|index| index.identity),
            'd' => candidates.find(|index| index.primary),
            _ => {
                let all: Vec<&Index> = candidates.collect();
                all.iter().find(|index| index.primary).or(all.first()).copied()
            }
        };
        found.ok_or_else(|| {
            Error::Refused(vec![Finding::new(
                "copy-key",
                format!(
                    "{} has no key that orders its rows and names them in the change stream",
                    self.name.plain()
                ),
                "add a primary key; or a unique index over NOT NULL columns, and ALTER TABLE … \
                 REPLICA IDENTITY USING INDEX",
            )])
        })
    }
}

impl Table {
    /// The operators of these columns, where they are none of pg_catalog's.
    pub fn operators(&self, key: &KeyColumns) -> Vec<Option<Operators>> {
        let of = |name: &Ident| self.column(name).and_then(|column| column.operators.clone());
        key.0.iter().map(|column| of(&column.name)).collect()
    }

    /// The columns of the copy key.
    ///
    /// # Errors
    /// `Internal` when the index has something else in it.
    pub fn key_columns(&self, index: &Index) -> Result<KeyColumns> {
        let column = |key: &IndexKey| {
            let column = key.column.as_ref().and_then(|name| self.column(name))?;
            Some(KeyColumn {
                name: column.name.clone(),
                type_sql: column.type_sql.clone(),
                type_oid: column.type_oid,
                kind: KeyKind::of(column.type_oid),
            })
        };
        let columns: Option<Vec<_>> = index.keys.iter().map(column).collect();
        columns
            .map(KeyColumns)
            .ok_or_else(|| Error::Internal(format!("{} is no copy key", index.name.0)))
    }
}

/// A number that the server wrote.
///
/// # Errors
/// `Internal` when it is none.
pub(crate) fn number<T: std::str::FromStr>(text: Option<&str>) -> Result<T> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Internal(format!("the server's {text:?} is not a number")))
}

/// Types whose hash is made from all that a value's text tells. Not so `numeric`, whose 1.0 and 1.00
/// have the same, nor floats (-0), intervals (30 days) or `jsonb`, which holds numbers.
const HASHED_BYTES: &str = "bool,bytea,int8,int2,int4,text,oid,varchar,date,time,timestamp,\
     timestamptz,uuid";

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>> {
    let sql = format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.attcollation, \
         a.attnotnull, a.attgenerated, a.attidentity <> '', pg_get_expr(d.adbin, d.adrelid), \
         (t.typtype = 'e' OR a.atttypid = ANY ('{{{HASHED_BYTES}}}'::regtype[]::oid[]) \
          OR a.atttypid = 'bpchar'::regtype AND a.atttypmod > 0) \
         AND coalesce(l.collisdeterministic, true), \
         (WITH RECURSIVE base AS (SELECT a.atttypid AS id UNION ALL \
          SELECT b.typbasetype FROM pg_type b JOIN base ON b.oid = base.id WHERE b.typtype = 'd') \
          SELECT string_agg(format('OPERATOR(%I.%s)', s.nspname, o.oprname), ' ' \
           ORDER BY m.amopstrategy) \
          FROM pg_opclass c JOIN pg_am h ON h.oid = c.opcmethod AND h.amname = 'btree' \
          JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype \
          AND m.amoprighttype = c.opcintype AND m.amoppurpose = 's' \
          JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace \
          WHERE c.opcdefault AND c.opcintype IN (SELECT id FROM base) \
          AND s.nspname <> 'pg_catalog') \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_collation l ON l.oid = a.attcollation \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let found = rows(client, ACTION, &sql).await?;
    let column = |row: &tokio_postgres::SimpleQueryRow| {
        let generated = row.get(5).is_some_and(|text| !text.is_empty());
        let default = row.get(7).map(str::to_owned);
        Ok(Column {
            name: Ident::new(row.get(0).unwrap_or_default()),
            type_sql: row.get(1).unwrap_or_default().to_owned(),
            type_oid: number(row.get(2))?,
            collation: number(row.get(3))?,
            not_null: row.get(4) == Some("t"),
            generated: default.clone().filter(|_| generated),
            identity: row.get(6) == Some("t"),
            default: default.filter(|_| !generated),
            hashes_bytes: row.get(8) == Some("t"),
            operators: row.get(9).and_then(Operators::of),
        })
    };
    found.iter().map(column).collect()
}

async fn indexes(client: &Client, oid: u32) -> Result<Vec<Index>> {
    let distinct = "coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)";
    let deferral = "concat(CASE WHEN k.condeferrable THEN ' DEFERRABLE' END, \
         CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' END)";
    // The server leaves out the index's parameters, which stand before the deferral.
    let constraint = format!(
        "concat(left(pg_get_constraintdef(k.oid), length(pg_get_constraintdef(k.oid)) \
         - length({deferral})), (SELECT ' WITH (' || string_agg(format('%I = %L', o.option_name, \
         o.option_value), ', ') || ')' FROM pg_options_to_table(c.reloptions) o \
         WHERE k.contype <> 'x'), {deferral})"
    );
    let sql = format!(
        "SELECT i.indexrelid, c.relname, i.indisunique, {distinct}, i.indisprimary, \
         i.indimmediate, i.indisvalid AND i.indisready, i.indisreplident, \
         pg_get_expr(i.indpred, i.indrelid), k.contype, {constraint}, \
         substr(pg_get_indexdef(i.indexrelid), length(concat('CREATE ', \
         CASE WHEN i.indisunique THEN 'UNIQUE ' END, 'INDEX ', quote_ident(c.relname), ' ON ', \
         CASE WHEN c.relkind = 'I' THEN 'ONLY ' END, \
         CASE WHEN n.oid = pg_my_temp_schema() AND current_setting('server_version_num')::int >= 150000 \
         THEN 'pg_temp' ELSE quote_ident(n.nspname) END, '.', \
         quote_ident(t.relname), ' ')) + 1), \
         {deferral}, c.relkind = 'I', \
         (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
         LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid \
         AND k.contype IN ('p', 'u', 'x') \
         WHERE i.indrelid = {oid} ORDER BY i.indisprimary DESC, c.relname"
    );
    let mut keys = index_keys(client, oid).await?;
    let mut indexes = Vec::new();
    for row in rows(client, ACTION, &sql).await? {
        let yes = |at| row.get(at) == Some("t");
        let constraint = row.get(9).and_then(|kind| kind.chars().next());
        indexes.push(Index {
            name: Ident::new(row.get(1).unwrap_or_default()),
            keys: keys.remove(row.get(0).unwrap_or_default()).unwrap_or_default(),
            predicate: row.get(8).map(str::to_owned),
            unique: yes(2),
            nulls_not_distinct: yes(3),
            primary: yes(4),
            immediate: yes(5),
            valid: yes(6),
            identity: yes(7),
            constraint: constraint.map(|kind| Constraint {
                kind,
                definition: row.get(10).unwrap_or_default().to_owned(),
                deferral: row.get(12).unwrap_or_default().to_owned(),
                whole: yes(13),
            }),
            definition: row.get(11).unwrap_or_default().to_owned(),
            tablespace: row.get(14).map(Ident::new),
        });
    }
    Ok(indexes)
}

/// The parts of a table's indexes, by the index's OID as text.
async fn index_keys(client: &Client, oid: u32) -> Result<BTreeMap<String, Vec<IndexKey>>> {
    let sql = format!(
        "SELECT a.attname, pg_get_indexdef(i.indexrelid, n, false), \
         (SELECT format('OPERATOR(%I.%s)', ns.nspname, o.oprname) \
          FROM pg_constraint k JOIN pg_operator o ON o.oid = k.conexclop[n] \
          JOIN pg_namespace ns ON ns.oid = o.oprnamespace \
          WHERE k.conindid = i.indexrelid AND k.contype = 'x'), \
         i.indoption[n - 1] & 1, i.indexrelid, \
         (SELECT format('OPERATOR(%I.%s)', s.nspname, o.oprname) FROM pg_opclass c \
          JOIN pg_am h ON h.oid = c.opcmethod AND h.amname = 'btree' \
          JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype \
          AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3 \
          JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace s ON s.oid = o.oprnamespace \
          WHERE c.oid = i.indclass[n - 1] AND s.nspname <> 'pg_catalog') \
         FROM pg_index i CROSS JOIN generate_series(1, i.indnkeyatts) AS n \
         LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n - 1] \
         WHERE i.indrelid = {oid} ORDER BY i.indexrelid, n"
    );
    let mut keys = BTreeMap::<String, Vec<IndexKey>>::new();
    for row in rows(client, ACTION, &sql).await? {
        keys.entry(row.get(4).unwrap_or_default().to_owned()).or_default().push(IndexKey {
            column: row.get(0).map(Ident::new),
            expression: row.get(1).unwrap_or_default().to_owned(),
            excludes: row.get(2).map(str::to_owned),
            equals: row.get(5).map(str::to_owned),
            descending: row.get(3) == Some("1"),
        });
    }
    Ok(keys)
}

/// The server's version number, such as 150010.
///
/// # Errors
/// The server's.
pub(crate) async fn version(client: &Client) -> Result<u32> {
    number(value(client, ACTION, "SHOW server_version_num").await?.as_deref())
}

/// Finds the schema of a table that was named without one, by the search path of the role's own sessions.
///
/// # Errors
/// `Refused` when there is no such table.
pub(crate) async fn resolve(
    client: &Client,
    settings: &RoleSettings,
    schema: Option<&str>,
    table: &str,
) -> Result<TableName> {
    let named = match schema {
        Some(schema) => TableName::new(schema, table).to_string(),
        None => Ident::new(table).to_string(),
    };
    let sql = format!("SELECT pg_catalog.to_regclass({})::pg_catalog.oid", Text(&named));
    let oid = value(client, ACTION, &settings.in_words(&sql)).await?;
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = {}",
        oid.as_deref().unwrap_or("NULL")
    );
    let found = rows(client, ACTION, &sql).await?;
    match found.first().map(texts).as_deref() {
        Some([Some(schema), Some(table)]) => Ok(TableName::new(*schema, *table)),
        _ => Err(Error::Refused(vec![Finding::new(
            "table",
            format!(
                "there is no table {}",
                schema.map_or(String::new(), |s| format!("{s}.")) + table
            ),
            "check the name, its schema, and the database in the URL",
        )])),
    }
}

/// The OID of the table that has this name now.
///
/// # Errors
/// The server's.
pub(crate) async fn oid_of(client: &Client, table: &TableName) -> Result<Option<u32>> {
    let sql = format!("SELECT to_regclass({})::oid", Text(&table.to_string()));
    let found = value(client, "reading the catalog", &sql).await?;
    found.map(|text| number(Some(&text))).transpose()
}
