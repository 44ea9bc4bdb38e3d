//! Column types, their values, and what each may become without its values meaning something else.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::random::draw::{self, Values, date, time};
use crate::support::server::Kind;
use crate::support::twin::literal;

/// A character set and a collation of it, and letters that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collation {
    charset: &'static str,
    name: &'static str,
    letters: &'static str,
}

const LATIN: &str = "aAbBzZ09 _%'\\é\u{df}\u{20ac}";
const EVERY: &str = "aAbBzZ09 _%'\\éßжЖİı漢😀\u{301}";
const BASIC: &str = "aAbBzZ09 _%'\\éßжЖİı漢";
const CHINESE: &str = "aAbBzZ09 _%'\\漢字жЖ";

const COLLATIONS: [Collation; 9] = [
    Collation { charset: "utf8mb4", name: "utf8mb4_bin", letters: EVERY },
    Collation { charset: "utf8mb4", name: "utf8mb4_general_ci", letters: EVERY },
    Collation { charset: "utf8mb4", name: "utf8mb4_unicode_ci", letters: EVERY },
    Collation { charset: "latin1", name: "latin1_swedish_ci", letters: LATIN },
    Collation { charset: "latin1", name: "latin1_bin", letters: LATIN },
    Collation { charset: "utf8mb3", name: "utf8mb3_general_ci", letters: BASIC },
    Collation { charset: "ucs2", name: "ucs2_general_ci", letters: BASIC },
    Collation { charset: "utf16", name: "utf16_bin", letters: EVERY },
    Collation { charset: "gbk", name: "gbk_chinese_ci", letters: CHINESE },
];
const OF_MYSQL: [Collation; 2] = [
    Collation { charset: "utf8mb4", name: "utf8mb4_0900_ai_ci", letters: EVERY },
    Collation { charset: "utf8mb4", name: "utf8mb4_0900_as_cs", letters: EVERY },
];
const OF_MARIADB: [Collation; 2] = [
    Collation { charset: "utf8mb4", name: "utf8mb4_nopad_bin", letters: EVERY },
    Collation { charset: "utf8mb4", name: "utf8mb4_unicode_520_nopad_ci", letters: EVERY },
];

impl Collation {
    fn any(kind: Kind, rng: &mut SmallRng) -> Self {
        let own = match kind {
            Kind::Mysql => &OF_MYSQL,
            Kind::Mariadb => &OF_MARIADB,
        };
        let list: Vec<Self> = COLLATIONS.iter().chain(own).copied().collect();
        *list.choose(rng).unwrap()
    }

    fn sql(self) -> String {
        format!(" CHARACTER SET {} COLLATE {}", self.charset, self.name)
    }

    fn text(self, longest: u32, rng: &mut SmallRng) -> String {
        draw::text(self.letters, longest, rng)
    }
}

/// Sizes of whole numbers, and their bits.
const WHOLE: [(&str, u32); 5] =
    [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)];
const TEXTS: [&str; 4] = ["TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"];
const BLOBS: [&str; 4] = ["TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"];
const MEMBERS: [&str; 6] = ["no", "yes", "it''s", "é", "zz top", "漢"];

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Which of [`WHOLE`], and whether UNSIGNED.
    Whole(usize, bool),
    Decimal(u32, u32),
    Double,
    Float,
    Bit(u32),
    Char(u32, Collation),
    VarChar(u32, Collation),
    /// Which of [`TEXTS`].
    Text(usize, Collation),
    Binary(u32),
    VarBinary(u32),
    /// Which of [`BLOBS`].
    Blob(usize),
    Date,
    DateTime(u32),
    Timestamp(u32),
    Time(u32),
    Year,
    /// Which of [`MEMBERS`], in their order.
    Enum(Vec<usize>),
    Set(Vec<usize>),
    Json,
    /// MariaDB's.
    Uuid,
    /// MariaDB's.
    Inet6,
}

impl Type {
    pub fn any(kind: Kind, rng: &mut SmallRng) -> Self {
        match rng.random_range(0..8) {
            0 => Self::Text(rng.random_range(0..4), Collation::any(kind, rng)),
            1 => Self::Blob(rng.random_range(0..4)),
            2 => Self::Json,
            3 => Self::Double,
            4 => Self::Float,
            _ => Self::for_key(kind, rng),
        }
    }

    /// One that an index may have whole.
    pub fn for_key(kind: Kind, rng: &mut SmallRng) -> Self {
        let digits = rng.random_range(0..=6);
        match rng.random_range(0..16) {
            0..3 => Self::Whole(rng.random_range(0..5), rng.random()),
            3 => Self::Decimal(rng.random_range(4..30), rng.random_range(0..4)),
            4 => Self::Bit(rng.random_range(1..=64)),
            5 => Self::Char(rng.random_range(1..=30), Collation::any(kind, rng)),
            6..9 => Self::VarChar(rng.random_range(1..=60), Collation::any(kind, rng)),
            9 => Self::Binary(rng.random_range(1..=20)),
            10 => Self::VarBinary(rng.random_range(1..=40)),
            11 => Self::Date,
            12 => Self::DateTime(digits),
            13 if rng.random() => Self::Timestamp(digits),
            13 => Self::Time(digits),
            14 if rng.random() => Self::Year,
            14 => Self::Enum(members(rng)),
            _ if kind == Kind::Mysql => Self::Set(members(rng)),
            _ if rng.random() => Self::Uuid,
            _ => Self::Inet6,
        }
    }

