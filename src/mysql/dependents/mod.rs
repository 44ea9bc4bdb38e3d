//! What hangs on a table, and how it gets to the new one: foreign keys both ways and triggers.

pub mod foreign_keys;
pub mod histograms;
pub mod triggers;

use mysql_async::Conn;
use serde::{Deserialize, Serialize};

use super::catalog::query::Patience;
use super::catalog::table::Table;
use super::clauses::change::Change;
use super::name::{Helpers, Ident, TableName};
use crate::error::Finding;
use crate::error::{Error, Result};
use crate::ledger::refusals::untrusted;
use foreign_keys::{ColumnChanges, ForeignKey, OrphanSearch, Settled};
use triggers::Trigger;

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

/// What the new table must have after the swap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    keys: Settled,
    /// Those of the table's keys that were not enforced before the swap.
    unproved: Vec<ForeignKey>,
    triggers: Vec<Trigger>,
}

/// What the ledger keeps of [`Carried`], since once the tables are swapped the catalog cannot tell any
/// more which keys and triggers there must be: names and columns. What a trigger does is in the catalog
/// all the time, and only there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    keys: Settled,
    unproved: Vec<ForeignKey>,
    triggers: Vec<Ident>,
}

impl Recorded {
    /// What in it is not about `original`, or names columns that `new`, which has its place after the
    /// swap, has not.
    fn flaw(&self, original: &TableName, new: &Table) -> Option<String> {
        let has = |columns: &[Ident]| columns.iter().all(|column| new.column(column).is_some());
        let outgoing = self.keys.outgoing.iter().find(|key| {
            key.table != *original
                || !has(&key.columns)
                || key.is_self_reference() && !has(&key.referenced_columns)
        });
        let incoming = self.keys.incoming.iter().find(|key| key.referenced != *original);
        let unproved = self.unproved.iter().find(|key| !self.keys.outgoing.contains(key));
        outgoing.or(incoming).or(unproved).map(|key| format!("the foreign key {}", key.plain()))
    }
}

/// Those of `wanted` that are not among the `present` keys, columns called as `renames` says.
fn unproved(
    present: &[ForeignKey],
    wanted: &[ForeignKey],
    renames: &[(Ident, Ident)],
) -> Vec<ForeignKey> {
    let now = |column: &Ident| {
        renames.iter().find(|(old, _)| old.same(column)).map_or(column, |(_, new)| new).clone()
    };
    let all = |columns: &[Ident]| columns.iter().map(now).collect::<Vec<_>>();
    let proves = |old: &ForeignKey, key: &ForeignKey| {
        let referenced = if old.is_self_reference() {
            all(&old.referenced_columns)
        } else {
            old.referenced_columns.clone()
        };
        all(&old.columns) == key.columns
            && old.referenced == key.referenced
            && referenced == key.referenced_columns
    };
    wanted.iter().filter(|key| !present.iter().any(|old| proves(old, key))).cloned().collect()
}

/// The columns that the clauses rename and drop.
fn column_changes(original: &Table, change: &Change) -> ColumnChanges {
    let stays = |column: &Ident| change.kept.iter().any(|(old, _)| old.same(column));
    ColumnChanges {
        renamed: change.kept.iter().filter(|(old, new)| old != new).cloned().collect(),
        dropped: original.column_names().into_iter().filter(|column| !stays(column)).collect(),
    }
}

