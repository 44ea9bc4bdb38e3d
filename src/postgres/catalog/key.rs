//! The copy key's columns: their values' encoding in bytes, and their form in SQL.
//!
//! Values come as the server's text from two places, the change stream and a SELECT of bounds, and
//! both must give the same text for the same row: both kinds of session have the settings that
//! [`startup`](crate::postgres::connection::settings::startup) fixes.
//! Integers, OIDs and UUIDs are encoded so that the order of the bytes is the server's order; a key
//! that has a column of another type is [`KeyOrder::Server`].

use crate::error::{Error, Result};
use crate::key::{Key, KeyOrder};
use crate::postgres::name::{Ident, Text};

/// The kind of a key column, as far as its encoding goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `oid`.
    Oid,
    /// `uuid`.
    Uuid,
    /// Whatever else, as the server's text, which osc never compares.
    Text,
}

impl KeyKind {
    /// The kind of a type, by its OID, which is fixed for these.
    pub fn of(type_oid: u32) -> Self {
        match type_oid {
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            26 => Self::Oid,
            2950 => Self::Uuid,
            _ => Self::Text,
        }
    }
}

/// One column of the copy key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name in the original.
    pub name: Ident,
    /// Its type as SQL, from `format_type`.
    pub type_sql: String,
    /// Its type's OID.
    pub type_oid: u32,
    /// Its encoding. [`KeyKind::Text`] is right for every type; it must be that where the key orders
    /// the column descending.
    pub kind: KeyKind,
}

/// The columns of the copy key, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumns(pub Vec<KeyColumn>);

impl KeyColumns {
    /// Who can compare keys of these columns.
    pub fn order(&self) -> KeyOrder {
        if self.0.iter().any(|column| column.kind == KeyKind::Text) {
            KeyOrder::Server
        } else {
            KeyOrder::Bytes
        }
    }

    /// Encodes one row's values, given as the server's text.
    ///
    /// # Errors
    /// [`Error::Internal`] when they do not fit the columns, or one is NULL.
    pub fn encode(&self, texts: &[Option<&str>]) -> Result<Key> {
        if texts.len() != self.0.len() {
            return Err(Error::Internal(format!(
                "a key of {} columns got {} values",
                self.0.len(),
                texts.len()
            )));
        }
        let mut bytes = Vec::with_capacity(8 * texts.len());
        for (column, text) in self.0.iter().zip(texts) {
            text.and_then(|text| put(column.kind, text, &mut bytes)).ok_or_else(|| {
                Error::Internal(format!(
                    "{} cannot be a value of the key's column {} of type {}",
                    text.unwrap_or("NULL"),
                    column.name,
                    column.type_sql
                ))
            })?;
        }
        Ok(Key(bytes.into()))
    }

    /// The values of an encoded key, as the server's text.
    ///
    /// # Errors
    /// [`Error::Internal`] when the key is not of these columns.
    pub fn decode(&self, key: &Key) -> Result<Vec<String>> {
        let mut rest: &[u8] = &key.0;
        let values: Option<Vec<String>> =
            self.0.iter().map(|column| take(column.kind, &mut rest)).collect();
        values
            .filter(|_| rest.is_empty())
            .ok_or_else(|| Error::Internal("a key does not fit its columns".into()))
    }

    /// The values as SQL: `'5'::bigint`.
    ///
    /// # Errors
    /// Those of [`KeyColumns::decode`].
    pub fn literals(&self, key: &Key) -> Result<Vec<String>> {
        let literal = |(column, value): (&KeyColumn, String)| {
            format!("{}::{}", Text(&value).to_string().trim_start(), column.type_sql)
        };
        Ok(self.0.iter().zip(self.decode(key)?).map(literal).collect())
    }

