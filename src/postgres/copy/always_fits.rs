//! Types whose values all have room in another: a way into such a type refuses no row.

use crate::postgres::catalog::table::Column;

/// What a type is, as far as its values have room in another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// So many bytes.
    Int(u8),
    /// Digits, and those after the point; `None`: as many as there are.
    Numeric(Option<(i32, i32)>),
    /// So many bytes.
    Float(u8),
    /// Characters at most.
    Text(Option<u32>),
    /// Filled up with spaces to so many.
    Char(u32),
    Date,
    /// Digits of a second, and whether it is a moment in a zone.
    Timestamp(u32, bool),
    Time(u32, bool),
    Other,
}

/// Whether every value of `from` goes into `to` and comes back the same. False where that is not sure.
pub(crate) fn always_fits(from: &Column, to: &Column) -> bool {
    if from.type_sql == to.type_sql {
        return true;
    }
    match (kind(&from.type_sql), kind(&to.type_sql)) {
        (Kind::Int(from), Kind::Int(to)) | (Kind::Float(from), Kind::Float(to)) => from <= to,
        (Kind::Int(_) | Kind::Numeric(_), Kind::Numeric(None)) => true,
        (Kind::Numeric(Some(from)), Kind::Numeric(Some(to))) => {
            from.0 - from.1 <= to.0 - to.1 && from.1 <= to.1
        }
        // What is filled up with spaces is filled up again.
        (Kind::Text(_) | Kind::Char(_), Kind::Text(None)) => true,
        (Kind::Text(Some(from)) | Kind::Char(from), Kind::Text(Some(to))) => from <= to,
        (Kind::Timestamp(from, zone), Kind::Timestamp(to, other)) => zone == other && from <= to,
        (Kind::Time(from, zone), Kind::Time(to, other)) => zone == other && from <= to,
        (Kind::Date, Kind::Timestamp(_, false)) => true,
        _ => false,
    }
}

/// Whether both types are of one kind, and differ in how much they hold.
pub(crate) fn is_same_kind(one: &Column, other: &Column) -> bool {
    use std::mem::discriminant;
    let (one, other) = (kind(&one.type_sql), kind(&other.type_sql));
    let texts = |kind| matches!(kind, Kind::Text(_) | Kind::Char(_));
    one != Kind::Other && discriminant(&one) == discriminant(&other) || texts(one) && texts(other)
}

/// Reads a type as the server writes it.
fn kind(text: &str) -> Kind {
    let (name, rest) = text.split_once('(').unwrap_or((text, ""));
    let (inner, rest) = rest.split_once(')').unwrap_or(("", rest));
    let first = inner.split(',').next().and_then(|digits| digits.trim().parse::<u32>().ok());
    // The server counts to the microsecond where nothing else is said.
    let fraction = first.unwrap_or(6);
    let zone = text.ends_with("with time zone");
    if !rest.trim().is_empty() && !rest.ends_with("time zone") {
        return Kind::Other;
    }
    match name.split(' ').next().unwrap_or_default() {
        "timestamp" => return Kind::Timestamp(fraction, zone),
        "time" => return Kind::Time(fraction, zone),
        _ => {}
    }
    match name {
        "smallint" => Kind::Int(2),
        "integer" => Kind::Int(4),
        "bigint" => Kind::Int(8),
        "real" => Kind::Float(4),
        "double precision" => Kind::Float(8),
        "numeric" => Kind::Numeric(digits(inner)),
        "text" => Kind::Text(None),
        "character varying" => Kind::Text(first),
        "character" => Kind::Char(first.unwrap_or(1)),
        "date" => Kind::Date,
        _ => Kind::Other,
    }
}

fn digits(inner: &str) -> Option<(i32, i32)> {
    let (all, scale) = inner.split_once(',')?;
    Some((all.trim().parse().ok()?, scale.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::name::Ident;

    fn column(kind: &str) -> Column {
        Column {
            name: Ident::new("c"),
            type_sql: kind.into(),
            type_oid: 0,
            collation: 0,
            hashes_bytes: true,
            operators: None,
            not_null: false,
            generated: None,
            identity: false,
            default: None,
        }
    }

    #[test]
    fn a_type_fits_into_one_that_holds_as_much() {
        let zoned = "timestamp(0) with time zone";
        for (from, to, fits) in [
            ("integer", "bigint", true),
            ("bigint", "integer", false),
            ("bigint", "numeric", true),
            ("numeric", "numeric(10,2)", false),
            ("numeric(8,2)", "numeric(10,4)", true),
            ("numeric(8,2)", "numeric(9,4)", false),
            ("character varying(4)", "text", true),
            ("text", "character varying", true),
            ("text", "character varying(40)", false),
            ("character(4)", "character varying(4)", true),
            ("character varying(4)", "character(4)", false),
            (zoned, "timestamp with time zone", true),
            ("timestamp with time zone", zoned, false),
            ("timestamp without time zone", "timestamp with time zone", false),
            ("date", "timestamp without time zone", true),
            ("integer[]", "integer[]", true),
            ("integer", "integer[]", false),
            ("numeric(8,2)[]", "numeric", false),
            ("real", "double precision", true),
            ("money", "numeric", false),
        ] {
            assert_eq!(always_fits(&column(from), &column(to)), fits, "{from} → {to}");
        }
    }
}
