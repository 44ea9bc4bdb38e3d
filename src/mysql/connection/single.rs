//! Texts that osc did not write go to the server as prepared statements: such a statement is one only.
//!
//! The driver looks in them for `:name`, which it would replace, and takes a quote right after `-` or `/` for no
//! quote. What it would change is not sent.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Result, Row};
use mysql_common::named_params::ParsedNamedParams;

use super::answer::Answers as _;

/// The driver would send another text.
#[derive(Debug, thiserror::Error)]
#[error("the SQL has a `:name` outside of quotes, or in quotes that begin right after `-` or `/`")]
pub(crate) struct Changed;

/// What to do about it.
pub(crate) const HELP: &str =
    "put a space before the quote; there is nothing else for `:name` to mean";

/// Fails where the driver would change the text.
pub(crate) fn check(text: &str) -> std::result::Result<(), Changed> {
    match ParsedNamedParams::parse(text.as_bytes()) {
        Ok(parsed) if parsed.params().is_empty() => Ok(()),
        _ => Err(Changed),
    }
}

fn unchanged(text: &str) -> Result<()> {
    check(text).map_err(|changed| Error::Other(Box::new(changed)))
}

/// Runs the one statement.
pub(crate) async fn run(conn: &mut Conn, text: &str) -> Result<()> {
    unchanged(text)?;
    conn.exec_drop(text, ()).await
}

/// The rows of the one statement.
pub(crate) async fn rows(conn: &mut Conn, text: &str) -> Result<Vec<Row>> {
    unchanged(text)?;
    conn.all_of(text, ()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_would_change_is_not_sent() {
        for same in [
            "ADD COLUMN a VARCHAR(9) DEFAULT ':x'",
            "ADD COLUMN `a:b` INT COMMENT 'it''s :x, it\\'s :y'",
            "ADD COLUMN b TEXT AS (j->'$.a:b'), ADD COLUMN c TEXT AS (j->>\"$.a:b\")",
            "ADD CHECK (t > '12:30:00' AND a - ':x' < a / ':y')",
            "COMMENT '?', ADD COLUMN d INT /* :x */",
        ] {
            assert!(check(same).is_ok(), "{same}");
        }
        for other in
            ["ADD COLUMN a TEXT AS (b-':x')", "ADD CHECK (a/':x' > 1)", "ADD CHECK (a > :x)"]
        {
            assert!(check(other).is_err(), "{other}");
        }
    }
}
