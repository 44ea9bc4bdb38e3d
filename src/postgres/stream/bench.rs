//! A door to the decoding of `pgoutput`, for `benches/copy_loop.rs`.

use std::sync::Arc;

use pgwire_replication::Lsn;

use super::changes::Changes;
use crate::engine::backend::Change;
use crate::error::Result;
use crate::postgres::catalog::key::{KeyColumn, KeyColumns, KeyKind};
use crate::postgres::name::{Ident, TableName};

const BIGINT: u32 = 20;
const OID: u32 = 7;

/// Reads keys of a table with an integer key, of which the publication has the key alone.
pub struct MessageKeys(Changes);

impl Default for MessageKeys {
    fn default() -> Self {
        let key = KeyColumns(vec![KeyColumn {
            name: Ident::new("id"),
            type_sql: "bigint".into(),
            type_oid: BIGINT,
            kind: KeyKind::of(BIGINT),
        }]);
        let table = TableName::new("public", "t");
        Self(Changes::new(OID, table, key, 1, Arc::default(), Lsn::ZERO))
    }
}

impl MessageKeys {
    /// The message that describes the table.
    pub fn relation() -> Vec<u8> {
        let mut message = b"R\0\0\0\x07public\0t\0d\0\x01\x01id\0".to_vec();
        message.extend(BIGINT.to_be_bytes());
        message.extend([0xff; 4]);
        message
    }

    /// The message that a row is updated.
    pub fn update(id: u32) -> Vec<u8> {
        let text = id.to_string();
        let mut message = b"U\0\0\0\x07N\0\x01t".to_vec();
        message.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        message.extend(text.as_bytes());
        message
    }

    /// Begins a transaction.
    pub fn begin(&mut self, xid: u32) {
        self.0.begin(xid);
    }

    /// Reads a message; returns how many keys it named.
    ///
    /// # Errors
    /// Where it is no message.
    pub fn read(&mut self, message: &[u8]) -> Result<usize> {
        self.0.read(message)?;
        let mut count = 0;
        while let Some(change) = self.0.pop() {
            if let Change::Keys(keys) = change {
                count += keys.len();
            }
        }
        Ok(count)
    }
}
