//! The settings of osc's sessions: one list, with what becomes of each of the server's.
//!
//! A setting that changes how a statement of osc's is read, limited, timed or rendered is fixed in every
//! session, from the startup packet on. One that changes *values* is the role's: what a plain session of
//! the same role and database has, read at the start, stored with the run, and in force only while
//! values are converted or the user's own words are read. Keys are rendered by the fixed ones.
//! `docs/decisions/0021-session-settings-postgres.md` has the reasons; a test walks `pg_settings` of each server.

mod list;
mod role;

use crate::testing::mutation::{self, Rule};

pub use list::{Class, class};
pub use role::{RoleSettings, search_path};

use list::{LATER, STARTUP};

/// Options of the startup packet: `-c name=value …`.
pub fn startup() -> String {
    startup_of(STARTUP.iter().map(|(name, value)| (*name, *value)).filter(|(name, _)| keeps(name)))
}

/// Whether osc keeps the rule that fixes this setting.
fn keeps(name: &str) -> bool {
    match name {
        "search_path" => !mutation::active(Rule::PgPathFixed),
        // The run itself would not come to its end by time limits that are in force everywhere.
        _ => !mutation::active(Rule::PgSettingsFixed),
    }
}

/// The settings that are the role's.
pub fn role_names() -> impl Iterator<Item = &'static str> {
    list::ROLE.iter().map(|(name, _)| *name)
}

/// Settings as the options of a startup packet.
pub(crate) fn startup_of<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let option = |(name, value): (&str, &str)| {
        let value: String = value
            .chars()
            .flat_map(|c| {
                let escaped = c.is_whitespace() || c == '\\';
                escaped.then_some('\\').into_iter().chain([c])
            })
            .collect();
        format!("-c {name}={value}")
    };
    settings.map(option).collect::<Vec<_>>().join(" ")
}

/// Shows whether the startup packet's settings have arrived, for [`arrived`]. Nothing of what the
/// application may have put into its path is called.
pub const ARRIVED: &str = "SELECT pg_catalog.concat(pg_catalog.current_setting('search_path'), ' | ', \
                           pg_catalog.current_setting('row_security'))";

/// Whether they have: a pooler may pass them over, and hand the session's statements to any backend.
pub fn arrived(shown: &str) -> bool {
    shown == EXPECTED
        || mutation::active(Rule::PgPathFixed)
        || mutation::active(Rule::PgSettingsFixed)
}

const EXPECTED: &str = "pg_catalog, pg_temp | off";

/// What each session says first: settings that not every version has, or that only some roles may set.
/// Where one of the latter is as it must be, nothing is set; nor where a pooler answers.
pub fn later() -> String {
    if mutation::active(Rule::PgSettingsFixed) {
        return "SELECT 1".into();
    }
    let values: Vec<String> =
        LATER.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    let path = if mutation::active(Rule::PgPathFixed) {
        ""
    } else {
        " AND current_setting('search_path') = 'pg_catalog, pg_temp'"
    };
    format!(
        "SELECT set_config(s.name, v.value, false) FROM (VALUES {}) v(name, value) \
         JOIN pg_settings s ON s.name = v.name WHERE s.setting <> v.value{path}",
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_escaped_as_the_server_reads_them() {
        let settings = [("a", "x y"), ("b", "c\\d")];
        assert_eq!(startup_of(settings.into_iter()), "-c a=x\\ y -c b=c\\\\d");
        assert!(startup().contains("-c search_path=pg_catalog,\\ pg_temp"));
        let value =
            |name| STARTUP.iter().find(|setting| setting.0 == name).map(|setting| setting.1);
        let shown = [value("search_path"), value("row_security")].map(Option::unwrap_or_default);
        assert!(arrived(&shown.join(" | ")) && !arrived("\"$user\", public | on"));
    }

    #[test]
    fn no_setting_has_two_classes() {
        let mut names = list::names();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
