//! What a QUERY event means to the run: statements that end a transaction, DDL by others, and
//! writes that were logged as statements, whose rows nobody can see.

use crate::mysql::clauses::tokens::{Token, tokens};
use crate::mysql::name::TableName;

/// What a statement in the binlog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A transaction begins.
    Begin,
    /// A transaction ends; its rows count.
    End,
    /// A prepared transaction's rows follow.
    XaStart,
    /// Prepared transactions: this one ends now.
    XaEnd(Xid),
    /// Within a transaction, and of no interest.
    Inside,
    /// A statement that commits by itself and does not concern the table.
    Alone,
    /// Somebody changed the table, or its rows in a way that hides them.
    Foreign(String),
}

/// The name of an XA transaction: its global and branch parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Xid {
    /// Global transaction.
    pub global: Vec<u8>,
    /// Branch.
    pub branch: Vec<u8>,
}

/// Reads a statement. `schema`: the session's default schema.
pub(super) fn meaning(statement: &str, schema: &str, original: &TableName) -> Meaning {
    let Ok(tokens) = tokens(statement, None) else {
        return if statement.contains(original.table.as_str()) {
            foreign(statement, "cannot be read")
        } else {
            Meaning::Alone
        };
    };
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    let Some(first) = tokens.first() else { return Meaning::Alone };
    let verb = first.text.to_ascii_uppercase();
    let names = Names { tokens: &tokens, schema, original };
    match verb.as_str() {
        "BEGIN" => Meaning::Begin,
        "START" if word(1, "TRANSACTION") => Meaning::Begin,
        "COMMIT" => Meaning::End,
        "ROLLBACK" if word(1, "TO") => Meaning::Inside,
        "ROLLBACK" => Meaning::End,
        "SAVEPOINT" | "RELEASE" => Meaning::Inside,
        "XA" if word(1, "START") || word(1, "BEGIN") => Meaning::XaStart,
        "XA" if word(1, "COMMIT") || word(1, "ROLLBACK") => match xid(&tokens) {
            Some(xid) => Meaning::XaEnd(xid),
            None => foreign(statement, "names an XA transaction in a way that cannot be read"),
        },
        "XA" => Meaning::Inside,
        "ALTER" | "TRUNCATE" | "RENAME" | "DROP" | "CREATE" => {
            if word(1, "TEMPORARY") {
                Meaning::Alone
            } else if names.changed_by_ddl() {
                foreign(statement, "changes the table")
            } else {
                Meaning::Alone
            }
        }
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "MERGE" | "WITH" => {
            if names.anywhere() {
                foreign(
                    statement,
                    "was logged as a statement, which does not tell the rows it changed",
                )
            } else {
                Meaning::Inside
            }
        }
        _ => Meaning::Alone,
    }
}

fn foreign(statement: &str, why: &str) -> Meaning {
    let short: String = statement.chars().take(200).collect();
    Meaning::Foreign(format!("a statement in the binlog {why}: {short}"))
}

struct Names<'a> {
    tokens: &'a [Token<'a>],
    schema: &'a str,
    original: &'a TableName,
}

impl Names<'_> {
    /// Whether the name that starts at token `at` is the original's; and the token after it.
    fn is_original(&self, at: usize) -> bool {
        let Some(first) = self.tokens.get(at).and_then(Token::ident) else { return false };
        let dotted = self.tokens.get(at + 1).is_some_and(|token| token.is_symbol('.'));
        if dotted {
            let second = self.tokens.get(at + 2).and_then(Token::ident);
            return first.same(&self.original.schema)
                && second.is_some_and(|second| second.same(&self.original.table));
        }
        first.same(&self.original.table)
            && self.schema.eq_ignore_ascii_case(self.original.schema.as_str())
    }

    fn anywhere(&self) -> bool {
        (0..self.tokens.len()).any(|at| {
            let after_dot = at > 0 && self.tokens[at - 1].is_symbol('.');
            !after_dot && self.is_original(at)
        })
    }

    /// Whether the original's name stands where DDL names the table that it changes.
    fn changed_by_ddl(&self) -> bool {
        let is = |at: usize, word: &str| self.tokens.get(at).is_some_and(|token| token.is(word));
        if is(0, "DROP") && (is(1, "DATABASE") || is(1, "SCHEMA")) {
            return self
                .tokens
                .iter()
                .skip(2)
                .filter_map(Token::ident)
                .any(|name| name.same(&self.original.schema));
        }
        let listed = is(0, "RENAME") || (is(0, "DROP") && is(1, "TABLE"));
        (1..self.tokens.len()).any(|at| {
            let before = &self.tokens[at - 1];
            let head = ["TABLE", "TABLES", "EXISTS", "ON", "TRUNCATE", "IGNORE", "ONLINE"]
                .iter()
                .any(|word| before.is(word));
            let in_list = listed && (before.is_symbol(',') || before.is("TO"));
            // `ON DELETE`, `ON UPDATE` are no names; neither is a reference to the original.
            (head || in_list) && self.is_original(at)
        })
    }
}

