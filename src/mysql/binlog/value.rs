//! Values of key columns: from the log's form to the one that a SELECT of the key gives.

use super::bytes::{Malformed, Read, big, little};
use super::table::{Column, digits_width, kind};
use crate::mysql::catalog::key::{KeyKind, KeyValue};
use crate::testing::mutation::{self, Rule};

/// Whether the log's column can hold values of this kind.
pub(super) fn fits(column: &Column, key: &KeyKind) -> bool {
    match (key, column.kind) {
        (KeyKind::Int { bytes, .. }, _) => match column.kind {
            kind::TINY | kind::YEAR => *bytes == 1,
            kind::SHORT => *bytes == 2,
            kind::INT24 => *bytes == 3,
            kind::LONG => *bytes == 4,
            kind::LONGLONG => *bytes == 8,
            _ => false,
        },
        (KeyKind::Bit, kind::BIT)
        | (KeyKind::Enum, kind::ENUM)
        | (KeyKind::Set, kind::SET)
        | (KeyKind::Decimal, kind::NEWDECIMAL)
        | (KeyKind::Date { fraction: 0 }, kind::DATE | kind::NEWDATE | kind::DATETIME)
        | (KeyKind::Timestamp { fraction: 0 }, kind::TIMESTAMP)
        | (KeyKind::Time { fraction: 0 }, kind::TIME)
        | (
            KeyKind::Text { .. } | KeyKind::Binary { .. },
            kind::VARCHAR | kind::VAR_STRING | kind::STRING | kind::TINY_BLOB..=kind::BLOB,
        )
        | (KeyKind::Uuid, kind::STRING) => true,
        (KeyKind::Date { fraction }, kind::DATETIME2)
        | (KeyKind::Timestamp { fraction }, kind::TIMESTAMP2)
        | (KeyKind::Time { fraction }, kind::TIME2) => *fraction == column.detail[0],
        _ => false,
    }
}

/// Reads a value of a column that [`fits`].
pub(super) fn decode(column: &Column, key: &KeyKind, raw: &[u8]) -> Read<KeyValue> {
    let text = |text: String| KeyValue::Bytes(text.into_bytes());
    Ok(match (key, column.kind) {
        (KeyKind::Int { .. }, kind::YEAR) => {
            let years = little(raw);
            KeyValue::UInt(if years == 0 { 0 } else { 1900 + years })
        }
        (KeyKind::Int { unsigned: true, .. }, _) => KeyValue::UInt(little(raw)),
        (KeyKind::Int { .. }, _) => {
            let unused = 64 - 8 * u32::try_from(raw.len().clamp(1, 8)).unwrap_or(8);
            KeyValue::Int((little(raw) << unused).cast_signed() >> unused)
        }
        (KeyKind::Bit, _) => KeyValue::UInt(big(raw)),
        (KeyKind::Enum | KeyKind::Set, _) => KeyValue::UInt(little(raw)),
        (KeyKind::Decimal, _) => {
            let [precision, scale] = column.detail.map(usize::from);
            text(decimal(raw, precision.saturating_sub(scale), scale)?)
        }
        (_, kind::DATE | kind::NEWDATE) => text(date(little(raw))),
        (_, kind::DATETIME) => text(old_datetime(little(raw))),
        (_, kind::TIME) => text(old_time(little(raw))),
        (_, kind::DATETIME2) => text(datetime(raw, fraction(column))),
        (_, kind::TIME2) => text(time(raw, fraction(column))),
        (_, kind::TIMESTAMP) => text(timestamp(little(raw), &[], 0)?),
        (_, kind::TIMESTAMP2) => {
            let (seconds, rest) = raw.split_at_checked(4).unwrap_or((raw, &[]));
            text(timestamp(big(seconds), rest, fraction(column))?)
        }
        (KeyKind::Binary { pad }, _) => {
            let mut bytes = raw.to_vec();
            // The log leaves out zero bytes at the end of values of fixed length.
            if !mutation::active(Rule::KeysPadded) {
                bytes.resize(bytes.len().max(pad.unwrap_or(0)), 0);
            }
            KeyValue::Bytes(bytes)
        }
        (KeyKind::Uuid, _) => {
            let mut bytes = raw.to_vec();
            bytes.resize(16, 0);
            KeyValue::Bytes(bytes)
        }
        _ => KeyValue::Bytes(raw.to_vec()),
    })
}

fn fraction(column: &Column) -> usize {
    usize::from(column.detail[0].min(6))
}

/// `.25` for two digits of 2500; nothing for none. `stored`: hundredths, ten-thousandths or
/// millionths, in one, two or three bytes.
fn fraction_text(stored: u64, digits: usize) -> String {
    if digits == 0 {
        return String::new();
    }
    let pairs = digits.div_ceil(2) * 2;
    let all = format!("{stored:0pairs$}");
    format!(".{}", &all[..digits])
}

fn date(packed: u64) -> String {
    format!("{:04}-{:02}-{:02}", packed >> 9, packed >> 5 & 15, packed & 31)
}

fn old_datetime(number: u64) -> String {
    let (date, time) = (number / 1_000_000, number % 1_000_000);
    format!(
        "{:04}-{:02}-{:02} {}",
        date / 10_000,
        date / 100 % 100,
        date % 100,
        clock(time / 10_000, time / 100 % 100, time % 100)
    )
}

fn old_time(number: u64) -> String {
    let signed = (number << 40).cast_signed() >> 40;
    let plain = signed.unsigned_abs();
    let sign = if signed < 0 { "-" } else { "" };
    format!("{sign}{}", clock(plain / 10_000, plain / 100 % 100, plain % 100))
}

fn clock(hours: u64, minutes: u64, seconds: u64) -> String {
    format!("{hours:02}:{minutes:02}:{seconds:02}")
}

