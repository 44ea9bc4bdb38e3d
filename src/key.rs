//! Keys, ranges of keys and positions: opaque to the engine, made and read by the server modules.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex;

/// A value of the copy key, in the server module's encoding.
///
/// Equal bytes mean the same row. Under [`KeyOrder::Bytes`] the order of the bytes is the order in
/// which the server copies; under [`KeyOrder::Server`] it means nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Box<[u8]>);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hex::decode(&String::deserialize(deserializer)?);
        bytes
            .map(|bytes| Self(bytes.into()))
            .ok_or_else(|| serde::de::Error::custom("a key is not hexadecimal"))
    }
}

/// Who can compare two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// Comparing the bytes gives the server's order.
    Bytes,
    /// Only the server knows (collations, decimals): osc never compares.
    Server,
}

/// The keys after `after` up to and including `upto`; `None` is the table's end on that side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// Exclusive lower bound.
    pub after: Option<Key>,
    /// Inclusive upper bound.
    pub upto: Option<Key>,
}

impl KeyRange {
    /// The whole table.
    pub fn all() -> Self {
        Self { after: None, upto: None }
    }

    /// Whether `key` lies inside; meaningful under [`KeyOrder::Bytes`] only.
    pub fn contains(&self, key: &Key) -> bool {
        self.after.as_ref().is_none_or(|after| key > after)
            && self.upto.as_ref().is_none_or(|upto| key <= upto)
    }
}

/// A place in the change stream, in the server module's text form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A count of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows(pub u64);

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", indicatif::HumanCount(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_excludes_its_lower_and_includes_its_upper_bound() {
        let key = |byte: u8| Key(Box::new([byte]));
        let range = KeyRange { after: Some(key(1)), upto: Some(key(3)) };
        assert!(!range.contains(&key(1)));
        assert!(range.contains(&key(2)));
        assert!(range.contains(&key(3)));
        assert!(!range.contains(&key(4)));
        assert!(KeyRange::all().contains(&key(0)));
    }

    #[test]
    fn a_key_survives_its_text_form() {
        let key = Key(vec![0, 1, 0xfe, 0xff].into());
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, "\"0001feff\"");
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert!(serde_json::from_str::<Key>("\"0\u{e9}1\"").is_err());
        assert!(serde_json::from_str::<Key>("\"zz\"").is_err());
    }
}
