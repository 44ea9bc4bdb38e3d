//! Row events: a loop that reads the key columns and steps over all others by their width.
//!
//! The driver's own row iterator builds every column of every row and is several times slower;
//! and it loses the sign of a MEDIUMINT.

use super::bytes::{Bytes, Malformed, Read};
use super::table::{Column, Width, kind};
use super::value;
use crate::mysql::catalog::key::{KeyColumns, KeyValue};
use crate::testing::mutation::{self, Rule};

/// What a row event says of each of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    /// The row as it is now: INSERT.
    After,
    /// The row as it was: DELETE.
    Before,
    /// Both: UPDATE.
    Both,
    /// Both, the latter with JSON columns as differences: UPDATE under PARTIAL_JSON.
    BothPartial,
}

/// The head of a row event and its rows, not yet read.
#[derive(Debug)]
pub(super) struct RowsEvent<'a> {
    /// The table's number.
    pub(super) table: u64,
    /// What there is of each row.
    pub(super) images: Images,
    columns: usize,
    present: [&'a [u8]; 2],
    /// The rows; compressed still in MariaDB's compressed events.
    pub(super) rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    /// Reads the head of an event; `extended`: of version 2, which has a header of variable size.
    pub(super) fn parse(body: &'a [u8], images: Images, extended: bool) -> Read<Self> {
        let mut bytes = Bytes(body);
        let table = bytes.little(6)?;
        bytes.take(2)?;
        if extended {
            let extra = bytes.length(2)?;
            bytes.take(extra.saturating_sub(2))?;
        }
        let columns = bytes.variable_length()?;
        let first = bytes.take(columns.div_ceil(8))?;
        let second = match images {
            Images::Both | Images::BothPartial => bytes.take(columns.div_ceil(8))?,
            Images::After | Images::Before => first,
        };
        Ok(Self { table, images, columns, present: [first, second], rows: bytes.0 })
    }
}

/// One column of an image.
#[derive(Debug, Clone, Copy)]
struct Cell {
    column: Column,
    /// Which part of the key it is.
    part: Option<usize>,
}

/// A table as its TABLE_MAP describes it, with the key that is read from its rows.
#[derive(Debug)]
pub(super) struct Layout {
    cells: Vec<Cell>,
    json_columns: usize,
    key: KeyColumns,
    /// The defaults of the key's columns, where they have one and it is known.
    defaults: Vec<Option<KeyValue>>,
}

impl Layout {
    /// The key of a table with these columns. The error says what does not fit.
    pub(super) fn new(
        columns: Vec<Column>,
        key: KeyColumns,
        defaults: Vec<Option<KeyValue>>,
    ) -> Result<Self, String> {
        for part in &key.0 {
            let name = part.name.as_str();
            match columns.get(part.ordinal) {
                None => return Err(format!("it has no column {name} any more")),
                Some(column) if !value::fits(column, &part.kind) => {
                    return Err(format!(
                        "its column {} ({name}) has type {} in the binary log, which does not fit \
                         {:?}",
                        part.ordinal + 1,
                        column.kind,
                        part.kind
                    ));
                }
                Some(_) => {}
            }
        }
        let json_columns = columns.iter().filter(|column| column.kind == kind::JSON).count();
        let cells = columns
            .into_iter()
            .enumerate()
            .map(|(at, column)| Cell {
                column,
                part: key.0.iter().position(|part| part.ordinal == at),
            })
            .collect();
        Ok(Self { cells, json_columns, key, defaults })
    }

    /// Whether the columns of `other` are of the same types.
    pub(super) fn same(&self, other: &Self) -> bool {
        let columns =
            |layout: &'_ Self| layout.cells.iter().map(|cell| cell.column).collect::<Vec<_>>();
        columns(self) == columns(other)
    }

    /// The columns of the key.
    pub(super) fn key(&self) -> &KeyColumns {
        &self.key
    }

