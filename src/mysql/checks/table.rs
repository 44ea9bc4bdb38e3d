//! Whether the table is one that can be copied.

use super::Checked;
use crate::error::Findings;
use crate::mysql::clauses::ClauseKind;
use crate::mysql::copy::shadow::checks;
use crate::mysql::lexer::{Dialect, tokens};
use crate::mysql::name::Ident;

/// Engine, versioning, copy key.
pub(super) fn definition(checked: &Checked<'_>, findings: &mut Findings) {
    let table = checked.original;
    let name = table.name.plain();
    if !table.engine.eq_ignore_ascii_case("InnoDB") {
        findings.refuse(
            "engine",
            format!("{name} is a table of {}", table.engine),
            "osc needs InnoDB: its consistent reads are what lets the application keep writing",
        );
    }
    if table.create.contains("WITH SYSTEM VERSIONING") {
        findings.refuse(
            "system-versioning",
            format!("{name} is system-versioned: a copy would lose its history"),
            "use the server's own ALTER",
        );
    }
    if has_data_directory(&table.create) {
        findings.refuse(
            "data-directory",
            format!("{name} has a DATA DIRECTORY, which a copy would not have"),
            "use the server's own ALTER, which leaves the table's files where they are",
        );
    }
    if table.copy_keys().is_empty() {
        findings.refuse(
            "copy-key",
            format!("{name} has no primary key and no unique key on not-null columns"),
            "add a primary key, or a unique key on columns that are NOT NULL (text, numbers, dates, \
             binary; not float)",
        );
    }
}

/// Whether a definition says `DATA DIRECTORY`, for the table or a partition, and not in a name or a text.
fn has_data_directory(create: &str) -> bool {
    let Ok(tokens) = tokens(create, Dialect::default()) else {
        return create.contains("DATA DIRECTORY");
    };
    tokens.iter().zip(tokens.iter().skip(1)).any(|(one, two)| one.is("DATA") && two.is("DIRECTORY"))
}

/// On MySQL a constraint's name may be that of a CHECK, of a foreign key and of a unique key at once;
/// the server then refuses DROP CONSTRAINT (3939). The shadow has no foreign keys, so that it would not.
/// And its checks cannot have the original's names.
pub(super) fn constraint_names(checked: &Checked<'_>, findings: &mut Findings) {
    if checked.flavor.is_mariadb() {
        return;
    }
    let table = checked.original;
    let present = checks(&table.create);
    for clause in &checked.change.clauses.clauses {
        let ClauseKind::DropConstraint { name } = &clause.kind else { continue };
        let kinds = [
            ("CHECK", present.iter().any(|(check, _)| check.same(name))),
            (
                "FOREIGN KEY",
                checked.dependents.foreign_key_names().iter().any(|key| key.same(name)),
            ),
            ("INDEX", table.indexes.iter().any(|index| index.unique && index.name.same(name))),
        ];
        let found: Vec<&str> =
            kinds.iter().filter(|(_, found)| *found).map(|(kind, _)| *kind).collect();
        if found.len() > 1 {
            findings.refuse(
                "ambiguous-constraint",
                format!("{} has more than one constraint with the name {name}", table.name.plain()),
                format!(
                    "say which one to drop: DROP {} {name}",
                    found.join(&format!(" {name}, or DROP "))
                ),
            );
        }
    }
    let generated = format!("{}_chk_", table.name.table.as_str());
    let dropped = |name: &Ident| {
        checked.change.clauses.clauses.iter().any(|clause| match &clause.kind {
            ClauseKind::DropCheck { name: other } | ClauseKind::DropConstraint { name: other } => {
                other.same(name)
            }
            _ => false,
        })
    };
    let named: Vec<String> = present
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !name.as_str().starts_with(&generated) && !dropped(name))
        .map(ToString::to_string)
        .collect();
    if !named.is_empty() {
        findings.notes.push(format!(
            "CHECK constraints get names that MySQL generates ({generated}1 …), since check names are \
             unique in a schema and the retired table keeps them: {}",
            named.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_seen_outside_of_names_and_texts() {
        let create = r"CREATE TABLE `a``b` (`DATA DIRECTORY` int COMMENT 'it''s \'x\' ` DATA DIRECTORY', `c` text) COMMENT='\\'";
        assert!(!has_data_directory(create));
        assert!(has_data_directory(&format!("{create} DATA DIRECTORY='/d'")));
        let partitions = "/*!50100 PARTITION BY KEY () (PARTITION p0 DATA DIRECTORY = '/d') */";
        assert!(has_data_directory(&format!("{create}\n{partitions}")));
    }
}
