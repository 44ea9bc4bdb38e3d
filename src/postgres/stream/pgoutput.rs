//! The messages of the `pgoutput` plugin, protocol version 1, that say which rows changed.
//!
//! Begin, Commit and logical messages are decoded by the replication client. Nothing is copied:
//! cells point into the message. Source: PostgreSQL's manual, "Logical Replication Message Formats".

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// What the following messages about a table mean; sent again whenever it may have changed.
    Relation(Relation),
    /// A row was inserted, updated or deleted.
    Row {
        /// The table's OID.
        relation: u32,
        /// What the server says of the row before: all of it, or its replica identity.
        old: Option<Vec<Cell<'a>>>,
        /// The row after.
        new: Option<Vec<Cell<'a>>>,
    },
    /// These tables were truncated.
    Truncate(Vec<u32>),
    /// Of no interest: a type's name, a transaction's origin.
    Other,
}

/// A table, as the publication shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    /// Its OID.
    pub(super) oid: u32,
    /// Its schema; empty for `pg_catalog`.
    pub(super) schema: String,
    /// Its name.
    pub(super) name: String,
    /// Its replica identity, as in `pg_class.relreplident`.
    pub(super) identity: u8,
    /// Its published columns.
    pub(super) columns: Vec<Column>,
}

/// One published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Whether it is a part of the replica identity.
    pub(super) key: bool,
    /// Its name.
    pub(super) name: String,
    /// Its type's OID.
    pub(super) type_oid: u32,
    /// Its type's modifier.
    pub(super) modifier: u32,
}

/// One column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// NULL, or not a part of the replica identity.
    Null,
    /// Stored out of line and not changed, so not logged.
    Unchanged,
    /// The server's text.
    Text(&'a [u8]),
}

/// Decodes one message; `None` when it is cut short or unknown.
pub(super) fn decode(bytes: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader(bytes);
    let message = match reader.u8()? {
        b'R' => Message::Relation(reader.relation()?),
        b'I' => {
            let relation = reader.u32()?;
            let b'N' = reader.u8()? else { return None };
            Message::Row { relation, old: None, new: Some(reader.tuple()?) }
        }
        b'U' => {
            let relation = reader.u32()?;
            let (old, kind) = match reader.u8()? {
                b'K' | b'O' => (Some(reader.tuple()?), reader.u8()?),
                kind => (None, kind),
            };
            let b'N' = kind else { return None };
            Message::Row { relation, old, new: Some(reader.tuple()?) }
        }
        b'D' => {
            let relation = reader.u32()?;
            let (b'K' | b'O') = reader.u8()? else { return None };
            Message::Row { relation, old: Some(reader.tuple()?), new: None }
        }
        b'T' => {
            let count = reader.u32()?;
            reader.u8()?;
            let oids: Option<Vec<u32>> = (0..count).map(|_| reader.u32()).collect();
            Message::Truncate(oids?)
        }
        b'Y' | b'O' => Message::Other,
        _ => return None,
    };
    Some(message)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn string(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn relation(&mut self) -> Option<Relation> {
        let (oid, schema, name) = (self.u32()?, self.string()?, self.string()?);
        let (identity, count) = (self.u8()?, self.u16()?);
        let columns: Option<Vec<Column>> = (0..count)
            .map(|_| {
                let key = self.u8()? & 1 == 1;
                let (name, type_oid) = (self.string()?, self.u32()?);
                Some(Column { key, name, type_oid, modifier: self.u32()? })
            })
            .collect();
        Some(Relation { oid, schema, name, identity, columns: columns? })
    }

    fn tuple(&mut self) -> Option<Vec<Cell<'a>>> {
        let count = self.u16()?;
        (0..count)
            .map(|_| match self.u8()? {
                b'n' => Some(Cell::Null),
                b'u' => Some(Cell::Unchanged),
                b't' => {
                    let length = usize::try_from(self.u32()?).ok()?;
                    let (text, rest) = self.0.split_at_checked(length)?;
                    self.0 = rest;
                    Some(Cell::Text(text))
                }
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put_tuple(bytes: &mut Vec<u8>, tuple: &[Option<Vec<u8>>]) {
        bytes.extend_from_slice(&u16::try_from(tuple.len()).unwrap().to_be_bytes());
        for cell in tuple {
            match cell {
                None => bytes.push(b'n'),
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(text);
                }
            }
        }
    }

    fn cells(tuple: &[Option<Vec<u8>>]) -> Vec<Cell<'_>> {
        tuple.iter().map(|cell| cell.as_deref().map_or(Cell::Null, Cell::Text)).collect()
    }

    #[test]
    fn a_relation_message_is_read() {
        let mut bytes = b"R\0\0\0\x07public\0t\0d\0\x02".to_vec();
        bytes.extend_from_slice(b"\x01id\0\0\0\0\x14\xff\xff\xff\xff");
        bytes.extend_from_slice(b"\x00b\0\0\0\0\x19\xff\xff\xff\xff");
        let Some(Message::Relation(relation)) = decode(&bytes) else { panic!("not read") };
        assert_eq!((relation.oid, relation.name.as_str(), relation.identity), (7, "t", b'd'));
        let columns: Vec<_> =
            relation.columns.iter().map(|c| (c.key, c.name.as_str(), c.type_oid)).collect();
        assert_eq!(columns, [(true, "id", 20), (false, "b", 25)]);
    }

    #[test]
    fn a_truncate_and_an_unchanged_value_are_read() {
        let truncate = b"T\0\0\0\x02\0\0\0\0\x01\0\0\0\x02";
        assert_eq!(decode(truncate), Some(Message::Truncate(vec![1, 2])));
        let update = b"U\0\0\0\x01N\0\x02t\0\0\0\x015u";
        let new = Some(vec![Cell::Text(b"5"), Cell::Unchanged]);
        assert_eq!(decode(update), Some(Message::Row { relation: 1, old: None, new }));
    }

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_written(
            relation: u32,
            old: Option<Vec<Option<Vec<u8>>>>,
            new: Vec<Option<Vec<u8>>>,
        ) {
            let mut bytes = vec![b'U'];
            bytes.extend_from_slice(&relation.to_be_bytes());
            if let Some(old) = &old {
                bytes.push(b'K');
                put_tuple(&mut bytes, old);
            }
            bytes.push(b'N');
            put_tuple(&mut bytes, &new);
            let expected =
                Message::Row { relation, old: old.as_deref().map(cells), new: Some(cells(&new)) };
            prop_assert_eq!(decode(&bytes), Some(expected));
            // Every shorter message is noticed.
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn no_bytes_make_decoding_panic(
            tag in prop::sample::select(b"RIUDTYOBCM?".to_vec()),
            rest: Vec<u8>,
        ) {
            let mut bytes = vec![tag];
            bytes.extend(rest);
            let _ = decode(&bytes);
        }
    }
}
