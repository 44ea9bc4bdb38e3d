//! A door to the logical stream without a server, for `fuzz/`.

use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::Lsn;

use super::changes::Changes;
use super::pgoutput::{Message, Relation, decode};
use crate::engine::backend::Change;
use crate::postgres::catalog::key::{KeyColumn, KeyColumns, KeyKind};
use crate::postgres::name::{Ident, TableName};

/// What the stream of a table made of messages.
#[derive(Debug)]
pub struct Decoded {
    /// The columns of its key.
    pub columns: KeyColumns,
    /// What it delivered.
    pub changes: Vec<Change>,
    /// Why it ended before the messages did.
    pub error: Option<String>,
}

/// Reads messages, each after its length in four bytes, big-endian. The table is the first that
/// they describe, and its key is its replica identity. `None`: they describe none.
pub fn read(messages: &[u8]) -> Option<Decoded> {
    let messages = split(messages);
    let relation = messages.iter().find_map(|message| match decode(message)? {
        Message::Relation(relation) => Some(relation),
        _ => None,
    })?;
    let columns = key(&relation);
    let table = TableName::new(relation.schema, relation.name);
    let mut changes =
        Changes::new(relation.oid, table, columns.clone(), -7, Arc::default(), Lsn::ZERO);
    let error = messages.iter().find_map(|message| {
        match message.split_first() {
            // These the client decodes.
            Some((b'B', _)) => changes.begin(1),
            Some((b'C', _)) => changes.commit(Lsn::from(1), Duration::ZERO),
            Some((b'M', content)) => changes.message("osc", content),
            _ => return changes.read(message).err().map(|error| error.to_string()),
        }
        None
    });
    Some(Decoded { columns, changes: std::iter::from_fn(|| changes.pop()).collect(), error })
}

fn key(relation: &Relation) -> KeyColumns {
    let parts = relation.columns.iter().filter(|column| column.key);
    KeyColumns(
        parts
            .map(|column| KeyColumn {
                name: Ident::new(column.name.as_str()),
                type_sql: "text".into(),
                type_oid: column.type_oid,
                kind: KeyKind::of(column.type_oid),
            })
            .collect(),
    )
}

fn split(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (message, tail) = tail.split_at(length.min(tail.len()));
        messages.push(message);
        rest = tail;
    }
    messages
}
