//! TABLE_MAP events: which table row events are about, and how wide its columns' values are.

use super::bytes::{Bytes, Malformed, Read};

/// Column types as the binary log numbers them (`enum_field_types` in the servers' sources).
pub(super) mod kind {
    #![allow(missing_docs, reason = "the names are the servers'")]
    pub(in super::super) const TINY: u8 = 1;
    pub(in super::super) const SHORT: u8 = 2;
    pub(in super::super) const LONG: u8 = 3;
    pub(in super::super) const FLOAT: u8 = 4;
    pub(in super::super) const DOUBLE: u8 = 5;
    pub(in super::super) const NULL: u8 = 6;
    pub(in super::super) const TIMESTAMP: u8 = 7;
    pub(in super::super) const LONGLONG: u8 = 8;
    pub(in super::super) const INT24: u8 = 9;
    pub(in super::super) const DATE: u8 = 10;
    pub(in super::super) const TIME: u8 = 11;
    pub(in super::super) const DATETIME: u8 = 12;
    pub(in super::super) const YEAR: u8 = 13;
    pub(in super::super) const NEWDATE: u8 = 14;
    pub(in super::super) const VARCHAR: u8 = 15;
    pub(in super::super) const BIT: u8 = 16;
    pub(in super::super) const TIMESTAMP2: u8 = 17;
    pub(in super::super) const DATETIME2: u8 = 18;
    pub(in super::super) const TIME2: u8 = 19;
    pub(in super::super) const BLOB_COMPRESSED: u8 = 140;
    pub(in super::super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(in super::super) const VECTOR: u8 = 242;
    pub(in super::super) const JSON: u8 = 245;
    pub(in super::super) const NEWDECIMAL: u8 = 246;
    pub(in super::super) const ENUM: u8 = 247;
    pub(in super::super) const SET: u8 = 248;
    pub(in super::super) const TINY_BLOB: u8 = 249;
    pub(in super::super) const BLOB: u8 = 252;
    pub(in super::super) const VAR_STRING: u8 = 253;
    pub(in super::super) const STRING: u8 = 254;
    pub(in super::super) const GEOMETRY: u8 = 255;
}

/// How long a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Always so many bytes.
    Fixed(usize),
    /// As many as a number of so many bytes before it says.
    Counted(usize),
}

/// A column, as far as the log shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// Its type, one of [`kind`]; ENUM and SET under their own numbers.
    pub(super) kind: u8,
    /// What the type needs besides: precision and scale, digits after the seconds, lengths.
    pub(super) detail: [u8; 2],
    /// How long its values are.
    pub(super) width: Width,
}

impl Column {
    /// A column's next value.
    pub(super) fn value<'a>(&self, bytes: &mut Bytes<'a>) -> Read<&'a [u8]> {
        let length = match self.width {
            Width::Fixed(length) => length,
            Width::Counted(count) => bytes.length(count)?,
        };
        bytes.take(length)
    }
}

/// The head of a TABLE_MAP event: enough to know whether the table is ours.
#[derive(Debug)]
pub(super) struct TableMap<'a> {
    /// The number by which the row events that follow name the table.
    pub(super) id: u64,
    /// The schema, as the server stores it.
    pub(super) schema: &'a [u8],
    /// The table, as the server stores it.
    pub(super) table: &'a [u8],
    columns: Bytes<'a>,
}

impl<'a> TableMap<'a> {
    /// Reads the head.
    pub(super) fn parse(body: &'a [u8]) -> Read<Self> {
        let mut bytes = Bytes(body);
        let id = bytes.little(6)?;
        bytes.take(2)?;
        Ok(Self { id, schema: bytes.name()?, table: bytes.name()?, columns: bytes })
    }

    /// The bytes that describe the columns: equal bytes, equal columns.
    pub(super) fn description(&self) -> &'a [u8] {
        self.columns.0
    }

    /// Reads the columns.
    pub(super) fn columns(&self) -> Read<Vec<Column>> {
        let mut bytes = self.columns;
        let count = bytes.variable_length()?;
        let kinds = bytes.take(count)?;
        let length = bytes.variable_length()?;
        let mut details = Bytes(bytes.take(length)?);
        kinds.iter().map(|kind| column(*kind, &mut details)).collect()
    }
}

