//! What osc is not for, and what it leaves out.

use super::{Clause, ClauseKind, Clauses};
use crate::error::Finding;

impl Clauses {
    /// The clauses that osc does not run, each with the reason; empty: it runs all of them.
    pub fn refusals(&self) -> Vec<Finding> {
        let ignore = self.ignore.then(|| {
            Finding::new(
                "alter-ignore",
                "ALTER IGNORE drops rows that are duplicates for a new key, without a word",
                "leave IGNORE out and delete the duplicates beforehand; osc shows them",
            )
        });
        ignore.into_iter().chain(self.clauses.iter().filter_map(refusal)).collect()
    }

    /// What the operator should know about clauses that osc does not pass on.
    pub fn notes(&self) -> Vec<String> {
        let note = |clause: &Clause| match &clause.kind {
            ClauseKind::Algorithm(_) | ClauseKind::Lock(_) => {
                Some(format!("{} is left out: osc chooses the method (--strategy)", clause.text))
            }
            _ => None,
        };
        self.clauses.iter().filter_map(note).collect()
    }
}

fn refusal(clause: &Clause) -> Option<Finding> {
    let native = "run it without osc";
    let (check, reason, help) = match &clause.kind {
        ClauseKind::RenameTable { .. } => (
            "rename-table",
            "it renames the table, which osc needs to find under its name",
            "use RENAME TABLE, which takes no time",
        ),
        ClauseKind::Tablespace => (
            "tablespace",
            "it takes the table's data away or puts other data in its place, so nothing is left to copy",
            native,
        ),
        ClauseKind::PartitionMaintenance { verb } if verb == "EXCHANGE" => (
            "partition-exchange",
            "it swaps a partition's rows with another table's",
            "run it without osc: it takes no time",
        ),
        ClauseKind::PartitionMaintenance { .. } => (
            "partition-maintenance",
            "it works on partitions in place, and a copy of the table gains nothing",
            native,
        ),
        ClauseKind::TableOption { name, value }
            if (name == "ENGINE" || name == "TYPE")
                && !value.trim_matches(['\'', '"', '`']).eq_ignore_ascii_case("InnoDB") =>
        {
            (
                "engine",
                "osc's promises rest on transactions, as InnoDB has them",
                "keep ENGINE=InnoDB, or run it without osc",
            )
        }
        ClauseKind::OrderBy => (
            "order-by",
            "InnoDB keeps rows in the order of the primary key whatever it says",
            "leave it out",
        ),
        ClauseKind::SystemVersioning | ClauseKind::Period => (
            "system-versioning",
            "a versioned table keeps the history of its rows, which a copy would not carry",
            native,
        ),
        ClauseKind::Keys => ("keys", "InnoDB has no such switch", "leave it out"),
        ClauseKind::Unknown => (
            "unknown-clause",
            "osc does not know this clause, so it cannot tell what becomes of the data",
            "check the spelling, or run it without osc",
        ),
        _ => return None,
    };
    Some(Finding::new(check, format!("{}: {reason}", clause.text), help))
}
