//! The settings of osc's sessions: one list per purpose, and what follows the operator's own sessions.
//!
//! A setting that changes how a statement of osc is read, limited, timed or shown has a value here, in
//! `lists.rs`. A setting that changes *values* (what an expression of the table or of the clauses gives)
//! is what a plain session of the same login has: [`Role`]. `tests/session_settings` classifies every
//! session variable of both servers, and fails where a server has one that it does not know.

mod lists;
mod role;

pub use role::Role;

use lists::{CHANGES, CUT_OVER, EVERY, Fixed, ROWS};

use crate::testing::mutation::{self, Rule};

/// One statement that sets all of a list. What another server does not know stands in comments that only
/// the server concerned executes.
fn set(list: &[Fixed]) -> String {
    let mut text = String::from("SET ");
    for (at, fixed) in list.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        text.push_str(
            &fixed.on.only(&format!("{separator}SESSION {} = {}", fixed.name, fixed.value)),
        );
    }
    text
}

/// Statements in the order in which the driver takes them: it begins with the last.
pub fn for_driver(mut setup: Vec<String>) -> Vec<String> {
    setup.reverse();
    setup
}

/// What every session of osc begins with, whatever it is for.
pub fn every() -> Vec<String> {
    let mut setup = vec![Role::remembered().to_owned()];
    if !mutation::active(Rule::SettingsFixed) {
        setup.push(set(EVERY));
    }
    setup.extend([
        "SET NAMES utf8mb4".to_owned(),
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE".to_owned(),
    ]);
    setup
}

/// Sessions that read, copy, refresh and compare rows.
pub fn rows(reading: Reading, role: &Role) -> Vec<String> {
    let mut setup = every();
    let zone = if reading.zoned { role.zone() } else { "'+00:00'".into() };
    let zone = if mutation::active(Rule::ServersZone) { "'+00:00'".into() } else { zone };
    let dates = if reading.strict_dates { "" } else { ",ALLOW_INVALID_DATES" };
    let strict = if mutation::active(Rule::Strict) { "" } else { "STRICT_ALL_TABLES," };
    let kept = role.arithmetic();
    setup.push(set(ROWS));
    setup.push(role.values());
    setup.push(format!(
        "SET SESSION time_zone = {zone}, SESSION sql_mode = \
         '{strict}NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION{dates}{kept}'"
    ));
    if mutation::active(Rule::NoReadLocks) {
        setup.push("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ".to_owned());
    }
    setup
}

/// Sessions that make, change, lock and rename tables.
pub fn changes() -> Vec<String> {
    let mut setup = every();
    setup.push(set(CHANGES));
    setup
}

/// The session that holds the cut-over's locks, of those for rows: the server ends it, and its locks with
/// it, when osc has not sent a statement for `idle` seconds.
pub fn cut_over(idle: u64) -> Vec<String> {
    if mutation::active(Rule::ServerEndsLock) {
        return vec!["SET SESSION autocommit = 0".to_owned()];
    }
    vec![set(CUT_OVER), format!("SET SESSION wait_timeout = {idle}")]
}

/// How the sessions see values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// In the server's own time zone, not in UTC.
    pub zoned: bool,
    /// Refusing dates such as February 31st.
    pub strict_dates: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_is_one_statement_and_names_nothing_twice() {
        for list in [EVERY, ROWS, CHANGES, CUT_OVER] {
            let mut names: Vec<_> = list.iter().map(|fixed| (fixed.name, fixed.on)).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), list.len());
            assert!(list.iter().all(|fixed| !fixed.why.is_empty()));
            // The first has no comma before it, so every server must know it.
            assert_eq!(list.first().map(|fixed| fixed.on), Some(lists::On::Both));
        }
        assert!(set(EVERY).starts_with("SET SESSION autocommit = 1, SESSION "));
    }

    #[test]
    fn the_table_of_all_variables_says_fixed_of_what_the_lists_fix() {
        let table = include_str!("../../../../tests/it/session_settings/variables.txt");
        let section = table.split("\n[fixed] ").nth(1).and_then(|rest| rest.split("\n[").next());
        let lines = section.into_iter().flat_map(str::lines).skip(1);
        let listed: std::collections::BTreeSet<&str> = lines
            .filter_map(|line| line.split([' ', '@']).next())
            .filter(|name| !name.is_empty())
            .collect();
        let fixed = [EVERY, ROWS, CHANGES, CUT_OVER]
            .into_iter()
            .flatten()
            .map(|fixed| fixed.name)
            .collect();
        assert_eq!(listed, fixed);
    }
}