/// Reads `XA COMMIT X'6131',X'6231',1`.
fn xid(tokens: &[Token<'_>]) -> Option<Xid> {
    let mut parts = tokens.iter().skip(2).filter_map(|token| bytes(token.text));
    Some(Xid { global: parts.next()?, branch: parts.next().unwrap_or_default() })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let upper = text.to_ascii_uppercase();
    if let Some(hex) = upper.strip_prefix("X'").and_then(|rest| rest.strip_suffix('\'')) {
        return hex_bytes(hex);
    }
    if let Some(hex) = upper.strip_prefix("0X") {
        return hex_bytes(hex);
    }
    let plain = text.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(plain.replace("''", "'").into_bytes())
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len())
        .step_by(2)
        .map(|at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(statement: &str) -> Meaning {
        meaning(statement, "shop", &TableName::new("shop", "users"))
    }

    #[test]
    fn ddl_on_the_original_is_foreign_in_every_spelling() {
        for statement in [
            "ALTER TABLE users ADD c INT",
            "alter online ignore table `shop`.`users` drop c",
            "ALTER TABLE IF EXISTS users ADD c INT",
            "TRUNCATE users",
            "TRUNCATE TABLE shop.users",
            "DROP TABLE a, `users`",
            "DROP TABLE IF EXISTS `users` /* generated by server */",
            "RENAME TABLE users TO x",
            "RENAME TABLE a TO b, users TO c",
            "RENAME TABLE x TO users",
            "CREATE INDEX i ON users (a)",
            "DROP INDEX i ON `users`",
            "CREATE OR REPLACE TABLE users (a INT)",
            "CREATE DEFINER=`root`@`localhost` TRIGGER t BEFORE INSERT ON users FOR EACH ROW SET @a=1",
            "DROP DATABASE `shop`",
        ] {
            assert!(matches!(of(statement), Meaning::Foreign(_)), "{statement}");
        }
    }

    #[test]
    fn ddl_on_others_is_not() {
        for statement in [
            "ALTER TABLE other.users ADD c INT",
            "ALTER TABLE users_osc_new ADD c INT",
            "CREATE TABLE users_osc_new LIKE users",
            "DROP TABLE IF EXISTS users_osc_new",
            "ALTER TABLE child ADD FOREIGN KEY (a) REFERENCES users (id) ON DELETE CASCADE",
            "CREATE TABLE t (users INT)",
            "ANALYZE TABLE users",
            "OPTIMIZE TABLE users",
            "CREATE TEMPORARY TABLE users (a INT)",
            "DROP DATABASE other",
            "GRANT SELECT ON users TO a",
        ] {
            assert_eq!(of(statement), Meaning::Alone, "{statement}");
        }
    }

    #[test]
    fn writes_logged_as_statements_are_foreign_where_they_name_the_table() {
        assert!(matches!(of("UPDATE users SET a = 1"), Meaning::Foreign(_)));
        assert!(matches!(of("DELETE u FROM `users` u"), Meaning::Foreign(_)));
        assert_eq!(of("UPDATE other SET a = 1"), Meaning::Inside);
        assert_eq!(of("INSERT INTO other.users VALUES (1)"), Meaning::Inside);
    }

    #[test]
    fn transactions_begin_and_end() {
        assert_eq!(of("BEGIN"), Meaning::Begin);
        assert_eq!(of("COMMIT"), Meaning::End);
        assert_eq!(of("ROLLBACK TO `a`"), Meaning::Inside);
        assert_eq!(of("SAVEPOINT `users`"), Meaning::Inside);
        assert_eq!(of("XA START X'6131',X'',1"), Meaning::XaStart);
        assert_eq!(
            of("XA COMMIT X'6131',X'62',1"),
            Meaning::XaEnd(Xid { global: b"a1".to_vec(), branch: b"b".to_vec() })
        );
    }

    proptest! {
        #[test]
        fn no_statement_panics(statement in ".{0,80}") {
            of(&statement);
        }
    }
}
