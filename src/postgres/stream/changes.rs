//! From the server's messages to the engine's changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::Lsn;

use super::pgoutput::{Cell, Message, Relation, decode};
use super::visibility::Seen;
use super::{marker, position};
use crate::engine::backend::Change;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::catalog::key::KeyColumns;
use crate::postgres::name::TableName;
use crate::testing::mutation::{self, Rule};

/// A stream's memory between messages.
pub(super) struct Changes {
    oid: u32,
    original: TableName,
    key: KeyColumns,
    run: i64,
    seen: Arc<Seen>,
    /// The original as the stream described it first, and the places of the key's columns in it.
    relation: Option<(Relation, Vec<usize>)>,
    /// The transaction being read, until its first row of the original.
    unseen: Option<u32>,
    /// Whether a transaction is being read.
    inside: bool,
    reached: Lsn,
    ready: VecDeque<Change>,
}

impl Changes {
    /// Nothing read yet, after `from`.
    pub(super) fn new(
        oid: u32,
        original: TableName,
        key: KeyColumns,
        run: i64,
        seen: Arc<Seen>,
        from: Lsn,
    ) -> Self {
        Self {
            oid,
            original,
            key,
            run,
            seen,
            relation: None,
            unseen: None,
            inside: false,
            reached: from,
            ready: VecDeque::new(),
        }
    }

    /// The next change, if one is ready.
    pub(super) fn pop(&mut self) -> Option<Change> {
        self.ready.pop_front()
    }

    /// Everything up to here has been read.
    pub(super) fn reached(&self) -> Lsn {
        self.reached
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self, xid: u32) {
        self.unseen = Some(xid);
        self.inside = true;
    }

    /// The transaction ended at `end`.
    pub(super) fn commit(&mut self, end: Lsn, age: Duration) {
        self.unseen = None;
        self.inside = false;
        self.reached = self.reached.max(end);
        self.ready.push_back(Change::Commit { position: position::of(end), age });
    }

    /// The server has read its log up to `end` and sent what there was.
    pub(super) fn idle(&mut self, end: Lsn) {
        if !self.inside && end > self.reached {
            self.commit(end, Duration::ZERO);
        }
    }

    /// A logical message.
    pub(super) fn message(&mut self, prefix: &str, content: &[u8]) {
        if prefix == marker::PREFIX
            && let Some((run, number)) = marker::parse(content)
            && run == self.run
        {
            self.ready.push_back(Change::Marker(number));
        }
    }

