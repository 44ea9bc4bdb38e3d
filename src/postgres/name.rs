//! Names and literals: the one quoting layer for PostgreSQL.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fnv::fnv1a;

/// An identifier, as it stands in the catalog: not quoted, not folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ident(pub String);

impl Ident {
    /// The server's limit: NAMEDATALEN less one.
    pub const MAX_BYTES: usize = 63;

    /// An identifier of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Whether it means the same without quotes.
    fn is_plain(&self) -> bool {
        self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && self.0.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name with `suffix`, shortened in a way that keeps different names different where the
    /// two together are too long.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let whole = format!("{}{suffix}", self.0);
        if whole.len() <= Self::MAX_BYTES {
            return Self(whole);
        }
        let digest = format!("~{:08x}", fnv1a(self.0.as_bytes()));
        let mut room = Self::MAX_BYTES.saturating_sub(suffix.len() + digest.len());
        while !self.0.is_char_boundary(room) {
            room -= 1;
        }
        let start = self.0.get(..room).unwrap_or_default();
        Self(format!("{start}{digest}{suffix}"))
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A table, or another relation, with its schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub table: Ident,
}

impl TableName {
    /// A table of this name.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: Ident::new(schema), table: Ident::new(table) }
    }

    /// Another table of the same schema.
    #[must_use]
    pub fn sibling(&self, table: Ident) -> Self {
        Self { schema: self.schema.clone(), table }
    }

    /// For a human, who can type it so: `shop.users`, `shop."My Table"`.
    pub fn plain(&self) -> String {
        let typed = |name: &Ident| if name.is_plain() { name.0.clone() } else { name.to_string() };
        format!("{}.{}", typed(&self.schema), typed(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A string literal, the same whatever `standard_conforming_strings` says.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') {
            // The space keeps the E apart from a word before it.
            write!(f, " E'{}'", quoted.replace('\\', "\\\\"))
        } else {
            write!(f, "'{quoted}'")
        }
    }
}

/// The tables of a run beside the original. Several retired tables may stand, so that which names a run has is
/// stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Helpers {
    /// Its replacement: until the cut-over it has this name.
    pub shadow: TableName,
    /// The original after the cut-over.
    pub retired: TableName,
    /// The suffix of what retires with the original: indexes, sequences, statistics.
    pub suffix: String,
}

impl Helpers {
    /// The helpers of `original`, where no retired table stands.
    pub fn of(original: &TableName) -> Self {
        Self::numbered(original, 1)
    }

    /// The same for the retired table of this number: `users_osc_old`, `users_osc_old_2` …
    pub fn numbered(original: &TableName, number: u32) -> Self {
        let helper = |suffix: &str| original.sibling(original.table.with_suffix(suffix));
        let suffix = match number {
            0 | 1 => OLD.to_owned(),
            number => format!("{OLD}_{number}"),
        };
        Self { shadow: helper(NEW), retired: helper(&suffix), suffix }
    }
}

/// The suffix of names that belong to the shadow until the swap.
pub const NEW: &str = "_osc_new";

/// The suffix of names that belong to a retired table; the second one's has a number after it.
pub const OLD: &str = "_osc_old";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_and_literals_are_quoted() {
        assert_eq!(Ident::new("a\"b").to_string(), "\"a\"\"b\"");
        assert_eq!(TableName::new("s", "t").to_string(), "\"s\".\"t\"");
        assert_eq!(TableName::new("shop", "users_2").plain(), "shop.users_2");
        assert_eq!(TableName::new("shop", "My\"s").plain(), "shop.\"My\"\"s\"");
        assert_eq!(Text("it's").to_string(), "'it''s'");
        assert_eq!(Text("a\\'").to_string(), " E'a\\\\'''");
    }

    #[test]
    fn helper_names_are_the_words_of_the_design() {
        let helpers = Helpers::of(&TableName::new("public", "users"));
        assert_eq!(helpers.shadow.plain(), "public.users_osc_new");
        assert_eq!(helpers.retired.plain(), "public.users_osc_old");
    }

    proptest! {
        #[test]
        fn helper_names_fit(table in "[a-z\u{e9}\u{20ac}\u{1f600}]{1,40}") {
            let helpers = Helpers::of(&TableName::new("s", table));
            prop_assert!(helpers.shadow.table.0.len() <= Ident::MAX_BYTES);
            prop_assert!(helpers.retired.table.0.len() <= Ident::MAX_BYTES);
            prop_assert_ne!(helpers.shadow.table, helpers.retired.table);
        }
    }
}
