//! What the login may do, by SHOW GRANTS.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::answer::Answers as _;
use super::errors::connection_error;
use crate::error::{Finding, Result};
use crate::mysql::name::{Ident, account};

/// One line of SHOW GRANTS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    rights: Vec<String>,
    pub(crate) scope: String,
}

impl Grant {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("GRANT ")?;
        let (rights, rest) = rest.split_once(" ON ")?;
        let (scope, _) = rest.split_once(" TO ")?;
        // A right on single columns is no right on the table.
        let rights = rights
            .split(", ")
            .filter(|right| !right.contains('('))
            .map(|right| right.trim().to_uppercase())
            .collect();
        Some(Self { rights, scope: scope.replace('`', "") })
    }

    pub(crate) fn everywhere(&self) -> bool {
        self.scope == "*.*"
    }

    pub(crate) fn covers_schema(&self, schema: &str) -> bool {
        self.everywhere()
            || self.scope.strip_suffix(".*").is_some_and(|pattern| like(pattern, schema))
    }

    pub(crate) fn gives(&self, right: &str) -> bool {
        self.rights.iter().any(|given| given == right || given.starts_with("ALL PRIVILEGES"))
    }
}

/// The refusal where the user lacks some of `rights` on `schema`. A user with roles is believed.
pub(in crate::mysql) async fn lacking(
    conn: &mut Conn,
    schema: &Ident,
    rights: &[&str],
) -> Result<Option<Finding>> {
    let covers = |grant: &Grant| grant.covers_schema(schema.as_str());
    let (place, scope) =
        (format!("the ledger's schema {}", schema.as_str()), format!("{schema}.*"));
    lacking_where(conn, rights, covers, &place, &scope).await
}

pub(crate) async fn lacking_where(
    conn: &mut Conn,
    rights: &[&str],
    covers: impl Fn(&Grant) -> bool,
    place: &str,
    scope: &str,
) -> Result<Option<Finding>> {
    let failed = |error| connection_error("reading the user's rights", error);
    let lines: Vec<String> = conn.all("SHOW GRANTS FOR CURRENT_USER()").await.map_err(failed)?;
    if lines.iter().any(|line| !line.contains(" ON ")) {
        return Ok(None);
    }
    let grants: Vec<Grant> = lines.iter().filter_map(|line| Grant::parse(line)).collect();
    let covering = || grants.iter().filter(|grant| covers(grant));
    let missing: Vec<&str> = rights
        .iter()
        .copied()
        .filter(|right| !covering().any(|grant| grant.gives(right)))
        .collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.map_err(failed)?;
    let (user, list) = (user.unwrap_or_default(), missing.join(", "));
    Ok(Some(Finding::new(
        "rights",
        format!("{user} lacks {list} on {place}"),
        format!("GRANT {list} ON {scope} TO {}", account(&user)),
    )))
}

/// Whether `text` matches a grant's pattern with `%`, `_` and `\`.
pub(in crate::mysql) fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let mut rest = text.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('%') => {
            let tail = pattern.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| like(tail, &text[at..]))
        }
        Some('_') => rest.next().is_some() && like(pattern.as_str(), rest.as_str()),
        Some('\\') => {
            let wanted = pattern.next();
            wanted.is_some() && rest.next() == wanted && like(pattern.as_str(), rest.as_str())
        }
        Some(c) => rest.next() == Some(c) && like(pattern.as_str(), rest.as_str()),
    }
}