    /// Calls `each` with the keys of each of `rows`, before and after. An after-image that lacks
    /// key columns has those of its before-image.
    pub(super) fn read<E: From<Malformed>>(
        &self,
        event: &RowsEvent<'_>,
        rows: &[u8],
        mut each: impl FnMut(Option<&[KeyValue]>, Option<&[KeyValue]>) -> Result<(), E>,
    ) -> Result<(), E> {
        if event.columns != self.cells.len() {
            return Err(Malformed(format!(
                "a row event of {} columns for a table of {}",
                event.columns,
                self.cells.len()
            ))
            .into());
        }
        let [first, second] = event.present;
        let first = self.image(first);
        // A minimal image of a new row lacks columns that got their defaults.
        let mut before = (0..self.key.0.len())
            .map(|part| match self.defaults.get(part) {
                Some(Some(value)) if event.images == Images::After => Ok(value.clone()),
                _ => self.in_image(&first, part).map(|()| KeyValue::UInt(0)),
            })
            .collect::<Read<Vec<KeyValue>>>()?;
        if first.is_empty() {
            // All columns got their defaults, and a row takes no byte. The key can have it once.
            return match rows.len() {
                0 => each(None, Some(&before)),
                more => Err(Malformed(format!("{more} bytes of rows without columns")).into()),
            };
        }
        let mut bytes = Bytes(rows);
        if !matches!(event.images, Images::Both | Images::BothPartial) {
            while !bytes.is_empty() {
                self.row(&first, &mut bytes, &mut before)?;
                match event.images {
                    Images::Before => each(Some(&before), None)?,
                    _ => each(None, Some(&before))?,
                }
            }
            return Ok(());
        }
        let second = self.image(second);
        let mut after = before.clone();
        while !bytes.is_empty() {
            self.row(&first, &mut bytes, &mut before)?;
            if !mutation::active(Rule::ImagesTogether) {
                after.clone_from(&before);
            }
            if event.images == Images::BothPartial && bytes.variable()? & 1 != 0 {
                // Which JSON columns are differences; they are as long as they say either way.
                bytes.take(self.json_columns.div_ceil(8))?;
            }
            self.row(&second, &mut bytes, &mut after)?;
            each(Some(&before), Some(&after))?;
        }
        Ok(())
    }

    /// The cells that are in an image, by its bitmap.
    fn image(&self, present: &[u8]) -> Vec<Cell> {
        self.cells
            .iter()
            .enumerate()
            .filter(|(at, _)| bit(present, *at))
            .map(|(_, cell)| *cell)
            .collect()
    }

    fn in_image(&self, image: &[Cell], part: usize) -> Read<()> {
        if image.iter().any(|cell| cell.part == Some(part)) {
            return Ok(());
        }
        let name = self.key.0.get(part).map(|column| column.name.to_string()).unwrap_or_default();
        Err(Malformed(format!(
            "a row was logged without the key column {name}: set binlog_row_image to FULL"
        )))
    }

