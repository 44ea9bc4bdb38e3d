//! What cannot be carried over to a table that becomes partitioned.

use super::Dependents;
use crate::error::Finding;
use crate::postgres::clauses::columns::ColumnOutcomes;

/// Foreign keys on partitioned tables can be NOT VALID from this version on.
pub(super) const UNCHECKED_KEYS: i32 = 180_000;

impl Dependents {
    /// Reasons not to begin, where the new table is partitioned and the original is not.
    pub fn unpartitionable(&self, outcomes: &ColumnOutcomes) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut refuse = |check: &'static str, what: String, help: &'static str| {
            findings.push(Finding::new(check, what, help));
        };
        for key in self.foreign_keys.iter().filter(|key| !key.goes(outcomes)) {
            if !key.outbound || key.is_self() {
                refuse(
                    "foreign-key-partitioned",
                    format!(
                        "the foreign key {} of {} refers to the table, and osc does not put one back that \
                         refers to partitions",
                        key.name,
                        key.child.plain()
                    ),
                    "drop it first, and put it back afterwards",
                );
            } else if self.version < UNCHECKED_KEYS {
                refuse(
                    "foreign-key-partitioned",
                    format!(
                        "up to 17 the foreign key {} could be put on the partitioned table only by a \
                         scan under its lock",
                        key.name
                    ),
                    "drop it in the same command, and add it to each partition afterwards",
                );
            }
        }
        for publication in self.publications.iter().filter(|one| !one.wide && !one.by_root) {
            refuse(
                "publication-partitioned",
                format!(
                    "the publication {} would send the changes as those of the partitions",
                    publication.name
                ),
                "ALTER PUBLICATION … SET (publish_via_partition_root = true) first",
            );
        }
        for trigger in &self.triggers {
            let text = &trigger.definition;
            if text.contains(" REFERENCING ") && text.contains(" FOR EACH ROW ") {
                refuse(
                    "trigger-partitioned",
                    format!("the trigger {} has transition tables for each row", trigger.name),
                    "make it one FOR EACH STATEMENT first",
                );
            }
        }
        if self.settings.identity == "i" {
            refuse(
                "replica-identity",
                "the replica identity is an index, which is each partition's own matter".into(),
                "ALTER TABLE … REPLICA IDENTITY FULL or DEFAULT first, and set it for each partition \
                 afterwards",
            );
        }
        if let Some(index) = &self.settings.cluster_index {
            refuse(
                "cluster",
                format!("the table is clustered on {index}, and no partitioned table is"),
                "ALTER TABLE … SET WITHOUT CLUSTER first",
            );
        }
        findings
    }
}
