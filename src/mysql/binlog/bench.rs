//! A door to the decoding of row events, for `benches/copy_loop.rs`.

use super::rows::{Images, Layout, RowsEvent};
use super::table::{Column, Width, kind};
use crate::error::Error;
use crate::key::Key;
use crate::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind};
use crate::mysql::name::Ident;

/// Reads keys of the usual benchmark table: an integer key, an integer, two texts.
#[derive(Debug)]
pub struct RowKeys(Layout);

impl Default for RowKeys {
    fn default() -> Self {
        let int = Column { kind: kind::LONG, detail: [0; 2], width: Width::Fixed(4) };
        let text = Column { kind: kind::VARCHAR, detail: [200, 0], width: Width::Counted(1) };
        let key = KeyColumns(vec![KeyColumn {
            name: Ident::new("id"),
            ordinal: 0,
            kind: KeyKind::Int { bytes: 4, unsigned: false },
            descending: false,
        }]);
        let layout = Layout::new(vec![int, int, text, text], key, vec![None]);
        Self(layout.unwrap_or_else(|reason| unreachable!("{reason}")))
    }
}

impl RowKeys {
    /// An event in which so many rows are updated.
    pub fn event(rows: u32) -> Vec<u8> {
        let mut event = vec![1, 0, 0, 0, 0, 0, 0, 0, 4, 15, 15];
        for row in 0..rows {
            for _image in 0..2 {
                event.push(0);
                event.extend(row.to_le_bytes());
                event.extend(row.to_le_bytes());
                for length in [120_u8, 60] {
                    event.push(length);
                    event.extend(std::iter::repeat_n(b'x', length.into()));
                }
            }
        }
        event
    }

    /// The keys of an event's rows.
    ///
    /// # Errors
    /// Where it is no such event.
    pub fn read(&self, event: &[u8]) -> Result<Vec<Key>, Error> {
        let event = RowsEvent::parse(event, Images::Both, false)?;
        let mut keys = Vec::new();
        self.0.read(&event, event.rows, |before, after| {
            for values in before.into_iter().chain(after) {
                keys.push(self.0.key().encode(values)?);
            }
            Ok::<_, Error>(())
        })?;
        Ok(keys)
    }
}
