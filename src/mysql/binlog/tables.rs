//! What the numbers of the log's tables stand for, and the layouts of the tables that are read.

use std::collections::HashMap;

use super::StreamConfig;
use super::rows::Layout;
use super::table::TableMap;
use crate::error::{Error, Result};
use crate::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
use crate::mysql::name::Ident;

/// What a table is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Original,
    Shadow,
    Ledger,
    Other,
}

/// A table that is read.
#[derive(Debug)]
struct Known {
    key: KeyColumns,
    /// The defaults of the key's columns, as far as they have any.
    defaults: Vec<Option<KeyValue>>,
    /// Its layout, and the bytes that it was read from.
    layout: Option<(Box<[u8]>, Layout)>,
}

impl Known {
    fn new(key: KeyColumns, defaults: Vec<Option<KeyValue>>) -> Self {
        Self { key, defaults, layout: None }
    }

    /// Reads the layout, where it is another than before; returns why its rows cannot be read.
    fn learn(&mut self, map: &TableMap<'_>) -> Result<Option<String>> {
        let before = self.layout.as_ref();
        if before.is_some_and(|(description, _)| **description == *map.description()) {
            return Ok(None);
        }
        match Layout::new(map.columns()?, self.key.clone(), self.defaults.clone()) {
            Ok(layout) if before.is_some_and(|(_, before)| !before.same(&layout)) => {
                Ok(Some("its columns are of other types than before".into()))
            }
            Ok(layout) => {
                self.layout = Some((map.description().into(), layout));
                Ok(None)
            }
            Err(reason) => Ok(Some(reason)),
        }
    }
}

/// The tables that are read, and the numbers of this transaction's.
#[derive(Debug)]
pub(super) struct Tables {
    roles: HashMap<u64, Role>,
    original: Known,
    shadow: Known,
    ledger: Known,
}

impl Tables {
    /// Those of a stream; `defaults`: of the columns of the original's key.
    pub(super) fn new(config: &StreamConfig, defaults: Vec<Option<KeyValue>>) -> Self {
        let shadow = config.shadow.as_ref().map(|shadow| shadow.key.clone());
        Self {
            roles: HashMap::new(),
            original: Known::new(config.key.clone(), defaults),
            shadow: Known::new(shadow.unwrap_or(KeyColumns(Vec::new())), Vec::new()),
            ledger: Known::new(marker_columns(), Vec::new()),
        }
    }

    /// Notes what a number stands for from here on; returns why the table's rows cannot be read.
    pub(super) fn map(&mut self, map: &TableMap<'_>, role: Role) -> Result<Option<String>> {
        let obstacle = match role {
            Role::Original => self.original.learn(map)?,
            Role::Shadow => self.shadow.learn(map)?,
            Role::Ledger => self.ledger.learn(map)?,
            Role::Other => None,
        };
        self.roles.insert(map.id, if obstacle.is_some() { Role::Other } else { role });
        Ok(obstacle)
    }

    /// What a number stands for.
    pub(super) fn role(&self, number: u64) -> Option<Role> {
        self.roles.get(&number).copied()
    }

    /// The layout of a table that was mapped.
    pub(super) fn layout(&self, role: Role) -> Result<&Layout> {
        let layout = match role {
            Role::Original => &self.original.layout,
            Role::Shadow => &self.shadow.layout,
            Role::Ledger => &self.ledger.layout,
            Role::Other => &None,
        };
        let missing = || Error::Internal("a table was mapped without its layout".into());
        layout.as_ref().map(|(_, layout)| layout).ok_or_else(missing)
    }

    /// Forgets the numbers, at the end of a transaction.
    pub(super) fn forget(&mut self) {
        self.roles.clear();
    }
}

/// The first two columns of the ledger's table of markers.
fn marker_columns() -> KeyColumns {
    let column = |ordinal, name: &str, unsigned| KeyColumn {
        name: Ident::new(name),
        ordinal,
        kind: KeyKind::Int { bytes: 8, unsigned },
        descending: false,
    };
    KeyColumns(vec![column(0, "run", false), column(1, "marker", true)])
}
