//! What an undo takes for its shadow: the table that another run retired, proved to be that one.

use bytesize::ByteSize;

use super::super::binlog::{self, Since};
use super::super::catalog::table::Table;
use super::super::checks;
use super::super::dependents::Carried;
use super::super::run::MysqlTable;
use super::super::runs::proof::Tables;
use super::super::runs::record::{Shape, SwapMark, UndoFacts};
use super::super::setting::Undone;
use crate::error::{Error, Result};
use crate::key::Position;

/// An undo goes by the log where that is shorter than so many times both tables.
const LONGEST_LOG: u64 = 2;

/// A log that is short, whatever the tables are.
const SHORT_LOG: u64 = 64 << 20;

impl MysqlTable {
    /// The swap from which an undo can read the log.
    pub(super) fn since(&self) -> Option<Since> {
        let undone = self.setting.undone.as_ref()?;
        let SwapMark { position, marker, sessions } = undone.swap.clone()?;
        Some(Since { position: Position(position), run: undone.run, marker, sessions })
    }

    /// Where the log must be read from for what was written since the swap, or why that cannot be.
    pub(in crate::mysql) async fn logged(&self) -> Result<std::result::Result<Position, String>> {
        let Some(since) = self.since() else {
            return Ok(Err(
                "the run that is undone recorded no place in it that can be used".into()
            ));
        };
        let mut conn = self.plain("looking at the log").await?;
        let flavor = self.setting.flavor;
        let Some(bytes) = binlog::bytes_since(&mut conn, flavor, &since.position).await? else {
            return Ok(Err("it was purged past the change".into()));
        };
        let tables = self.setting.original.bytes.saturating_add(self.ready()?.shadow.bytes);
        if bytes > SHORT_LOG.max(tables.saturating_mul(LONGEST_LOG)) {
            let bytes = ByteSize(bytes);
            return Ok(Err(format!("{bytes} were written to it, and comparing is sooner done")));
        }
        Ok(Ok(since.position))
    }

    /// Takes the retired table for the shadow. Nothing is created, dropped or renamed.
    pub(super) async fn take_retired(&self, undone: &Undone) -> Result<()> {
        let mut conn = self.plain("taking the retired table back").await?;
        let (setting, retired) = (&self.setting, &self.helpers.shadow);
        let is_it = self.numbers(&mut conn, retired).await?.have(&undone.tables.original);
        let is_live = self.numbers(&mut conn, &setting.original.name).await?;
        let columns = Table::read(&mut conn, &setting.original.name).await?;
        let same = columns.is_some_and(|now| Shape::of(&now) == Shape::of(&setting.original));
        if !is_it || !is_live.have(&undone.tables.shadow) || !same {
            let name = setting.original.name.plain();
            return Err(Error::Foreign(format!(
                "{name} or the table that it replaced was replaced or changed"
            )));
        }
        let index = self.get_ready(&mut conn).await?.statements.index.clone();
        checks::server::row_image(&mut conn, &setting.original, &index).await?;
        let (original, change) = (&setting.original, &setting.change);
        let carried =
            Carried::settle(&mut conn, original, &self.helpers, change, &setting.dependents)
                .await?;
        let recorded = carried.recorded();
        let _ = self.carried.set(carried);
        // Whoever undoes the undo needs the same.
        let facts = UndoFacts {
            kept: change.kept.clone(),
            before: Shape::of(original),
            after: Shape::of(&self.ready()?.shadow),
            keys: setting.dependents.outgoing.clone(),
            direction: undone.direction.other(),
        };
        let (original, shadow) = (undone.tables.shadow.clone(), undone.tables.original.clone());
        let verdict = self.verdict()?;
        self.note(&mut conn, |record| {
            record.tables = Tables { original, shadow, rebuilt: false };
            record.carried = recorded;
            record.undo = Some(facts);
            record.verdict = verdict;
            record.undo_for = self.setting.settings.undo_for().as_secs();
        })
        .await
    }
}
