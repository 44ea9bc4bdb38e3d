//! One cell of a row image: how long it is, and what it says where it belongs to the copy key.
//!
//! Types and their metadata are those of TABLE_MAP events (MySQL internals: "Table_map_event").

use crate::engine::{Error, Result};
use crate::mysql::binlog::wire::Wire;
use crate::mysql::key::{KeyKind, KeyValue};

/// A column of a table map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    kind: u8,
    meta: [u8; 2],
}

const TIMESTAMP: u8 = 7;
const JSON: u8 = 245;
const NEWDECIMAL: u8 = 246;
const ENUM: u8 = 247;
const SET: u8 = 248;
const STRING: u8 = 254;

fn unknown(kind: u8) -> Error {
    Error::Server {
        action: "reading the binlog".into(),
        message: format!("a column has the type {kind}, which osc cannot read"),
        code: None,
    }
}

impl Layout {
    /// Reads a column's metadata, of the length that its type has.
    pub(super) fn read(kind: u8, metadata: &mut Wire<'_>) -> Result<Self> {
        let length = match kind {
            1..=3 | 6..=14 => 0,
            4 | 5 | 17..=19 | 140 | 242 | JSON | 249..=252 | 255 => 1,
            15 | 16 | 141 | NEWDECIMAL | ENUM | SET | 253 | STRING => 2,
            _ => return Err(unknown(kind)),
        };
        let mut meta = [0; 2];
        meta[..length].copy_from_slice(metadata.take(length)?);
        // A string's metadata may say that it is an enum or a set.
        let kind = match (kind, meta[0]) {
            (STRING, real @ (ENUM | SET)) => real,
            _ => kind,
        };
        Ok(Self { kind, meta })
    }

    /// Whether it is MySQL's JSON, which may be logged as differences.
    pub(super) fn is_json(self) -> bool {
        self.kind == JSON
    }

    /// Takes one cell's bytes: for text and the like without their length.
    pub(super) fn take<'a>(self, wire: &mut Wire<'a>) -> Result<&'a [u8]> {
        let fraction = usize::from(self.meta[0]).div_ceil(2);
        let length = match self.kind {
            1 | 13 => 1,
            2 => 2,
            9..=11 | 14 => 3,
            3 | 4 | TIMESTAMP => 4,
            5 | 8 | 12 => 8,
            6 => 0,
            16 => usize::from(self.meta[1]) + usize::from(self.meta[0] > 0),
            17 => 4 + fraction,
            18 => 5 + fraction,
            19 => 3 + fraction,
            ENUM | SET => usize::from(self.meta[1]),
            NEWDECIMAL => decimal_length(self.meta[0], self.meta[1]),
            15 | 141 | 253 => {
                let most = u16::from_le_bytes(self.meta);
                wire.length(if most < 256 { 1 } else { 2 })?
            }
            STRING => wire.length(if self.string_length() < 256 { 1 } else { 2 })?,
            140 | 242 | JSON | 249..=252 | 255 => wire.length(usize::from(self.meta[0]).min(8))?,
            kind => return Err(unknown(kind)),
        };
        wire.take(length)
    }

    /// A CHAR's length in bytes; two bits of it hide in the type (MySQL bug 37426).
    fn string_length(self) -> usize {
        let [kind, length] = self.meta.map(usize::from);
        if kind & 0x30 == 0x30 { length } else { length | ((kind & 0x30) ^ 0x30) << 4 }
    }

    /// The value of a cell of the copy key, in the form that `KeyColumn::value` gives it.
    pub(super) fn value(self, cell: &[u8], kind: &KeyKind) -> Result<KeyValue> {
        let mismatch = || {
            Error::Foreign(format!(
                "a key column's type in the binlog ({}) is not the one that the table had",
                self.kind
            ))
        };
        let mut wire = Wire(cell);
        Ok(match (kind, self.kind) {
            (KeyKind::Int { .. }, 13) => {
                let year = u64::from(wire.byte()?);
                KeyValue::UInt(if year == 0 { 0 } else { 1900 + year })
            }
            (KeyKind::Int { unsigned, bytes }, 1..=3 | 8 | 9) => {
                let number = wire.little(cell.len())?;
                if *unsigned {
                    KeyValue::UInt(number)
                } else {
                    let unused = 64 - 8 * u32::from(*bytes).clamp(1, 8);
                    KeyValue::Int((number << unused).cast_signed() >> unused)
                }
            }
            (KeyKind::Bit, 16) => KeyValue::UInt(wire.big(cell.len())?),
            (KeyKind::Enum, ENUM) | (KeyKind::Set, SET) => KeyValue::UInt(wire.little(cell.len())?),
            (KeyKind::Decimal, NEWDECIMAL) => {
                KeyValue::Bytes(decimal(cell, self.meta[0], self.meta[1])?.into_bytes())
            }
            (KeyKind::Date { .. }, 10 | 14) => {
                let packed = wire.little(3)?;
                let (year, month, day) = (packed >> 9, packed >> 5 & 15, packed & 31);
                KeyValue::Bytes(format!("{year:04}-{month:02}-{day:02}").into_bytes())
            }
            (KeyKind::Date { fraction }, 18) => {
                let packed = wire.big(5)? & 0x7f_ffff_ffff;
                let months = packed >> 22;
                let text = format!(
                    "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
                    months / 13,
                    months % 13,
                    packed >> 17 & 31,
                    packed >> 12 & 31,
                    packed >> 6 & 63,
                    packed & 63,
                    fraction_text(&mut wire, *fraction)?
                );
                KeyValue::Bytes(text.into_bytes())
            }
            (KeyKind::Timestamp { fraction }, 17) => {
                let seconds = wire.big(4)?;
                let fraction = fraction_text(&mut wire, *fraction)?;
                KeyValue::Bytes(format!("{}{fraction}", utc(seconds)?).into_bytes())
            }
            (KeyKind::Time { fraction }, 19) => {
                KeyValue::Bytes(time(cell, *fraction)?.into_bytes())
            }
            (KeyKind::Text { .. }, 15 | 253 | STRING | 249..=252) => KeyValue::Bytes(cell.to_vec()),
            (KeyKind::Binary { pad }, 15 | 253 | STRING | 249..=252) => {
                let mut bytes = cell.to_vec();
                if let Some(length) = pad {
                    bytes.resize(bytes.len().max(*length), 0);
                }
                KeyValue::Bytes(bytes)
            }
            _ => return Err(mismatch()),
        })
    }
}

