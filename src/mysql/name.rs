//! Names and literals: the one quoting layer for MySQL and MariaDB.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fnv::fnv1a;
use crate::testing::mutation::{self, Rule};

/// An identifier; `Display` quotes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ident(pub String);

impl Ident {
    /// The longest name of a table, column or index (manual: "Identifier Length Limits").
    pub const MAX_CHARS: usize = 64;

    /// An identifier with this raw name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The raw name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both name the same column or index: the server compares these without case.
    pub fn same(&self, other: &Self) -> bool {
        self.0.to_lowercase() == other.0.to_lowercase()
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.replace('`', "``"))
    }
}

/// A table with its schema; `Display` quotes both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema (database).
    pub schema: Ident,
    /// The table.
    pub table: Ident,
}

impl TableName {
    /// A name from raw parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: Ident::new(schema), table: Ident::new(table) }
    }

    /// The same schema, another table.
    #[must_use]
    pub fn sibling(&self, table: impl Into<String>) -> Self {
        Self { schema: self.schema.clone(), table: Ident::new(table) }
    }

    /// For a human: unquoted, `schema.table`.
    pub fn plain(&self) -> String {
        format!("{}.{}", self.schema.0, self.table.0)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A string literal; `Display` quotes it. Safe whatever `sql_mode` says of backslashes: bytes
/// outside a harmless set make it hexadecimal.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.chars().all(|c| (' '..='~').contains(&c) && c != '\'' && c != '\\') {
            write!(f, "'{}'", self.0)
        } else {
            write!(f, "_utf8mb4 {}", Hex(self.0.as_bytes()))
        }
    }
}

/// The text of a COMMENT, where no other form of literal can stand; `Display` quotes it. Only texts that
/// every `sql_mode` reads alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment(String);

impl Comment {
    /// `None`: some modes would read the text in another way.
    pub fn new(text: String) -> Option<Self> {
        (!text.contains('\\') && !text.chars().any(char::is_control)).then_some(Self(text))
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

impl Serialize for Comment {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Comment {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(from)?)
            .ok_or_else(|| serde::de::Error::custom("a comment with a backslash or a control sign"))
    }
}

/// Bytes as a hexadecimal literal.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X'")?;
        for byte in self.0 {
            write!(f, "{byte:02X}")?;
        }
        f.write_str("'")
    }
}

/// The helper tables of one run. A run records them, since several retired tables may stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helpers {
    /// `users_osc_new`; in an undo the table that another run retired.
    pub shadow: TableName,
    /// `users_osc_old`, or the next one that is free: `users_osc_old_2`.
    pub retired: TableName,
}

/// So many tables of one original may be retired at a time.
pub const MOST_RETIRED: usize = 9;

impl Helpers {
    /// Names for the helpers of `original`: within the limit of 64 characters, and sorting after
    /// it in bytes, since MariaDB's RENAME takes its locks in that order and loses writes
    /// otherwise (`docs/decisions/0005-names.md`).
    pub fn of(original: &TableName) -> Self {
        if mutation::active(Rule::NamesSortAfter) {
            let helper = |end| original.sibling(format!("_{}_{end}", original.table.as_str()));
            return Self { shadow: helper("osc_new"), retired: helper("osc_old") };
        }
        let helper = |suffix: &str| original.sibling(helper_name(original.table.as_str(), suffix));
        Self { shadow: helper("_osc_new"), retired: helper("_osc_old") }
    }

    /// The names that a retired table may have, in the order in which they are taken.
    pub fn retired_names(original: &TableName) -> Vec<TableName> {
        let more = (2..=MOST_RETIRED).map(|number| format!("_osc_old_{number}"));
        let more = more.map(|suffix| helper_name(original.table.as_str(), &suffix));
        let first = Self::of(original).retired;
        std::iter::once(first).chain(more.map(|name| original.sibling(name))).collect()
    }

    /// The table in which an undo's sessions lay rows aside, each its own.
    pub fn scratch(original: &TableName) -> TableName {
        original.sibling(helper_name(original.table.as_str(), "_osc_put"))
    }
}

fn helper_name(table: &str, suffix: &str) -> String {
    let whole = format!("{table}{suffix}");
    if whole.chars().count() <= Ident::MAX_CHARS {
        return whole;
    }
    let digest = format!("{:08x}", fnv1a(table.as_bytes()));
    let room = Ident::MAX_CHARS - suffix.chars().count() - digest.len() - 1;
    let prefix: String = table.chars().take(room).collect();
    ["_", "~", "\u{fffd}"]
        .iter()
        .map(|joint| format!("{prefix}{joint}{digest}{suffix}"))
        .find(|name| name.as_bytes() > table.as_bytes())
        .unwrap_or_else(|| format!("\u{fffd}{digest}{suffix}"))
}

/// An account as GRANT takes it, from what `CURRENT_USER()` says: `user@host`.
pub fn account(current_user: &str) -> String {
    let (user, host) = current_user.rsplit_once('@').unwrap_or((current_user, "%"));
    format!("{}@{}", Ident::new(user), Ident::new(host))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_and_literals_are_quoted() {
        assert_eq!(Ident::new("a`b").to_string(), "`a``b`");
        assert_eq!(TableName::new("s", "t").to_string(), "`s`.`t`");
        assert_eq!(Text("plain").to_string(), "'plain'");
        assert_eq!(Text("it's").to_string(), "_utf8mb4 X'69742773'");
        assert_eq!(Text("\\").to_string(), "_utf8mb4 X'5C'");
        assert_eq!(Comment::new("it's".into()).unwrap().to_string(), "'it''s'");
        assert_eq!(Comment::new("\\' , DROP".into()), None);
        assert!(serde_json::from_str::<Comment>(r#""\\""#).is_err());
    }

    #[test]
    fn helper_names_are_the_words_of_the_design() {
        let helpers = Helpers::of(&TableName::new("shop", "users"));
        assert_eq!(helpers.shadow.plain(), "shop.users_osc_new");
        assert_eq!(helpers.retired.plain(), "shop.users_osc_old");
    }

    proptest! {
        #[test]
        fn helper_names_fit_and_sort_after_the_original(table in "[ -~\u{e9}\u{20ac}\u{ffee}]{1,64}") {
            let helpers = Helpers::of(&TableName::new("s", table.clone()));
            for name in [&helpers.shadow.table, &helpers.retired.table] {
                prop_assert!(name.as_str().chars().count() <= Ident::MAX_CHARS);
                prop_assert!(name.as_str().as_bytes() > table.as_bytes());
            }
            prop_assert_ne!(helpers.shadow.table, helpers.retired.table);
        }
    }
}
