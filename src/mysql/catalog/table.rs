//! What a table is: columns, indexes, options, read from the server.

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Row};

use super::key::{KeyColumn, KeyColumns, KeyKind};
use crate::error::{Error, Finding, Result};
use crate::key::Rows;
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::connection_error;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Ident, TableName, Text};

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its place, from 0.
    pub ordinal: usize,
    /// The bare type: `int`, `varchar`.
    pub data_type: String,
    /// The whole type: `int(10) unsigned`, `enum('a','b')`.
    pub column_type: String,
    /// Whether it takes NULL.
    pub nullable: bool,
    /// Character set of a text column.
    pub charset: Option<String>,
    /// Collation of a text column.
    pub collation: Option<String>,
    /// Length in bytes of a text or binary column.
    pub octets: Option<u64>,
    /// Length in characters.
    pub characters: Option<u64>,
    /// Digits after the seconds.
    pub fraction: u8,
    /// Whether the server computes it.
    pub generated: bool,
    /// From what, as the server writes it; empty where it does not.
    pub expression: String,
    /// Whether it counts by itself.
    pub auto_increment: bool,
    /// Its default, as the server shows it.
    pub default: Option<String>,
    /// `EXTRA`, in lower case.
    pub extra: String,
}

impl Column {
    /// Whether it is an unsigned number.
    pub fn unsigned(&self) -> bool {
        self.column_type.contains("unsigned")
    }

    /// Whether it is text with a character set.
    pub fn is_text(&self) -> bool {
        matches!(
            self.data_type.as_str(),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
        )
    }

    /// Whether it is JSON in MySQL's binary form (MariaDB's JSON is text).
    pub fn is_json(&self) -> bool {
        self.data_type == "json"
    }

    /// Whether it is a moment, shown in the session's time zone.
    pub fn is_timestamp(&self) -> bool {
        self.data_type == "timestamp"
    }

    /// Whether it is spatial.
    pub fn is_spatial(&self) -> bool {
        matches!(
            self.data_type.as_str(),
            "geometry"
                | "point"
                | "linestring"
                | "polygon"
                | "multipoint"
                | "multilinestring"
                | "multipolygon"
                | "geometrycollection"
                | "geomcollection"
        )
    }
}

/// One column or expression of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPart {
    /// The column; `None` for an expression.
    pub column: Option<Ident>,
    /// The expression of a functional part, or of a generated column.
    pub expression: Option<String>,
    /// Only so many characters (text) or bytes of it.
    pub prefix: Option<u64>,
    /// Whether it is descending.
    pub descending: bool,
    /// Whether it takes NULL.
    pub nullable: bool,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name; `PRIMARY` for the primary key.
    pub name: Ident,
    /// Whether it is unique.
    pub unique: bool,
    /// `BTREE`, `FULLTEXT`, `SPATIAL`, `HASH`.
    pub kind: String,
    /// Whether statements may name it: not while it is INVISIBLE, or IGNORED (MariaDB).
    pub visible: bool,
    /// Its parts, in order.
    pub parts: Vec<IndexPart>,
}

impl Index {
    /// Whether it is the primary key.
    pub fn is_primary(&self) -> bool {
        self.name.as_str().eq_ignore_ascii_case("PRIMARY")
    }

