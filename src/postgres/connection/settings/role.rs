//! What a plain session of the role has of the settings that change values, and its search path.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio_postgres::SimpleQueryMessage;

use super::list::ROLE;
use crate::error::{Error, Result};
use crate::postgres::connection::connect::{Options, connect_plain};
use crate::postgres::connection::errors::server_error;
use crate::postgres::name::{Ident, Text};
use crate::testing::mutation::{self, Rule};

const ACTION: &str = "reading the role's settings";

/// Where the user's words look for names.
const PATH: &str = "search_path";

/// The settings of a plain session of the role, by name. What comes out of the ledger is checked: known
/// names only, and values are quoted wherever they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct RoleSettings(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for RoleSettings {
    type Error = String;

    fn try_from(values: BTreeMap<String, String>) -> std::result::Result<Self, String> {
        match values.keys().find(|name| !known().any(|known| known == name.as_str())) {
            Some(name) => Err(format!("{name} is no setting that a run has")),
            None => Ok(Self(values)),
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    ROLE.iter().map(|(name, _)| *name).chain([PATH])
}

impl RoleSettings {
    /// Reads them in a session that sets nothing. SHOW calls no function and no operator, so that the
    /// path, which is not osc's there, finds nothing.
    ///
    /// # Errors
    /// Those of [`connect_plain`].
    pub async fn read(options: &Options) -> Result<Self> {
        let client = connect_plain(options, ACTION).await?;
        let names: Vec<&str> = known().collect();
        let sql: String = names.iter().map(|name| format!("SHOW {name};")).collect();
        let messages =
            client.simple_query(&sql).await.map_err(|error| server_error(ACTION, &error))?;
        let shown = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        let shown: Vec<String> = shown.collect();
        if shown.len() != names.len() {
            return Err(Error::Internal("not every setting was shown".into()));
        }
        Ok(Self(names.into_iter().map(str::to_owned).zip(shown).collect()))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The schemas of its search path, as they are written: `$user` among them.
    pub fn path(&self) -> BTreeSet<String> {
        let path = search_path(self.value(PATH).unwrap_or_default());
        path.into_iter().map(|schema| schema.as_str().to_owned()).collect()
    }

    /// Statements, each ended by `;`, after which a transaction converts values as the role does.
    pub fn for_values(&self) -> String {
        if mutation::active(Rule::PgRoleValues) {
            return String::new();
        }
        let different = ROLE.iter().filter_map(|(name, fixed)| {
            let value = self.value(name)?;
            (Some(value) != *fixed).then(|| format!("SET LOCAL {name} = {}; ", Text(value)))
        });
        different.collect()
    }

    /// Those after which it is osc's again.
    pub fn back(&self) -> String {
        let fixed = ROLE.iter().filter_map(|(name, fixed)| {
            let (value, fixed) = (self.value(name)?, (*fixed)?);
            (value != fixed).then(|| format!("; SET LOCAL {name} = {}", Text(fixed)))
        });
        fixed.collect()
    }

    /// Statements of the user's words, as a plain session of the role reads them: under its search path.
    /// In one message, or in a transaction. Nothing of osc's that calls a function or an operator may
    /// be among them.
    pub fn in_words(&self, sql: &str) -> String {
        let Some(path) = self.value(PATH) else { return sql.to_owned() };
        let (values, path, back) = (self.for_values(), rendered(path), self.back());
        format!(
            "{values}SET LOCAL search_path = {path}; {sql}; \
             SET LOCAL search_path = pg_catalog, pg_temp{back}"
        )
    }
}

/// The schemas of a search path, as the server shows it.
pub fn search_path(shown: &str) -> Vec<Ident> {
    let mut schemas = Vec::new();
    let mut characters = shown.chars().peekable();
    let (mut name, mut quoted) = (String::new(), false);
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                name.extend(characters.next());
            }
            '"' => quoted = !quoted,
            ',' if !quoted => schemas.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c => name.push(c),
        }
    }
    schemas.push(name);
    schemas.into_iter().filter(|name| !name.is_empty()).map(Ident).collect()
}

fn rendered(path: &str) -> String {
    let schemas: Vec<String> = search_path(path).iter().map(Ident::to_string).collect();
    if schemas.is_empty() { "''".into() } else { schemas.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> RoleSettings {
        RoleSettings(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn a_path_is_taken_apart_and_quoted_again() {
        assert_eq!(rendered("\"$user\", public"), "\"$user\", \"public\"");
        assert_eq!(rendered("\"a\"\"b,c\", D"), "\"a\"\"b,c\", \"D\"");
        assert_eq!(rendered(""), "''");
        assert_eq!(rendered("x\"; DROP TABLE t; --"), "\"x; DROP TABLE t; --\"");
    }

    #[test]
    fn only_what_differs_is_set_and_taken_back() {
        let role = settings(&[("DateStyle", "German, DMY"), ("TimeZone", "UTC"), ("lc_time", "C")]);
        assert_eq!(
            role.for_values(),
            "SET LOCAL DateStyle = 'German, DMY'; SET LOCAL lc_time = 'C'; "
        );
        assert_eq!(role.back(), "; SET LOCAL DateStyle = 'ISO, YMD'");
    }

    #[test]
    fn a_ledger_brings_no_other_setting() {
        let read = |text: &str| serde_json::from_str::<RoleSettings>(text);
        assert!(read("{\"TimeZone\": \"x'; DROP TABLE t; --\"}").is_ok());
        assert!(read("{\"session_authorization\": \"postgres\"}").is_err());
        let evil = settings(&[("TimeZone", "x'; DROP TABLE t; --")]);
        assert_eq!(evil.for_values(), "SET LOCAL TimeZone = 'x''; DROP TABLE t; --'; ");
    }
}
