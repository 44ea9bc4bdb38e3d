//! The arguments of the command line: a table and clauses, or one statement.

use crate::error::{Error, Result};
use crate::plan::{Request, TableArg};
use crate::postgres::clauses::{Clauses, Statement};
use crate::postgres::name::Ident;

/// Reads `TABLE CLAUSES`, or a whole statement in place of the table.
///
/// # Errors
/// `Usage`.
pub fn change(first: &str, second: Option<&str>) -> Result<Request> {
    if let Some(clauses) = second {
        let table = table(first)?;
        // What cannot be read is judged later.
        if Statement::parse(clauses, None).is_ok_and(|statement| says_nothing(&statement)) {
            return Err(empty());
        }
        return Ok(Request { table, clauses: clauses.trim().to_owned() });
    }
    let is_statement = first.trim().contains(char::is_whitespace);
    if !is_statement {
        return Err(usage("the CLAUSES are missing"));
    }
    let statement = Statement::parse(first, None)?;
    if says_nothing(&statement) {
        return Err(empty());
    }
    let index = match &statement {
        // The server knows its table.
        Statement::DropIndex { indexes, .. } => indexes.first().cloned(),
        _ => None,
    };
    let Some((schema, table)) = statement.table().or(index) else {
        return Err(usage("the statement names no table"));
    };
    let table = TableArg { schema, table };
    Ok(Request { table, clauses: first.trim().to_owned() })
}

/// Reads a table: `users`, `shop.users`, `"Users"`. As the server has it, what is not quoted is
/// lower case.
///
/// # Errors
/// `Usage`.
pub fn table(text: &str) -> Result<TableArg> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, tail) = part(rest)?;
        if name.len() > Ident::MAX_BYTES {
            return Err(usage(format!(
                "a part of the table's name is longer than {} bytes",
                Ident::MAX_BYTES
            )));
        }
        if name.is_empty() || name.contains('\0') {
            return Err(usage("a part of the table's name is empty, or has a NUL in it"));
        }
        parts.push(name);
        match tail.strip_prefix('.') {
            Some(more) => rest = more,
            None if tail.is_empty() => break,
            None => {
                return Err(usage(format!(
                    "cannot parse the statement at {:?}",
                    tail.trim_start()
                )));
            }
        }
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(table), None, None) => Ok(TableArg { schema: None, table }),
        (Some(schema), Some(table), None) => Ok(TableArg { schema: Some(schema), table }),
        _ => Err(usage("a table is TABLE or SCHEMA.TABLE")),
    }
}

fn part(text: &str) -> Result<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let plain = |c: char| c.is_alphanumeric() || "_$-".contains(c);
        let end = text.find(|c| !plain(c)).unwrap_or(text.len());
        let (name, tail) = text.split_at_checked(end).unwrap_or((text, ""));
        return Ok((name.to_ascii_lowercase(), tail));
    };
    let mut name = String::new();
    loop {
        let (piece, tail) = rest
            .split_once('"')
            .ok_or_else(|| usage("a double quote in the table's name is not closed"))?;
        name.push_str(piece);
        match tail.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Ok((name, tail)),
        }
    }
}

/// Whether there is no clause in it, as where a variable of a shell was empty.
fn says_nothing(statement: &Statement) -> bool {
    statement.clauses().is_some_and(Clauses::is_empty)
}

fn empty() -> Error {
    Error::Usage {
        message: "the CLAUSES are empty".into(),
        help: "write what is to change; to rebuild the table as it is, give a column the type that it has: \
               osc alter users \"ALTER COLUMN id TYPE bigint\" --strategy copy"
            .into(),
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage {
        message: message.into(),
        help: "osc alter TABLE \"CLAUSES\", like: osc alter users \"ADD COLUMN age int\"".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::name::TableName;

    #[test]
    fn names_are_folded_unless_they_are_quoted() {
        let named = |schema: Option<&str>, table: &str| TableArg {
            schema: schema.map(Into::into),
            table: table.into(),
        };
        assert_eq!(table("Users").unwrap(), named(None, "users"));
        assert_eq!(table("Shop.\"Users\"").unwrap(), named(Some("shop"), "Users"));
        assert_eq!(table("\"a.b\".\"c\"\"d\"").unwrap(), named(Some("a.b"), "c\"d"));
        let long = "a".repeat(64);
        for text in ["", ".", "a.", "a.b.c", "\"a", "\"\"", "a b", "a'b", &long] {
            assert!(table(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_makes_no_change_is_an_error() {
        for text in ["", " ", ";", "-- nothing", "/* nothing */ ;", "ALTER TABLE users"] {
            let error = change("users", Some(text)).unwrap_err();
            assert_eq!(error.to_string(), "the CLAUSES are empty", "{text:?}");
        }
        assert!(change("ALTER TABLE users", None).is_err());
        assert!(change("users", Some("ADD a int -- something")).is_ok());
    }

    proptest! {
        #[test]
        fn a_quoted_name_comes_back_whole(schema in "[^\0]{1,15}", name in "[^\0]{1,15}") {
            let quoted = TableName::new(schema.clone(), name.clone()).to_string();
            prop_assert_eq!(table(&quoted).unwrap(), TableArg { schema: Some(schema), table: name });
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = table(&text);
        }
    }
}