    /// Whether rows can be read in its order by its name, each once.
    pub fn orders_rows(&self) -> bool {
        self.unique && self.kind == "BTREE" && self.visible
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Storage engine.
    pub engine: String,
    /// Its default collation.
    pub collation: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Its indexes, the primary key first.
    pub indexes: Vec<Index>,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// Estimated rows.
    pub rows: Rows,
    /// Bytes of data and indexes.
    pub bytes: u64,
    /// The next AUTO_INCREMENT value.
    pub auto_increment: Option<u64>,
    /// `SHOW CREATE TABLE`.
    pub create: String,
}

type TableRow = (
    String,
    String,
    String,
    Option<String>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<String>,
    Option<String>,
);

impl Table {
    /// Reads `name`; `None` when there is no such base table.
    pub async fn read(conn: &mut Conn, name: &TableName) -> Result<Option<Self>> {
        // No name has a character beyond the basic plane; the catalog cannot even be searched for one
        // (MySQL's manual, "Schema Object Names").
        let plane = |name: &Ident| name.as_str().chars().all(|c| c <= '\u{ffff}');
        if !plane(&name.schema) || !plane(&name.table) {
            return Ok(None);
        }
        let failed = |error| connection_error("reading the table's definition", error);
        let schema = Text(name.schema.as_str());
        let table = Text(name.table.as_str());
        let found: Option<TableRow> = conn
            .query_first(format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, \
                 INDEX_LENGTH, AUTO_INCREMENT, \
                 CREATE_OPTIONS, TABLE_COLLATION FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}"
            ))
            .await
            .map_err(failed)?;
        let Some((
            schema,
            table,
            kind,
            engine,
            rows,
            data,
            index,
            auto_increment,
            options,
            collation,
        )) = found
        else {
            return Ok(None);
        };
        // As the server stores it, whatever the case it was written in.
        let name = &TableName::new(schema, table);
        if !matches!(kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED") {
            return Err(Error::Refused(vec![Finding::new(
                "table",
                format!("{} is a {}, not a table", name.plain(), kind.to_lowercase()),
                "osc changes base tables; others are changed in no time without it",
            )]));
        }
        Ok(Some(Self {
            name: name.clone(),
            engine: engine.unwrap_or_default(),
            collation: collation.unwrap_or_default(),
            columns: columns(conn, name).await?,
            indexes: indexes(conn, name).await?,
            partitioned: options.unwrap_or_default().contains("partitioned"),
            rows: Rows(rows.unwrap_or(0)),
            bytes: data.unwrap_or(0) + index.unwrap_or(0),
            auto_increment,
            create: definition(conn, name).await?,
        }))
    }

    /// The names of the columns, in order.
    pub fn column_names(&self) -> Vec<Ident> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The column of this name.
    pub fn column(&self, name: &Ident) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.same(name))
    }

    /// The key by which InnoDB keeps the rows and minimal row images name them: the primary key,
    /// else the first unique key on whole not-null columns (MySQL's manual, "Clustered and
    /// Secondary Indexes", and `binlog_row_image`). `None`: rows are named by all their columns.
    pub fn clustered(&self) -> Option<&Index> {
        let first = |index: &&Index| {
            let whole =
                |part: &IndexPart| part.column.is_some() && part.prefix.is_none() && !part.nullable;
            index.unique && index.parts.iter().all(whole)
        };
        // The definition has them in the server's order, `indexes` has not.
        let place = |index: &&Index| {
            self.create.find(&format!("UNIQUE KEY {} (", index.name)).unwrap_or(usize::MAX)
        };
        let primary = self.indexes.iter().find(|index| index.is_primary());
        primary.or_else(|| self.indexes.iter().filter(first).min_by_key(place))
    }

    /// Indexes that can order a copy: unique, on whole not-null columns whose values can be named
    /// exactly. The key of [`Table::clustered`] comes first, then those with the fewest bytes.
    pub fn copy_keys(&self) -> Vec<&Index> {
        let usable = |index: &&Index| {
            index.orders_rows()
                && index.parts.iter().all(|part| {
                    part.prefix.is_none()
                        && !part.nullable
                        && part
                            .column
                            .as_ref()
                            .and_then(|name| self.column(name))
                            .is_some_and(|column| key_kind(column).is_some())
                })
        };
        let clustered = self.clustered().map(|index| &index.name);
        let mut found: Vec<&Index> = self.indexes.iter().filter(usable).collect();
        found.sort_by_key(|index| {
            let text = index.parts.iter().any(|part| {
                part.column
                    .as_ref()
                    .and_then(|name| self.column(name))
                    .is_none_or(|column| column.is_text() || column.data_type == "decimal")
            });
            (clustered != Some(&index.name), text, index.parts.len())
        });
        found
    }

    /// The key columns of one of this table's [`Table::copy_keys`].
    pub fn key_columns(&self, index: &Index) -> Result<KeyColumns> {
        let columns = index.parts.iter().map(|part| {
            let column = part.column.as_ref().and_then(|name| self.column(name))?;
            Some(KeyColumn {
                name: column.name.clone(),
                ordinal: column.ordinal,
                kind: key_kind(column)?,
                descending: part.descending,
            })
        });
        columns
            .collect::<Option<Vec<_>>>()
            .map(KeyColumns)
            .ok_or_else(|| Error::Internal(format!("{} cannot order a copy", index.name)))
    }

    /// What this table has of the key that `names` another one.
    pub fn key_named(&self, names: &[Ident]) -> Result<KeyColumns> {
        let columns = names.iter().map(|name| {
            let column = self.column(name)?;
            let (ordinal, kind) = (column.ordinal, key_kind(column)?);
            Some(KeyColumn { name: column.name.clone(), ordinal, kind, descending: false })
        });
        columns.collect::<Option<Vec<_>>>().map(KeyColumns).ok_or_else(|| {
            Error::Internal(format!("{} lacks columns of the copy key", self.name.plain()))
        })
    }
}

