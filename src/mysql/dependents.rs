//! What hangs on a table: foreign keys both ways and triggers.

use mysql_async::Conn;

use crate::engine::Result;
use crate::mysql::name::{Ident, TableName};

/// What hangs on the table.
#[derive(Debug, Clone, Default)]
pub struct Dependents;

impl Dependents {
    /// Reads it.
    pub async fn read(_conn: &mut Conn, _table: &TableName) -> Result<Self> {
        Ok(Self)
    }

    /// The names of the table's own foreign keys.
    pub fn foreign_key_names(&self) -> Vec<Ident> {
        Vec::new()
    }

    /// What to know of it.
    pub fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}
