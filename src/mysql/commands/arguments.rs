//! What was asked for on the command line: a table and clauses, or one statement.

use crate::config::target::Target;
use crate::error::{Error, Result};
use crate::mysql::clauses::same::same as no_change;
use crate::mysql::name::{Ident, TableName};
use crate::plan::{Request, TableArg};

/// Reads `TABLE CLAUSES`, or a whole ALTER TABLE statement in place of either.
///
/// # Errors
/// `Usage`.
pub fn change(first: &str, second: Option<&str>) -> Result<Request> {
    let change = match (statement(first)?, second) {
        (Some(change), None) => change,
        (Some(_), Some(_)) => {
            return Err(usage("an ALTER TABLE statement is followed by nothing"));
        }
        (None, None) => return Err(usage("the CLAUSES are missing")),
        (None, Some(clauses)) => {
            let table = table(first)?;
            match statement(clauses)? {
                None => Request { table, clauses: unended(clauses).to_owned() },
                Some(change) if same(&change.table, &table) => Request { table, ..change },
                Some(change) => {
                    return Err(usage(format!(
                        "TABLE is {} but the statement changes {}",
                        table.table, change.table.table
                    )));
                }
            }
        }
    };
    if no_change(&change.clauses, "") {
        return Err(Error::Usage {
            message: "the CLAUSES are empty".into(),
            help: "write what is to change; to rebuild the table as it is: osc alter users FORCE"
                .into(),
        });
    }
    Ok(change)
}

/// Reads a table: `users`, `db.users`, `` `my db`.`my table` ``.
///
/// # Errors
/// `Usage`.
pub fn table(text: &str) -> Result<TableArg> {
    // Outside a statement nothing else can follow, so `my-table` needs no backticks here.
    let plain = |c: char| !c.is_whitespace() && !".`'\"".contains(c);
    match qualified(text.trim(), plain).map_err(usage)? {
        (table, "") => Ok(table),
        (_, rest) => Err(usage(format!(
            "a table is TABLE or SCHEMA.TABLE, in backticks where a part has dots, quotes or \
             spaces; cannot parse it at {rest:?}"
        ))),
    }
}

/// The table's whole name: without a schema in it, in the connection's.
///
/// # Errors
/// `Usage` where neither names one.
pub(super) fn whole_name(named: &TableArg, target: &Target) -> Result<TableName> {
    let TableArg { schema, table } = named;
    let schema = schema.clone().or_else(|| target.database.clone());
    let schema = schema.ok_or_else(|| Error::Usage {
        message: format!("no database selected: write shop.{table} or put /shop in the URL"),
        help: String::new(),
    })?;
    Ok(TableName { schema: Ident::new(schema), table: Ident::new(table.clone()) })
}

/// Whether the statement's table can be the one that was named.
fn same(stated: &TableArg, named: &TableArg) -> bool {
    stated.table == named.table && (stated.schema.is_none() || stated.schema == named.schema)
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage {
        message: message.into(),
        help: "osc alter TABLE \"CLAUSES\", like: osc alter users \"ADD COLUMN age INT\"".into(),
    }
}

/// Splits a whole statement; `None`: it is not one.
fn statement(text: &str) -> Result<Option<Request>> {
    let Some(rest) = keyword(text.trim_start(), "ALTER") else { return Ok(None) };
    let rest = keyword(rest, "ONLINE").unwrap_or(rest);
    let ignore = keyword(rest, "IGNORE");
    let Some(rest) = keyword(ignore.unwrap_or(rest), "TABLE") else { return Ok(None) };
    if ignore.is_some() {
        return Err(usage("ALTER IGNORE TABLE would drop rows silently, which osc never does"));
    }
    let rest = keyword(rest, "IF").and_then(|rest| keyword(rest, "EXISTS")).unwrap_or(rest);
    // The server's characters of an unquoted name (manual: "Schema Object Names").
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || c >= '\u{80}';
    let (table, rest) = qualified(rest, plain).map_err(usage)?;
    Ok(Some(Request { table, clauses: unended(rest).to_owned() }))
}

/// Without the signs that end a statement.
fn unended(text: &str) -> &str {
    text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}

/// What follows `word` at the start of `text`.
fn keyword<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    let ends = rest.chars().next().is_none_or(|c| c.is_whitespace() || c == '`');
    (start.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start())
}

/// A name of one or two parts, and what follows it.
fn qualified(
    text: &str,
    plain: impl Fn(char) -> bool,
) -> std::result::Result<(TableArg, &str), String> {
    let (first, rest) = part(text, &plain)?;
    match rest.strip_prefix('.') {
        None => Ok((TableArg { schema: None, table: first }, rest)),
        Some(rest) => {
            let (table, rest) = part(rest, &plain)?;
            Ok((TableArg { schema: Some(first), table }, rest))
        }
    }
}

