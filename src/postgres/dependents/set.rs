//! What can be set on a table at any time, and `LIKE` does not bring: an undo brings over what was set since the
//! change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::{Settings, options};
use crate::postgres::clauses::columns::ColumnOutcomes;
use crate::postgres::name::{Ident, TableName};

/// A shadow has it off until the swap.
const AUTOVACUUM: &str = "autovacuum_enabled";

/// What is set on a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Storage parameters, those of the TOAST table with `toast.` before them.
    options: BTreeMap<String, String>,
    /// What is set on columns.
    columns: BTreeMap<Ident, Column>,
    /// `pg_class.relreplident`.
    identity: String,
    /// Indexes.
    #[serde(default)]
    pub indexes: Vec<Ident>,
}

/// What is set on a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    /// Its statistics target.
    target: Option<i32>,
    /// Options such as `n_distinct`.
    options: BTreeMap<String, String>,
}

type Options = BTreeMap<String, String>;

fn map(list: &[String]) -> Options {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, "true"));
        (name.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

impl Set {
    pub(super) fn of(settings: &Settings) -> Self {
        let columns = settings.columns.iter().map(|column| {
            let set = Column { target: column.target, options: map(&column.options) };
            (column.name.clone(), set)
        });
        Self {
            options: map(&settings.options),
            columns: columns.filter(|(_, set)| *set != Column::default()).collect(),
            identity: settings.identity.clone(),
            indexes: Vec::new(),
        }
    }

    /// That of a shadow as it is after the swap, with `indexes`. `autovacuum`: what the shadow has of its own;
    /// `original`: what names the original's rows.
    pub fn after_swap(
        mut self,
        autovacuum: Option<&String>,
        original: &Self,
        indexes: impl Iterator<Item = Ident>,
    ) -> Self {
        self.options.remove(AUTOVACUUM);
        self.options.extend(autovacuum.map(|value| (AUTOVACUUM.to_owned(), value.clone())));
        self.indexes = indexes.collect();
        if self.identity == "d" && original.identity == "i" {
            self.identity.clone_from(&original.identity);
        }
        self
    }

    /// This one, of a table that goes back, with what was changed on the live table: from `then`, when it was swapped
    /// in, to `now`.
    #[must_use]
    pub fn with_changes(&self, then: &Self, now: &Self, outcomes: &ColumnOutcomes) -> Self {
        let mut all = self.clone();
        change(&mut all.options, &then.options, &now.options);
        for name in then.columns.keys().chain(now.columns.keys()) {
            let Some(own) = outcomes.of(name) else { continue };
            let (before, after) = (
                then.columns.get(name).cloned().unwrap_or_default(),
                now.columns.get(name).cloned(),
            );
            let after = after.unwrap_or_default();
            let column = all.columns.entry(own.clone()).or_default();
            if before.target != after.target {
                column.target = after.target;
            }
            change(&mut column.options, &before.options, &after.options);
        }
        all.columns.retain(|_, set| *set != Column::default());
        // An index is named by the swap, where the table has it.
        if then.identity != now.identity && now.identity != "i" {
            all.identity.clone_from(&now.identity);
        }
        all
    }

    /// The statements that set `wanted` on `table`, where this is set.
    pub fn to(&self, wanted: &Self, table: &TableName) -> Vec<String> {
        let mut all = statements(&format!("ALTER TABLE {table}"), &self.options, &wanted.options);
        let none = Column::default();
        let mut names: Vec<&Ident> = self.columns.keys().chain(wanted.columns.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let of = |set: &Self| set.columns.get(name).cloned().unwrap_or_else(|| none.clone());
            let (own, wanted) = (of(self), of(wanted));
            let alter = format!("ALTER TABLE {table} ALTER COLUMN {name}");
            if own.target != wanted.target {
                all.push(format!("{alter} SET STATISTICS {}", wanted.target.unwrap_or(-1)));
            }
            all.extend(statements(&alter, &own.options, &wanted.options));
        }
        let word = match wanted.identity.as_str() {
            "f" => Some("FULL"),
            "n" => Some("NOTHING"),
            "d" => Some("DEFAULT"),
            _ => None,
        };
        let word = word.filter(|_| self.identity != wanted.identity);
        all.extend(word.map(|word| format!("ALTER TABLE {table} REPLICA IDENTITY {word}")));
        all
    }
}

fn change(own: &mut Options, then: &Options, now: &Options) {
    own.retain(|name, _| !then.contains_key(name) || now.contains_key(name));
    let changed = now.iter().filter(|(name, value)| then.get(*name) != Some(value));
    own.extend(changed.map(|(name, value)| (name.clone(), value.clone())));
}

fn statements(alter: &str, own: &Options, wanted: &Options) -> Vec<String> {
    let set = wanted.iter().filter(|(name, value)| own.get(*name) != Some(value));
    let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
    let reset = own.keys().filter(|name| !wanted.contains_key(*name));
    // The value of a RESET is left out.
    let reset: Vec<String> = reset.map(|name| quoted(name)).collect();
    let mut all = Vec::new();
    if !set.is_empty() {
        all.push(format!("{alter} SET ({})", options(&set)));
    }
    if !reset.is_empty() {
        all.push(format!("{alter} RESET ({})", reset.join(", ")));
    }
    all
}

fn quoted(name: &str) -> String {
    match name.split_once('.') {
        Some((space, name)) => format!("{}.{}", Ident::new(space), Ident::new(name)),
        None => Ident::new(name).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &[&str], target: Option<i32>, identity: &str) -> Set {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        let column = Column { target, options: Options::new() };
        let columns = target.map(|_| (Ident::new("c"), column));
        Set {
            options: map(&options),
            columns: columns.into_iter().collect(),
            identity: identity.into(),
            indexes: Vec::new(),
        }
    }

    #[test]
    fn what_was_set_since_comes_over_and_what_the_change_has_set_does_not() {
        // The change has set fillfactor to 50, and a person has set parallel_workers and the target since.
        let own = set(&["fillfactor=90", "toast.vacuum_truncate=off"], None, "d");
        let then = set(&["fillfactor=50", "toast.vacuum_truncate=off"], None, "d");
        let now = set(&["fillfactor=50", "parallel_workers=2"], Some(7), "f");
        let mut outcomes = ColumnOutcomes::default();
        outcomes.columns.insert(Ident::new("c"), Some(Ident::new("old")));
        let table = TableName::new("s", "t");
        assert_eq!(
            own.to(&own.with_changes(&then, &now, &outcomes), &table),
            [
                "ALTER TABLE \"s\".\"t\" SET (\"parallel_workers\" = '2')",
                "ALTER TABLE \"s\".\"t\" RESET (\"toast\".\"vacuum_truncate\")",
                "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"old\" SET STATISTICS 7",
                "ALTER TABLE \"s\".\"t\" REPLICA IDENTITY FULL",
            ]
        );
        assert_eq!(own.to(&own.with_changes(&then, &then, &outcomes), &table), [""; 0]);
    }
}