/// The form of a key column's values; `None` for types that cannot be named exactly.
fn key_kind(column: &Column) -> Option<KeyKind> {
    let bytes = |bytes| Some(KeyKind::Int { bytes, unsigned: column.unsigned() });
    match column.data_type.as_str() {
        "tinyint" => bytes(1),
        "smallint" => bytes(2),
        "mediumint" => bytes(3),
        "int" => bytes(4),
        "bigint" => bytes(8),
        "year" => Some(KeyKind::Int { bytes: 1, unsigned: true }),
        "bit" => Some(KeyKind::Bit),
        "enum" => Some(KeyKind::Enum),
        "set" => Some(KeyKind::Set),
        "decimal" => Some(KeyKind::Decimal),
        "date" | "datetime" => Some(KeyKind::Date { fraction: column.fraction }),
        "timestamp" => Some(KeyKind::Timestamp { fraction: column.fraction }),
        "time" => Some(KeyKind::Time { fraction: column.fraction }),
        "char" | "varchar" => Some(KeyKind::Text { charset: column.charset.clone()? }),
        "binary" => {
            Some(KeyKind::Binary { pad: column.octets.and_then(|n| usize::try_from(n).ok()) })
        }
        "varbinary" => Some(KeyKind::Binary { pad: None }),
        "uuid" => Some(KeyKind::Uuid),
        "inet6" => Some(KeyKind::Binary { pad: Some(16) }),
        "inet4" => Some(KeyKind::Binary { pad: Some(4) }),
        _ => None,
    }
}

