//! What a plain session of the same login has, where it changes values: read once, before osc's own
//! settings are made, and set in every session whose statements evaluate the table's expressions.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use serde::{Deserialize, Serialize};

use super::lists::On;
use crate::error::{Finding, Result};
use crate::mysql::connection::answer::Answers as _;
use crate::mysql::connection::errors::{ACCESS_DENIED, connection_error};
use crate::mysql::connection::texts::texts;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::{Text, account};

/// Modes that change what an expression gives, not how osc's statements are read. PAD_CHAR_TO_FULL_LENGTH
/// is none of them: keys would no longer be found by their values.
const ARITHMETIC: &[&str] = &[
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_UNSIGNED_SUBTRACTION",
    "TIME_TRUNCATE_FRACTIONAL",
    "TIME_ROUND_FRACTIONAL",
];

/// Modes without which the clauses are read as osc's parser reads them, and definitions are shown whole.
/// Names that stand for several modes are left out too: the modes themselves are in the list.
const NEVER: &[&str] = &[
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "ANSI",
    "ORACLE",
    "MSSQL",
    "DB2",
    "MAXDB",
    "POSTGRESQL",
    "MYSQL323",
    "MYSQL40",
    "TRADITIONAL",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "NO_FIELD_OPTIONS",
    "NO_DIR_IN_CREATE",
    "PAD_CHAR_TO_FULL_LENGTH",
];

/// Modes under which a default that the table has already would be refused again.
const ZERO_DATES: &[&str] = &["NO_ZERO_DATE", "NO_ZERO_IN_DATE"];

/// Settings beside the mode and the zone that change what an expression gives. A server that lacks one
/// does not show it.
const VALUES: &[&str] = &[
    "auto_increment_increment",
    "auto_increment_offset",
    "block_encryption_mode",
    "default_regex_flags",
    "default_week_format",
    "div_precision_increment",
    "explicit_defaults_for_timestamp",
    "lc_time_names",
    "old_mode",
];

/// MySQL 8.0.14 to 8.0.17 allow no one to set these without a right (manual: "System Variable Privileges",
/// release notes of 8.0.14 and 8.0.18).
const RESTRICTED: [&str; 2] = ["auto_increment_increment", "auto_increment_offset"];

fn restricts(flavor: Flavor) -> bool {
    !flavor.is_mariadb() && flavor.at_least(8, 0, 14) && !flavor.at_least(8, 0, 18)
}

/// What a plain session of the same login has. A run keeps it in the ledger: names that come from there
/// are checked, and values are quoted wherever they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept")]
pub struct Role {
    modes: Vec<String>,
    zone: String,
    /// Names of [`VALUES`] and what they were.
    values: Vec<(String, String)>,
}

/// As the ledger has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    modes: Vec<String>,
    zone: String,
    values: Vec<(String, String)>,
}

impl TryFrom<Kept> for Role {
    type Error = String;

    fn try_from(Kept { modes, zone, values }: Kept) -> std::result::Result<Self, String> {
        if let Some(mode) = modes.iter().find(|mode| !is_word(mode)) {
            return Err(format!("{mode:?} is no mode"));
        }
        match values.iter().find(|(name, _)| !VALUES.contains(&name.as_str())) {
            Some((name, _)) => Err(format!("{name} is no setting that a run has")),
            None => Ok(Self { modes, zone, values }),
        }
    }
}