fn part(text: &str, plain: impl Fn(char) -> bool) -> std::result::Result<(String, &str), String> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(quoted) => backticked(quoted).ok_or("a backtick in the table's name is not closed")?,
        None => {
            let end = text.find(|c| !plain(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            (name.to_owned(), rest)
        }
    };
    if name.is_empty() {
        return Err("a part of the table's name is empty".into());
    }
    if name.chars().count() > Ident::MAX_CHARS {
        return Err(format!(
            "a part of the table's name is longer than {} characters",
            Ident::MAX_CHARS
        ));
    }
    if name.contains('\0') {
        return Err("the table's name has a NUL in it".into());
    }
    Ok((name, rest))
}

/// The name up to its closing backtick; a doubled one stands for itself.
fn backticked(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (piece, tail) = rest.split_once('`')?;
        name.push_str(piece);
        match tail.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(schema: Option<&str>, table: &str) -> TableArg {
        TableArg { schema: schema.map(Into::into), table: table.into() }
    }

    fn read(first: &str, second: Option<&str>) -> Request {
        change(first, second).unwrap()
    }

    #[test]
    fn tables_are_named_with_and_without_schema_and_backticks() {
        let read = |text: &str| table(text).unwrap();
        assert_eq!(read("users"), named(None, "users"));
        assert_eq!(read(" shop.users "), named(Some("shop"), "users"));
        assert_eq!(read("`my.db`.`a``b c`"), named(Some("my.db"), "a`b c"));
        assert_eq!(read("shop.`users`"), named(Some("shop"), "users"));
        assert_eq!(read("my-table"), named(None, "my-table"));
        assert_eq!(read("größe"), named(None, "größe"));
        assert_eq!(read(&"é".repeat(64)).table.chars().count(), 64);
    }

    #[test]
    fn what_names_no_table_is_an_error() {
        let long = "é".repeat(65);
        for text in [
            "", " ", ".", "a.", ".a", "a.b.c", "`a", "``", "a b", "`a`b", "'a'", "a\"b", &long,
            "`a\0`",
        ] {
            assert!(table(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_whole_statement_is_taken_apart() {
        let expected =
            Request { table: named(Some("s"), "users"), clauses: "ADD a INT DEFAULT ';'".into() };
        for text in [
            "ALTER TABLE s.users ADD a INT DEFAULT ';'",
            "\n alter\ttable `s`.`users`  ADD a INT DEFAULT ';' ; \n",
            "ALTER ONLINE TABLE IF EXISTS s.users ADD a INT DEFAULT ';'",
            "ALTER TABLE`s`.`users`ADD a INT DEFAULT ';'",
        ] {
            assert_eq!(read(text, None), expected, "{text}");
        }
        assert_eq!(read("ALTER TABLE IF ADD a INT", None).table, named(None, "IF"));
    }

    #[test]
    fn a_statement_may_stand_for_the_clauses_of_the_same_table() {
        let both = read("s.users", Some("ALTER TABLE users ADD a INT"));
        assert_eq!(both, read("s.users", Some(" ADD a INT ")));
        assert!(change("users", Some("ALTER TABLE orders ADD a INT")).is_err());
        assert!(change("users", Some("ALTER TABLE s.users ADD a INT")).is_err());
    }

    #[test]
    fn clauses_that_begin_with_alter_are_clauses() {
        for clauses in ["ALTER COLUMN a SET DEFAULT 1", "ALTER online SET DEFAULT 1", "ALTER"] {
            assert_eq!(read("users", Some(clauses)).clauses, clauses);
        }
    }

    #[test]
    fn what_makes_no_change_is_an_error() {
        for (first, second) in [
            ("users", None),
            ("users", Some(" ")),
            ("users", Some(" ; ")),
            ("users", Some("-- nothing")),
            ("users", Some("/* nothing */ ;")),
            ("ALTER TABLE users /* nothing */", None),
            ("ALTER TABLE users", None),
            ("ALTER TABLE users;", None),
            ("ALTER TABLE", None),
            ("ALTER TABLE \"users\" ADD a INT", None),
            ("ALTER TABLE users ADD a INT", Some("ADD b INT")),
            ("ALTER IGNORE TABLE users ADD UNIQUE (a)", None),
        ] {
            assert!(change(first, second).is_err(), "{first:?} {second:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(first in "(ALTER TABLE )?.*", second in ".*") {
            let _ = change(&first, Some(&second));
            let _ = change(&first, None);
        }

        #[test]
        fn a_quoted_name_comes_back_whole(schema in "[^\0]{1,64}", name in "[^\0]{1,64}") {
            let quoted = TableName::new(schema.clone(), name.clone()).to_string();
            prop_assert_eq!(table(&quoted).ok(), Some(named(Some(&schema), &name)));
        }
    }
}