/// `SHOW CREATE TABLE`. MariaDB writes a default of bytes there as it is, whatever the character set
/// of the session; in information_schema it does not.
pub async fn definition(conn: &mut Conn, name: &TableName) -> Result<String> {
    let shown: Option<(String, Vec<u8>)> = conn
        .query_first(format!("SHOW CREATE TABLE {name}"))
        .await
        .map_err(|error| connection_error("reading the table's definition", error))?;
    Ok(shown.map(|(_, text)| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default())
}

async fn columns(conn: &mut Conn, name: &TableName) -> Result<Vec<Column>> {
    let rows: Vec<Row> = conn
        .all(format!(
            "SELECT COLUMN_NAME, ORDINAL_POSITION, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, \
             CHARACTER_SET_NAME, COLLATION_NAME, CHARACTER_OCTET_LENGTH, CHARACTER_MAXIMUM_LENGTH, \
             DATETIME_PRECISION, GENERATION_EXPRESSION, EXTRA, COLUMN_DEFAULT \
             FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            Text(name.schema.as_str()),
            Text(name.table.as_str())
        ))
        .await
        .map_err(|error| connection_error("reading the table's columns", error))?;
    rows.into_iter().map(column).collect()
}

fn column(mut row: Row) -> Result<Column> {
    fn take<T: FromValue>(row: &mut Row, at: usize) -> Result<T> {
        row.take_opt(at).and_then(std::result::Result::ok).ok_or_else(|| {
            Error::Internal(format!("field {at} of a column's description cannot be read"))
        })
    }
    let row = &mut row;
    let extra = take::<Option<String>>(row, 11)?.unwrap_or_default().to_lowercase();
    let ordinal: u64 = take(row, 1)?;
    let expression = take::<Option<String>>(row, 10)?.unwrap_or_default();
    Ok(Column {
        name: Ident::new(take::<String>(row, 0)?),
        ordinal: usize::try_from(ordinal).unwrap_or(usize::MAX).saturating_sub(1),
        data_type: take::<String>(row, 2)?.to_lowercase(),
        column_type: lower_outside_quotes(&take::<String>(row, 3)?),
        nullable: take::<String>(row, 4)?.eq_ignore_ascii_case("YES"),
        charset: take(row, 5)?,
        collation: take(row, 6)?,
        octets: take(row, 7)?,
        characters: take(row, 8)?,
        fraction: take::<Option<u64>>(row, 9)?.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
        generated: !expression.is_empty(),
        expression,
        auto_increment: extra.contains("auto_increment"),
        default: take(row, 12)?,
        extra,
    })
}

fn lower_outside_quotes(text: &str) -> String {
    let mut quoted = false;
    text.chars()
        .map(|c| {
            quoted ^= c == '\'';
            if quoted { c } else { c.to_ascii_lowercase() }
        })
        .collect()
}

type IndexRow = (
    String,
    u64,
    Option<String>,
    Option<u64>,
    Option<String>,
    Option<String>,
    String,
    Option<String>,
    bool,
);

async fn indexes(conn: &mut Conn, name: &TableName) -> Result<Vec<Index>> {
    let flavor = flavor(conn).await?;
    let expression =
        if !flavor.is_mariadb() && flavor.at_least(8, 0, 13) { "s.EXPRESSION" } else { "NULL" };
    let visible = match flavor.is_mariadb() {
        true if flavor.at_least(10, 6, 0) => "s.IGNORED = 'NO'",
        true => "TRUE",
        false => "s.IS_VISIBLE = 'YES'",
    };
    let (schema, table) = (Text(name.schema.as_str()), Text(name.table.as_str()));
    let rows: Vec<IndexRow> = conn
        .all(format!(
            "SELECT s.INDEX_NAME, s.NON_UNIQUE, s.COLUMN_NAME, s.SUB_PART, s.COLLATION, s.NULLABLE, \
             s.INDEX_TYPE, COALESCE({expression}, NULLIF(c.GENERATION_EXPRESSION, '')), {visible} \
             FROM information_schema.STATISTICS s LEFT JOIN information_schema.COLUMNS c \
             ON c.TABLE_SCHEMA = {schema} AND c.TABLE_NAME = {table} \
             AND c.COLUMN_NAME = s.COLUMN_NAME \
             WHERE s.TABLE_SCHEMA = {schema} AND s.TABLE_NAME = {table} \
             ORDER BY s.INDEX_NAME <> 'PRIMARY', s.INDEX_NAME, s.SEQ_IN_INDEX"
        ))
        .await
        .map_err(|error| connection_error("reading the table's indexes", error))?;
    let mut indexes: Vec<Index> = Vec::new();
    for (name, non_unique, column, prefix, collation, nullable, kind, expression, visible) in rows {
        let part = IndexPart {
            column: column.map(Ident::new),
            expression,
            prefix,
            descending: collation.as_deref() == Some("D"),
            nullable: nullable.as_deref() == Some("YES"),
        };
        match indexes.last_mut() {
            Some(last) if last.name.as_str() == name => last.parts.push(part),
            _ => indexes.push(Index {
                name: Ident::new(name),
                unique: non_unique == 0,
                kind,
                visible,
                parts: vec![part],
            }),
        }
    }
    Ok(indexes)
}

/// The server's family and version.
pub async fn flavor(conn: &mut Conn) -> Result<Flavor> {
    let text: Option<String> = conn
        .query_first("SELECT VERSION()")
        .await
        .map_err(|error| connection_error("asking for the server's version", error))?;
    let text = text.unwrap_or_default();
    Flavor::parse(&text).ok_or_else(|| {
        Error::server("asking for the server's version", format!("{text:?} is not understood"))
    })
}