/// `.123456` with so many digits; the bytes hold two digits each.
fn fraction_text(wire: &mut Wire<'_>, digits: u8) -> Result<String> {
    let bytes = usize::from(digits).div_ceil(2);
    if bytes == 0 {
        return Ok(String::new());
    }
    let value = wire.big(bytes)?;
    let all = format!("{value:0width$}", width = 2 * bytes);
    Ok(format!(".{}", all.get(..usize::from(digits)).unwrap_or(&all)))
}

/// `2024-02-29 12:00:00` in UTC; zero is the zero date.
fn utc(seconds: u64) -> Result<String> {
    if seconds == 0 {
        return Ok("0000-00-00 00:00:00".into());
    }
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(seconds)
        .map_err(|error| Error::Internal(format!("a timestamp of the binlog: {error}")))?;
    Ok(at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `-838:59:59.0`: stored with an offset, so that it sorts.
fn time(cell: &[u8], fraction: u8) -> Result<String> {
    let low = 8 * (u32::try_from(cell.len()).unwrap_or(3).clamp(3, 6) - 3);
    let stored = Wire(cell).big(cell.len())?;
    let offset = 0x80_0000_u64 << low;
    let (sign, value) =
        if stored >= offset { ("", stored - offset) } else { ("-", offset - stored) };
    let (clock, parts) = (value >> low, value & ((1 << low) - 1));
    let mut text =
        format!("{sign}{:02}:{:02}:{:02}", clock >> 12 & 0x3ff, clock >> 6 & 63, clock & 63);
    if fraction > 0 {
        let width = usize::try_from(low / 4).unwrap_or(0);
        let all = format!("{parts:0width$}");
        text.push('.');
        text.push_str(all.get(..usize::from(fraction)).unwrap_or(&all));
    }
    Ok(text)
}

/// Bytes of so many decimal digits: nine in four bytes, the rest in as few as can hold them.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

fn decimal_length(precision: u8, scale: u8) -> usize {
    let (whole, part) = (usize::from(precision.saturating_sub(scale)), usize::from(scale));
    whole / 9 * 4 + DIGIT_BYTES[whole % 9] + part / 9 * 4 + DIGIT_BYTES[part % 9]
}

/// A DECIMAL as the server writes it (internals: `decimal2bin`): big-endian groups of digits, the
/// first bit inverted, all bits of a negative number inverted.
fn decimal(cell: &[u8], precision: u8, scale: u8) -> Result<String> {
    let mut bytes = cell.to_vec();
    let Some(first) = bytes.first_mut() else { return Ok("0".into()) };
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut wire = Wire(&bytes);
    let (whole, part) = (usize::from(precision.saturating_sub(scale)), usize::from(scale));
    let mut digits = |count: usize| -> Result<String> {
        Ok(format!("{:0count$}", wire.big(DIGIT_BYTES[count])?))
    };
    let mut text = String::new();
    if whole % 9 > 0 {
        text.push_str(&digits(whole % 9)?);
    }
    for _ in 0..whole / 9 {
        text.push_str(&digits(9)?);
    }
    let mut result = text.trim_start_matches('0').to_owned();
    if result.is_empty() {
        result.push('0');
    }
    if part > 0 {
        result.push('.');
        for _ in 0..part / 9 {
            result.push_str(&digits(9)?);
        }
        if part % 9 > 0 {
            result.push_str(&digits(part % 9)?);
        }
    }
    let zero = result.chars().all(|c| c == '0' || c == '.');
    Ok(if negative && !zero { format!("-{result}") } else { result })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(kind: u8, meta: [u8; 2]) -> Layout {
        Layout { kind, meta }
    }

    fn bytes(text: &str) -> KeyValue {
        KeyValue::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_negative_mediumint_keeps_its_sign() {
        let signed = KeyKind::Int { bytes: 3, unsigned: false };
        let unsigned = KeyKind::Int { bytes: 3, unsigned: true };
        let cell = [0xff, 0xff, 0xff];
        let layout = layout(9, [0; 2]);
        assert_eq!(layout.value(&cell, &signed).unwrap(), KeyValue::Int(-1));
        assert_eq!(layout.value(&cell, &unsigned).unwrap(), KeyValue::UInt(0xff_ffff));
    }

    #[test]
    fn decimals_are_written_as_the_server_writes_them() {
        // 1234567890.1234 and its negative, DECIMAL(14,4): the manual's own example.
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(decimal(&positive, 14, 4).unwrap(), "1234567890.1234");
        let negative = [0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d];
        assert_eq!(decimal(&negative, 14, 4).unwrap(), "-1234567890.1234");
        assert_eq!(decimal_length(14, 4), 7);
    }

    #[test]
    fn zero_dates_and_fractions_are_kept() {
        let date = KeyKind::Date { fraction: 0 };
        assert_eq!(layout(10, [0; 2]).value(&[0, 0, 0], &date).unwrap(), bytes("0000-00-00"));
        let timestamp = KeyKind::Timestamp { fraction: 3 };
        let cell = [0x65, 0xe0, 0x70, 0x00, 0x04, 0xce];
        assert_eq!(
            layout(17, [3, 0]).value(&cell, &timestamp).unwrap(),
            bytes("2024-02-29 11:52:32.123")
        );
        assert_eq!(utc(0).unwrap(), "0000-00-00 00:00:00");
    }

    #[test]
    fn a_char_of_over_255_bytes_has_a_two_byte_length() {
        // CHAR(255) utf8mb4: 1020 bytes.
        // The length's two high bits (0x30 of 1020 >> 4) are stored inverted in the type.
        let meta = [0xce, 0xfc];
        let layout = layout(STRING, meta);
        assert_eq!(layout.string_length(), 1020);
        assert_eq!(layout.take(&mut Wire(&[2, 0, 7, 8])).unwrap(), [7, 8]);
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error_and_no_panic(kind: u8, meta: [u8; 2], cell: Vec<u8>) {
            let layout = Layout { kind, meta };
            let _ = layout.take(&mut Wire(&cell));
            for kind in [
                KeyKind::Int { bytes: 4, unsigned: false }, KeyKind::Decimal, KeyKind::Bit,
                KeyKind::Date { fraction: 6 }, KeyKind::Timestamp { fraction: 5 },
                KeyKind::Time { fraction: 2 }, KeyKind::Enum, KeyKind::Binary { pad: Some(4) },
            ] {
                let _ = layout.value(cell.get(..8).unwrap_or(&cell), &kind);
            }
        }
    }
}
