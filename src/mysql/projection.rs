//! The projection: the SELECT expressions that turn a row of the original into one of the shadow,
//! and the pair of expressions by which each column is compared afterwards.

use std::fmt::Write as _;

use crate::broken::{self, Rule};
use crate::engine::error::Finding;
use crate::mysql::computed::Computed;
use crate::mysql::inspect::{Column, Table};
use crate::mysql::name::Ident;

/// One column of the shadow that the copy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// The shadow's column.
    pub target: Ident,
    /// The expression over the original's columns.
    pub source: String,
    /// The same with the shadow's type and collation, as far as a cast can give them: what decides
    /// whether two values are one to a unique key.
    pub typed: String,
    /// How both sides are compared; `None` for a column without data of the original.
    pub compared: Option<Compared>,
}

/// How a column is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Both expressions have the same bytes when the values are equal: they go into a checksum.
    Bytes {
        /// Over the original.
        original: String,
        /// Over the shadow.
        shadow: String,
        /// Whether either side takes NULL.
        nullable: bool,
    },
    /// Only the server can tell, value by value, with `<=>`.
    Values {
        /// Over the original.
        original: String,
        /// Over the shadow.
        shadow: String,
    },
}

/// The whole projection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// Its columns, in the shadow's order.
    pub columns: Vec<Projected>,
    /// How columns are compared that each table computes by itself, from the same.
    pub computed: Vec<Compared>,
    /// TIMESTAMP becomes something else, or something else TIMESTAMP, or an expression reads one or
    /// the clock: the server's own time zone counts.
    pub zoned: bool,
    /// Text becomes a date: invalid dates must be refused.
    pub dated: bool,
}

/// Makes the projection from the columns that are carried over, as pairs of old and new name.
/// Findings: new columns for which no value is known.
pub fn project(
    original: &Table,
    shadow: &Table,
    kept: &[(Ident, Ident)],
) -> (Projection, Vec<Finding>) {
    let mut projection = Projection { zoned: reads_timestamps(shadow), ..Projection::default() };
    let computed = Computed { original, shadow, kept };
    let mut findings = Vec::new();
    for target in &shadow.columns {
        let source = kept
            .iter()
            .find(|(_, new)| new.same(&target.name))
            .and_then(|(old, _)| original.column(old));
        if target.generated {
            let both = source.filter(|source| computed.same(source, target));
            let compared = both.map(|source| compared(source, target));
            projection.computed.extend(compared);
            continue;
        }
        match source {
            Some(source) => {
                projection.zoned |= source.is_timestamp() != target.is_timestamp();
                projection.dated |= is_date(target) && !is_date(source);
                projection.columns.push(Projected {
                    target: target.name.clone(),
                    source: carried(source, target),
                    typed: typed(source, target),
                    compared: Some(compared(source, target)),
                });
            }
            None if needs_value(target) => match implicit_value(target) {
                Some(value) => projection.columns.push(Projected {
                    target: target.name.clone(),
                    typed: value.clone(),
                    source: value,
                    compared: None,
                }),
                None => findings.push(Finding::new(
                    "new-column-default",
                    format!(
                        "the new column {} is NOT NULL and has no default, and {} has no natural one",
                        target.name, target.column_type
                    ),
                    "give it a DEFAULT, or let it be NULL",
                )),
            },
            None => projection.zoned |= reads_the_clock(target),
        }
    }
    (projection, findings)
}

/// Whether an expression of the table (generated column, check, default, functional key) names a
/// TIMESTAMP, which it sees in the session's zone.
fn reads_timestamps(table: &Table) -> bool {
    let names: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.is_timestamp())
        .map(|column| column.name.to_string().to_lowercase())
        .collect();
    let create = table.create.to_lowercase();
    // Up to the options and partitions, where only UNIX_TIMESTAMP is allowed.
    let lines = create.lines().map(str::trim).skip(1).take_while(|line| !line.starts_with(')'));
    lines
        .filter(|line| line.starts_with('`') || line.contains("((") || line.contains(" check ("))
        .any(|line| names.iter().any(|name| line.strip_prefix(name).unwrap_or(line).contains(name)))
}

/// Whether the default of a new column may be a time of day.
fn reads_the_clock(column: &Column) -> bool {
    let computed = column.extra.contains("default_generated")
        || column.default.as_ref().is_some_and(|default| default.contains('('));
    computed && !column.is_timestamp()
}

/// What is selected of a column that is carried over. These go into text as they are shown: by
/// themselves FLOAT would go there as a DOUBLE, with digits that it never had, and YEAR and ZEROFILL
/// without their zeros.
fn carried(source: &Column, target: &Column) -> String {
    let shown = matches!(source.data_type.as_str(), "float" | "year")
        || source.column_type.contains("zerofill");
    if shown && target.is_text() && !broken::is(Rule::ShownAsText) {
        format!("CONCAT({})", source.name)
    } else {
        source.name.to_string()
    }
}

