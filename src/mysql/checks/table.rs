//! Whether the table is one that can be copied.

use crate::engine::error::Findings;
use crate::mysql::checks::Checked;

/// Engine, versioning, copy key.
pub fn definition(checked: &Checked<'_>, findings: &mut Findings) {
    let table = checked.original;
    let name = table.name.plain();
    if !table.engine.eq_ignore_ascii_case("InnoDB") {
        findings.refuse(
            "engine",
            format!("{name} is a table of {}", table.engine),
            "osc needs InnoDB: its consistent reads are what lets the application go on",
        );
    }
    if table.create.contains("WITH SYSTEM VERSIONING") {
        findings.refuse(
            "system-versioning",
            format!("{name} is system-versioned: a copy would lose its history"),
            "use the server's own ALTER",
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
