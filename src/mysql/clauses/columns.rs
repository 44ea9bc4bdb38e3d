//! What becomes of each of the original's columns.
//!
//! The servers resolve every name in the clauses against the original: `RENAME COLUMN a TO b,
//! RENAME COLUMN b TO a` swaps, `CHANGE a b INT, ADD a INT` makes a fresh `a`, and
//! `RENAME COLUMN a TO b, RENAME COLUMN b TO c` fails unless the original has a `b`
//! (checked on both, `docs/use/methods.md`).

use super::{ClauseKind, Clauses};
use crate::error::{Error, Result};
use crate::mysql::name::Ident;

/// What becomes of one column of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnOutcome {
    /// Its values are carried to the column of this name.
    Kept(
        /// The name in the shadow.
        Ident,
    ),
    /// Its values are not carried.
    Dropped,
}

fn refused(message: String) -> Error {
    let help = "name each column of the table at most once, and refer to columns by their current names, \
                even if the same ALTER renames them";
    Error::Usage { message, help: help.into() }
}

struct ColumnOutcomes {
    known: Vec<(Ident, ColumnOutcome)>,
    settled: Vec<bool>,
}

impl ColumnOutcomes {
    fn settle(&mut self, name: &Ident, if_exists: bool, outcomes: ColumnOutcome) -> Result<()> {
        let Some(at) = self.known.iter().position(|(old, _)| old.same(name)) else {
            if if_exists {
                return Ok(());
            }
            return Err(refused(format!("the table has no column {name}")));
        };
        if let (Some(settled), Some((_, known))) =
            (self.settled.get_mut(at), self.known.get_mut(at))
        {
            if *settled {
                return Err(refused(format!("two clauses say what becomes of column {name}")));
            }
            *settled = true;
            *known = outcomes;
        }
        Ok(())
    }
}

impl Clauses {
    /// What becomes of each of `original`, the original's columns, in their order.
    ///
    /// `Error::Usage` where a clause names a column that is not there, names one twice, or would
    /// give two columns one name.
    pub fn column_fates(&self, original: &[Ident]) -> Result<Vec<(Ident, ColumnOutcome)>> {
        let kept = original.iter().map(|name| (name.clone(), ColumnOutcome::Kept(name.clone())));
        let mut outcomes =
            ColumnOutcomes { known: kept.collect(), settled: vec![false; original.len()] };
        for clause in &self.clauses {
            match &clause.kind {
                ClauseKind::DropColumn { name, if_exists } => {
                    outcomes.settle(name, *if_exists, ColumnOutcome::Dropped)?;
                }
                ClauseKind::ChangeColumn { from, to, if_exists } => {
                    outcomes.settle(from, *if_exists, ColumnOutcome::Kept(to.name.clone()))?;
                }
                ClauseKind::RenameColumn { from, to, if_exists } => {
                    outcomes.settle(from, *if_exists, ColumnOutcome::Kept(to.clone()))?;
                }
                ClauseKind::ModifyColumn { column, if_exists } => {
                    let known = original.iter().find(|name| name.same(&column.name));
                    let same = known.unwrap_or(&column.name).clone();
                    outcomes.settle(&column.name, *if_exists, ColumnOutcome::Kept(same))?;
                }
                _ => {}
            }
        }
        let added = self.added_columns(original);
        let mut names: Vec<&Ident> = targets(&outcomes.known).chain(&added).collect();
        while let Some(name) = names.pop() {
            if names.iter().any(|other| other.same(name)) {
                return Err(refused(format!("two columns would have the name {name}")));
            }
        }
        Ok(outcomes.known)
    }

    /// The columns that the clauses add to a table with the columns `original`.
    ///
    /// IF NOT EXISTS looks at the original: `DROP COLUMN b, ADD COLUMN IF NOT EXISTS b INT` leaves
    /// a table without `b` (checked on MariaDB 10.11).
    pub fn added_columns(&self, original: &[Ident]) -> Vec<Ident> {
        let mut added: Vec<Ident> = Vec::new();
        for clause in &self.clauses {
            let ClauseKind::AddColumns { columns, if_not_exists } = &clause.kind else { continue };
            for column in columns {
                let known = original.iter().chain(&added).any(|name| name.same(&column.name));
                if !(*if_not_exists && known) {
                    added.push(column.name.clone());
                }
            }
        }
        added
    }

