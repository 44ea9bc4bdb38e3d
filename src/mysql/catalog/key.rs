//! The copy key's columns: their values' encoding in bytes, and their form in SQL.
//!
//! Values come from two places, the binlog and a SELECT of bounds, and both must give the same
//! bytes for the same row. Integers, bits, enums, dates and binary strings are encoded so that the
//! order of the bytes is the server's order; text and decimals are not comparable outside the
//! server, and a key that has one is [`KeyOrder::Server`].

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::hex;
use crate::key::{Key, KeyOrder};
use crate::mysql::name::{Hex, Ident, Text};

/// The kind of a key column, as far as its values' form goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// TINYINT to BIGINT, YEAR.
    Int {
        /// Bytes that the server stores it in: 1, 2, 3, 4 or 8.
        bytes: u8,
        /// Whether it is unsigned.
        unsigned: bool,
    },
    /// BIT(n).
    Bit,
    /// ENUM, by index.
    Enum,
    /// SET, by bit mask.
    Set,
    /// DECIMAL, as text.
    Decimal,
    /// DATE, DATETIME, TIMESTAMP as text of a fixed width.
    Date {
        /// Digits after the seconds.
        fraction: u8,
    },
    /// TIMESTAMP: as `Date`, in UTC.
    Timestamp {
        /// Digits after the seconds.
        fraction: u8,
    },
    /// TIME as text.
    Time {
        /// Digits after the seconds.
        fraction: u8,
    },
    /// CHAR, VARCHAR and TEXT in this character set; bytes as stored.
    Text {
        /// The character set.
        charset: String,
    },
    /// BINARY, VARBINARY, BLOB, INET4, INET6.
    Binary {
        /// Fixed length to which values are padded with zero bytes.
        pad: Option<usize>,
    },
    /// MariaDB's UUID: 16 bytes in the order of its text, which is not the order in which the
    /// server sorts them.
    Uuid,
}

/// One column of the copy key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name in the original.
    pub name: Ident,
    /// Its place in the original, from 0, as the binlog counts columns.
    pub ordinal: usize,
    /// Its kind.
    pub kind: KeyKind,
    /// Whether the key orders it descending.
    pub descending: bool,
}

/// One column's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValue {
    /// A signed integer.
    Int(i64),
    /// An unsigned integer, a bit field, an enum's index, a set's mask.
    UInt(u64),
    /// Everything else: stored bytes, or the server's text.
    Bytes(Vec<u8>),
}

/// The columns of the copy key, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumns(pub Vec<KeyColumn>);

impl KeyColumns {
    /// Who can compare keys of these columns.
    pub fn order(&self) -> KeyOrder {
        let comparable = |column: &KeyColumn| {
            !matches!(
                column.kind,
                KeyKind::Decimal | KeyKind::Text { .. } | KeyKind::Time { .. } | KeyKind::Uuid
            )
        };
        if self.0.iter().all(comparable) { KeyOrder::Bytes } else { KeyOrder::Server }
    }