fn typed(source: &Column, target: &Column) -> String {
    let value = carried(source, target);
    if let (Some(charset), Some(collation)) = (&target.charset, &target.collation)
        && source.collation != target.collation
    {
        return format!("CONVERT({value} USING {charset}) COLLATE {collation}");
    }
    if source.column_type == target.column_type {
        return value;
    }
    match (kind(source), kind(target)) {
        (Kind::Real | Kind::Decimal, Kind::Int) if target.unsigned() => {
            format!("CAST({value} AS UNSIGNED)")
        }
        (Kind::Real | Kind::Decimal, Kind::Int) => format!("CAST({value} AS SIGNED)"),
        (Kind::Text | Kind::Real | Kind::Decimal, Kind::Decimal) => {
            decimal(target).map_or(value.clone(), |to| format!("CAST({value} AS {to})"))
        }
        (_, Kind::DateTime) => format!("CAST({value} AS DATETIME({}))", target.fraction),
        (_, Kind::Date) => format!("CAST({value} AS DATE)"),
        (_, Kind::Time) => format!("CAST({value} AS TIME({}))", target.fraction),
        _ => value,
    }
}

/// The type of a DECIMAL without its attributes, for a cast.
fn decimal(column: &Column) -> Option<String> {
    let (arguments, _) = column.column_type.strip_prefix("decimal")?.split_once(')')?;
    Some(format!("DECIMAL{arguments})"))
}

fn is_date(column: &Column) -> bool {
    matches!(column.data_type.as_str(), "date" | "datetime" | "timestamp" | "time")
}

fn needs_value(column: &Column) -> bool {
    !column.nullable
        && !column.auto_increment
        && column.default.is_none()
        && !column.extra.contains("default_generated")
}

/// What an ALTER of the server's own gives a NOT NULL column without a default.
fn implicit_value(column: &Column) -> Option<String> {
    match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float"
        | "double" | "year" | "bit" => Some("0".into()),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "binary"
        | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "set" => {
            Some("''".into())
        }
        "enum" => Some("1".into()),
        "time" => Some("'00:00:00'".into()),
        _ => None,
    }
}

fn bytes(original: String, shadow: String, nullable: bool) -> Compared {
    Compared::Bytes { original, shadow, nullable }
}

fn compared(old: &Column, new: &Column) -> Compared {
    let nullable = old.nullable || new.nullable;
    if old.column_type == new.column_type && old.charset == new.charset {
        return bytes(plain(old), plain(new), nullable);
    }
    match conversion(old, new) {
        Some((original, shadow)) => bytes(original, shadow, nullable),
        None => Compared::Values { original: old.name.to_string(), shadow: new.name.to_string() },
    }
}

