//! What hangs on a table, and how it gets to the new one: foreign keys both ways and triggers.

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use crate::engine::{Error, Result};
use crate::mysql::catalog::Patience;
use crate::mysql::change::Change;
use crate::mysql::foreign_keys::{self, ColumnChanges, ForeignKey, Settled};
use crate::mysql::inspect::Table;
use crate::mysql::name::{Helpers, Ident, TableName};
use crate::mysql::triggers::{self, Trigger};

/// Rows looked at by one statement of the search for orphans.
const WINDOW: u32 = 5_000;

/// What hangs on a table.
#[derive(Debug, Clone, Default)]
pub struct Dependents {
    /// Its triggers, in order.
    pub triggers: Vec<Trigger>,
    /// Its own foreign keys.
    pub outgoing: Vec<ForeignKey>,
    /// Foreign keys of other tables that reference it.
    pub incoming: Vec<ForeignKey>,
}

impl Dependents {
    /// Reads what hangs on `table`.
    pub async fn read(conn: &mut Conn, table: &TableName) -> Result<Self> {
        Ok(Self {
            triggers: triggers::read(conn, table).await?,
            outgoing: foreign_keys::outgoing(conn, table).await?,
            incoming: foreign_keys::incoming(conn, table).await?,
        })
    }

    /// The names of the table's own foreign keys.
    pub fn foreign_key_names(&self) -> Vec<Ident> {
        self.outgoing.iter().map(|key| key.name.clone()).collect()
    }

    /// What the operator should know of it before the start.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.triggers.is_empty() {
            notes.push(format!("{} triggers are carried over", self.triggers.len()));
        }
        for (keys, what) in [
            (&self.outgoing, "foreign keys of the table"),
            (&self.incoming, "foreign keys that reference the table"),
        ] {
            if !keys.is_empty() {
                let names: Vec<String> = keys.iter().map(ForeignKey::plain).collect();
                notes.push(format!(
                    "{what} are carried over; their other tables are locked with it for the \
                     moment of the cut-over: {}",
                    names.join(", ")
                ));
            }
        }
        notes
    }
}

/// What the new table must have after the swap. Kept in the ledger: once the tables are swapped
/// the catalog cannot tell any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    keys: Settled,
    triggers: Vec<Trigger>,
}

impl Carried {
    /// Tries everything on the empty shadow, which has all its indexes. Refuses what cannot be
    /// carried over, with the reason.
    pub async fn settle(
        conn: &mut Conn,
        original: &Table,
        helpers: &Helpers,
        change: &Change,
        dependents: &Dependents,
    ) -> Result<Self> {
        let name = &original.name;
        let columns = ColumnChanges {
            renamed: change.kept.iter().filter(|(old, new)| old != new).cloned().collect(),
            dropped: original
                .column_names()
                .into_iter()
                .filter(|column| !change.kept.iter().any(|(old, _)| old.same(column)))
                .collect(),
        };
        let added: Vec<String> =
            change.foreign_keys.added.iter().map(|key| key.text.clone()).collect();
        let (keys, mut findings) = foreign_keys::settle(
            conn,
            name,
            &helpers.shadow,
            &columns,
            &added,
            &change.foreign_keys.dropped,
        )
        .await?;
        findings.extend(triggers::validate(conn, &helpers.shadow, &dependents.triggers).await?);
        if findings.is_empty() {
            Ok(Self { keys, triggers: dependents.triggers.clone() })
        } else {
            Err(Error::Refused(findings))
        }
    }

    /// The tables that the cut-over locks besides the original and the shadow.
    pub fn lock_set(&self, original: &TableName) -> Vec<TableName> {
        foreign_keys::lock_set(original, &self.keys.outgoing, &self.keys.incoming)
    }

    /// Before the rename, in the session that holds the locks: from its first write on, the new
    /// table has its triggers; on MariaDB (`renamed_outside`) its foreign keys too.
    pub async fn install(
        &self,
        conn: &mut Conn,
        original: &TableName,
        helpers: &Helpers,
        renamed_outside: bool,
    ) -> Result<()> {
        let shadow = &helpers.shadow;
        if renamed_outside {
            let patience = Patience::ONCE;
            foreign_keys::install_outgoing(conn, shadow, &self.keys.outgoing, patience).await?;
            let (children, renames) = (&self.keys.incoming, &self.keys.renames);
            foreign_keys::redirect_incoming(conn, original, shadow, children, renames, patience)
                .await?;
        }
        if self.triggers.is_empty() {
            return Ok(());
        }
        triggers::install_temporary(conn, original, shadow, &self.triggers).await
    }

    /// Takes [`Carried::install`] back, when the rename did not come about.
    pub async fn uninstall(
        &self,
        conn: &mut Conn,
        original: &TableName,
        helpers: &Helpers,
    ) -> Result<()> {
        let patience = Patience::FINISH;
        if !self.triggers.is_empty() {
            triggers::remove_temporary(conn, &helpers.shadow, &self.triggers).await?;
        }
        if !self.keys.incoming.is_empty() {
            let children = &self.keys.incoming;
            foreign_keys::redirect_incoming(conn, original, original, children, &[], patience)
                .await?;
        }
        if !self.keys.outgoing.is_empty() {
            foreign_keys::drop_outgoing(conn, &helpers.shadow, patience).await?;
        }
        Ok(())
    }

    /// After the rename, in the session that still holds the locks (MySQL).
    pub async fn restore_locked(
        &self,
        conn: &mut Conn,
        original: &TableName,
        helpers: &Helpers,
    ) -> Result<Vec<String>> {
        if !self.triggers.is_empty() {
            triggers::restore_names(conn, original, &helpers.retired, &self.triggers).await?;
        }
        self.restore_keys(conn, original, helpers, Patience::ONCE).await
    }

    /// After the swap, in a session without locks: whatever is left to do. Returns warnings.
    pub async fn restore(
        &self,
        conn: &mut Conn,
        original: &TableName,
        helpers: &Helpers,
    ) -> Result<Vec<String>> {
        let patience = Patience::FINISH;
        if !self.triggers.is_empty() {
            let retired = &helpers.retired;
            triggers::restore_names_locked(conn, original, retired, &self.triggers, patience)
                .await?;
        }
        self.restore_keys(conn, original, helpers, patience).await
    }

    async fn restore_keys(
        &self,
        conn: &mut Conn,
        original: &TableName,
        helpers: &Helpers,
        patience: Patience,
    ) -> Result<Vec<String>> {
        let (wanted, children) = (&self.keys.outgoing, &self.keys.incoming);
        foreign_keys::restore_outgoing(conn, original, &helpers.retired, wanted, patience).await?;
        if children.is_empty() {
            return Ok(Vec::new());
        }
        let renames = &self.keys.renames;
        foreign_keys::redirect_incoming(conn, original, original, children, renames, patience).await
    }

    /// Rows without a parent, after a run that died in the moment when keys were being moved.
    pub async fn orphans(&self, conn: &mut Conn, original: &TableName) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for key in self.keys.outgoing.iter().chain(&self.keys.incoming) {
            let key = &ForeignKey { ..key.clone() };
            for row in foreign_keys::orphans(conn, key, WINDOW).await? {
                warnings.push(format!("{}: no parent for {row}", key.plain()));
            }
        }
        tracing::debug!(table = %original.plain(), rows = warnings.len(), "looked for orphans");
        Ok(warnings)
    }
}
