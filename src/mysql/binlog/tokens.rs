//! A statement cut into words, names and signs: as much of SQL's grammar as it takes to see which
//! tables a statement is about.

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, a number or a name without quotes.
    Word(String),
    /// A name in backticks or, under ANSI_QUOTES, in double quotes.
    Name(String),
    /// A string; what it says does not matter.
    Text,
    /// Any other character.
    Sign(char),
}

impl Token {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The name that it may be.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Name(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }
}

/// How a session read its statements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Double quotes are around names.
    pub(super) ansi_quotes: bool,
    /// A backslash is a character like others.
    pub(super) plain_backslash: bool,
}

impl Dialect {
    /// From `sql_mode` as a number.
    pub(super) fn of_sql_mode(mode: u64) -> Self {
        Self { ansi_quotes: mode & 4 != 0, plain_backslash: mode & 0x10_0000 != 0 }
    }
}

/// Cuts a statement. Comments are left out, but `/*! … */` and `/*M! … */`, which the server runs.
pub(super) fn tokens(sql: &str, dialect: Dialect) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '#' => after_line(after),
            '-' if comment_follows(after) => after_line(after),
            '/' if after.starts_with('*') => match run_by_server(after) {
                Some(inside) => inside,
                None => after.split_once("*/").map_or("", |(_, rest)| rest),
            },
            // The end of a comment that the server runs.
            '*' if after.starts_with('/') => &after[1..],
            '`' => {
                let (name, rest) = quoted(after, '`', false);
                tokens.push(Token::Name(name));
                rest
            }
            '"' if dialect.ansi_quotes => {
                let (name, rest) = quoted(after, '"', false);
                tokens.push(Token::Name(name));
                rest
            }
            '\'' | '"' => {
                let (_, rest) = quoted(after, first, !dialect.plain_backslash);
                tokens.push(Token::Text);
                rest
            }
            c if c.is_whitespace() => after,
            c if in_word(c) => {
                let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
                let (word, rest) = rest.split_at(end);
                tokens.push(Token::Word(word.to_owned()));
                rest
            }
            sign => {
                tokens.push(Token::Sign(sign));
                after
            }
        };
    }
    tokens
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// `-- ` begins a comment, `--5` does not.
fn comment_follows(after: &str) -> bool {
    after
        .strip_prefix('-')
        .is_some_and(|text| text.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control()))
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// What follows the head of a comment that the server runs.
fn run_by_server(after: &str) -> Option<&str> {
    let inside = after.strip_prefix("*!").or_else(|| after.strip_prefix("*M!"))?;
    Some(inside.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// What is inside the quotes, and what follows them. A doubled quote stands for itself.
fn quoted(text: &str, quote: char, escapes: bool) -> (String, &str) {
    let mut inside = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            if chars.next_if(|(_, next)| *next == quote).is_none() {
                return (inside, &text[at + quote.len_utf8()..]);
            }
            inside.push(quote);
        } else {
            inside.push(c);
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(sql: &str, dialect: Dialect) -> String {
        let text = |token: Token| match token {
            Token::Word(word) => word,
            Token::Name(name) => format!("[{name}]"),
            Token::Text => "'".into(),
            Token::Sign(sign) => sign.into(),
        };
        tokens(sql, dialect).into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_left_out_unless_the_server_runs_them() {
        let usual = Dialect::default();
        assert_eq!(shown("/* x */ a -- b\n c # d\n--5", usual), "a c - - 5");
        assert_eq!(shown("/*!40000 ALTER TABLE `t` */ /*M! x*/", usual), "ALTER TABLE [t] x");
        assert_eq!(shown("a /* never closed", usual), "a");
    }

    #[test]
    fn quotes_are_read_as_the_session_read_them() {
        let usual = Dialect::default();
        assert_eq!(shown("`a``b`.\"c\\\"d\" 'e''f' 'g\\'", usual), "[a`b] . ' ' '");
        assert_eq!(shown("\"a\"\"b\"", Dialect { ansi_quotes: true, ..usual }), "[a\"b]");
        assert_eq!(shown("'a\\' b", Dialect { plain_backslash: true, ..usual }), "' b");
        assert_eq!(Dialect::of_sql_mode(4), Dialect { ansi_quotes: true, ..usual });
    }

    proptest! {
        #[test]
        fn any_text_is_cut(sql: String, ansi_quotes: bool, plain_backslash: bool) {
            tokens(&sql, Dialect { ansi_quotes, plain_backslash });
        }
    }
}
