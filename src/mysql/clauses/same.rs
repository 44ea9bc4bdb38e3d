//! Whether two texts ask for the same change: the same tokens, however they are spaced and commented.

use crate::mysql::lexer::{Dialect, Token, TokenKind, tokens};
use crate::mysql::name::{Ident, TableName};

/// Whether both texts ask for the same change. Keywords and unquoted names are the same in any case, as
/// they are to the server.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let trimmed = |text: &str| text.trim().trim_end_matches(';').trim_end().to_owned();
    let (one, other) = (trimmed(one), trimmed(other));
    let usual = Dialect::default();
    let (Ok(left), Ok(right)) = (tokens(&one, usual), tokens(&other, usual)) else {
        return one == other;
    };
    let alike = |(left, right): (&Token<'_>, &Token<'_>)| {
        left.kind == right.kind
            && match left.kind {
                TokenKind::Word => left.text.eq_ignore_ascii_case(right.text),
                _ => left.text == right.text,
            }
    };
    left.len() == right.len() && left.iter().zip(&right).all(alike)
}

/// The tables that a text names after `REFERENCES`; those without a schema are in `schema`.
pub(crate) fn referenced(text: &str, schema: &Ident) -> Vec<TableName> {
    let Ok(tokens) = tokens(text, Dialect::default()) else { return Vec::new() };
    let after = tokens.iter().enumerate().filter(|(_, token)| token.is("REFERENCES"));
    after
        .filter_map(|(at, _)| {
            let first = tokens.get(at + 1)?.ident()?;
            let qualified = tokens.get(at + 2).is_some_and(|token| token.is_symbol('.'));
            match tokens.get(at + 3).and_then(Token::ident) {
                Some(table) if qualified => Some(TableName { schema: first, table }),
                _ => Some(TableName { schema: schema.clone(), table: first }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tokens_are_the_same_change() {
        for (one, other) in [
            ("modify a INT", "MODIFY  a\n int"),
            ("ADD x INT /* why */, DROP y", "add x int,drop y"),
            ("ADD x VARCHAR(5) DEFAULT 'A b'", "ADD x VARCHAR ( 5 ) DEFAULT 'A b' ;"),
        ] {
            assert!(same(one, other), "{one} | {other}");
        }
        for (one, other) in [
            ("ADD x INT DEFAULT 'a'", "ADD x INT DEFAULT 'A'"),
            ("ADD `x` INT", "ADD `X` INT"),
            ("ADD x INT", "ADD x INT NULL"),
            ("ADD x INT", "ADD y INT"),
            ("ADD x INT DEFAULT 'a", "ADD x INT DEFAULT 'A"),
        ] {
            assert!(!same(one, other), "{one} | {other}");
        }
    }

    #[test]
    fn tables_that_new_foreign_keys_name_are_found() {
        let schema = Ident::new("s");
        let text = "ADD FOREIGN KEY (a) REFERENCES p (id), ADD b INT references `o.x` . `q` (id)";
        let found: Vec<String> =
            referenced(text, &schema).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["`s`.`p`", "`o.x`.`q`"]);
        assert!(referenced("ADD a INT COMMENT 'REFERENCES p'", &schema).is_empty());
    }
}
