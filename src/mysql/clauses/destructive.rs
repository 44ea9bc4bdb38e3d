//! Clauses that take away what the server's own methods keep nowhere. A copy takes nothing away: the
//! retired table has all of it until `osc cleanup`.

use super::{Clause, ClauseKind, Clauses};
use crate::mysql::name::Ident;

/// Such clauses, in the user's words. `unique`: whether an index of that name is unique. Values that a
/// narrower type cannot hold are not among them, since no server narrows a type without a rebuild.
pub(crate) fn destructive(clauses: &Clauses, unique: impl Fn(&Ident) -> bool) -> Vec<String> {
    let is_lossy = |clause: &&Clause| match &clause.kind {
        ClauseKind::DropColumn { .. }
        | ClauseKind::DropPrimaryKey
        | ClauseKind::DropForeignKey { .. }
        | ClauseKind::DropCheck { .. }
        | ClauseKind::DropConstraint { .. } => true,
        ClauseKind::DropIndex { name } => unique(name),
        _ => false,
    };
    clauses.clauses.iter().filter(is_lossy).map(|clause| clause.text.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_something_away_for_good_is_named() {
        let lost = |text: &str| {
            let clauses = Clauses::parse(text).unwrap();
            destructive(&clauses, |name| name.as_str() == "u").join(" | ")
        };
        assert_eq!(
            lost("ADD a INT, DROP COLUMN b, DROP INDEX i, DROP c"),
            "DROP COLUMN b | DROP c"
        );
        assert_eq!(lost("DROP INDEX u, DROP PRIMARY KEY"), "DROP INDEX u | DROP PRIMARY KEY");
        for text in ["DROP FOREIGN KEY f", "DROP CHECK c", "DROP CONSTRAINT d"] {
            assert_eq!(lost(text), text);
        }
        assert_eq!(lost("ADD COLUMN x INT, ADD INDEX (x), RENAME COLUMN a TO b"), "");
    }
}
