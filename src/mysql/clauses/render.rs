//! The clauses as statements: for the table itself, and for the shadow.

use std::fmt::Write as _;

use super::{Clause, ClauseKind, Clauses, ColumnDef, Place};
use crate::mysql::flavor::Flavor;
use crate::mysql::name::{Ident, TableName};

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
    /// best added to the shadow while nobody uses it.
    pub columns: Vec<Ident>,
}

/// Whether the server makes a foreign key of an inline `REFERENCES` in `ADD COLUMN`: MySQL since
/// 9.0, MariaDB since 10.5; older ones pass it over without a word.
pub fn honours_inline_references(flavor: Flavor) -> bool {
    if flavor.is_mariadb() { flavor.at_least(10, 5, 0) } else { flavor.at_least(9, 0, 0) }
}

impl Clauses {
    /// The whole statement for `table`, without ALGORITHM and LOCK.
    pub fn for_table(&self, table: &TableName) -> String {
        statement(table, &[], self.clauses.iter().map(|clause| (clause, clause.text.clone())))
    }

    /// The same with settings such as `ALGORITHM=INSTANT` before the clauses.
    pub fn for_table_with(&self, table: &TableName, settings: &[&str]) -> String {
        statement(table, settings, self.clauses.iter().map(|clause| (clause, clause.text.clone())))
    }

    /// The statement for `shadow`, which has no foreign keys: without what [`foreign_keys`] holds.
    /// `existing`: the names of the original's foreign keys.
    ///
    /// [`foreign_keys`]: Clauses::foreign_keys
    pub fn for_shadow(&self, shadow: &TableName, existing: &[Ident]) -> String {
        let kept = self.clauses.iter().filter(|clause| {
            !matches!(clause.kind, ClauseKind::AddForeignKey { .. })
                && dropped_foreign_key(clause, existing).is_none()
        });
        statement(shadow, &[], kept.map(|clause| (clause, without_references(clause))))
    }

    /// The foreign keys that the clauses add and drop, inline ones included where the server
    /// honours them. `existing`: the names of the original's foreign keys, since only they tell
    /// what `DROP CONSTRAINT` drops.
    pub fn foreign_keys(&self, flavor: Flavor, existing: &[Ident]) -> ForeignKeyChanges {
        let mut changes = ForeignKeyChanges::default();
        for clause in &self.clauses {
            if let ClauseKind::AddForeignKey { name, columns } = &clause.kind {
                let text = clause.text.clone();
                let (name, columns) = (name.clone(), columns.clone());
                changes.added.push(ForeignKeyAddition { text, name, columns });
            } else if let Some(name) = dropped_foreign_key(clause, existing) {
                changes.dropped.push(name.clone());
            } else if honours_inline_references(flavor) {
                changes.added.extend(clause.kind.definitions().iter().filter_map(inline));
            }
        }
        changes
    }
}