    /// Encodes one row's values.
    pub fn encode(&self, values: &[KeyValue]) -> Result<Key> {
        if values.len() != self.0.len() {
            return Err(Error::Internal(format!(
                "a key of {} columns got {} values",
                self.0.len(),
                values.len()
            )));
        }
        let mut bytes = Vec::with_capacity(8 * values.len());
        for (column, value) in self.0.iter().zip(values) {
            let start = bytes.len();
            match value {
                KeyValue::Int(number) => {
                    bytes.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
                }
                KeyValue::UInt(number) => bytes.extend_from_slice(&number.to_be_bytes()),
                KeyValue::Bytes(raw) => {
                    for byte in raw {
                        bytes.push(*byte);
                        if *byte == 0 {
                            bytes.push(0xff);
                        }
                    }
                    bytes.extend_from_slice(&[0, 0]);
                }
            }
            if column.descending {
                bytes[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        Ok(Key(bytes.into()))
    }

    /// The same for values of another table's columns that this key's went into, where integers have
    /// another sign perhaps; `None`: no row with this key can have them.
    pub fn encode_others(&self, values: &[KeyValue]) -> Result<Option<Key>> {
        let fitting = self.0.iter().zip(values).map(|(column, value)| {
            Some(match (&column.kind, value) {
                (KeyKind::Int { unsigned: true, .. }, KeyValue::Int(number)) => {
                    KeyValue::UInt(u64::try_from(*number).ok()?)
                }
                (KeyKind::Int { unsigned: false, .. }, KeyValue::UInt(number)) => {
                    KeyValue::Int(i64::try_from(*number).ok()?)
                }
                _ => value.clone(),
            })
        });
        fitting.collect::<Option<Vec<_>>>().map(|values| self.encode(&values)).transpose()
    }

    /// The values of an encoded key.
    pub fn decode(&self, key: &Key) -> Result<Vec<KeyValue>> {
        let broken = || Error::Internal("a key does not fit its columns".into());
        let mut rest: &[u8] = &key.0;
        let mut values = Vec::with_capacity(self.0.len());
        for column in &self.0 {
            let flip = if column.descending { 0xff } else { 0 };
            let number = |rest: &mut &[u8]| {
                let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
                *rest = tail;
                Ok::<u64, Error>(u64::from_be_bytes(head.map(|byte| byte ^ flip)))
            };
            values.push(match column.kind {
                KeyKind::Int { unsigned: false, .. } => {
                    KeyValue::Int((number(&mut rest)? ^ (1 << 63)).cast_signed())
                }
                KeyKind::Int { .. } | KeyKind::Bit | KeyKind::Enum | KeyKind::Set => {
                    KeyValue::UInt(number(&mut rest)?)
                }
                _ => {
                    let mut raw = Vec::new();
                    loop {
                        let (&byte, tail) = rest.split_first().ok_or_else(broken)?;
                        rest = tail;
                        if byte ^ flip != 0 {
                            raw.push(byte ^ flip);
                            continue;
                        }
                        let (&mark, tail) = rest.split_first().ok_or_else(broken)?;
                        rest = tail;
                        if mark ^ flip == 0 {
                            break;
                        }
                        raw.push(0);
                    }
                    KeyValue::Bytes(raw)
                }
            });
        }
        if rest.is_empty() { Ok(values) } else { Err(broken()) }
    }

    /// The key for a human: `id = 5, name = 'x'`.
    pub fn describe(&self, key: &Key) -> String {
        let Ok(values) = self.decode(key) else { return "(unreadable key)".into() };
        let mut text = String::new();
        for (column, value) in self.0.iter().zip(&values) {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{} = ", column.name.as_str());
            let _ = match value {
                KeyValue::Int(number) => write!(text, "{number}"),
                KeyValue::UInt(number) => write!(text, "{number}"),
                KeyValue::Bytes(raw) => match (std::str::from_utf8(raw), &column.kind) {
                    (Ok(plain), kind)
                        if !matches!(kind, KeyKind::Binary { .. } | KeyKind::Uuid) =>
                    {
                        write!(text, "'{plain}'")
                    }
                    _ => write!(text, "{}", Hex(raw)),
                },
            };
        }
        text
    }
}

impl KeyColumn {
    /// The column's SELECT expression that gives a value [`KeyColumn::value`] can read.
    pub fn select(&self) -> String {
        self.select_as(&self.name.to_string())
    }

    /// As [`KeyColumn::select`], for the column under another name or alias (already quoted).
    pub fn select_as(&self, name: &str) -> String {
        match &self.kind {
            KeyKind::Int { .. } => name.to_string(),
            // Adding 0 would make the 64th bit a sign, and on MySQL a floating-point number.
            KeyKind::Bit | KeyKind::Enum | KeyKind::Set => format!("CAST({name} AS UNSIGNED)"),
            KeyKind::Decimal
            | KeyKind::Date { .. }
            | KeyKind::Timestamp { .. }
            | KeyKind::Time { .. } => format!("CAST({name} AS CHAR)"),
            KeyKind::Text { .. } | KeyKind::Binary { .. } | KeyKind::Uuid => format!("HEX({name})"),
        }
    }

    /// An expression for a human: `id = 5`.
    pub fn shown(&self, name: &str) -> String {
        let value = match &self.kind {
            KeyKind::Bit | KeyKind::Binary { .. } => self.select_as(name),
            _ => name.to_string(),
        };
        // A name that is not plain ASCII does not go together with another character set's values.
        let name = Text(&format!("{} = ", self.name.as_str())).to_string();
        format!("CONCAT({name}, CONVERT({value} USING utf8mb4))")
    }

    /// Reads the text of [`KeyColumn::select`]'s result.
    pub fn value(&self, text: &str) -> Result<KeyValue> {
        let broken =
            || Error::Internal(format!("cannot read {text:?} as a value of {}", self.name));
        Ok(match &self.kind {
            KeyKind::Int { unsigned: false, .. } => {
                KeyValue::Int(text.parse().map_err(|_| broken())?)
            }
            KeyKind::Int { .. } | KeyKind::Bit | KeyKind::Enum | KeyKind::Set => {
                KeyValue::UInt(text.parse().map_err(|_| broken())?)
            }
            KeyKind::Text { .. } | KeyKind::Binary { .. } | KeyKind::Uuid => {
                KeyValue::Bytes(hex::decode(text).ok_or_else(broken)?)
            }
            KeyKind::Decimal => {
                // ZEROFILL pads with zeros, which the binlog does not have.
                let plain = text.trim_start_matches('0');
                let zero = if plain.is_empty() || plain.starts_with('.') { "0" } else { "" };
                KeyValue::Bytes(format!("{zero}{plain}").into_bytes())
            }
            _ => KeyValue::Bytes(text.as_bytes().to_vec()),
        })
    }

    /// A literal for `value` that compares with the column in the column's own way, and lets the
    /// server use the key.
    pub fn literal(&self, value: &KeyValue) -> String {
        match (value, &self.kind) {
            (KeyValue::Int(number), _) => number.to_string(),
            (KeyValue::UInt(number), _) => number.to_string(),
            (KeyValue::Bytes(raw), KeyKind::Text { charset }) => {
                // MySQL warns of the name `utf8mb3`, in each literal; the bytes are the same.
                let charset = match charset.as_str() {
                    "utf8" | "utf8mb3" => "utf8mb4",
                    other => other,
                };
                format!("_{charset} {}", Hex(raw))
            }
            (KeyValue::Bytes(raw), KeyKind::Binary { .. } | KeyKind::Uuid) => Hex(raw).to_string(),
            (KeyValue::Bytes(raw), KeyKind::Decimal) => String::from_utf8_lossy(raw).into_owned(),
            (KeyValue::Bytes(raw), _) => format!("'{}'", String::from_utf8_lossy(raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(kind: KeyKind, descending: bool) -> KeyColumn {
        KeyColumn { name: Ident::new("c"), ordinal: 0, kind, descending }
    }

    proptest! {
        #[test]
        fn integers_sort_as_the_server_sorts_them(a: i64, b: i64, desc: bool) {
            let columns = KeyColumns(vec![column(KeyKind::Int { bytes: 8, unsigned: false }, desc)]);
            let key = |v| columns.encode(&[KeyValue::Int(v)]).unwrap();
            let order = if desc { b.cmp(&a) } else { a.cmp(&b) };
            prop_assert_eq!(key(a).cmp(&key(b)), order);
            prop_assert_eq!(columns.decode(&key(a)).unwrap(), vec![KeyValue::Int(a)]);
        }

        #[test]
        fn binary_strings_before_an_integer_sort_part_by_part(
            a: (Vec<u8>, u64), b: (Vec<u8>, u64), desc: bool,
        ) {
            let columns = KeyColumns(vec![
                column(KeyKind::Binary { pad: None }, desc),
                column(KeyKind::Int { bytes: 8, unsigned: true }, false),
            ]);
            let key = |v: &(Vec<u8>, u64)| {
                columns.encode(&[KeyValue::Bytes(v.0.clone()), KeyValue::UInt(v.1)]).unwrap()
            };
            let first = if desc { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            prop_assert_eq!(key(&a).cmp(&key(&b)), first.then(a.1.cmp(&b.1)));
            prop_assert_eq!(
                columns.decode(&key(&a)).unwrap(),
                vec![KeyValue::Bytes(a.0.clone()), KeyValue::UInt(a.1)]
            );
        }

        #[test]
        fn decoding_rubbish_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let columns = KeyColumns(vec![
                column(KeyKind::Binary { pad: None }, true),
                column(KeyKind::Bit, false),
            ]);
            let _ = columns.decode(&Key(bytes.into()));
        }
    }

    #[test]
    fn integers_of_a_wider_column_name_the_same_key() {
        let columns =
            |unsigned| KeyColumns(vec![column(KeyKind::Int { bytes: 4, unsigned }, true)]);
        let (plain, unsigned) = (columns(false), columns(true));
        for value in [KeyValue::Int(5), KeyValue::UInt(5)] {
            let name = std::slice::from_ref(&value);
            assert_eq!(
                plain.encode_others(name).unwrap(),
                Some(plain.encode(&[KeyValue::Int(5)]).unwrap())
            );
            assert_eq!(
                unsigned.encode_others(name).unwrap(),
                Some(unsigned.encode(&[KeyValue::UInt(5)]).unwrap())
            );
        }
        assert_eq!(unsigned.encode_others(&[KeyValue::Int(-1)]).unwrap(), None);
        assert_eq!(plain.encode_others(&[KeyValue::UInt(u64::MAX)]).unwrap(), None);
        assert!(plain.encode_others(&[]).is_err());
    }

    #[test]
    fn literals_are_quoted_for_their_kind() {
        let text = column(KeyKind::Text { charset: "gbk".into() }, false);
        assert_eq!(text.literal(&KeyValue::Bytes(vec![0xb0, 0x5c])), "_gbk X'B05C'");
        let old = column(KeyKind::Text { charset: "utf8mb3".into() }, false);
        assert_eq!(old.literal(&KeyValue::Bytes(vec![0xc3, 0xa9])), "_utf8mb4 X'C3A9'");
        let date = column(KeyKind::Date { fraction: 0 }, false);
        assert_eq!(date.literal(&KeyValue::Bytes(b"2024-01-31".to_vec())), "'2024-01-31'");
    }
}
