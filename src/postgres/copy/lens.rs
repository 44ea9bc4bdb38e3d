//! What each column of a retired table gets when rows go back into it. The two tables of a change are a
//! lens: the projection says which rows of the old table and the new one belong together, whichever way the
//! rows go.
//!
//! An undo writes the *old* table's rows. A column keeps its value where the projection of it still is what
//! the live row has, so that what the change has rounded off is not lost; else the live value is cast back.
//! Columns that the change has dropped keep theirs. A redo writes the *new* table's rows: there the
//! projection itself says each value, and the columns that the change has added keep theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::projection::{Projected, Projection};
use crate::engine::undo::Direction;
use crate::postgres::catalog::table::{Column, Table};
use crate::postgres::name::Ident;

/// How values come back into the old table's types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Casts {
    /// The types of the old table's columns without their modifiers.
    pub types: BTreeMap<Ident, String>,
    /// Columns of the old table into whose type the server casts nothing of the new one's.
    pub missing: BTreeSet<Ident>,
}

/// What the user gives for columns of the table that is written, by name: expressions over the live table's
/// columns, as the server has read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `--inverse`: in the place of the cast.
    pub inverse: BTreeMap<Ident, String>,
    /// `--fill`: of rows that the table does not have.
    pub fill: BTreeMap<Ident, String>,
}

/// A column of the table that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutColumn {
    /// Its name.
    pub target: Ident,
    /// What it gets.
    pub value: PutValue,
}

/// What a column gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutValue {
    /// This expression over the live row: the same type, or the projection.
    Live(String),
    /// Its own value, where the projection of it is the same as the live row's; else another.
    KeptWhereSame {
        /// The live row's image of the column.
        image: String,
        /// The projection of the column's own value.
        projected: String,
        /// What it gets otherwise, over the live row; `None`: nothing is known, and such a row cannot go
        /// back.
        otherwise: Option<String>,
        /// The column's type without its modifier: what is cast so is checked against the modifier when it
        /// is assigned, and not cut off.
        cast: String,
    },
    /// Its own value; rows that the table does not have get the expression, or the column's default.
    Kept(Option<String>),
}

/// How rows are written into the table of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lens {
    /// Which way.
    pub direction: Direction,
    /// The columns that are written.
    pub columns: Vec<PutColumn>,
    /// The written table's generated columns and those with a default that no live row gives, with their
    /// expressions over its other columns: what clashes is looked for with them.
    pub made: Vec<(Ident, String)>,
    /// What the names of osc's own columns begin with: no column of either table does.
    pub prefix: String,
}

/// The lens of a change whose tables are `old` and `new`, with this projection.
pub fn lens(
    direction: Direction,
    (old, new): (&Table, &Table),
    pairs: &[(Ident, Ident)],
    projection: &Projection,
    casts: &Casts,
    given: &Given,
) -> Lens {
    let written = match direction {
        Direction::Back => old,
        Direction::Again => new,
    };
    let mut columns = Vec::new();
    for column in written.columns.iter().filter(|column| column.generated.is_none()) {
        let value = match direction {
            Direction::Back => back(column, new, pairs, projection, casts, given),
            Direction::Again => again(column, projection, given),
        };
        columns.push(PutColumn { target: column.name.clone(), value });
    }
    let kept = |name: &Ident| {
        columns.iter().any(|one| one.target == *name && one.value == PutValue::Kept(None))
    };
    let made = written.columns.iter().filter_map(|column| match &column.generated {
        Some(expression) => Some((column.name.clone(), expression.clone())),
        None if kept(&column.name) => Some((column.name.clone(), default_of(column))),
        None => None,
    });
    let made = made.collect();
    Lens { direction, columns, made, prefix: prefix([old, new]) }
}

/// A column's default where it can be evaluated without a trace; one that draws from a sequence cannot.
fn default_of(column: &Column) -> String {
    let plain = column.default.as_ref().filter(|text| !text.contains("nextval("));
    plain.cloned().unwrap_or_else(|| format!("NULL::{}", column.type_sql))
}

fn back(
    column: &Column,
    new: &Table,
    pairs: &[(Ident, Ident)],
    projection: &Projection,
    casts: &Casts,
    given: &Given,
) -> PutValue {
    let name = &column.name;
    let paired = pairs.iter().find(|(old, _)| old == name);
    let image = paired.and_then(|(_, to)| new.column(to));
    let Some(image) = image else { return PutValue::Kept(given.fill.get(name).cloned()) };
    let inverse = given.inverse.get(name).map(|inverse| format!("({inverse})"));
    let projected = projection.columns.iter().find(|one| one.target == image.name);
    // What the new table computes is no one's word: the old value stays, if there is one.
    let Some(Projected { source, typed, .. }) = projected else {
        let computed = || PutValue::Kept(Some(image.name.to_string()));
        return inverse.map_or_else(computed, PutValue::Live);
    };
    let as_it_is = *source == name.to_string();
    if as_it_is && image.type_sql == column.type_sql && inverse.is_none() {
        return PutValue::Live(image.name.to_string());
    }
    let castable = as_it_is && !casts.missing.contains(name);
    let cast = castable.then(|| image.name.to_string());
    PutValue::KeptWhereSame {
        image: image.name.to_string(),
        projected: typed.clone(),
        otherwise: inverse.or(cast),
        cast: casts.types.get(name).unwrap_or(&column.type_sql).clone(),
    }
}

fn again(column: &Column, projection: &Projection, given: &Given) -> PutValue {
    let projected = projection.columns.iter().find(|one| one.target == column.name);
    match projected {
        Some(projected) => PutValue::Live(projected.source.clone()),
        None => PutValue::Kept(given.fill.get(&column.name).cloned()),
    }
}

/// No column of the tables begins with it.
fn prefix(tables: [&Table; 2]) -> String {
    let mut prefix = "osc_".to_owned();
    let names = || tables.iter().flat_map(|table| &table.columns).map(|column| &column.name);
    while names().any(|name| name.as_str().starts_with(&prefix)) {
        prefix.push('_');
    }
    prefix
}

impl Lens {
    /// Columns whose live values nothing turns back into theirs.
    pub fn without_inverse(&self) -> impl Iterator<Item = &Ident> {
        self.columns.iter().filter_map(|column| match &column.value {
            PutValue::KeptWhereSame { otherwise: None, .. } => Some(&column.target),
            _ => None,
        })
    }

    /// Columns whose values may not be the same after their way back.
    pub fn converted(&self) -> impl Iterator<Item = &Ident> {
        self.columns.iter().filter_map(|column| match &column.value {
            PutValue::KeptWhereSame { .. } => Some(&column.target),
            _ => None,
        })
    }

    /// Whether rows that the table does not have get this column's default.
    pub fn defaults(&self, name: &Ident) -> bool {
        let one = self.columns.iter().find(|column| column.target == *name);
        one.is_some_and(|column| column.value == PutValue::Kept(None))
    }
}
