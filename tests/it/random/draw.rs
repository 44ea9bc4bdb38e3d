//! What tables of every server are drawn from: columns, and the digits and letters of literals.

use std::fmt::Write as _;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::Column;

/// Names that must be quoted. The first is always a column of the key.
const NAMES: [&str; 10] =
    ["id", "order", "a b", "ünï", "x\"y", "tick`s", "UPPER", "c%", "näme 漢", "z"];

/// Letters of the longest text.
const LONGEST: u32 = 30;

/// A column's type.
pub trait Values: Send + Sync + 'static {
    /// A literal that has as much precision as the type, so that it is rounded once whatever the
    /// column has become.
    fn value(&self, rng: &mut SmallRng) -> String;
}

/// A column as it was drawn.
#[derive(Clone)]
pub struct Drawn<T> {
    /// Its name, quoted.
    pub name: String,
    pub of: T,
    pub nullable: bool,
    pub in_key: bool,
    /// Whether a generated column reads it.
    pub read: bool,
}

/// Columns of one to three for the key, and two to six others. `of` draws a type, for the key if asked
/// so.
pub fn columns<T>(
    quoted: impl Fn(&str) -> String,
    of: impl Fn(bool, &mut SmallRng) -> T,
    rng: &mut SmallRng,
) -> Vec<Drawn<T>> {
    let mut names = NAMES.map(quoted);
    names[1..].shuffle(rng);
    let keys = rng.random_range(1..=3);
    let others = rng.random_range(2..=6);
    let mut columns = Vec::new();
    for name in names.into_iter().take(keys + others) {
        let in_key = columns.len() < keys;
        let of = of(in_key, rng);
        let nullable = !in_key && rng.random_ratio(2, 3);
        columns.push(Drawn { name, of, nullable, in_key, read: false });
    }
    columns
}

/// The places of the key's columns, in any order.
pub fn key<T>(columns: &[Drawn<T>], rng: &mut SmallRng) -> Vec<usize> {
    let mut key: Vec<usize> = (0..columns.len()).filter(|&at| columns[at].in_key).collect();
    key.shuffle(rng);
    key
}

/// The columns as writers see them.
pub fn written<T: Values>(columns: Vec<Drawn<T>>) -> Vec<Column> {
    let written = |column: Drawn<T>| {
        let (of, nullable) = (column.of, column.nullable);
        let value = move |rng: &mut SmallRng| {
            if nullable && rng.random_ratio(1, 8) { "NULL".to_owned() } else { of.value(rng) }
        };
        Column { name: column.name, value: Arc::new(value) }
    };
    columns.into_iter().map(written).collect()
}

/// `-12.340`, without quotes.
pub fn decimal(digits: u32, scale: u32, rng: &mut SmallRng) -> String {
    let whole = (digits - scale).min(15);
    let below = 10_i64.pow(rng.random_range(0..=whole));
    let number = rng.random_range(0..below);
    let sign = if rng.random() { "-" } else { "" };
    let width = scale as usize;
    match width {
        0 => format!("{sign}{number}"),
        _ => format!("{sign}{number}.{:0width$}", rng.random_range(0..10_u32.pow(scale))),
    }
}

/// Some of these letters.
pub fn text(letters: &str, longest: u32, rng: &mut SmallRng) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let length = rng.random_range(0..=longest.min(LONGEST));
    (0..length).map(|_| *letters.choose(rng).unwrap()).collect()
}

/// So many bytes, in hexadecimal digits.
pub fn hex(length: u32, rng: &mut SmallRng) -> String {
    (0..length).fold(String::new(), |mut hex, _| {
        let _ = write!(hex, "{:02X}", rng.random::<u8>());
        hex
    })
}

/// So many zeros and ones.
pub fn bits(length: u32, rng: &mut SmallRng) -> String {
    (0..length).map(|_| if rng.random() { '1' } else { '0' }).collect()
}

/// `2024-01-31`, without quotes.
pub fn date(rng: &mut SmallRng) -> String {
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    format!("{:04}-{month:02}-{day:02}", rng.random_range(1000..9999))
}

/// `23:59:59.123` with so many digits behind the point, without quotes.
pub fn time(digits: u32, rng: &mut SmallRng) -> String {
    let (hour, minute) = (rng.random_range(0..24), rng.random_range(0..60));
    let mut text = format!("{hour:02}:{minute:02}:{:02}", rng.random_range(0..60));
    if digits > 0 {
        let width = digits as usize;
        let _ = write!(text, ".{:0width$}", rng.random_range(0..10_u32.pow(digits)));
    }
    text
}
