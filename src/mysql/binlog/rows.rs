//! Table maps and row events: which keys of which table.

use std::io::Read;

use crate::engine::key::Key;
use crate::engine::{Error, Result};
use crate::mysql::binlog::cell::Layout;
use crate::mysql::binlog::wire::{Bits, Wire};
use crate::mysql::key::{KeyColumns, KeyValue};

/// A table, as a TABLE_MAP event describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMap {
    /// The number that row events use.
    pub id: u64,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Its columns.
    pub columns: Vec<Layout>,
}

/// Only a table's number and names: enough to pass the others over.
pub(super) fn table_names(data: &[u8]) -> Result<(u64, String, String, Wire<'_>)> {
    let mut wire = Wire(data);
    let id = wire.little(6)?;
    wire.take(2)?;
    let mut name = || {
        let length = usize::from(wire.byte()?);
        let name = String::from_utf8_lossy(wire.take(length)?).into_owned();
        wire.byte()?;
        Ok::<_, Error>(name)
    };
    let (schema, table) = (name()?, name()?);
    Ok((id, schema, table, wire))
}

impl TableMap {
    /// Reads a TABLE_MAP event.
    pub(super) fn read(data: &[u8]) -> Result<Self> {
        let (id, schema, table, mut wire) = table_names(data)?;
        let count = wire.packed()?;
        let kinds = wire.take(count)?;
        let length = wire.packed()?;
        let mut metadata = Wire(wire.take(length)?);
        let columns =
            kinds.iter().map(|kind| Layout::read(*kind, &mut metadata)).collect::<Result<_>>()?;
        Ok(Self { id, schema, table, columns })
    }
}

/// What a row event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// One image, after.
    Write,
    /// Two images.
    Update,
    /// Two images, the second with JSON differences.
    PartialUpdate,
    /// One image, before.
    Delete,
}

/// A row event's frame: everything before its rows.
#[derive(Debug)]
pub(super) struct RowEvent<'a> {
    /// What it does.
    pub verb: Verb,
    width: usize,
    first: Bits<'a>,
    second: Option<Bits<'a>>,
    rows: Wire<'a>,
}

impl<'a> RowEvent<'a> {
    /// The number of a row event's table.
    pub(super) fn table_of(data: &[u8]) -> Result<u64> {
        Wire(data).little(6)
    }

    /// Reads the frame. `extra`: the event has version 2's extra data.
    pub(super) fn read(data: &'a [u8], verb: Verb, extra: bool) -> Result<Self> {
        let mut wire = Wire(data);
        wire.take(8)?;
        if extra {
            let length = wire.length(2)?;
            wire.take(length.saturating_sub(2))?;
        }
        let width = wire.packed()?;
        let first = Bits::read(&mut wire, width)?;
        let second = match verb {
            Verb::Update | Verb::PartialUpdate => Some(Bits::read(&mut wire, width)?),
            Verb::Write | Verb::Delete => None,
        };
        Ok(Self { verb, width, first, second, rows: wire })
    }

    /// The rows, unpacked, of an event that MariaDB compressed (`log_bin_compress`): one byte with
    /// the length of the size and the algorithm, the size, and a zlib stream.
    pub(super) fn unpacked_rows(&self) -> Result<Vec<u8>> {
        unpack(self.rows)
    }

    /// Keys of all rows, before and after. `rows`: unpacked rows in place of the event's own.
    pub(super) fn keys(
        &self,
        map: &TableMap,
        key: &KeyColumns,
        rows: Option<&[u8]>,
    ) -> Result<Vec<Key>> {
        if self.width != map.columns.len() {
            return Err(Error::Internal("a row event and its table map differ in width".into()));
        }
        let mut wire = rows.map_or(self.rows, Wire);
        let mut keys = Vec::new();
        while !wire.is_empty() {
            let before = image(&mut wire, map, key, self.first, false)?;
            let Some(second) = self.second else {
                keys.push(whole(key, before)?);
                continue;
            };
            let partial = self.verb == Verb::PartialUpdate;
            let after = image(&mut wire, map, key, second, partial)?;
            // A minimal image leaves out what did not change.
            let after =
                after.into_iter().zip(&before).map(|(new, old)| new.or_else(|| old.clone()));
            let after = whole(key, after.collect())?;
            let before = whole(key, before)?;
            if after != before {
                keys.push(after);
            }
            keys.push(before);
        }
        Ok(keys)
    }

    /// The first two columns of written rows, as numbers: the run and marker of our own markers.
    pub(super) fn numbers(&self, map: &TableMap, rows: Option<&[u8]>) -> Result<Vec<(i64, u64)>> {
        use crate::mysql::key::{KeyColumn, KeyKind};
        use crate::mysql::name::Ident;
        let column = |ordinal, unsigned| KeyColumn {
            name: Ident::new(""),
            ordinal,
            kind: KeyKind::Int { bytes: 8, unsigned },
            descending: false,
        };
        let columns = KeyColumns(vec![column(0, false), column(1, true)]);
        let keys = self.keys(map, &columns, rows)?;
        let mut numbers = Vec::new();
        for key in keys {
            if let [KeyValue::Int(run), KeyValue::UInt(marker)] = columns.decode(&key)?[..] {
                numbers.push((run, marker));
            }
        }
        Ok(numbers)
    }
}

/// Unpacks what MariaDB compressed.
pub(super) fn unpack(mut wire: Wire<'_>) -> Result<Vec<u8>> {
    const MOST: u64 = 1 << 31;
    let broken = |why: &str| Error::Server {
        action: "reading a compressed event of the binlog".into(),
        message: why.into(),
        code: None,
    };
    let head = wire.byte()?;
    if head >> 4 & 7 != 0 {
        return Err(broken("its algorithm is not known"));
    }
    let size = wire.big(usize::from(head & 7))?;
    if size > MOST {
        return Err(broken("it says to be larger than 2 GiB"));
    }
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(wire.0)
        .take(size + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| broken(&error.to_string()))?;
    if unpacked.len() as u64 != size {
        return Err(broken("it is not as long as it says"));
    }
    Ok(unpacked)
}

fn whole(columns: &KeyColumns, values: Vec<Option<KeyValue>>) -> Result<Key> {
    let values: Option<Vec<KeyValue>> = values.into_iter().collect();
    let values = values.ok_or_else(|| Error::Server {
        action: "reading the binlog".into(),
        message: "a row image lacks columns of the copy key".into(),
        code: None,
    })?;
    columns.encode(&values)
}

/// One image: the values of the key's columns, where the image has them.
fn image(
    wire: &mut Wire<'_>,
    map: &TableMap,
    key: &KeyColumns,
    present: Bits<'_>,
    partial: bool,
) -> Result<Vec<Option<KeyValue>>> {
    if partial {
        // Bit 0: differences of JSON columns follow, whose cells are as long as they say.
        let options = wire.packed()?;
        if options & 1 == 1 {
            let columns = map.columns.iter().filter(|column| column.is_json()).count();
            Bits::read(wire, columns)?;
        }
    }
    let nulls = Bits::read(wire, present.ones(map.columns.len()))?;
    let mut values = vec![None; key.0.len()];
    let mut seen = 0;
    for (at, layout) in map.columns.iter().enumerate() {
        if !present.get(at) {
            continue;
        }
        let null = nulls.get(seen);
        seen += 1;
        if null {
            continue;
        }
        let cell = layout.take(wire)?;
        for (value, column) in values.iter_mut().zip(&key.0) {
            if column.ordinal == at {
                *value = Some(layout.value(cell, &column.kind)?);
            }
        }
    }
    Ok(values)
}