fn column(kind: u8, details: &mut Bytes<'_>) -> Read<Column> {
    use kind::{
        BIT, BLOB, BLOB_COMPRESSED, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY,
        INT24, JSON, LONG, LONGLONG, NEWDATE, NEWDECIMAL, NULL, SET, SHORT, STRING, TIME, TIME2,
        TIMESTAMP, TIMESTAMP2, TINY, TINY_BLOB, VAR_STRING, VARCHAR, VARCHAR_COMPRESSED, VECTOR,
        YEAR,
    };
    let mut detail = [0; 2];
    let bytes = match kind {
        FLOAT
        | DOUBLE
        | TIMESTAMP2
        | DATETIME2
        | TIME2
        | BLOB_COMPRESSED
        | VECTOR
        | JSON
        | TINY_BLOB..=BLOB
        | GEOMETRY => 1,
        VARCHAR | VARCHAR_COMPRESSED | VAR_STRING | BIT | NEWDECIMAL | ENUM | SET | STRING => 2,
        _ => 0,
    };
    detail[..bytes].copy_from_slice(details.take(bytes)?);
    let [first, second] = detail.map(usize::from);
    let fraction = first.div_ceil(2);
    let fixed = |kind, length| Column { kind, detail, width: Width::Fixed(length) };
    let counted = |bytes| Column { kind, detail, width: Width::Counted(bytes) };
    Ok(match kind {
        NULL => fixed(kind, 0),
        TINY | YEAR => fixed(kind, 1),
        SHORT => fixed(kind, 2),
        INT24 | DATE | NEWDATE | TIME => fixed(kind, 3),
        LONG | FLOAT | TIMESTAMP => fixed(kind, 4),
        LONGLONG | DOUBLE | DATETIME => fixed(kind, 8),
        TIMESTAMP2 => fixed(kind, 4 + fraction),
        DATETIME2 => fixed(kind, 5 + fraction),
        TIME2 => fixed(kind, 3 + fraction),
        BIT => fixed(kind, second + usize::from(first > 0)),
        NEWDECIMAL if second <= first => fixed(kind, decimal_width(first, second)),
        ENUM | SET => fixed(kind, second),
        VARCHAR | VARCHAR_COMPRESSED | VAR_STRING => {
            counted(if first | second << 8 < 256 { 1 } else { 2 })
        }
        BLOB_COMPRESSED | VECTOR | JSON | TINY_BLOB..=BLOB | GEOMETRY
            if (1..=4).contains(&first) =>
        {
            counted(first)
        }
        // The real type is in the first byte, and, where its bits 4 and 5 are not both set, the
        // inverse of them are the length's bits 8 and 9 (MySQL bug 37426).
        STRING => {
            let (real, length) = (detail[0] | 0x30, second | (first & 0x30 ^ 0x30) << 4);
            match real {
                ENUM | SET => fixed(real, second),
                _ => counted(if length < 256 { 1 } else { 2 }),
            }
        }
        _ => {
            return Err(Malformed(format!(
                "a column has type {kind} with details {detail:?}, which osc does not know"
            )));
        }
    })
}

/// Bytes of so many decimal digits: four for nine, fewer for a rest.
pub(super) fn digits_width(digits: usize) -> usize {
    digits / 9 * 4 + [0, 1, 1, 2, 2, 3, 3, 4, 4][digits % 9]
}

fn decimal_width(precision: usize, scale: usize) -> usize {
    digits_width(precision - scale) + digits_width(scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_char_columns_have_two_bytes_of_length() {
        let width = |detail: [u8; 2]| column(kind::STRING, &mut Bytes(&detail)).unwrap().width;
        assert_eq!(width([0xfe, 40]), Width::Counted(1));
        // CHAR(255) of utf8mb4: 1020 bytes.
        assert_eq!(width([0xfe ^ 0x30, 0xfc]), Width::Counted(2));
        assert_eq!(width([0xf7, 2]), Width::Fixed(2));
        assert_eq!(width([0xf8, 8]), Width::Fixed(8));
    }

    #[test]
    fn a_decimal_is_as_wide_as_its_digits() {
        assert_eq!(decimal_width(65, 30), 4 * 3 + 4 + 4 * 3 + 2);
        assert_eq!(decimal_width(10, 2), 5);
        assert!(column(kind::NEWDECIMAL, &mut Bytes(&[2, 3])).is_err());
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error_and_no_panic(body: Vec<u8>) {
            if let Ok(map) = TableMap::parse(&body) {
                let _ = map.columns();
            }
        }
    }
}