    pub fn sql(&self) -> String {
        let list = |of: &[usize]| {
            of.iter().map(|&at| format!("'{}'", MEMBERS[at])).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Whole(size, unsigned) => {
                format!("{}{}", WHOLE[*size].0, if *unsigned { " UNSIGNED" } else { "" })
            }
            Self::Decimal(digits, scale) => format!("DECIMAL({digits},{scale})"),
            Self::Double => "DOUBLE".into(),
            Self::Float => "FLOAT".into(),
            Self::Bit(bits) => format!("BIT({bits})"),
            Self::Char(length, collation) => format!("CHAR({length}){}", collation.sql()),
            Self::VarChar(length, collation) => format!("VARCHAR({length}){}", collation.sql()),
            Self::Text(size, collation) => format!("{}{}", TEXTS[*size], collation.sql()),
            Self::Binary(length) => format!("BINARY({length})"),
            Self::VarBinary(length) => format!("VARBINARY({length})"),
            Self::Blob(size) => BLOBS[*size].into(),
            Self::Date => "DATE".into(),
            Self::DateTime(digits) => format!("DATETIME({digits})"),
            Self::Timestamp(digits) => format!("TIMESTAMP({digits})"),
            Self::Time(digits) => format!("TIME({digits})"),
            Self::Year => "YEAR".into(),
            Self::Enum(of) => format!("ENUM({}) CHARACTER SET utf8mb4", list(of)),
            Self::Set(of) => format!("SET({}) CHARACTER SET utf8mb4", list(of)),
            Self::Json => "JSON".into(),
            Self::Uuid => "UUID".into(),
            Self::Inet6 => "INET6".into(),
        }
    }

    pub fn takes_default(&self) -> bool {
        !matches!(self, Self::Text(..) | Self::Blob(_) | Self::Json)
    }

    /// Whether an index may have it whole.
    pub fn takes_index(&self) -> bool {
        !matches!(self, Self::Text(..) | Self::Blob(_) | Self::Json)
    }

    /// The type and expression of a generated column that reads `name`.
    pub fn computed(&self, name: &str) -> Option<String> {
        match self {
            Self::Whole(size, _) if *size < 4 => Some(format!("BIGINT AS ({name} + 1)")),
            Self::VarChar(length, collation) if *length < 40 => {
                Some(format!("VARCHAR(50){} AS (CONCAT({name}, '-'))", collation.sql()))
            }
            Self::Decimal(..) => Some(format!("DECIMAL(40,4) AS ({name} * 2)")),
            _ => None,
        }
    }

    /// A type that keeps what values mean, though perhaps not all of them fit.
    pub fn other(&self, kind: Kind, rng: &mut SmallRng) -> Self {
        match self {
            Self::Whole(..) => match rng.random_range(0..8) {
                0 => Self::Decimal(20, 0),
                1 => Self::VarChar(30, Collation::any(kind, rng)),
                _ => Self::Whole(rng.random_range(0..5), rng.random_ratio(1, 3)),
            },
            Self::Decimal(digits, scale) => match rng.random_range(0..4) {
                0 => Self::VarChar(40, Collation::any(kind, rng)),
                1 => Self::Decimal(digits + 5, scale.saturating_sub(1)),
                _ => Self::Decimal(digits + 9, scale + 2),
            },
            Self::Float | Self::Double => Self::Double,
            Self::Bit(bits) => Self::Bit((bits + 7).min(64)),
            Self::Char(length, _) | Self::VarChar(length, _) => match rng.random_range(0..6) {
                0 => Self::Char(length + 10, Collation::any(kind, rng)),
                1 => Self::Text(rng.random_range(1..4), Collation::any(kind, rng)),
                2 => Self::VarChar((length / 2).max(1), Collation::any(kind, rng)),
                _ => Self::VarChar(length + 20, Collation::any(kind, rng)),
            },
            Self::Text(..) if rng.random_ratio(1, 4) => {
                Self::VarChar(200, Collation::any(kind, rng))
            }
            Self::Text(..) => Self::Text(rng.random_range(0..4), Collation::any(kind, rng)),
            Self::Binary(length) => Self::VarBinary(length + 5),
            Self::VarBinary(length) if rng.random() => Self::Binary(length + 3),
            Self::VarBinary(length) => Self::VarBinary(length * 2),
            Self::Blob(_) => Self::Blob(rng.random_range(0..4)),
            Self::Date => Self::DateTime(rng.random_range(0..=6)),
            Self::DateTime(_) | Self::Timestamp(_) => match rng.random_range(0..5) {
                0 => Self::Date,
                1 => Self::Timestamp(rng.random_range(0..=6)),
                _ => Self::DateTime(rng.random_range(0..=6)),
            },
            Self::Time(_) => Self::Time(rng.random_range(0..=6)),
            Self::Year => Self::Whole(1, rng.random()),
            Self::Enum(_) if rng.random_ratio(1, 4) => Self::VarChar(20, Collation::any(kind, rng)),
            Self::Enum(_) => Self::Enum(members(rng)),
            Self::Set(_) => Self::Set(members(rng)),
            Self::Json | Self::Uuid | Self::Inet6 => self.clone(),
        }
    }

