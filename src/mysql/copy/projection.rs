//! The projection: the SELECT expressions that turn a row of the original into one of the shadow,
//! and the pair of expressions by which each column is compared afterwards.

use std::fmt::Write as _;

use super::conversion::{Conversion, conversion, decimal};
use super::generated_columns::Computed;
use crate::error::Finding;
use crate::mysql::catalog::kind::Kind;
use crate::mysql::catalog::table::{Column, Table};
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Ident, Text};
use crate::testing::mutation::{self, Rule};

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
    /// The condition under which a value loses nothing, where the server would not report it.
    pub fits: Option<String>,
}

/// How a column is compared: two expressions with the same bytes where the values are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Over the original.
    pub original: String,
    /// Over the shadow.
    pub shadow: String,
    /// Whether either side takes NULL.
    pub nullable: bool,
    /// Whether a value may have megabytes: its checksum stands for it, since a row's text that is
    /// longer than `max_allowed_packet` would be NULL.
    pub long: bool,
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
    /// What the new types themselves make values lose.
    pub notes: Vec<String>,
}

/// Makes the projection from the columns that are carried over, as pairs of old and new name.
/// Findings: new columns for which no value is known, and columns whose values cannot become what the
/// clauses ask for.
pub fn project(
    original: &Table,
    shadow: &Table,
    kept: &[(Ident, Ident)],
    flavor: Flavor,
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
            // The same type on both sides, which is no conversion.
            let both = source.filter(|source| computed.same(source, target));
            let same = both.and_then(|source| conversion(source, target, flavor).ok().zip(both));
            projection.computed.extend(same.map(|(same, source)| compared(same, source, target)));
            continue;
        }
        match source {
            Some(source) => {
                projection.zoned |= source.is_timestamp() != target.is_timestamp();
                projection.dated |= is_date(target) && !is_date(source);
                match conversion(source, target, flavor) {
                    Ok(mut conversion) => {
                        projection.notes.extend(conversion.note.take());
                        projection.columns.push(Projected {
                            target: target.name.clone(),
                            source: conversion.value.clone(),
                            typed: typed(source, target, &conversion.value),
                            fits: conversion.fits.take(),
                            compared: Some(compared(conversion, source, target)),
                        });
                    }
                    Err(why) => findings.push(Finding::new(
                        "conversion",
                        why,
                        "add a column of the new type, fill it as you see fit, and drop the old one",
                    )),
                }
            }
            None if needs_value(target) => match implicit_value(target) {
                Some(value) => projection.columns.push(Projected {
                    target: target.name.clone(),
                    typed: value.clone(),
                    source: value,
                    compared: None,
                    fits: None,
                }),
                None => findings.push(Finding::new(
                    "new-column-default",
                    format!(
                        "the new column {} is NOT NULL and has no default, and {} has no implicit one",
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
        .map(|column| column.name.as_str().to_lowercase())
        .collect();
    let is_word = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '_' || c == '$';
    // With quotes around the name, or without: so did the session that made the table.
    let tells = |text: &str, name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let (before, after) =
                (text.get(..at).unwrap_or(""), text.get(at + name.len()..).unwrap_or(""));
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    };
    let create = table.create.to_lowercase();
    // Up to the options and partitions, where only UNIX_TIMESTAMP is allowed.
    let lines = create.lines().map(str::trim).skip(1).take_while(|line| !line.starts_with(')'));
    lines
        .filter(|line| line.starts_with('`') || line.contains("((") || line.contains(" check ("))
        .any(|line| {
            names.iter().any(|name| {
                let own = line.strip_prefix(&format!("`{}`", name.replace('`', "``")));
                tells(own.unwrap_or(line), name)
            })
        })
}

/// Whether the default of a new column may be a time of day.
fn reads_the_clock(column: &Column) -> bool {
    let computed = column.extra.contains("default_generated")
        || column.default.as_ref().is_some_and(|default| default.contains('('));
    computed && !column.is_timestamp()
}

fn compared(conversion: Conversion, source: &Column, target: &Column) -> Compared {
    Compared {
        original: conversion.expected,
        shadow: conversion.found,
        nullable: source.nullable || target.nullable,
        long: is_long(source) || is_long(target),
    }
}

fn typed(source: &Column, target: &Column, value: &str) -> String {
    if let (Some(charset), Some(collation)) = (&target.charset, &target.collation)
        && source.collation != target.collation
    {
        return format!("CONVERT({value} USING {charset}) COLLATE {collation}");
    }
    if source.column_type == target.column_type {
        return value.to_owned();
    }
    match (Kind::of(source), Kind::of(target)) {
        (Kind::Float | Kind::Double | Kind::Decimal, Kind::Int) if target.unsigned() => {
            format!("CAST({value} AS UNSIGNED)")
        }
        (Kind::Float | Kind::Double | Kind::Decimal, Kind::Int) => {
            format!("CAST({value} AS SIGNED)")
        }
        (Kind::Text | Kind::Float | Kind::Double | Kind::Decimal, Kind::Decimal) => {
            decimal(target).map_or(value.to_owned(), |to| format!("CAST({value} AS {to})"))
        }
        (_, Kind::DateTime) => format!("CAST({value} AS DATETIME({}))", target.fraction),
        (_, Kind::Date) => format!("CAST({value} AS DATE)"),
        (_, Kind::Time) => format!("CAST({value} AS TIME({}))", target.fraction),
        _ => value.to_owned(),
    }
}

fn is_date(column: &Column) -> bool {
    Kind::of(column).is_temporal()
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

/// Whether the column's values are not bounded by the 64 KiB of a row.
fn is_long(column: &Column) -> bool {
    let long = matches!(
        column.data_type.as_str(),
        "text" | "mediumtext" | "longtext" | "blob" | "mediumblob" | "longblob" | "json" | "vector"
    );
    (long || column.is_spatial()) && !mutation::active(Rule::LongRowsCompared)
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
        for Compared { original, shadow, nullable, long } in self.compared() {
            let value = match side {
                Side::Original => original,
                Side::Shadow => shadow,
            };
            if *long {
                let _ = write!(values, ", CRC32({value})");
            } else {
                let _ = write!(values, ", {value}");
            }
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
        // A digest that is NULL is in no sum: it makes the sums differ, and the rows are looked at.
        format!("BIT_XOR(IFNULL(CRC32({digest}), CAST(RAND() * 4294967295 AS UNSIGNED)))")
    }

    /// The condition under which a row does not fit, and an expression for why; `None` where the
    /// server itself tells of each such row.
    pub fn misfits(&self) -> Option<(String, String)> {
        let mut condition = String::new();
        let mut why = String::from("CASE");
        for column in &self.columns {
            let Some(fits) = &column.fits else { continue };
            let separator = if condition.is_empty() { "" } else { " OR " };
            let _ = write!(condition, "{separator}({fits}) IS FALSE");
            let text = format!(
                "existing rows do not fit: values of column {} would be lost in part",
                column.target
            );
            let _ = write!(why, " WHEN ({fits}) IS FALSE THEN {}", Text(&text));
        }
        (!condition.is_empty()).then(|| (format!("({condition})"), why + " END"))
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
