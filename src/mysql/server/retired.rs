//! What an undo takes for its shadow: the table that another run retired, proved to be that one.

use super::super::checks;
use super::super::dependents::Carried;
use super::super::run::MysqlTable;
use super::super::runs::proof::Tables;
use super::super::runs::record::{Shape, UndoFacts};
use super::super::setting::Undone;
use crate::error::{Error, Result};

impl MysqlTable {
    /// Takes the retired table for the shadow. Nothing is created, dropped or renamed.
    pub(super) async fn take_retired(&self, undone: &Undone) -> Result<()> {
        let mut conn = self.plain("taking the retired table back").await?;
        let (setting, retired) = (&self.setting, &self.helpers.shadow);
        let is_it = self.numbers(&mut conn, retired).await?.have(&undone.tables.original);
        let is_live = self.numbers(&mut conn, &setting.original.name).await?;
        if !is_it || !is_live.have(&undone.tables.shadow) {
            let name = setting.original.name.plain();
            return Err(Error::Foreign(format!(
                "{name} or the table that it replaced was replaced"
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