fn dropped_foreign_key<'c>(clause: &'c Clause, existing: &[Ident]) -> Option<&'c Ident> {
    match &clause.kind {
        ClauseKind::DropForeignKey { name } => Some(name),
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

/// The clause's text without inline foreign keys.
fn without_references(clause: &Clause) -> String {
    let ClauseKind::AddColumns { columns, if_not_exists } = &clause.kind else {
        return clause.text.clone();
    };
    if columns.iter().all(|column| column.references.is_none()) {
        return clause.text.clone();
    }
    let condition = if *if_not_exists { "IF NOT EXISTS " } else { "" };
    let texts: Vec<String> = columns.iter().map(column_text).collect();
    match &texts[..] {
        [column] => format!("ADD COLUMN {condition}{column}"),
        list => format!("ADD COLUMN {condition}({})", list.join(", ")),
    }
}

fn column_text(column: &ColumnDef) -> String {
    let place = match &column.place {
        None => String::new(),
        Some(Place::First) => " FIRST".into(),
        Some(Place::After(name)) => format!(" AFTER {name}"),
    };
    format!("{} {}{place}", column.name, column.definition)
}

/// `ALTER TABLE t setting, clause, … [partitions]`: partitions follow without a comma.
fn statement<'c>(
    table: &TableName,
    settings: &[&str],
    clauses: impl Iterator<Item = (&'c Clause, String)>,
) -> String {
    let mut list: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let mut partitions = None;
    let mut says_something = false;
    for (clause, text) in clauses {
        match clause.kind {
            ClauseKind::Algorithm(_) | ClauseKind::Lock(_) => {}
            ClauseKind::Partitioning => partitions = Some(text),
            _ => {
                says_something = true;
                list.push(text);
            }
        }
    }
    if !says_something && partitions.is_none() {
        list.push("FORCE".into());
    }
    let mut sql = format!("ALTER TABLE {table} {}", list.join(", "));
    if let Some(partitions) = partitions {
        let _ = write!(sql, "{}{partitions}", if list.is_empty() { "" } else { " " });
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::flavor::Family;

    const MYSQL_9: Flavor = Flavor { family: Family::Mysql, version: (9, 7, 4) };
    const MYSQL_8: Flavor = Flavor { family: Family::Mysql, version: (8, 0, 36) };

    fn shadow(clauses: &str, existing: &[Ident]) -> String {
        Clauses::parse(clauses).unwrap().for_shadow(&TableName::new("s", "n"), existing)
    }

    fn table(clauses: &str) -> String {
        Clauses::parse(clauses).unwrap().for_table(&TableName::new("s", "n"))
    }

    #[test]
    fn the_statement_is_written_again_for_another_table() {
        for (clauses, expected) in [
            ("add a int -- why\n, drop b", "ALTER TABLE `s`.`n` add a int, drop b"),
            ("ALTER TABLE x.t ADD a INT, ALGORITHM=COPY;", "ALTER TABLE `s`.`n` ADD a INT"),
            ("LOCK=NONE, ADD a INT", "ALTER TABLE `s`.`n` ADD a INT"),
            ("ALGORITHM=INPLACE", "ALTER TABLE `s`.`n` FORCE"),
            ("", "ALTER TABLE `s`.`n` FORCE"),
            (
                "ADD a INT PARTITION BY HASH(a) PARTITIONS 2",
                "ALTER TABLE `s`.`n` ADD a INT PARTITION BY HASH(a) PARTITIONS 2",
            ),
            ("REMOVE PARTITIONING", "ALTER TABLE `s`.`n` REMOVE PARTITIONING"),
            ("/*!80000 ADD a INT, */ DROP b", "ALTER TABLE `s`.`n` ADD a INT, DROP b"),
            (
                "COMMENT='a' ROW_FORMAT DYNAMIC",
                "ALTER TABLE `s`.`n` COMMENT='a', ROW_FORMAT DYNAMIC",
            ),
        ] {
            assert_eq!(table(clauses), expected, "{clauses}");
        }
    }

    #[test]
    fn settings_stand_before_the_clauses() {
        let clauses = Clauses::parse("ADD a INT, LOCK=NONE REMOVE PARTITIONING").unwrap();
        assert_eq!(
            clauses.for_table_with(&TableName::new("s", "t"), &["ALGORITHM=INSTANT"]),
            "ALTER TABLE `s`.`t` ALGORITHM=INSTANT, ADD a INT REMOVE PARTITIONING"
        );
    }

    #[test]
    fn the_shadow_gets_no_foreign_keys() {
        let keys = [Ident::new("f1")];
        for (clauses, expected) in [
            ("ADD a INT, ADD FOREIGN KEY (a) REFERENCES p (id)", "ADD a INT"),
            ("DROP FOREIGN KEY f1, DROP CONSTRAINT F1, DROP CONSTRAINT c1", "DROP CONSTRAINT c1"),
            ("DROP FOREIGN KEY f1", "FORCE"),
            (
                "ADD a INT NULL REFERENCES p(id) ON DELETE CASCADE FIRST",
                "ADD COLUMN `a` INT NULL FIRST",
            ),
            (
                "ADD (a INT CONSTRAINT `references` REFERENCES p(id), b INT DEFAULT 3)",
                "ADD COLUMN (`a` INT, `b` INT DEFAULT 3)",
            ),
        ] {
            assert_eq!(shadow(clauses, &keys), format!("ALTER TABLE `s`.`n` {expected}"));
        }
    }

    #[test]
    fn foreign_keys_are_told_apart() {
        let clauses = Clauses::parse(
            "ADD a INT CONSTRAINT `references` REFERENCES p(id), DROP CONSTRAINT f1, DROP CONSTRAINT c1, \
             ADD CONSTRAINT f2 FOREIGN KEY i (a, b) REFERENCES p (x, y) ON DELETE SET NULL",
        )
        .unwrap();
        let changes = clauses.foreign_keys(MYSQL_9, &[Ident::new("f1"), Ident::new("f9")]);
        assert_eq!(changes.dropped, [Ident::new("f1")]);
        let [inline, named] = &changes.added[..] else { panic!("{changes:?}") };
        assert_eq!(inline.text, "ADD CONSTRAINT `references` FOREIGN KEY (`a`) REFERENCES p(id)");
        assert_eq!(named.name, Some(Ident::new("f2")));
        assert_eq!(named.columns, [Ident::new("a"), Ident::new("b")]);
        assert_eq!(clauses.foreign_keys(MYSQL_8, &[]).added.len(), 1);
    }
}