impl Dependents {
    /// What stands against carrying it over, as far as it can be known before there is a shadow.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn foreseen(
        &self,
        conn: &mut Conn,
        original: &Table,
        change: &Change,
    ) -> Result<Vec<Finding>> {
        let columns = column_changes(original, change);
        let mut findings = foreign_keys::foreseen(conn, &original.name, &columns).await?;
        findings.extend(triggers::foreseen(conn, &original.name, &self.triggers).await?);
        Ok(findings)
    }
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
        let columns = column_changes(original, change);
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
            let unproved = unproved(&dependents.outgoing, &keys.outgoing, &keys.renames);
            Ok(Self { keys, unproved, triggers: dependents.triggers.clone() })
        } else {
            Err(Error::Refused(findings))
        }
    }

    /// What the ledger is to keep of it.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            keys: self.keys.clone(),
            unproved: self.unproved.clone(),
            triggers: self.triggers.iter().map(|trigger| trigger.name.clone()).collect(),
        }
    }

    /// What an earlier attempt recorded, so far as the catalog bears it out. `new`: the table that has
    /// the original's place after the swap.
    ///
    /// # Errors
    /// `Refused` where the record does not fit the tables; those of the server.
    pub async fn recall(
        conn: &mut Conn,
        recorded: Recorded,
        original: &TableName,
        helpers: &Helpers,
        new: &Table,
    ) -> Result<Self> {
        if let Some(flaw) = recorded.flaw(original, new) {
            return Err(Error::Refused(vec![untrusted(
                format!(
                    "the record of the run on {} does not fit the tables: {flaw}",
                    original.plain()
                ),
                "look who may write the ledger; `osc cleanup TABLE` forgets the run",
            )]));
        }
        let places = [original, &helpers.retired, &helpers.shadow];
        let triggers = triggers::recall(conn, places, &recorded.triggers).await?;
        Ok(Self { keys: recorded.keys, unproved: recorded.unproved, triggers })
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
        let mut warnings = self.restore_keys(conn, original, helpers, patience).await?;
        // Keys that children were given while the run was under way went along with the old table.
        let late = foreign_keys::incoming(conn, &helpers.retired).await?;
        if !late.is_empty() {
            let renames = &self.keys.renames;
            warnings.extend(
                foreign_keys::redirect_incoming(conn, original, original, &late, renames, patience)
                    .await?,
            );
            for key in &late {
                warnings.push(format!("{} was added during the run and moved along", key.plain()));
                // Its child was not locked at the swap.
                let now = foreign_keys::outgoing(conn, &key.table).await?;
                for key in now.iter().filter(|now| now.name == key.name) {
                    warnings.extend(foreign_keys::orphans(conn, key, WINDOW).await?);
                }
            }
        }
        Ok(warnings)
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

    /// Rows of the original that have no parent for a key that the clauses add, for a human. For
    /// a key on a new column, rows of the shadow. At most `most`.
    pub async fn without_parent(
        &self,
        conn: &mut Conn,
        original: &Table,
        shadow: &TableName,
        most: usize,
    ) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        for key in &self.unproved {
            let key = self.before_swap(key, original, shadow);
            let Some(mut search) = OrphanSearch::new(conn, &key, WINDOW).await? else { continue };
            while rows.len() < most
                && let Some(found) = search.step(conn, most - rows.len()).await?
            {
                rows.extend(found.iter().map(|row| format!("{}: {row}", key.plain())));
            }
        }
        Ok(rows)
    }

    /// A key of the new table as it can be checked before the swap.
    fn before_swap(&self, key: &ForeignKey, original: &Table, shadow: &TableName) -> ForeignKey {
        let old = |columns: &[Ident]| -> Option<Vec<Ident>> {
            let renames = &self.keys.renames;
            let old = |column: &Ident| {
                let renamed = renames.iter().find(|(_, new)| new.same(column));
                let old = renamed.map_or(column, |(old, _)| old);
                original.column(old).map(|column| column.name.clone())
            };
            columns.iter().map(old).collect()
        };
        let itself = key.is_self_reference();
        let referenced = if itself {
            old(&key.referenced_columns)
        } else {
            Some(key.referenced_columns.clone())
        };
        match (old(&key.columns), referenced) {
            (Some(columns), Some(referenced_columns)) => {
                ForeignKey { columns, referenced_columns, ..key.clone() }
            }
            _ => ForeignKey {
                table: shadow.clone(),
                referenced: if itself { shadow.clone() } else { key.referenced.clone() },
                ..key.clone()
            },
        }
    }

    /// After the swap, rows without a parent, as warnings: for keys that the clauses added, since
    /// the application could write such rows up to the swap; for all keys where a run `died` in the
    /// moment when they were being moved.
    pub async fn orphans(
        &self,
        conn: &mut Conn,
        original: &TableName,
        died: bool,
    ) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let keys: Vec<&ForeignKey> = if died {
            self.keys.outgoing.iter().chain(&self.keys.incoming).collect()
        } else {
            self.unproved.iter().collect()
        };
        for key in keys {
            warnings.extend(foreign_keys::orphans(conn, key, WINDOW).await?);
        }
        tracing::debug!(table = %original.plain(), rows = warnings.len(), "looked for orphans");
        Ok(warnings)
    }
}