    /// Proves that the shadow's columns, read from the server after it has run the clauses, are
    /// those that osc understood, and returns [`Clauses::column_fates`] with the names as the
    /// server spells them. `Error::Usage` where they are not.
    pub fn prove(
        &self,
        original: &[Ident],
        shadow: &[Ident],
    ) -> Result<Vec<(Ident, ColumnOutcome)>> {
        let mut outcomes = self.column_fates(original)?;
        let added = self.added_columns(original);
        let expected: Vec<&Ident> = targets(&outcomes).chain(&added).collect();
        let differ = |what: &str, name: &Ident| {
            let message = format!(
                "the server understood the clauses otherwise than osc: column {name} {what}"
            );
            let help = "nothing was changed; split the clauses into simpler ones, or run the \
                        statement without osc";
            Error::Usage { message, help: help.into() }
        };
        if let Some(name) = expected.iter().find(|name| !shadow.iter().any(|got| got.same(name))) {
            return Err(differ("should be in the new table and is not", name));
        }
        if let Some(name) = shadow.iter().find(|got| !expected.iter().any(|name| got.same(name))) {
            return Err(differ("is in the new table and should not be", name));
        }
        for (_, outcomes) in &mut outcomes {
            if let ColumnOutcome::Kept(name) = outcomes
                && let Some(spelt) = shadow.iter().find(|got| got.same(name))
            {
                *name = spelt.clone();
            }
        }
        Ok(outcomes)
    }
}

fn targets(outcomes: &[(Ident, ColumnOutcome)]) -> impl Iterator<Item = &Ident> {
    outcomes.iter().filter_map(|(_, outcomes)| match outcomes {
        ColumnOutcome::Kept(name) => Some(name),
        ColumnOutcome::Dropped => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idents(names: &str) -> Vec<Ident> {
        names.split_whitespace().map(Ident::new).collect()
    }

    /// `a>b` for a kept column, `a-` for a dropped one.
    fn outcomes(original: &str, clauses: &str) -> String {
        match Clauses::parse(clauses).unwrap().column_fates(&idents(original)) {
            Ok(outcomes) => {
                let words = outcomes.iter().map(|(old, outcomes)| match outcomes {
                    ColumnOutcome::Kept(new) => format!("{}>{}", old.0, new.0),
                    ColumnOutcome::Dropped => format!("{}-", old.0),
                });
                words.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_are_those_from_before_the_statement() {
        for (clauses, expected) in [
            ("ADD c INT", "a>a b>b"),
            ("CHANGE a c INT", "a>c b>b"),
            ("CHANGE A a INT", "a>a b>b"),
            ("CHANGE `a` `A` INT", "a>A b>b"),
            ("RENAME COLUMN a TO b, RENAME COLUMN b TO a", "a>b b>a"),
            ("CHANGE a b INT, CHANGE b a INT", "a>b b>a"),
            ("CHANGE a c INT, ADD a INT", "a>c b>b"),
            ("ADD a INT, CHANGE a c INT", "a>c b>b"),
            ("RENAME COLUMN a TO c, ADD COLUMN a INT", "a>c b>b"),
            ("DROP a, ADD a BIGINT", "a- b>b"),
            ("DROP COLUMN a, RENAME COLUMN b TO a", "a- b>a"),
            ("DROP COLUMN a, ADD COLUMN IF NOT EXISTS a INT", "a- b>b"),
            ("DROP COLUMN IF EXISTS c", "a>a b>b"),
            ("ADD COLUMN IF NOT EXISTS a INT", "a>a b>b"),
            ("MODIFY A BIGINT FIRST", "a>a b>b"),
        ] {
            assert_eq!(outcomes("a b", clauses), expected, "{clauses}");
        }
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for (clauses, expected) in [
            ("RENAME COLUMN a TO c, RENAME COLUMN c TO d", "the table has no column `c`"),
            ("ADD c INT, CHANGE c d INT", "the table has no column `c`"),
            ("DROP a, DROP A", "two clauses say what becomes of column `A`"),
            ("RENAME COLUMN a TO c, MODIFY a INT", "two clauses say what becomes of column `a`"),
            ("ADD A INT", "two columns would have the name `A`"),
            ("RENAME COLUMN a TO b", "two columns would have the name `b`"),
            ("ADD c INT, ADD COLUMN (C INT)", "two columns would have the name `C`"),
        ] {
            assert_eq!(outcomes("a b", clauses), expected, "{clauses}");
        }
    }

    #[test]
    fn the_servers_columns_are_the_proof() {
        let clauses = Clauses::parse("CHANGE a c INT, ADD d INT").unwrap();
        let prove = |shadow: &str| clauses.prove(&idents("a b"), &idents(shadow));
        let outcomes = prove("C b d").unwrap();
        assert_eq!(outcomes[0], (Ident::new("a"), ColumnOutcome::Kept(Ident::new("C"))));
        for (shadow, name) in [("c b", "`d`"), ("c b d e", "`e`"), ("a b d", "`c`")] {
            let error = prove(shadow).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