/// The expression whose bytes are the value, exactly.
fn plain(column: &Column) -> String {
    let name = &column.name;
    match column.data_type.as_str() {
        "float" | "double" | "bit" => format!("{name}+0"),
        "json" => format!("CAST({name} AS CHAR)"),
        _ if column.is_spatial() => format!("HEX({name})"),
        _ => name.to_string(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Decimal,
    Real,
    Bit,
    Text,
    Label,
    Binary,
    Date,
    DateTime,
    Time,
    Json,
    Other,
}

fn kind(column: &Column) -> Kind {
    match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Kind::Int,
        "decimal" => Kind::Decimal,
        "float" | "double" => Kind::Real,
        "bit" => Kind::Bit,
        "enum" | "set" => Kind::Label,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Binary,
        "date" => Kind::Date,
        "datetime" | "timestamp" => Kind::DateTime,
        "time" => Kind::Time,
        "json" => Kind::Json,
        _ if column.is_text() => Kind::Text,
        _ => Kind::Other,
    }
}

/// Both sides' expressions for a column whose type changes, where bytes can tell.
fn conversion(old: &Column, new: &Column) -> Option<(String, String)> {
    let (o, n) = (&old.name, &new.name);
    let cast = |to: String| Some((format!("CAST({o} AS {to})"), plain(new)));
    let fraction = new.fraction;
    match (kind(old), kind(new)) {
        // YEAR and ZEROFILL show zeros that are not the value's.
        (Kind::Int, Kind::Int) => Some((format!("{o}+0"), format!("{n}+0"))),
        // BINARY is filled up with zeros.
        (Kind::Binary, Kind::Binary) if new.data_type == "binary" => {
            let trimmed = |name: &Ident| format!("TRIM(TRAILING X'00' FROM {name})");
            Some((trimmed(o), trimmed(n)))
        }
        (Kind::Binary, Kind::Binary) => Some((plain(old), plain(new))),
        (Kind::Int | Kind::Decimal, Kind::Decimal) => cast(decimal(new)?),
        (Kind::Bit, Kind::Int) | (Kind::Int, Kind::Bit) | (Kind::Bit, Kind::Bit) => {
            Some((format!("{o}+0"), format!("{n}+0")))
        }
        (Kind::Real | Kind::Int | Kind::Decimal, Kind::Real) if new.data_type == "double" => {
            Some((format!("{o}+0e0"), format!("{n}+0e0")))
        }
        (Kind::Text | Kind::Label, Kind::Text) => {
            let charset = new.charset.as_deref()?;
            let converted = format!("CONVERT({o} USING {charset})");
            // CHAR drops trailing spaces.
            if new.data_type == "char" {
                Some((
                    format!("TRIM(TRAILING ' ' FROM {converted})"),
                    format!("TRIM(TRAILING ' ' FROM {n})"),
                ))
            } else {
                Some((converted, n.to_string()))
            }
        }
        (Kind::Label, Kind::Label) if old.data_type == "set" && new.data_type == "set" => {
            let members = members(old);
            Some((set_members(o, members), set_members(n, members)))
        }
        (Kind::Label, Kind::Label) => {
            let charset = new.charset.as_deref()?;
            Some((format!("CONVERT(CONCAT({o}) USING {charset})"), format!("CONCAT({n})")))
        }
        (Kind::Real, Kind::Text) if old.data_type == "float" && new.data_type != "char" => {
            let charset = new.charset.as_deref()?;
            Some((format!("CONVERT(CONCAT({o}) USING {charset})"), n.to_string()))
        }
        (Kind::Int | Kind::Decimal, Kind::Text) if new.data_type != "char" => {
            let charset = new.charset.as_deref()?;
            Some((format!("CONVERT(CAST({o} AS CHAR) USING {charset})"), n.to_string()))
        }
        (Kind::Date | Kind::DateTime, Kind::DateTime) => cast(format!("DATETIME({fraction})")),
        (Kind::Date | Kind::DateTime, Kind::Date) => cast("DATE".into()),
        (Kind::Time, Kind::Time) => cast(format!("TIME({fraction})")),
        (Kind::Text, Kind::Json) => {
            Some((format!("CAST(CAST({o} AS JSON) AS CHAR)"), format!("CAST({n} AS CHAR)")))
        }
        (Kind::Json, Kind::Text) if new.data_type != "char" => {
            let charset = new.charset.as_deref()?;
            Some((format!("CONVERT(CAST({o} AS CHAR) USING {charset})"), n.to_string()))
        }
        _ => None,
    }
}

/// The members of a SET, as the server writes them: `'a','b'`.
fn members(column: &Column) -> &str {
    column
        .column_type
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'))
        .map_or("", |(members, _)| members)
}

/// How many members a SET has, and which of `members`: its text tells them in the order of its own
/// definition.
fn set_members(name: &Ident, members: &str) -> String {
    let mut text = format!("CONCAT(BIT_COUNT({name}+0)");
    for member in split_members(members) {
        let _ = write!(text, ", FIND_IN_SET({member}, {name}) > 0");
    }
    text + ")"
}

/// `'a','it''s'` in its parts.
fn split_members(members: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in members.char_indices() {
        match c {
            // A doubled quote leaves and enters again.
            '\'' => inside = !inside,
            ',' if !inside => {
                parts.push(&members[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&members[start..]);
    parts
}

impl Projection {
    /// The columns to insert into: `` `a`, `b` ``.
    pub fn targets(&self) -> String {
        self.columns.iter().map(|column| column.target.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The expressions to select.
    pub fn sources(&self) -> String {
        self.columns.iter().map(|column| column.source.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// A digest of one row, as an expression over the original or over the shadow: a CRC, since
    /// MySQL 9.7 has no MD5 any more. The separator is binary, so that no argument's character set
    /// is converted; it is cast, since a mere literal gives way to the character sets of columns,
    /// and some of those (utf8mb3 and ucs2) do not go together.
    pub fn digest(&self, side: Side) -> String {
        let mut nulls = String::new();
        let mut values = String::new();
        for compared in self.compared() {
            let Compared::Bytes { original, shadow, nullable } = compared else { continue };
            let value = match side {
                Side::Original => original,
                Side::Shadow => shadow,
            };
            let _ = write!(values, ", {value}");
            if *nullable {
                let _ = write!(nulls, ", ISNULL({value})");
            }
        }
        let nulls = if nulls.is_empty() { String::new() } else { format!(", CONCAT(''{nulls})") };
        format!("CRC32(CONCAT_WS(CAST(X'1F' AS BINARY){nulls}{values}))")
    }

    /// A digest of many rows. CRC32 is linear: under XOR alone it cannot see two rows exchange
    /// values of one length. The CRC of its decimal text is not linear in it.
    pub fn aggregate(&self, side: Side) -> String {
        let digest = self.digest(side);
        format!("BIT_XOR(CRC32({digest}))")
    }

    /// Pairs of expressions that must be compared with `<=>`.
    pub fn by_value(&self) -> impl Iterator<Item = (&str, &str)> {
        self.compared().filter_map(|compared| match compared {
            Compared::Values { original, shadow } => Some((original.as_str(), shadow.as_str())),
            Compared::Bytes { .. } => None,
        })
    }

    fn compared(&self) -> impl Iterator<Item = &Compared> {
        self.columns.iter().filter_map(|column| column.compared.as_ref()).chain(&self.computed)
    }
}

/// Which of the two tables an expression is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The original.
    Original,
    /// The shadow.
    Shadow,
}
