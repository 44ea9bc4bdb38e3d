//! Types whose values all have room in another: a way into such a type refuses no row.

use super::members::all_stay;
use crate::mysql::catalog::kind::Kind;
use crate::mysql::catalog::table::Column;

/// Whether every value of `from` goes into `to` and comes back the same. False where that is not sure.
pub(super) fn always_fits(from: &Column, to: &Column) -> bool {
    if from.column_type == to.column_type && from.charset == to.charset {
        return true;
    }
    match (Kind::of(from), Kind::of(to)) {
        (Kind::Int, Kind::Int) => integers(from, to),
        (Kind::Decimal, Kind::Decimal) => decimals(from, to),
        (Kind::Float, Kind::Double) => !to.column_type.contains('('),
        (Kind::Bit, Kind::Bit) => length(from) <= length(to),
        // A moment has a time of day in one zone, and in an hour of autumn two of them have the same.
        (Kind::DateTime, Kind::DateTime) => {
            from.data_type == to.data_type && from.fraction <= to.fraction
        }
        (Kind::Date, Kind::DateTime) => !to.is_timestamp(),
        (Kind::Time, Kind::Time) => from.fraction <= to.fraction,
        (Kind::Text, Kind::Text) => texts(from, to),
        // BINARY fills up with zeros.
        (Kind::Bytes, Kind::Bytes) => to.data_type != "binary" && from.octets <= to.octets,
        (Kind::Enum, Kind::Enum) | (Kind::Set, Kind::Set) => all_stay(from, to),
        _ => false,
    }
}

fn integers(from: &Column, to: &Column) -> bool {
    let range = |column: &Column| {
        let bytes: u32 = match column.data_type.as_str() {
            "tinyint" => 1,
            "smallint" => 2,
            "mediumint" => 3,
            "int" => 4,
            _ => 8,
        };
        let values = 1_i128 << (8 * bytes);
        if column.unsigned() { (0, values - 1) } else { (-values / 2, values / 2 - 1) }
    };
    let ((from_least, from_most), (to_least, to_most)) = (range(from), range(to));
    to_least <= from_least && from_most <= to_most
}

/// As many digits before the point and after it.
fn decimals(from: &Column, to: &Column) -> bool {
    let digits = |column: &Column| -> Option<(i32, i32)> {
        let (_, arguments) = column.column_type.split_once('(')?;
        let (all, scale) = arguments.split_once(')')?.0.split_once(',')?;
        let (all, scale): (i32, i32) = (all.trim().parse().ok()?, scale.trim().parse().ok()?);
        Some((all - scale, scale))
    };
    let (Some(from_digits), Some(to_digits)) = (digits(from), digits(to)) else { return false };
    let signs = from.unsigned() || !to.unsigned();
    signs && from_digits.0 <= to_digits.0 && from_digits.1 <= to_digits.1
}

fn length(column: &Column) -> Option<u32> {
    let (_, arguments) = column.column_type.split_once('(')?;
    arguments.split_once(')')?.0.parse().ok()
}

fn texts(from: &Column, to: &Column) -> bool {
    let short = |column: &Column| matches!(column.data_type.as_str(), "char" | "varchar");
    // CHAR drops spaces at the end.
    if to.data_type == "char" && from.data_type != "char" {
        return false;
    }
    if from.charset == to.charset {
        return from.characters <= to.characters && from.octets <= to.octets;
    }
    let wider = matches!(
        (from.charset.as_deref(), to.charset.as_deref()),
        (Some("ascii"), Some("utf8mb4" | "utf8mb3" | "utf8" | "latin1"))
            | (Some("latin1" | "utf8mb3" | "utf8"), Some("utf8mb4"))
            | (Some("utf8"), Some("utf8mb3"))
            | (Some("utf8mb3"), Some("utf8"))
    );
    wider && short(from) && short(to) && from.characters <= to.characters
}
