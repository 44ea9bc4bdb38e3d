//! Clauses that take away what the server's own methods keep nowhere. A copy takes nothing away: the
//! retired table has all of it until `osc cleanup`.

use super::{Action, ActionKind, Statement};

impl Statement {
    /// Such clauses, in the user's words. `unique`: whether an index of that name is unique.
    pub fn destructive(&self, unique: impl Fn(&str) -> bool) -> Vec<String> {
        match self {
            Self::Alter { clauses, .. } => {
                let lossy = clauses.actions.iter().filter(|action| is_lossy(action));
                lossy.map(|action| action.text.clone()).collect()
            }
            Self::DropIndex { indexes, .. } => {
                let lossy = indexes.iter().filter(|(_, name)| unique(name));
                lossy.map(|(_, name)| format!("DROP INDEX {name}")).collect()
            }
            Self::CreateIndex(_) => Vec::new(),
        }
    }
}

fn is_lossy(action: &Action) -> bool {
    match &action.kind {
        ActionKind::DropColumn { .. } | ActionKind::DropConstraint { .. } => true,
        ActionKind::AlterColumn { .. } => {
            let text = action.text.to_ascii_uppercase();
            let words: Vec<&str> = text.split_whitespace().collect();
            let drops = |what| words.windows(2).any(|pair| pair == ["DROP", what]);
            drops("EXPRESSION") || drops("IDENTITY")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_something_away_for_good_is_named() {
        let lost = |text: &str| {
            let statement = Statement::parse(text, None).unwrap();
            statement.destructive(|name| name == "u").join(" | ")
        };
        assert_eq!(lost("ADD a int, DROP COLUMN b, DROP c"), "DROP COLUMN b | DROP c");
        assert_eq!(lost("DROP CONSTRAINT k, ALTER a DROP DEFAULT"), "DROP CONSTRAINT k");
        assert_eq!(lost("ALTER a  DROP  identity"), "ALTER a  DROP  identity");
        assert_eq!(lost("ALTER g DROP EXPRESSION IF EXISTS"), "ALTER g DROP EXPRESSION IF EXISTS");
        assert_eq!(lost("DROP INDEX i, u"), "DROP INDEX u");
        assert_eq!(lost("ADD CHECK (a > 0)"), "");
    }
}