impl Role {
    /// The first statement of every session: keeps what osc then sets otherwise.
    pub(crate) fn remembered() -> &'static str {
        "SET @osc_sql_mode = @@SESSION.sql_mode, @osc_time_zone = @@SESSION.time_zone"
    }

    /// Reads it in any session of osc that sets none of this for itself.
    pub async fn read(conn: &mut Conn) -> Result<Self> {
        let action = "reading the settings of a plain session";
        let failed = |error| connection_error(action, error);
        let (modes, zone): (String, String) = conn
            .query_first("SELECT @osc_sql_mode, @osc_time_zone")
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let names: Vec<String> = VALUES.iter().map(|name| Text(name).to_string()).collect();
        let rows: Vec<Row> = conn
            .all(format!("SHOW SESSION VARIABLES WHERE Variable_name IN ({})", names.join(", ")))
            .await
            .map_err(failed)?;
        let mut values = Vec::new();
        for row in rows {
            if let [name, value] = texts(row)?.as_slice() {
                values.push((name.to_lowercase(), value.clone()));
            }
        }
        let modes = modes.split(',').filter(|mode| is_word(mode)).map(ToOwned::to_owned).collect();
        Ok(Self { modes, zone, values })
    }

    /// The refusal where the login may not set what its sessions have, as every session of a run must.
    ///
    /// # Errors
    /// Those of [`connection_error`].
    pub async fn unsettable(&self, conn: &mut Conn, flavor: Flavor) -> Result<Option<Finding>> {
        let Some((name, value)) = self.needs_right(flavor) else { return Ok(None) };
        let failed = |error| connection_error("trying a setting of a plain session", error);
        match conn.query_drop(format!("SET SESSION {name} = @@SESSION.{name}")).await {
            Ok(()) => Ok(None),
            Err(mysql_async::Error::Server(error)) if error.code == ACCESS_DENIED => {
                let user: Option<String> =
                    conn.query_first("SELECT CURRENT_USER()").await.map_err(failed)?;
                Ok(Some(no_right(name, value, &user.unwrap_or_default())))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The first setting that the server lets no one set without a right, and that must be set.
    fn needs_right(&self, flavor: Flavor) -> Option<(&str, &str)> {
        let found = self.values.iter().find(|(name, value)| {
            restricts(flavor) && RESTRICTED.contains(&name.as_str()) && value != "1"
        });
        found.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the mode is on.
    pub fn has(&self, mode: &str) -> bool {
        self.modes.iter().any(|found| found.eq_ignore_ascii_case(mode))
    }

    /// The time zone as a literal.
    pub(crate) fn zone(&self) -> String {
        if self.zone.is_empty() {
            "@@GLOBAL.time_zone".into()
        } else {
            Text(&self.zone).to_string()
        }
    }

    /// The modes that rows are copied with besides osc's own, each after a comma.
    pub(crate) fn arithmetic(&self) -> String {
        let mut text = String::new();
        for mode in ARITHMETIC.iter().filter(|mode| self.has(mode)) {
            let _ = write!(text, ",{mode}");
        }
        text
    }

    /// The statement that sets what changes values.
    pub(crate) fn values(&self) -> String {
        let mut text = format!("SET SESSION time_zone = {}", self.zone());
        for (name, value) in &self.values {
            // Numbers are not quoted.
            let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let value = if number { value.clone() } else { Text(value).to_string() };
            let setting = format!(", SESSION {name} = {value}");
            if RESTRICTED.contains(&name.as_str()) && value == "1" {
                // What they are anyway: only where no right is needed to set them.
                text.push_str(&On::Mysql(80_018).only(&setting));
                text.push_str(&On::Mariadb(100_500).only(&setting));
            } else {
                text.push_str(&setting);
            }
        }
        text
    }

    /// The modes that the user's clauses are read under. `zero_dates`: the table has defaults that the
    /// server would refuse today.
    fn clauses(&self, zero_dates: bool) -> String {
        let kept = self.modes.iter().filter(|mode| {
            let among = |list: &[&str]| list.iter().any(|one| mode.eq_ignore_ascii_case(one));
            let left_out = among(NEVER) || (zero_dates && among(ZERO_DATES));
            !left_out
        });
        kept.map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// What a session sets before it runs the user's clauses.
    pub fn for_clauses(&self, zero_dates: bool) -> [String; 2] {
        [self.values(), format!("SET SESSION sql_mode = {}", Text(&self.clauses(zero_dates)))]
    }

    /// Why the login's own sessions would read these quoted texts of the clauses in another way.
    pub fn reads_otherwise<'a>(
        &self,
        mut quoted: impl Iterator<Item = &'a str>,
    ) -> Option<Finding> {
        let (ansi, plain) = (self.has("ANSI_QUOTES"), self.has("NO_BACKSLASH_ESCAPES"));
        let as_name = |text: &str| ansi && text.starts_with('"');
        let escaped = |text: &str| plain && !text.starts_with('`') && text.contains('\\');
        let text = quoted.find(|text| as_name(text) || escaped(text))?;
        let (mode, help) = if as_name(text) {
            ("ANSI_QUOTES", "write names in backquotes and texts in single quotes")
        } else {
            (
                "NO_BACKSLASH_ESCAPES",
                "write the text without a backslash, or as X'…' in hexadecimal",
            )
        };
        Some(Finding::new(
            "sql-mode",
            format!(
                "{text} means something else in sessions with sql_mode {mode}, as this login's are"
            ),
            help,
        ))
    }
}

fn no_right(name: &str, value: &str, user: &str) -> Finding {
    Finding::new(
        "rights",
        format!(
            "sessions of {user} have {name} = {value}, which osc sets in its own, and MySQL 8.0.14 to 8.0.17 \
             let no session set it without SESSION_VARIABLES_ADMIN"
        ),
        format!("GRANT SESSION_VARIABLES_ADMIN ON *.* TO {}", account(user)),
    )
}

fn is_word(mode: &str) -> bool {
    !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::connection::version::Family;

    fn role(modes: &str) -> Role {
        Role { modes: modes.split(',').map(ToOwned::to_owned).collect(), ..Role::default() }
    }

    #[test]
    fn clauses_keep_the_logins_modes_but_for_those_of_quotes() {
        let role = role("PIPES_AS_CONCAT,ANSI_QUOTES,ANSI,NO_ZERO_DATE,NO_BACKSLASH_ESCAPES");
        assert_eq!(role.clauses(false), "PIPES_AS_CONCAT,NO_ZERO_DATE");
        assert_eq!(role.clauses(true), "PIPES_AS_CONCAT");
    }

    #[test]
    fn rows_keep_arithmetic_only() {
        let role = role("NO_UNSIGNED_SUBTRACTION,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT");
        assert_eq!(role.arithmetic(), ",NO_UNSIGNED_SUBTRACTION");
    }

    #[test]
    fn a_ledger_brings_no_other_setting() {
        let read = |text: &str| serde_json::from_str::<Role>(text);
        let role = read(r#"{"modes":["ANSI"],"zone":"x'; DO 1","values":[["old_mode","';"]]}"#);
        assert_eq!(
            role.unwrap().values(),
            "SET SESSION time_zone = _utf8mb4 X'78273B20444F2031', SESSION old_mode = _utf8mb4 X'273B'"
        );
        assert!(read(r#"{"modes":[],"zone":"","values":[["sql_log_bin","0"]]}"#).is_err());
        assert!(read(r#"{"modes":["A','B"],"zone":"","values":[]}"#).is_err());
        assert!(read(r#"{"modes":[],"zone":"","values":[],"more":1}"#).is_err());
    }

    /// Scripted: these versions cannot be run beside the tests.
    #[test]
    fn a_setting_that_needs_a_right_is_set_only_where_it_must_be() {
        let with = |value: &str| Role {
            values: vec![("auto_increment_offset".into(), value.into())],
            ..Role::default()
        };
        assert_eq!(
            with("1").values(),
            "SET SESSION time_zone = @@GLOBAL.time_zone /*!80018, SESSION auto_increment_offset = 1 */ \
             /*M!100500, SESSION auto_increment_offset = 1 */"
        );
        assert!(with("2").values().ends_with(", SESSION auto_increment_offset = 2"));
        let at = |patch| Flavor { family: Family::Mysql, version: (8, 0, patch) };
        for (patch, value, needs) in
            [(13, "2", false), (14, "2", true), (17, "2", true), (17, "1", false), (18, "2", false)]
        {
            assert_eq!(with(value).needs_right(at(patch)).is_some(), needs, "8.0.{patch} {value}");
        }
        let finding = no_right("auto_increment_offset", "2", "app@%");
        assert_eq!(finding.help, "GRANT SESSION_VARIABLES_ADMIN ON *.* TO `app`@`%`");
    }

    #[test]
    fn what_the_logins_sessions_read_otherwise_is_refused() {
        let reads = |modes: &str, text: &str| role(modes).reads_otherwise(std::iter::once(text));
        assert!(reads("ANSI_QUOTES", "\"c\"").is_some());
        assert!(reads("ANSI_QUOTES", "'c'").is_none());
        assert!(reads("NO_BACKSLASH_ESCAPES", r"'a\'").is_some());
        assert!(reads("NO_BACKSLASH_ESCAPES", r"`a\`").is_none());
        assert!(reads("STRICT_ALL_TABLES", r#""a\"""#).is_none());
    }
}