    /// A type that holds more and compares alike.
    pub fn larger(&self) -> Self {
        match self {
            Self::Whole(_, unsigned) => Self::Whole(4, *unsigned),
            Self::VarChar(length, collation) => Self::VarChar(length + 9, *collation),
            Self::VarBinary(length) => Self::VarBinary(length + 9),
            Self::Decimal(digits, scale) => Self::Decimal(digits + 4, *scale),
            other => other.clone(),
        }
    }
}

impl Values for Type {
    fn value(&self, rng: &mut SmallRng) -> String {
        match self {
            Self::Whole(size, unsigned) => whole(WHOLE[*size].1, *unsigned, rng),
            Self::Decimal(digits, scale) => draw::decimal(*digits, *scale, rng),
            // In eighths, which binary fractions tell exactly.
            Self::Double | Self::Float => {
                let number = f64::from(rng.random_range(-80_000_i32..80_000)) / 8.0;
                format!("{number:.3}")
            }
            Self::Bit(bits) => {
                let length = rng.random_range(1..=*bits);
                format!("b'{}'", draw::bits(length, rng))
            }
            // Its trailing spaces would be lost here and not in what the column has become.
            Self::Char(length, collation) => literal(collation.text(*length, rng).trim_end()),
            Self::VarChar(length, collation) => literal(&collation.text(*length, rng)),
            Self::Text(_, collation) => literal(&collation.text(30, rng)),
            Self::Binary(length) => bytes(*length, rng),
            Self::VarBinary(length) => bytes(rng.random_range(0..=*length), rng),
            Self::Blob(_) => bytes(rng.random_range(0..60), rng),
            Self::Date => format!("'{}'", date(rng)),
            Self::DateTime(digits) => format!("'{} {}'", date(rng), time(*digits, rng)),
            Self::Timestamp(digits) => format!(
                "'{}-0{}-1{} {}'",
                rng.random_range(1971..2037),
                rng.random_range(1..10),
                rng.random_range(0..10),
                time(*digits, rng)
            ),
            Self::Time(digits) => {
                let sign = if rng.random() { "-" } else { "" };
                format!("'{sign}{}'", time(*digits, rng))
            }
            Self::Year => rng.random_range(1901..=2155).to_string(),
            Self::Enum(of) => format!("_utf8mb4 '{}'", MEMBERS[*of.choose(rng).unwrap()]),
            Self::Set(of) => {
                let count = rng.random_range(0..=of.len());
                let some: Vec<&str> =
                    of.choose_multiple(rng, count).map(|&at| MEMBERS[at]).collect();
                format!("_utf8mb4 '{}'", some.join(","))
            }
            Self::Json => literal(
                &serde_json::json!({
                    "a": rng.random::<i16>(),
                    "ж": [EVERY.chars().nth(rng.random_range(0..16)), 1.5],
                    "none": null,
                })
                .to_string(),
            ),
            Self::Uuid => {
                let digits = format!("{:032x}", rng.random::<u128>());
                format!(
                    "'{}-{}-{}-{}-{}'",
                    &digits[..8],
                    &digits[8..12],
                    &digits[12..16],
                    &digits[16..20],
                    &digits[20..]
                )
            }
            Self::Inet6 => {
                format!("'2001:db8::{:x}:{:x}'", rng.random::<u16>(), rng.random::<u8>())
            }
        }
    }
}

/// Some of [`MEMBERS`], in any order.
fn members(rng: &mut SmallRng) -> Vec<usize> {
    let count = rng.random_range(3..=MEMBERS.len());
    rand::seq::index::sample(rng, MEMBERS.len(), count).into_vec()
}

fn whole(bits: u32, unsigned: bool, rng: &mut SmallRng) -> String {
    let (least, most): (i128, i128) =
        if unsigned { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) };
    match rng.random_range(0..12) {
        0 => least.to_string(),
        1 => most.to_string(),
        2 => "0".to_owned(),
        3..9 => rng.random_range(least.max(-500)..=most.min(500)).to_string(),
        _ => rng.random_range(least..=most).to_string(),
    }
}

fn bytes(length: u32, rng: &mut SmallRng) -> String {
    format!("X'{}'", draw::hex(length, rng))
}
