//! A column's values as text that tells them exactly, and what of a number a value has lost.

use std::collections::BTreeMap;

use mysql_async::Conn;

use super::types::Type;
use crate::support::server::{Kind, rows};

/// A value of each row, by its number.
pub type Values = BTreeMap<u64, String>;

/// What [`of_columns`] says of NULL.
pub const NULL: &str = "NULL";

/// An expression over `column` that tells a value exactly, in ASCII.
pub fn exactly(column: &str, of: Type, kind: Kind) -> String {
    match of.name {
        name if name.starts_with("FLOAT") || name.starts_with("DOUBLE") => {
            format!("CAST({column}+0e0 AS CHAR)")
        }
        // Numbers in JSON look alike in text, decimal or not: their sizes differ.
        "JSON" if kind == Kind::Mysql => {
            format!("CONCAT(HEX(CAST({column} AS CHAR)), ' in ', JSON_STORAGE_SIZE({column}))")
        }
        name if name.starts_with("BIT") => format!("CAST({column} AS UNSIGNED)"),
        "POINT" | "GEOMETRY" => format!("HEX({column})"),
        name if name.starts_with("VECTOR") => format!("HEX({column})"),
        _ => format!("HEX(CONCAT({column}))"),
    }
}

/// The values of some columns, in the time zone of the server.
pub async fn of_columns(
    conn: &mut Conn,
    table: &str,
    columns: &[(usize, Type)],
    kind: Kind,
) -> BTreeMap<usize, Values> {
    if columns.is_empty() {
        return BTreeMap::new();
    }
    let list: Vec<String> =
        columns.iter().map(|(at, of)| exactly(&format!("`c{at}`"), *of, kind)).collect();
    let mut all: BTreeMap<usize, Values> =
        columns.iter().map(|(at, _)| (*at, Values::new())).collect();
    for row in rows(conn, &format!("SELECT id, {} FROM {table}", list.join(", "))).await {
        let id: u64 = row[0].parse().unwrap();
        for ((at, _), value) in columns.iter().zip(&row[1..]) {
            all.get_mut(at).unwrap().insert(id, value.clone());
        }
    }
    all
}

/// Whether a whole number became the floating-point number beside it, which at the end of the range
/// comes back as it was. `None`: these are no such numbers.
pub fn moved(before: &str, from: Type, there: &str, to: Type) -> Option<bool> {
    if !to.name.starts_with("FLOAT") && !to.name.starts_with("DOUBLE") {
        return None;
    }
    let digits = shown(before, from);
    let (whole, real) = (digits.parse::<i128>().ok()?, there.parse::<f64>().ok()?);
    #[allow(clippy::cast_possible_truncation, reason = "it is whole, and far smaller")]
    let back = real as i128;
    Some(back != whole)
}

/// Whether two values are the same text, or the same number with zeros behind its point.
pub fn alike(before: &str, from: Type, there: &str, to: Type) -> bool {
    let number = |text: String| match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    };
    let (before, there) = (number(shown(before, from)), number(shown(there, to)));
    !before.is_empty() && before == there
}

/// The text of what [`exactly`] gives as bytes of a text.
fn shown(value: &str, of: Type) -> String {
    if of.name.starts_with("BIT") {
        return value.to_owned();
    }
    let bytes = (0..value.len() / 2).filter_map(|at| value.get(2 * at..2 * at + 2));
    let bytes = bytes.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    String::from_utf8(bytes).unwrap_or_default().replace('\0', "")
}