    /// Reads one image of one row.
    #[inline]
    fn row(&self, image: &[Cell], bytes: &mut Bytes<'_>, values: &mut [KeyValue]) -> Read<()> {
        let nulls = bytes.take(image.len().div_ceil(8))?;
        for (at, cell) in image.iter().enumerate() {
            let null = bit(nulls, at);
            match cell.part {
                None if null => {}
                None => match cell.column.width {
                    Width::Fixed(length) => drop(bytes.take(length)?),
                    Width::Counted(_) => drop(cell.column.value(bytes)?),
                },
                Some(part) => {
                    let (Some(column), Some(slot)) = (self.key.0.get(part), values.get_mut(part))
                    else {
                        return Err(Malformed("a key has fewer parts than it had".into()));
                    };
                    if null {
                        return Err(Malformed(format!("a key column {} is NULL", column.name)));
                    }
                    *slot = value::decode(&cell.column, &column.kind, cell.column.value(bytes)?)?;
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn bit(map: &[u8], at: usize) -> bool {
    map.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mysql::catalog::key::{KeyColumn, KeyKind};
    use crate::mysql::name::Ident;

    fn layout(defaults: [Option<u64>; 2]) -> Layout {
        let int = |ordinal| KeyColumn {
            name: Ident::new(format!("k{ordinal}")),
            ordinal,
            kind: KeyKind::Int { bytes: 1, unsigned: true },
            descending: false,
        };
        let tiny = Column { kind: kind::TINY, detail: [0; 2], width: Width::Fixed(1) };
        let text = Column { kind: kind::VARCHAR, detail: [20, 0], width: Width::Counted(1) };
        Layout::new(
            vec![tiny, text, tiny],
            KeyColumns(vec![int(2), int(0)]),
            defaults.map(|value| value.map(KeyValue::UInt)).to_vec(),
        )
        .unwrap()
    }

    type Seen = Vec<[Option<Vec<KeyValue>>; 2]>;

    fn keys(body: &[u8], images: Images) -> Read<Seen> {
        keys_by(&layout([None, Some(77)]), body, images)
    }

    fn keys_by(layout: &Layout, body: &[u8], images: Images) -> Read<Seen> {
        let event = RowsEvent::parse(body, images, false)?;
        let mut seen = Vec::new();
        layout.read(&event, event.rows, |before, after| {
            seen.push([before, after].map(|key| key.map(<[_]>::to_vec)));
            Ok::<_, Malformed>(())
        })?;
        Ok(seen)
    }

    fn key(parts: [u64; 2]) -> Option<Vec<KeyValue>> {
        Some(parts.map(KeyValue::UInt).to_vec())
    }

    const HEAD: [u8; 9] = [1, 0, 0, 0, 0, 0, 0, 0, 3];

    #[test]
    fn keys_are_read_in_the_order_of_the_key_and_the_rest_is_stepped_over() {
        let body = [&HEAD[..], &[7, 0, 5, 2, b'a', b'b', 6, 2, 7, 8]].concat();
        assert_eq!(
            keys(&body, Images::Before).unwrap(),
            [[key([6, 5]), None], [key([8, 7]), None]]
        );
        assert_eq!(keys(&body, Images::After).unwrap()[0], [None, key([6, 5])]);
    }

    #[test]
    fn an_after_image_without_key_columns_has_those_before_it() {
        // Before: both key columns; after: the text and the second one.
        let body = [&HEAD[..], &[5, 6, 0, 5, 6, 0, 1, b'x', 9]].concat();
        assert_eq!(keys(&body, Images::Both).unwrap(), [[key([6, 5]), key([9, 5])]]);
    }

    #[test]
    fn a_new_row_without_a_key_column_has_its_default() {
        let body = [&HEAD[..], &[6, 0, 1, b'x', 9]].concat();
        assert_eq!(keys(&body, Images::After).unwrap(), [[None, key([9, 77])]]);
        let body = [&HEAD[..], &[3, 0, 1, 1, b'x']].concat();
        assert!(keys(&body, Images::After).unwrap_err().0.contains("`k2`"));
    }

    #[test]
    fn a_new_row_of_nothing_but_defaults_is_read_from_no_bytes() {
        let layout = layout([Some(66), Some(77)]);
        let body = [&HEAD[..], &[0]].concat();
        assert_eq!(keys_by(&layout, &body, Images::After).unwrap(), [[None, key([66, 77])]]);
    }

    #[test]
    fn bytes_of_rows_without_columns_are_an_error_and_do_not_hang() {
        let layout = layout([Some(66), Some(77)]);
        let body = [&HEAD[..], &[0, 0]].concat();
        assert!(keys_by(&layout, &body, Images::After).is_err());
    }

    #[test]
    fn a_row_without_its_key_is_an_error() {
        let body = [&HEAD[..], &[6, 0, 1, b'x', 9]].concat();
        assert!(keys(&body, Images::Before).unwrap_err().0.contains("`k0`"));
        let null = [&HEAD[..], &[7, 1, 0, 6]].concat();
        assert!(keys(&null, Images::After).unwrap_err().0.contains("NULL"));
    }

    proptest! {
        #[test]
        fn rubbish_is_an_error_and_no_panic(tail: Vec<u8>) {
            for images in [Images::After, Images::Both, Images::BothPartial] {
                let _ = keys(&[&HEAD[..], &tail].concat(), images);
                let _ = keys(&tail, images);
                let _ = RowsEvent::parse(&tail, images, true);
            }
        }
    }
}
