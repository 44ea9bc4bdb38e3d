//! What osc's own clauses make of a table: another order of its columns, and partitions.

use super::{Clauses, Partitioning, Place};
use crate::error::{Error, Finding, Result};
use crate::postgres::name::{Ident, TableName};

/// What osc's own clauses make of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Columns that are moved, one after the other.
    pub moves: Vec<(Ident, Place)>,
    /// How it becomes partitioned.
    pub partitioning: Option<Partitioning>,
}

impl Form {
    /// What these clauses make of a table.
    pub fn of(clauses: &Clauses) -> Self {
        Self { moves: clauses.moves(), partitioning: clauses.partitioning().cloned() }
    }

    /// Nothing that the server's clauses could not do.
    pub fn is_plain(&self) -> bool {
        self.moves.is_empty() && self.partitioning.is_none()
    }

    /// The names of the partitions.
    pub fn partitions(&self) -> impl Iterator<Item = &Ident> {
        self.partitioning.iter().flat_map(|how| &how.partitions).map(|partition| &partition.name)
    }

    /// Whether the server itself can do it, and why not; `None`: it is plain.
    pub fn reason(&self) -> Option<&'static str> {
        match (&self.partitioning, self.moves.is_empty()) {
            (Some(_), _) => {
                Some("PostgreSQL partitions no table that is there: its rows are rewritten")
            }
            (None, false) => {
                Some("PostgreSQL moves no column of a table that is there: it is rewritten")
            }
            (None, true) => None,
        }
    }

    /// In words like the server's, for a plan.
    pub fn statements(&self, shadow: &TableName) -> Vec<String> {
        if self.is_plain() {
            return Vec::new();
        }
        let mut all = vec![match &self.partitioning {
            None => format!("CREATE TABLE {shadow} (…) -- with its columns in their order"),
            Some(how) => {
                format!("CREATE TABLE {shadow} (…) PARTITION BY {} {}", how.strategy, how.key)
            }
        }];
        for partition in self.partitioning.iter().flat_map(|how| &how.partitions) {
            let name = shadow.sibling(partition.name.clone());
            all.push(format!("CREATE TABLE {name} PARTITION OF {shadow} {}", partition.bound));
        }
        all
    }

    /// The columns in their order.
    ///
    /// # Errors
    /// `Refused` where a move names a column that is not there.
    pub fn order(&self, columns: Vec<Ident>) -> Result<Vec<Ident>> {
        let mut order = columns;
        for (column, place) in &self.moves {
            let found = order.iter().position(|name| name == column);
            let found = found.ok_or_else(|| missing(column))?;
            let moved = order.remove(found);
            let at = match place {
                Place::First => 0,
                Place::After(other) => {
                    1 + order.iter().position(|name| name == other).ok_or_else(|| missing(other))?
                }
            };
            order.insert(at, moved);
        }
        Ok(order)
    }
}

pub(crate) fn missing(column: &Ident) -> Error {
    Error::Refused(vec![Finding::new(
        "column-order",
        format!(
            "a column cannot be moved to its place: there is no column {column}, or not any more"
        ),
        "FIRST and AFTER are about the columns that the table has when all other clauses are done; \
         a column goes after another one",
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(moves: &[(&str, &str)]) -> Result<String> {
        let moves = moves.iter().map(|(column, after)| {
            let place = match *after {
                "" => Place::First,
                other => Place::After(Ident::new(other)),
            };
            (Ident::new(*column), place)
        });
        let form = Form { moves: moves.collect(), partitioning: None };
        let columns = ["a", "b", "c", "d"].map(Ident::new).to_vec();
        form.order(columns).map(|order| order.iter().map(Ident::as_str).collect())
    }

    #[test]
    fn columns_are_moved_one_after_the_other() {
        for (moves, expected) in [
            (&[("c", "")][..], "cabd"),
            (&[("a", "d")], "bcda"),
            (&[("a", "b")], "bacd"),
            (&[("d", "a")], "adbc"),
            (&[("c", ""), ("a", "c"), ("d", "")], "dcab"),
            (&[("a", "")], "abcd"),
        ] {
            assert_eq!(order(moves).unwrap(), expected, "{moves:?}");
        }
        for moves in [&[("x", "")][..], &[("a", "x")], &[("a", "a")]] {
            assert!(matches!(order(moves), Err(Error::Refused(_))), "{moves:?}");
        }
    }
}
