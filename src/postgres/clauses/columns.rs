//! What the clauses make of each column of the original.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::postgres::name::Ident;

/// What becomes of the columns, and of the constraints that the shadow cannot show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnOutcomes {
    /// Every column of the original, and its name in the new table; `None`: it is dropped.
    pub columns: BTreeMap<Ident, Option<Ident>>,
    /// Columns of the original (by their old names) whose type changes.
    pub retyped: BTreeSet<Ident>,
    /// Foreign keys of the original that the clauses drop: the shadow never had them.
    #[serde(default)]
    pub dropped_constraints: BTreeSet<Ident>,
    /// Checks that the new table gets without a look at its rows.
    #[serde(default)]
    pub unproved: BTreeSet<Ident>,
    /// Identity columns (by their new names) whose sequences the clauses have set themselves.
    #[serde(default)]
    pub restarted: BTreeSet<Ident>,
}

impl ColumnOutcomes {
    /// The outcomes of columns that all stay as they are.
    pub fn unchanged(columns: impl IntoIterator<Item = Ident>) -> Self {
        let columns = columns.into_iter().map(|name| (name.clone(), Some(name))).collect();
        Self { columns, ..Self::default() }
    }

    /// The new name of a column; `None` when it is dropped. A column that the map does not know
    /// keeps its name.
    pub fn of<'a>(&'a self, column: &'a Ident) -> Option<&'a Ident> {
        self.columns.get(column).map_or(Some(column), Option::as_ref)
    }

    /// Whether the column is dropped.
    pub fn drops(&self, column: &Ident) -> bool {
        self.of(column).is_none()
    }

    /// Whether the column has another name afterwards.
    pub fn renames(&self, column: &Ident) -> bool {
        self.of(column).is_some_and(|new| new != column)
    }
}

/// What the clauses do to columns, as far as the copy is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// Old and new names.
    pub renamed: Vec<(Ident, Ident)>,
    /// Those that are dropped.
    pub dropped: BTreeSet<Ident>,
    /// `ALTER … TYPE … USING`: the original's column and the expression.
    pub using: BTreeMap<Ident, String>,
}

impl Columns {
    /// What the original's column is called in the shadow; `None`: it is dropped.
    pub fn new_name(&self, old: &Ident) -> Option<Ident> {
        if self.dropped.contains(old) {
            return None;
        }
        let renamed = self.renamed.iter().find(|(from, _)| from == old);
        Some(renamed.map_or_else(|| old.clone(), |(_, to)| to.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_stays_is_renamed_or_is_dropped() {
        let mut outcomes =
            ColumnOutcomes::unchanged([Ident::new("a"), Ident::new("b"), Ident::new("c")]);
        outcomes.columns.insert(Ident::new("b"), Some(Ident::new("bee")));
        outcomes.columns.insert(Ident::new("c"), None);
        assert_eq!(outcomes.of(&Ident::new("a")), Some(&Ident::new("a")));
        assert!(outcomes.renames(&Ident::new("b")) && !outcomes.renames(&Ident::new("a")));
        assert!(outcomes.drops(&Ident::new("c")) && !outcomes.drops(&Ident::new("b")));
    }
}
