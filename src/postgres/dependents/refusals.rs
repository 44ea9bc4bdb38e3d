//! What cannot be carried over, and what the user should know of the rest.

use super::partitioned::UNCHECKED_KEYS;
use super::{Dependents, Ident, grants, sequences, views};
use crate::error::Finding;
use crate::postgres::clauses::columns::ColumnOutcomes;

impl Dependents {
    /// Reasons not to begin: what could not be carried over to the new table.
    pub fn refusals(&self, outcomes: &ColumnOutcomes) -> Vec<Finding> {
        let mut findings = self.refusals_besides_columns(outcomes);
        self.refuse_columns(outcomes, &mut findings);
        findings
    }

    /// What names columns that the other table does not have, or has under another name: each in words, with
    /// the column and its name there.
    pub fn naming_lost<'a>(
        &'a self,
        outcomes: &'a ColumnOutcomes,
    ) -> Vec<(String, &'a Ident, Option<&'a Ident>)> {
        let lost = |column: &&Ident| outcomes.drops(column) || outcomes.renames(column);
        let mut found = Vec::new();
        for (what, columns) in self.texts() {
            for column in columns.iter().filter(lost) {
                found.push((what.clone(), column, outcomes.of(column)));
            }
        }
        for key in self.foreign_keys.iter().filter(|key| key.outbound && !key.is_self()) {
            let known = !outcomes.dropped_constraints.contains(&key.name);
            for column in key.columns.iter().filter(|column| known && lost(column)) {
                let what = format!("the foreign key {}", key.name);
                found.push((what, column, outcomes.of(column)));
            }
        }
        found
    }

    /// The same but for columns that go or change their names.
    pub fn refusals_besides_columns(&self, outcomes: &ColumnOutcomes) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .obstacles
            .iter()
            .map(|obstacle| {
                let (check, help) = obstacle.help();
                Finding::new(
                    check,
                    format!("{} depends on {}", obstacle.what, self.table.plain()),
                    help,
                )
            })
            .collect();
        self.refuse_views(outcomes, &mut findings);
        self.refuse_rights(outcomes, &mut findings);
        if self.settings.hides_rows {
            findings.push(Finding::new(
                "row-security",
                format!("row security hides rows of {} from osc's role", self.table.plain()),
                "connect as a role with BYPASSRLS, or as the owner where row security is not forced",
            ));
        }
        for publication in self.publications.iter().filter(|publication| publication.wide) {
            findings.push(Finding::new(
                "publication-all-tables",
                format!(
                    "the publication {} takes in every table, so it would send the shadow's rows to \
                     its subscribers",
                    publication.name
                ),
                "list the tables in the publication instead",
            ));
        }
        for key in self.foreign_keys.iter().filter(|key| !key.outbound && key.child_partitioned) {
            if self.version < UNCHECKED_KEYS {
                findings.push(Finding::new(
                    "foreign-key-partitioned",
                    format!(
                        "the foreign key {} of the partitioned table {} could only be put back by a \
                         scan under the lock",
                        key.name,
                        key.child.plain()
                    ),
                    "drop it, and put it back partition by partition afterwards",
                ));
            }
        }
        findings
    }

    fn refuse_views(&self, outcomes: &ColumnOutcomes, findings: &mut Vec<Finding>) {
        let recreated = views::recreated(&self.views, outcomes);
        for view in &self.views {
            let name = view.name.plain();
            if view.materialized {
                let lost =
                    view.reads.iter().any(|read| *read == self.oid || recreated.contains(read));
                if lost {
                    findings.push(Finding::new(
                        "materialized-view",
                        format!("the materialised view {name} cannot be bound to another table"),
                        "drop it, and create it again afterwards; one that reads a plain view of the \
                         table may stay",
                    ));
                }
            } else if recreated.contains(&view.oid) {
                for holder in &view.held_by {
                    findings.push(Finding::new(
                        "view-held",
                        format!(
                            "the view {name} must be created again, since a column changes its type, but {holder} depends on it"
                        ),
                        "drop what depends on the view, and create it again afterwards",
                    ));
                }
            }
        }
    }

    /// Objects whose text names columns of the original.
    fn texts(&self) -> Vec<(String, &[Ident])> {
        let mut texts: Vec<(String, &[Ident])> = Vec::new();
        let views = self.views.iter().filter(|view| !view.materialized);
        texts.extend(views.map(|v| (format!("the view {}", v.name.plain()), &*v.columns)));
        texts.extend(
            self.rules
                .iter()
                .map(|r| (format!("the rule {} of {}", r.name, r.on.plain()), &*r.columns)),
        );
        texts.extend(
            self.functions.iter().map(|f| (format!("the function {}", f.name), &*f.columns)),
        );
        texts
            .extend(self.triggers.iter().map(|t| (format!("the trigger {}", t.name), &*t.columns)));
        texts.extend(
            self.policies
                .iter()
                .map(|p| (format!("the policy {} of {}", p.name, p.on.plain()), &*p.columns)),
        );
        texts.extend(
            self.publications.iter().map(|p| (format!("the publication {}", p.name), &*p.used)),
        );
        for key in self.foreign_keys.iter().filter(|key| !key.outbound || key.is_self()) {
            let what = format!("the foreign key {} of {}", key.name, key.child.plain());
            texts.push((what, &*key.referenced));
        }
        texts
    }

    fn refuse_columns(&self, outcomes: &ColumnOutcomes, findings: &mut Vec<Finding>) {
        for (what, columns) in self.texts() {
            for column in columns {
                if outcomes.drops(column) {
                    findings.push(Finding::new(
                        "dropped-column",
                        format!("{what} names the column {column}, which is to be dropped"),
                        "change it first, so that it does without the column",
                    ));
                } else if outcomes.renames(column) {
                    findings.push(renamed(&what, column));
                }
            }
        }
        for key in self.foreign_keys.iter().filter(|key| key.outbound && !key.goes(outcomes)) {
            for column in key.columns.iter().filter(|column| outcomes.renames(column)) {
                findings.push(renamed(&format!("the foreign key {}", key.name), column));
            }
        }
        for function in &self.functions {
            for column in function.columns.iter().filter(|column| outcomes.retyped.contains(column))
            {
                findings.push(Finding::new(
                    "function-type",
                    format!(
                        "the body of the function {} was parsed with the old type of {column}",
                        function.name
                    ),
                    "drop the function, and create it again afterwards",
                ));
            }
        }
    }

    fn refuse_rights(&self, outcomes: &ColumnOutcomes, findings: &mut Vec<Finding>) {
        let recreated = views::recreated(&self.views, outcomes);
        let mut refuse = |what: String| {
            findings.push(Finding::new(
                "rights",
                format!("{what} belongs to a role that osc's role is not a member of"),
                "grant that role to osc's, or connect as the owner",
            ));
        };
        if !self.settings.owned {
            refuse(format!("the table {}", self.table.plain()));
        }
        let views = self.views.iter().filter(|view| !view.materialized && !view.owned);
        for view in views.filter(|v| v.reads.contains(&self.oid) || recreated.contains(&v.oid)) {
            refuse(format!("the view {}", view.name.plain()));
        }
        for rule in self.rules.iter().filter(|rule| rule.names_original && !rule.owned) {
            refuse(format!("the relation {} with the rule {}", rule.on.plain(), rule.name));
        }
        for function in self.functions.iter().filter(|function| !function.owned) {
            refuse(format!("the function {}", function.name));
        }
        for policy in self.policies.iter().filter(|policy| !policy.own && !policy.owned) {
            refuse(format!("the table {} with the policy {}", policy.on.plain(), policy.name));
        }
        for key in self.foreign_keys.iter().filter(|key| !key.outbound && key.other_owner.is_some())
        {
            refuse(format!("the table {} with the foreign key {}", key.child.plain(), key.name));
        }
        for trigger in self.internal.iter().filter(|trigger| !trigger.settable) {
            findings.push(Finding::new(
                "rights",
                format!(
                    "the triggers of the constraint {} of {} are disabled, and only a superuser may \
                     disable those of the new table",
                    trigger.constraint,
                    trigger.of.plain()
                ),
                "ALTER TABLE … ENABLE TRIGGER ALL first, or connect as a superuser",
            ));
        }
        let mut refuse = |what: String| {
            findings.push(Finding::new(
                "rights",
                format!("{what} belongs to a role that osc's role is not a member of"),
                "grant that role to osc's, or connect as the owner",
            ));
        };
        for publication in self.publications.iter().filter(|p| !p.wide && !p.owned) {
            refuse(format!("the publication {}", publication.name));
        }
    }

    /// What the user should know, though nothing is lost by it.
    pub fn notes(&self, outcomes: &ColumnOutcomes) -> Vec<String> {
        let mut notes = grants::notes(&self.settings.grants, &self.table);
        let recreated = views::recreated(&self.views, outcomes);
        for view in self.views.iter().filter(|view| recreated.contains(&view.oid)) {
            notes.push(format!(
                "the view {} will be dropped and created again, since a column changes its type",
                view.name.plain()
            ));
            notes.extend(grants::notes(&view.grants, &view.name));
        }
        for key in self.foreign_keys.iter().filter(|key| key.goes(outcomes)) {
            notes.push(format!("the foreign key {} goes", key.name));
        }
        notes.extend(self.sequences.iter().filter_map(|one| sequences::note(one, outcomes)));
        for publication in self.publications.iter().filter(|publication| !publication.wide) {
            notes.push(format!(
                "subscribers of the publication {} need ALTER SUBSCRIPTION … REFRESH PUBLICATION WITH \
                 (copy_data = false) right after the swap",
                publication.name
            ));
        }
        if !self.event_triggers.0.is_empty() {
            notes.push(format!(
                "event triggers will see the statements of the swap: {}",
                self.event_triggers.0.join(", ")
            ));
        }
        notes
    }
}

fn renamed(what: &str, column: &Ident) -> Finding {
    Finding::new(
        "renamed-column",
        format!("{what} names the column {column}, which is to be renamed in the same command"),
        "rename the column by a command of its own: that takes no copy",
    )
}
