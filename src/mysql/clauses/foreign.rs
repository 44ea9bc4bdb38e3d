//! The foreign keys that the clauses change. The shadow is made without any, so that it makes no
//! session wait; they are settled at the cut-over.

use super::{Clause, ClauseKind, Clauses, ColumnDef};
use crate::error::{Error, Result};
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::Ident;

/// The foreign keys that change; settled at the cut-over, since the shadow is made without any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignKeyChanges {
    /// Those to add, in order.
    pub added: Vec<ForeignKeyAddition>,
    /// Those to drop.
    pub dropped: Vec<Ident>,
}

/// A foreign key to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKeyAddition {
    /// The clause, such as `ADD FOREIGN KEY (a) REFERENCES t (id)`.
    pub text: String,
    /// The constraint's name, where one is given.
    pub name: Option<Ident>,
    /// The referencing columns. The server builds an index on them unless one begins with them:
    /// best added to the shadow while it is not in use.
    pub columns: Vec<Ident>,
}

/// Whether the server makes a foreign key of an inline `REFERENCES` in `ADD COLUMN`: MySQL since
/// 9.0, MariaDB since 10.5; older ones pass it over without a word.
pub fn honours_inline_references(flavor: Flavor) -> bool {
    if flavor.is_mariadb() { flavor.at_least(10, 5, 0) } else { flavor.at_least(9, 0, 0) }
}

impl Clauses {
    /// The foreign keys that the clauses add and drop, inline ones included where the server
    /// honours them. `existing`: the names of the original's foreign keys, since only they tell
    /// what `DROP CONSTRAINT` drops.
    ///
    /// `Error::Usage` where one to drop is not there, or one to add is there already: the server
    /// cannot object, since these clauses do not reach it before the cut-over.
    pub fn foreign_keys(&self, flavor: Flavor, existing: &[Ident]) -> Result<ForeignKeyChanges> {
        let mut changes = ForeignKeyChanges::default();
        for clause in &self.clauses {
            if let ClauseKind::AddForeignKey { name, index, columns } = &clause.kind {
                let text = clause.text.clone();
                let index = index.as_ref().filter(|_| flavor.is_mariadb());
                let (name, columns) = (name.as_ref().or(index).cloned(), columns.clone());
                changes.added.push(ForeignKeyAddition { text, name, columns });
            } else if let Some(name) = dropped_foreign_key(clause, existing) {
                changes.dropped.push(name.clone());
            } else if honours_inline_references(flavor) {
                changes.added.extend(clause.kind.definitions().iter().filter_map(inline));
            }
        }
        let has = |list: &[Ident], name: &Ident| list.iter().any(|known| known.same(name));
        for clause in &self.clauses {
            if let ClauseKind::DropForeignKey { name, if_exists: false } = &clause.kind
                && !has(existing, name)
            {
                return Err(usage(format!("the table has no foreign key {name} to drop")));
            }
        }
        changes.dropped.retain(|name| has(existing, name));
        for name in changes.added.iter().filter_map(|key| key.name.as_ref()) {
            if has(existing, name) && !has(&changes.dropped, name) {
                return Err(usage(format!("the table has a foreign key {name} already")));
            }
        }
        Ok(changes)
    }
}

fn usage(message: String) -> Error {
    Error::Usage { message, help: "SHOW CREATE TABLE lists the table's foreign keys".into() }
}

/// The foreign key that the clause drops, if it drops one.
pub(super) fn dropped_foreign_key<'c>(clause: &'c Clause, existing: &[Ident]) -> Option<&'c Ident> {
    match &clause.kind {
        ClauseKind::DropForeignKey { name, .. } => Some(name),
        ClauseKind::DropConstraint { name } if existing.iter().any(|key| key.same(name)) => {
            Some(name)
        }
        _ => None,
    }
}

/// The inline foreign key of a column as a clause of its own.
fn inline(column: &ColumnDef) -> Option<ForeignKeyAddition> {
    let references = column.references.as_ref()?;
    let constraint = references.constraint.as_ref();
    let constraint = constraint.map_or_else(String::new, |name| format!("CONSTRAINT {name} "));
    Some(ForeignKeyAddition {
        text: format!("ADD {constraint}FOREIGN KEY ({}) {}", column.name, references.text),
        name: references.constraint.clone(),
        columns: vec![column.name.clone()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::connection::version::Family;

    const MYSQL_9: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
    const MYSQL_8: Flavor = Flavor { family: Family::Mysql, version: (8, 0, 36) };

    fn existing() -> [Ident; 2] {
        [Ident::new("f1"), Ident::new("f9")]
    }

    #[test]
    fn foreign_keys_are_told_apart() {
        let clauses = Clauses::parse(
            "ADD a INT CONSTRAINT `references` REFERENCES p(id), DROP CONSTRAINT f1, DROP CONSTRAINT c1, \
             ADD CONSTRAINT f2 FOREIGN KEY i (a, b) REFERENCES p (x, y) ON DELETE SET NULL",
        )
        .unwrap();
        let changes = clauses.foreign_keys(MYSQL_9, &existing()).unwrap();
        assert_eq!(changes.dropped, [Ident::new("f1")]);
        let [inline, named] = &changes.added[..] else { panic!("{changes:?}") };
        assert_eq!(inline.text, "ADD CONSTRAINT `references` FOREIGN KEY (`a`) REFERENCES p(id)");
        assert_eq!(named.name, Some(Ident::new("f2")));
        assert_eq!(named.columns, [Ident::new("a"), Ident::new("b")]);
        assert_eq!(clauses.foreign_keys(MYSQL_8, &existing()).unwrap().added.len(), 1);
    }

    #[test]
    fn what_the_server_would_refuse_at_the_cut_over_is_refused_at_once() {
        for (clauses, fine) in [
            ("DROP FOREIGN KEY F1", true),
            ("DROP FOREIGN KEY nope", false),
            ("DROP FOREIGN KEY IF EXISTS nope", true),
            ("ADD CONSTRAINT f1 FOREIGN KEY (a) REFERENCES p (id)", false),
            ("DROP FOREIGN KEY f1, ADD CONSTRAINT f1 FOREIGN KEY (a) REFERENCES p (id)", true),
        ] {
            let changes = Clauses::parse(clauses).unwrap().foreign_keys(MYSQL_9, &existing());
            assert_eq!(changes.is_ok(), fine, "{clauses}");
        }
    }
}
