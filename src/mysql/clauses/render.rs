//! The clauses as statements: for the table itself, and for the shadow.

use std::fmt::Write as _;

use super::foreign::dropped_foreign_key;
use super::{Clause, ClauseKind, Clauses, ColumnDef, Place};
use crate::mysql::name::{Ident, TableName};

/// How constraints that the clauses name are called on the shadow.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShadowNames<'a> {
    /// The original's foreign keys; the shadow has none of them.
    pub foreign_keys: &'a [Ident],
    /// Checks whose name differs: the original's name and the shadow's. MySQL's
    /// `CREATE TABLE … LIKE` gives every check a new name, since they are unique in a schema;
    /// MariaDB keeps them (checked on 9.7 and 10.11).
    pub checks: &'a [(Ident, Ident)],
}

impl ShadowNames<'_> {
    fn check(&self, name: &Ident) -> Option<&Ident> {
        self.checks.iter().find(|(original, _)| original.same(name)).map(|(_, shadow)| shadow)
    }
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

    /// The statement for `shadow`, which has no foreign keys: without what
    /// [`foreign_keys`](Clauses::foreign_keys) holds, and with the shadow's names of checks.
    pub fn for_shadow(&self, shadow: &TableName, names: ShadowNames<'_>) -> String {
        self.for_shadow_with(shadow, names, &[])
    }

    /// The same with settings such as `ALGORITHM=INSTANT` before the clauses.
    pub fn for_shadow_with(
        &self,
        shadow: &TableName,
        names: ShadowNames<'_>,
        settings: &[&str],
    ) -> String {
        let kept = self.clauses.iter().filter(|clause| {
            !matches!(clause.kind, ClauseKind::AddForeignKey { .. })
                && dropped_foreign_key(clause, names.foreign_keys).is_none()
        });
        statement(shadow, settings, kept.map(|clause| (clause, shadow_text(clause, names))))
    }
}

/// The clause's text with the shadow's names.
fn shadow_text(clause: &Clause, names: ShadowNames<'_>) -> String {
    let renamed = match &clause.kind {
        ClauseKind::DropCheck { name } | ClauseKind::DropConstraint { name } => {
            names.check(name).map(|check| format!("DROP CONSTRAINT {check}"))
        }
        ClauseKind::AlterCheck { name, action } => {
            names.check(name).map(|check| format!("ALTER CHECK {check} {action}"))
        }
        _ => None,
    };
    renamed.unwrap_or_else(|| without_references(clause))
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

    fn shadow(clauses: &str, names: ShadowNames<'_>) -> String {
        Clauses::parse(clauses).unwrap().for_shadow(&TableName::new("s", "n"), names)
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
        let names = ShadowNames { foreign_keys: &[Ident::new("f1")], ..ShadowNames::default() };
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
            assert_eq!(shadow(clauses, names), format!("ALTER TABLE `s`.`n` {expected}"));
        }
    }

    #[test]
    fn checks_go_by_the_shadows_names() {
        let checks = [(Ident::new("ck"), Ident::new("n_chk_1"))];
        let names = ShadowNames { checks: &checks, ..ShadowNames::default() };
        assert_eq!(
            shadow(
                "DROP CHECK ck, DROP CONSTRAINT CK, ALTER CHECK ck NOT ENFORCED, DROP CHECK o",
                names
            ),
            "ALTER TABLE `s`.`n` DROP CONSTRAINT `n_chk_1`, DROP CONSTRAINT `n_chk_1`, \
             ALTER CHECK `n_chk_1` NOT ENFORCED, DROP CHECK o"
        );
    }
}
