//! The arguments of the command line: a table and clauses, or one statement.

use crate::config::target::Target;
use crate::error::{Error, Result};
use crate::mysql::clauses::same::same as no_change;
use crate::mysql::clauses::split_head;
use crate::mysql::connection::single;
use crate::mysql::connection::version::Flavor;
use crate::mysql::lexer::{Dialect, Lexer, text_of, tokens};
use crate::mysql::name::{Ident, TableName};
use crate::plan::{Request, TableArg};

/// Reads a table: `users`, `db.users`, `` `my db`.`my table` ``.
///
/// # Errors
/// `Usage`.
pub fn table(text: &str) -> Result<TableArg> {
    let (first, rest) = part(text.trim())?;
    let (named, rest) = match rest.strip_prefix('.') {
        None => (TableArg { schema: None, table: first }, rest),
        Some(rest) => {
            let (table, rest) = part(rest)?;
            (TableArg { schema: Some(first), table }, rest)
        }
    };
    if rest.is_empty() {
        return Ok(named);
    }
    Err(usage(format!(
        "a table is TABLE or SCHEMA.TABLE, in backticks where a part has dots, quotes or spaces; \
         cannot parse it at {rest:?}"
    )))
}

/// The expression in parentheses, where it is one: it cannot end what it is put into, and reads nothing but
/// the row that it is computed for.
///
/// # Errors
/// Why it is none.
pub(super) fn one_expression(text: &str, flavor: Flavor) -> std::result::Result<String, String> {
    single::check(text).map_err(|changed| changed.to_string())?;
    let tokens = tokens(text, Dialect::of(flavor)).map_err(|error| error.to_string())?;
    let mut open = 0_u32;
    for token in &tokens {
        if token.is("SELECT") || token.is_symbol('@') || token.is_symbol(';') {
            return Err(format!("it may not have {}", token.text));
        }
        if token.is_symbol('(') {
            open += 1;
        } else if token.is_symbol(')') {
            open = open.checked_sub(1).ok_or("a parenthesis too many")?;
        }
    }
    if open > 0 || tokens.is_empty() {
        return Err("it is not whole".into());
    }
    Ok(format!("({})", text_of(text, &tokens)))
}

/// Reads `TABLE CLAUSES`, or a whole ALTER TABLE statement in place of either: the table, and what
/// stands behind it in the statement.
///
/// # Errors
/// `Usage`.
pub fn change(first: &str, second: Option<&str>) -> Result<Request> {
    let (table, clauses) = match (statement(first)?, second) {
        (Some(change), None) => change,
        (Some(_), Some(_)) => {
            return Err(usage("an ALTER TABLE statement is followed by nothing"));
        }
        (None, None) => return Err(usage("the CLAUSES are missing")),
        (None, Some(clauses)) => {
            let named = table(first)?;
            match statement(clauses)? {
                None => (named, clauses),
                Some((stated, clauses)) if same(&stated, &named) => (named, clauses),
                Some((stated, _)) => {
                    return Err(usage(format!(
                        "TABLE is {} but the statement changes {}",
                        named.table, stated.table
                    )));
                }
            }
        }
    };
    // Without the signs that end a statement.
    let clauses = clauses.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    if no_change(clauses, "") {
        return Err(Error::Usage {
            message: "the CLAUSES are empty".into(),
            help: "write what is to change; to rebuild the table as it is: osc alter users FORCE"
                .into(),
        });
    }
    Ok(Request { table, clauses: clauses.to_owned() })
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
fn statement(text: &str) -> Result<Option<(TableArg, &str)>> {
    let Some((((schema, table), ignore), rest)) = split_head(text)? else { return Ok(None) };
    if ignore {
        return Err(usage("ALTER IGNORE TABLE would drop rows silently, which osc never does"));
    }
    let schema = schema.map(|schema| possible(schema.0)).transpose()?;
    Ok(Some((TableArg { schema, table: possible(table.0)? }, rest)))
}

/// A part of a table's name, and what follows it. Outside a statement nothing else can follow, so
/// `my-table` needs no backticks here.
fn part(text: &str) -> Result<(String, &str)> {
    let (name, end) = if text.starts_with('`') {
        let quoted = Lexer::new(text, Dialect::default()).next().and_then(std::result::Result::ok);
        let name = quoted.and_then(|token| Some((token.name()?.into_owned(), token.span.end)));
        name.ok_or_else(|| usage("a backtick in the table's name is not closed"))?
    } else {
        let plain = |c: char| !c.is_whitespace() && !".`'\"".contains(c);
        let end = text.find(|c| !plain(c)).unwrap_or(text.len());
        (text.get(..end).unwrap_or_default().to_owned(), end)
    };
    Ok((possible(name)?, text.get(end..).unwrap_or_default()))
}

/// A name that a table can have.
fn possible(name: String) -> Result<String> {
    if name.is_empty() {
        return Err(usage("a part of the table's name is empty"));
    }
    if name.chars().count() > Ident::MAX_CHARS {
        return Err(usage(format!(
            "a part of the table's name is longer than {} characters",
            Ident::MAX_CHARS
        )));
    }
    if name.contains('\0') {
        return Err(usage("the table's name has a NUL in it"));
    }
    Ok(name)
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
            "-- first\n/* app */ ALTER /* the */ TABLE s . users ADD a INT DEFAULT ';'",
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