/// 1 bit sign (always set), 17 bits year and month, 5 each day and hour, 6 each minute and second.
fn datetime(raw: &[u8], digits: usize) -> String {
    let (whole, rest) = raw.split_at_checked(5).unwrap_or((raw, &[]));
    let packed = big(whole) & 0x7f_ffff_ffff;
    let (date, time) = (packed >> 17, packed & 0x1_ffff);
    let months = date >> 5;
    format!(
        "{:04}-{:02}-{:02} {}{}",
        months / 13,
        months % 13,
        date & 31,
        clock(time >> 12, time >> 6 & 63, time & 63),
        fraction_text(big(rest), digits)
    )
}

/// Hours, minutes, seconds and fraction as one number, with half its range added.
fn time(raw: &[u8], digits: usize) -> String {
    let bits = 8 * u32::try_from(raw.len().clamp(3, 6)).unwrap_or(3);
    let number = big(raw).cast_signed() - (1_i64 << (bits - 1));
    let plain = number.unsigned_abs();
    let (whole, rest) = (plain >> (bits - 24), plain & ((1 << (bits - 24)) - 1));
    format!(
        "{}{}{}",
        if number < 0 { "-" } else { "" },
        clock(whole >> 12 & 0x3ff, whole >> 6 & 63, whole & 63),
        fraction_text(rest, digits)
    )
}

/// Seconds since 1970, in UTC as the sessions of osc are.
fn timestamp(seconds: u64, rest: &[u8], digits: usize) -> Read<String> {
    let fraction = fraction_text(big(rest), digits);
    if seconds == 0 && big(rest) == 0 {
        return Ok(format!("0000-00-00 00:00:00{fraction}"));
    }
    let broken = || Malformed(format!("a timestamp of {seconds} seconds"));
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .ok_or_else(broken)?;
    let utc = jiff::tz::Offset::UTC.to_datetime(moment);
    Ok(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction}",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    ))
}

/// Groups of nine digits in four bytes, big-endian; the group of fewer comes first before the
/// point and last after it. The first bit is inverted, and all are in a negative number.
fn decimal(raw: &[u8], whole: usize, scale: usize) -> Read<String> {
    let negative = raw.first().is_none_or(|first| first & 0x80 == 0);
    let flip = if negative { 0xff } else { 0 };
    let mut plain: Vec<u8> = raw.iter().map(|byte| byte ^ flip).collect();
    if let Some(first) = plain.first_mut() {
        *first ^= 0x80;
    }
    let mut groups = vec![whole % 9];
    groups.extend(std::iter::repeat_n(9, whole / 9 + scale / 9));
    groups.push(scale % 9);
    let (mut digits, mut rest) = (String::new(), plain.as_slice());
    for group in groups.into_iter().filter(|group| *group > 0) {
        let (head, tail) = rest
            .split_at_checked(digits_width(group))
            .ok_or_else(|| Malformed("a decimal is too short".into()))?;
        rest = tail;
        digits.push_str(&format!("{:0group$}", big(head)));
    }
    let (before, after) = digits
        .split_at_checked(whole)
        .ok_or_else(|| Malformed("a decimal has too few digits".into()))?;
    let before = match before.trim_start_matches('0') {
        "" => "0",
        some => some,
    };
    let sign = if negative { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{before}{point}{after}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table::Width;
    use super::*;

    fn column(kind: u8, detail: [u8; 2], length: usize) -> Column {
        Column { kind, detail, width: Width::Fixed(length) }
    }

    #[test]
    fn a_negative_mediumint_keeps_its_sign() {
        let key = |unsigned| KeyKind::Int { bytes: 3, unsigned };
        let mediumint = column(kind::INT24, [0; 2], 3);
        let value = |unsigned| decode(&mediumint, &key(unsigned), &[0xff; 3]).unwrap();
        assert_eq!(value(false), KeyValue::Int(-1));
        assert_eq!(value(true), KeyValue::UInt(0xff_ffff));
    }

    #[test]
    fn decimals_are_written_as_the_server_writes_them() {
        // The manual's example: 1234567890.1234 and its negative.
        let plain = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let negative = plain.map(|byte| !byte);
        assert_eq!(decimal(&plain, 10, 4).unwrap(), "1234567890.1234");
        assert_eq!(decimal(&negative, 10, 4).unwrap(), "-1234567890.1234");
        assert_eq!(decimal(&[0x80, 0x32], 0, 2).unwrap_or_default(), "0.00");
        assert_eq!(decimal(&[0x80 | 50], 0, 2).unwrap(), "0.50");
    }

    #[test]
    fn times_below_zero_borrow_from_their_fraction() {
        assert_eq!(time(&[0x7f, 0xff, 0xff, 0xff], 2), "-00:00:00.01");
        assert_eq!(time(&[0x80, 0, 0], 0), "00:00:00");
        assert_eq!(time(&[0x4b, 0x91, 0x05], 0), "-838:59:59");
    }

    proptest! {
        #[test]
        fn rubbish_is_no_panic(raw in proptest::collection::vec(any::<u8>(), 0..12), digits in 0_u8..9) {
            for (key, kind) in [
                (KeyKind::Decimal, kind::NEWDECIMAL),
                (KeyKind::Date { fraction: digits }, kind::DATETIME2),
                (KeyKind::Time { fraction: digits }, kind::TIME2),
                (KeyKind::Timestamp { fraction: digits }, kind::TIMESTAMP2),
                (KeyKind::Int { bytes: 8, unsigned: false }, kind::LONGLONG),
                (KeyKind::Bit, kind::BIT),
            ] {
                let _ = decode(&column(kind, [digits, 2], raw.len()), &key, &raw);
            }
        }
    }
}
