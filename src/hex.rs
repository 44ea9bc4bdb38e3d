//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

/// Two digits a byte, in lower case.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that `text` says; `None`: it is no such text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| match *pair {
        [high, low] => byte(high, low),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// The byte of two digits.
pub(crate) fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Some(bytes));
        assert_eq!(decode("0aFF"), Some(vec![10, 255]));
        for text in ["0", "0g", "+1", "éé", "0a "] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