    /// The key for a human: `id = 5, name = 'x'`.
    pub fn describe(&self, key: &Key) -> String {
        let Ok(values) = self.decode(key) else {
            return "a key that cannot be read".into();
        };
        let part = |(column, value): (&KeyColumn, String)| match column.kind {
            KeyKind::Text | KeyKind::Uuid => format!("{} = '{value}'", column.name.as_str()),
            _ => format!("{} = {value}", column.name.as_str()),
        };
        self.0.iter().zip(values).map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Appends a value; `None` when it is not one of this kind.
fn put(kind: KeyKind, text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    match kind {
        KeyKind::Int2 => {
            let number: i16 = text.parse().ok()?;
            bytes.extend_from_slice(&(number.cast_unsigned() ^ (1 << 15)).to_be_bytes());
        }
        KeyKind::Int4 => {
            let number: i32 = text.parse().ok()?;
            bytes.extend_from_slice(&(number.cast_unsigned() ^ (1 << 31)).to_be_bytes());
        }
        KeyKind::Int8 => {
            let number: i64 = text.parse().ok()?;
            bytes.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        }
        KeyKind::Oid => bytes.extend_from_slice(&text.parse::<u32>().ok()?.to_be_bytes()),
        KeyKind::Uuid => {
            let digits: String = text.chars().filter(|c| *c != '-').collect();
            if digits.len() != 32 || digits.starts_with('+') {
                return None;
            }
            bytes.extend_from_slice(&u128::from_str_radix(&digits, 16).ok()?.to_be_bytes());
        }
        KeyKind::Text => {
            bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    Some(())
}

/// Takes a value off the front.
fn take(kind: KeyKind, rest: &mut &[u8]) -> Option<String> {
    fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = rest.split_first_chunk::<N>()?;
        *rest = tail;
        Some(*head)
    }
    Some(match kind {
        KeyKind::Int2 => (u16::from_be_bytes(fixed(rest)?) ^ (1 << 15)).cast_signed().to_string(),
        KeyKind::Int4 => (u32::from_be_bytes(fixed(rest)?) ^ (1 << 31)).cast_signed().to_string(),
        KeyKind::Int8 => (u64::from_be_bytes(fixed(rest)?) ^ (1 << 63)).cast_signed().to_string(),
        KeyKind::Oid => u32::from_be_bytes(fixed(rest)?).to_string(),
        KeyKind::Uuid => {
            let mut text = format!("{:032x}", u128::from_be_bytes(fixed(rest)?));
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
            text
        }
        KeyKind::Text => {
            let length = usize::try_from(u32::from_be_bytes(fixed(rest)?)).ok()?;
            let (head, tail) = rest.split_at_checked(length)?;
            *rest = tail;
            String::from_utf8(head.to_vec()).ok()?
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns(oids: &[u32]) -> KeyColumns {
        let column = |oid: &u32| KeyColumn {
            name: Ident::new(format!("c{oid}")),
            type_sql: match oid {
                20 => "bigint",
                21 => "smallint",
                2950 => "uuid",
                _ => "text",
            }
            .into(),
            type_oid: *oid,
            kind: KeyKind::of(*oid),
        };
        KeyColumns(oids.iter().map(column).collect())
    }

    #[test]
    fn a_key_is_shown_and_quoted() {
        let key = columns(&[20, 25]);
        assert_eq!(key.order(), KeyOrder::Server);
        let encoded = key.encode(&[Some("5"), Some("it's \\")]).unwrap();
        assert_eq!(key.describe(&encoded), "c20 = 5, c25 = 'it's \\'");
        assert_eq!(key.literals(&encoded).unwrap(), ["'5'::bigint", "E'it''s \\\\'::text"]);
    }

    #[test]
    fn a_uuid_keeps_its_text() {
        let text = "00000000-0000-4000-8000-00000000002a";
        let key = columns(&[2950]);
        assert_eq!(key.order(), KeyOrder::Bytes);
        assert_eq!(key.decode(&key.encode(&[Some(text)]).unwrap()).unwrap(), [text]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let key = columns(&[21, 2950]);
        assert!(key.encode(&[Some("1")]).is_err());
        assert!(key.encode(&[Some("1"), None]).is_err());
        assert!(key.encode(&[Some("40000"), Some("x")]).is_err());
        assert!(key.decode(&Key(Box::new([1, 2, 3]))).is_err());
    }

    proptest! {
        #[test]
        fn bytes_keep_the_order_of_numbers(a: (i16, i64, u32), b: (i16, i64, u32)) {
            let key = columns(&[21, 20, 26]);
            let encode = |v: (i16, i64, u32)| {
                let texts = [v.0.to_string(), v.1.to_string(), v.2.to_string()];
                key.encode(&texts.each_ref().map(|text| Some(text.as_str()))).unwrap()
            };
            prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
        }

        #[test]
        fn values_survive_the_encoding(a: i32, b: String, c: u128, d: String) {
            let key = columns(&[23, 25, 2950, 1043]);
            let number = a.to_string();
            let mut uuid = format!("{c:032x}");
            for at in [20, 16, 12, 8] {
                uuid.insert(at, '-');
            }
            let texts = [&number, &b, &uuid, &d];
            let encoded = key.encode(&texts.map(|text| Some(text.as_str()))).unwrap();
            let decoded = key.decode(&encoded).unwrap();
            prop_assert_eq!(decoded.iter().collect::<Vec<_>>(), texts);
        }

        #[test]
        fn different_text_keys_have_different_bytes(a: (String, String), b: (String, String)) {
            let key = columns(&[25, 25]);
            let encode = |v: &(String, String)| key.encode(&[Some(&v.0), Some(&v.1)]).unwrap();
            prop_assert_eq!(encode(&a) == encode(&b), a == b);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let key = columns(&[23, 25, 2950, 20]);
            let _ = key.decode(&Key(bytes.clone().into()));
            let _ = key.describe(&Key(bytes.into()));
        }
    }
}
