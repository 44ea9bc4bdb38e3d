//! The undo of a run: the table that it retired goes back to its place, with the rows as they were written
//! since. The engine's phases are those of every run; here is what an undo does in them otherwise.

mod casts;
mod choose;
mod demands;
mod findings;
mod keys;
mod put;
mod swap;
mod take;
pub(super) mod verdict;

pub(super) use choose::{Undone, newest, opposite};
pub(super) use findings::findings;
pub(super) use keys::{keys_back, with_parents, without_parent};
pub(super) use put::{put, put_under_lock, try_to_put};
pub(super) use swap::{after_renames, counters, renames};
pub(super) use take::{derive, look, ready, take};
pub(super) use verdict::relaxed_keys;

use super::catalog::table::Table;
use super::clauses::columns::ColumnOutcomes;
use super::copy::lens::Given;
use super::dependents::{Dependents, ForeignKey, Set};
use super::name::Ident;
use super::runs::tables::Tables;
use crate::engine::undo::Direction;
use crate::error::{Error, Finding, Result};

/// What a run undoes.
#[derive(Debug, Clone)]
pub(super) struct Undo {
    /// The run that is undone.
    pub run: i64,
    /// Which way rows go.
    pub direction: Direction,
    /// The two tables, as the undone run left them.
    pub tables: Tables,
    /// The clauses that made the new table of the old one.
    pub clauses: String,
    /// The suffix of the retired table's indexes, sequences and statistics.
    pub suffix: String,
    /// What was set on the live table when the undone run made it live; `None`: that is not known.
    pub then: Option<Set>,
    /// The retired table; `None`: it is live already, and only what follows the swap is left.
    pub retired: Option<Retired>,
    /// What the user gives for columns, in his words.
    pub given: Given,
    /// Foreign keys that it puts back.
    pub keys: Vec<ForeignKey>,
    /// What it does not bring back, in words.
    pub lost: Vec<String>,
}

/// The retired table as it is now.
#[derive(Debug, Clone)]
pub(super) struct Retired {
    /// Its columns and indexes.
    pub table: Table,
    /// What hangs on it.
    pub dependents: Dependents,
}

impl Undo {
    /// Whether the retired table's owner stays what it is.
    pub(super) fn keeps_owner(&self, owner: &Ident) -> bool {
        self.retired.as_ref().is_some_and(|retired| retired.dependents.owner().0 == owner)
    }

    fn retired(&self) -> Result<&Retired> {
        self.retired.as_ref().ok_or_else(|| Error::Internal("the retired table is live".into()))
    }

    /// The columns of the live table's copy key in the retired one; or why they do not name its rows.
    fn shadow_key(&self, live: &Table) -> Result<std::result::Result<Vec<Ident>, Finding>> {
        let image = |name: &Ident| self.tables.image(self.direction, name);
        findings::shadow_key(live, &self.retired()?.table, image)
    }

    /// What a column of the retired table is called in the live one; `None`: that does not have it.
    fn live_name(&self, retired: &Ident) -> Option<Ident> {
        let pair = self.tables.pairs.iter().find_map(|(old, new)| match self.direction {
            Direction::Back => (old == retired).then_some(new),
            Direction::Again => (new == retired).then_some(old),
        });
        pair.cloned()
    }

    /// What becomes of the live table's columns.
    pub(super) fn outcomes(&self, live: &Table) -> ColumnOutcomes {
        let mut outcomes = ColumnOutcomes::default();
        let retired = self.retired.as_ref().map(|retired| &retired.table);
        for column in &live.columns {
            let image = self.tables.image(self.direction, &column.name);
            let there = image.as_ref().and_then(|image| retired?.column(image));
            if there.is_some_and(|there| {
                there.type_sql != column.type_sql || there.collation != column.collation
            }) {
                outcomes.retyped.insert(column.name.clone());
            }
            outcomes.columns.insert(column.name.clone(), image);
        }
        outcomes.dropped_constraints.extend(self.tables.added.iter().cloned());
        outcomes
    }

    /// What is to be set on the retired table when it is live again, and what is set on it now. `hanging`: what hangs
    /// on the live table.
    fn set(&self, live: &Table, hanging: &Dependents) -> Result<(Set, Set)> {
        let own = self.retired()?.dependents.set();
        let wanted = match &self.then {
            Some(then) => own.with_changes(then, &hanging.set(), &self.outcomes(live)),
            None => own.clone(),
        };
        Ok((wanted, own))
    }

    /// Names that what belongs to the retired table gets back, of these.
    fn plain_names<'a>(
        &'a self,
        names: impl Iterator<Item = &'a Ident>,
        there: &[Ident],
    ) -> Vec<Ident> {
        names.filter(|name| there.contains(&name.with_suffix(&self.suffix))).cloned().collect()
    }
}
