//! The projection: the SELECT expressions that turn a row of the original into one of the shadow,
//! and the pair of expressions by which each column is compared afterwards.

use std::fmt::Write as _;

use crate::engine::error::Finding;
use crate::mysql::inspect::{Column, Table};
use crate::mysql::name::{Ident, Text};

/// One column of the shadow that the copy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projected {
    /// The shadow's column.
    pub target: Ident,
    /// The expression over the original's columns.
    pub source: String,
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
    /// TIMESTAMP becomes DATETIME or back: the server's own time zone counts.
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
    let mut projection = Projection::default();
    let mut findings = Vec::new();
    for target in &shadow.columns {
        if target.generated {
            continue;
        }
        let source = kept
            .iter()
            .find(|(_, new)| new.same(&target.name))
            .and_then(|(old, _)| original.column(old));
        match source {
            Some(source) => {
                let kinds = (source.data_type.as_str(), target.data_type.as_str());
                projection.zoned |=
                    matches!(kinds, ("timestamp", "datetime" | "date" | "time") | ("datetime" | "date", "timestamp"));
                projection.dated |= is_date(target) && !is_date(source);
                projection.columns.push(Projected {
                    target: target.name.clone(),
                    source: source.name.to_string(),
                    compared: Some(compared(source, target)),
                });
            }
            None if needs_value(target) => match implicit_value(target) {
                Some(value) => projection.columns.push(Projected {
                    target: target.name.clone(),
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
            None => {}
        }
    }
    (projection, findings)
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
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Binary,
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
        (Kind::Int, Kind::Int) | (Kind::Binary, Kind::Binary) => Some((plain(old), plain(new))),
        (Kind::Int | Kind::Decimal, Kind::Decimal) => {
            let arguments = new.column_type.strip_prefix("decimal")?;
            let (arguments, _) = arguments.split_once(')')?;
            cast(format!("DECIMAL{arguments})"))
        }
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
        (Kind::Label, Kind::Label) if old.data_type == "set" => {
            // A set's text has its members in the order of the definition, which may change.
            let mut labels = labels(&old.column_type);
            labels.extend(labels_of_new(&labels, &new.column_type));
            Some((members(&labels, o), members(&labels, n)))
        }
        (Kind::Label, Kind::Label) => {
            let charset = new.charset.as_deref()?;
            Some((format!("CONVERT(CONCAT({o}) USING {charset})"), format!("CONCAT({n})")))
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

fn labels_of_new(known: &[String], column_type: &str) -> Vec<String> {
    labels(column_type).into_iter().filter(|label| !known.contains(label)).collect()
}

/// The labels of `set('a','it''s')`.
fn labels(column_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = column_type;
    while let Some((_, quoted)) = rest.split_once('\'') {
        let mut label = String::new();
        rest = quoted;
        while let Some((part, tail)) = rest.split_once('\'') {
            label.push_str(part);
            rest = tail;
            match rest.strip_prefix('\'') {
                Some(more) => {
                    label.push('\'');
                    rest = more;
                }
                None => break,
            }
        }
        labels.push(label);
    }
    labels
}

/// Which of the labels a set has, one digit for each.
fn members(labels: &[String], column: &Ident) -> String {
    let digits: Vec<String> =
        labels.iter().map(|label| format!("FIND_IN_SET({}, {column}) > 0", Text(label))).collect();
    format!("CONCAT({})", digits.join(", "))
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
    /// is converted.
    pub fn digest(&self, side: Side) -> String {
        let mut nulls = String::new();
        let mut values = String::new();
        for compared in self.columns.iter().filter_map(|column| column.compared.as_ref()) {
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
        format!("CRC32(CONCAT_WS(X'1F'{nulls}{values}))")
    }

    /// A digest of many rows. CRC32 is linear: under XOR alone it cannot see two rows exchange
    /// values of one length. The CRC of its decimal text is not linear in it.
    pub fn aggregate(&self, side: Side) -> String {
        let digest = self.digest(side);
        format!("BIT_XOR(CRC32({digest}))")
    }

    /// Pairs of expressions that must be compared with `<=>`.
    pub fn by_value(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().filter_map(|column| match &column.compared {
            Some(Compared::Values { original, shadow }) => {
                Some((original.as_str(), shadow.as_str()))
            }
            _ => None,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_a_set_are_read() {
        assert_eq!(labels("set('a','it''s','')"), ["a", "it's", ""]);
        assert_eq!(labels("int"), Vec::<String>::new());
        assert_eq!(
            members(&["a".into(), "b".into()], &Ident::new("c")),
            "CONCAT(FIND_IN_SET('a', `c`) > 0, FIND_IN_SET('b', `c`) > 0)"
        );
    }
}