    /// A message of the plugin.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let message = decode(bytes).ok_or_else(|| unreadable("a message that osc cannot read"))?;
        match message {
            Message::Relation(relation) if relation.oid == self.oid => self.relation(relation)?,
            Message::Row { relation, old, new } if relation == self.oid => self.row(old, new)?,
            Message::Truncate(oids) if oids.contains(&self.oid) => {
                self.foreign("it was truncated");
            }
            _ => {}
        }
        Ok(())
    }

    fn foreign(&mut self, what: &str) {
        if mutation::active(Rule::ForeignReported) {
            return;
        }
        self.ready.push_back(Change::Foreign(format!("{}: {what}", self.original.plain())));
    }

    fn relation(&mut self, relation: Relation) -> Result<()> {
        if let Some((first, _)) = &self.relation {
            if *first != relation {
                let what = difference(first, &relation);
                self.foreign(&what);
            }
            return Ok(());
        }
        if (relation.schema.as_str(), relation.name.as_str())
            != (self.original.schema.as_str(), self.original.table.as_str())
        {
            let what = format!("it is called {}.{} now", relation.schema, relation.name);
            self.foreign(&what);
            return Ok(());
        }
        let place = |wanted: &crate::postgres::catalog::key::KeyColumn| {
            relation.columns.iter().position(|column| {
                column.key
                    && column.name == wanted.name.as_str()
                    && column.type_oid == wanted.type_oid
            })
        };
        match self.key.0.iter().map(place).collect() {
            Some(places) => self.relation = Some((relation, places)),
            None => self.foreign("the columns of its key were changed"),
        }
        Ok(())
    }

    fn row(&mut self, old: Option<Vec<Cell<'_>>>, new: Option<Vec<Cell<'_>>>) -> Result<()> {
        let Some((_, places)) = &self.relation else {
            // Not understood, and reported as such.
            return if self.ready.is_empty() {
                Err(unreadable("rows of a table that it has not described"))
            } else {
                Ok(())
            };
        };
        let empty = Vec::new();
        let (before, after) = (old.as_ref().unwrap_or(&empty), new.as_ref().unwrap_or(&empty));
        let mut keys: Vec<Key> = Vec::with_capacity(2);
        for (tuple, other) in [(before, after), (after, before)] {
            if tuple.is_empty() {
                continue;
            }
            let Some(key) = key(&self.key, places, tuple, other)? else {
                self.foreign("a row was changed in a way that hides its key");
                return Ok(());
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if let Some(xid) = self.unseen.take() {
            self.seen.deliver(xid);
        }
        if mutation::active(Rule::BothKeys) {
            keys = keys.pop().into_iter().collect();
        }
        self.ready.push_back(Change::Keys(keys));
        Ok(())
    }
}

/// The key in `tuple`; values that it lacks because they did not change are in `other`. `None`: a
/// value is in neither.
fn key(
    columns: &KeyColumns,
    places: &[usize],
    tuple: &[Cell<'_>],
    other: &[Cell<'_>],
) -> Result<Option<Key>> {
    let mut texts = Vec::with_capacity(places.len());
    for place in places {
        let cell = match tuple.get(*place) {
            Some(Cell::Unchanged) if !mutation::active(Rule::ImagesTogether) => other.get(*place),
            cell => cell,
        };
        let Some(Cell::Text(text)) = cell else { return Ok(None) };
        let text = std::str::from_utf8(text).map_err(|_| unreadable("a key that is not UTF-8"))?;
        texts.push(Some(text));
    }
    columns.encode(&texts).map(Some)
}

/// What changed between two descriptions of the table.
fn difference(first: &Relation, now: &Relation) -> String {
    if (&first.schema, &first.name) != (&now.schema, &now.name) {
        format!("it is called {}.{} now", now.schema, now.name)
    } else if first.identity != now.identity {
        "its replica identity was changed".into()
    } else {
        "its columns were changed".into()
    }
}

fn unreadable(what: &str) -> Error {
    Error::server("reading the change stream", format!("the server sent {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::catalog::key::{KeyColumn, KeyKind};
    use crate::postgres::name::Ident;

    fn changes() -> Changes {
        let column = |name: &str, type_oid, type_sql: &str| KeyColumn {
            name: Ident::new(name),
            type_sql: type_sql.into(),
            type_oid,
            kind: KeyKind::of(type_oid),
        };
        let key = KeyColumns(vec![column("b", 25, "text"), column("a", 20, "bigint")]);
        Changes::new(7, TableName::new("public", "t"), key, 5, Arc::default(), Lsn::ZERO)
    }

    fn relation(name: &str, identity: u8) -> Vec<u8> {
        let mut bytes = b"R\0\0\0\x07public\0".to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&[0, identity, 0, 2]);
        bytes.extend_from_slice(b"\x01a\0\0\0\0\x14\xff\xff\xff\xff");
        bytes.extend_from_slice(b"\x01b\0\0\0\0\x19\xff\xff\xff\xff");
        bytes
    }

    fn shown(changes: &mut Changes) -> Vec<String> {
        let key = changes.key.clone();
        std::iter::from_fn(|| changes.pop())
            .map(|change| match change {
                Change::Keys(keys) => {
                    keys.iter().map(|k| key.describe(k)).collect::<Vec<_>>().join(" | ")
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_moved_key_is_two_and_an_unchanged_value_is_taken_from_the_old_row() {
        let mut changes = changes();
        changes.read(&relation("t", b'd')).unwrap();
        changes.begin(9);
        changes.read(b"U\0\0\0\x07K\0\x02t\0\0\0\x011t\0\0\0\x01xN\0\x02t\0\0\0\x012u").unwrap();
        assert_eq!(shown(&mut changes), ["b = 'x', a = 1 | b = 'x', a = 2"]);
        changes.read(b"U\0\0\0\x07N\0\x02t\0\0\0\x012u").unwrap();
        assert!(matches!(changes.pop(), Some(Change::Foreign(_))), "the key is not known");
    }

    #[test]
    fn another_description_of_the_table_is_foreign_and_the_same_is_not() {
        let mut changes = changes();
        changes.read(&relation("t", b'd')).unwrap();
        changes.read(&relation("t", b'd')).unwrap();
        assert!(changes.pop().is_none());
        for other in [relation("u", b'd'), relation("t", b'f')] {
            changes.read(&other).unwrap();
            assert!(matches!(changes.pop(), Some(Change::Foreign(_))));
        }
    }

    #[test]
    fn markers_of_other_runs_are_passed_over() {
        let mut changes = changes();
        changes.message("osc", b"6:1");
        changes.message("other", b"5:1");
        changes.message("osc", b"5:2");
        assert_eq!(shown(&mut changes), ["Marker(2)"]);
    }

    #[test]
    fn the_position_does_not_move_inside_a_transaction() {
        let mut changes = changes();
        changes.begin(9);
        changes.idle(Lsn(100));
        assert!(changes.pop().is_none());
        changes.commit(Lsn(200), Duration::ZERO);
        changes.idle(Lsn(150));
        assert_eq!(std::iter::from_fn(|| changes.pop()).count(), 1, "and never backwards");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(messages: Vec<Vec<u8>>) {
            let mut changes = changes();
            changes.read(&relation("t", b'd')).unwrap();
            for message in messages {
                let _ = changes.read(&message);
                let mut update = b"U\0\0\0\x07N".to_vec();
                update.extend(message);
                let _ = changes.read(&update);
            }
        }
    }
}
