//! Splits the text of an ALTER into tokens, as MySQL and MariaDB do.
//!
//! Backslash escapes are taken as the servers take them by default; osc's sessions set their own
//! `sql_mode` without `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES`, so a double quote begins a string.

use std::ops::Range;

use super::ClauseError;
use crate::mysql::connection::version::Flavor;
use crate::mysql::name::Ident;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in backticks.
    Quoted,
    /// A string in single or double quotes.
    Text,
    /// A number.
    Number,
    /// A hexadecimal or bit literal.
    Bits,
    /// Any other single character: an operator, a parenthesis, a comma.
    Symbol(char),
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text as written.
    pub text: &'a str,
    /// Its bytes in the source.
    pub span: Range<usize>,
}

impl Token<'_> {
    /// Whether it is this keyword, unquoted, in any case.
    pub fn is(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub fn is_symbol(&self, symbol: char) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// The name that it is, if it can be one.
    pub fn ident(&self) -> Option<Ident> {
        match self.kind {
            TokenKind::Word => Some(Ident::new(self.text)),
            TokenKind::Quoted => {
                let inner = self.text.strip_prefix('`')?.strip_suffix('`')?;
                Some(Ident::new(inner.replace("``", "`")))
            }
            _ => None,
        }
    }
}

/// The tokens of `source`. Comments are left out. What stands in an executable comment is code,
/// unless `flavor` is given and that server would pass it over.
///
/// Fails on an unterminated quote or comment.
pub fn tokens(source: &str, flavor: Option<Flavor>) -> Result<Vec<Token<'_>>, ClauseError> {
    let mut lexer = Lexer { source, at: 0, open_comments: Vec::new(), flavor, name_end: None };
    let mut found = Vec::new();
    while let Some(token) = lexer.token()? {
        found.push(token);
    }
    Ok(found)
}

/// The text of `tokens`, which must be neighbours in `source`: as written, but with a space in
/// place of every comment, so that it can stand next to other text.
pub fn text_of(source: &str, tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    let mut last: Option<&Token<'_>> = None;
    for token in tokens {
        if let Some(last) = last {
            let gap = source.get(last.span.end..token.span.start).unwrap_or(" ");
            if !gap.chars().all(is_space) {
                text.push(' ');
            } else if gap.is_empty() && last.is_symbol('-') && token.is_symbol('-') {
                // A comment that followed may have become a space, and `-- ` begins one.
                text.push(' ');
            } else {
                text.push_str(gap);
            }
        }
        text.push_str(token.text);
        last = Some(token);
    }
    text
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    open_comments: Vec<usize>,
    flavor: Option<Flavor>,
    /// Where the last token ended, if it was a name: a full stop there joins names.
    name_end: Option<usize>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn error(&self, from: usize, message: &str, help: &str) -> ClauseError {
        ClauseError::new(self.source, from..self.source.len(), message, help)
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, ClauseError> {
        self.skip()?;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return match self.open_comments.pop() {
                Some(from) => Err(self.error(from, "a comment is not closed", "close it with */")),
                None => Ok(None),
            };
        };
        let mut after = rest.chars();
        after.next();
        let next = after.next();
        let (kind, length) = match (first, next) {
            ('`', _) => (TokenKind::Quoted, self.quoted('`')?),
            ('\'' | '"', _) => (TokenKind::Text, self.quoted(first)?),
            ('x' | 'X' | 'b' | 'B', Some('\'')) => {
                self.at += 1;
                let length = self.quoted('\'');
                self.at = start;
                (TokenKind::Bits, length? + 1)
            }
            ('0'..='9', _) => number(rest),
            ('.', Some('0'..='9')) if self.name_end != Some(start) => number(rest),
            _ if is_name(first) => (TokenKind::Word, run(rest, is_name)),
            _ => (TokenKind::Symbol(first), first.len_utf8()),
        };
        self.at = start + length;
        let named = matches!(kind, TokenKind::Word | TokenKind::Quoted);
        self.name_end = named.then_some(self.at);
        let text = self.source.get(start..self.at).unwrap_or("");
        Ok(Some(Token { kind, text, span: start..self.at }))
    }

    /// Passes over white space, comments and the marks of executable comments.
    fn skip(&mut self) -> Result<(), ClauseError> {
        loop {
            let rest = self.rest();
            let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let space = run(rest, is_space);
            if space > 0 {
                self.at += space;
            } else if rest.starts_with('#') || is_dash_comment(rest) {
                self.at += line;
            } else if rest.starts_with("/*") {
                self.comment(rest)?;
            } else if rest.starts_with("*/") && !self.open_comments.is_empty() {
                self.open_comments.pop();
                self.at += 2;
            } else {
                return Ok(());
            }
        }
    }

    fn comment(&mut self, rest: &str) -> Result<(), ClauseError> {
        let start = self.at;
        let mark = if rest.starts_with("/*!") {
            3
        } else if rest.starts_with("/*M!") {
            4
        } else {
            0
        };
        let after = rest.get(mark..).unwrap_or("");
        let digits = match run(after, |c| c.is_ascii_digit()) {
            0..=4 => 0,
            5 => 5,
            _ => 6,
        };
        let version = after.get(..digits).and_then(|digits| digits.parse().ok());
        if mark > 0 && self.flavor.is_none_or(|flavor| runs(flavor, mark == 4, version)) {
            self.open_comments.push(start);
            self.at += mark + digits;
            return Ok(());
        }
        match comment_length(rest, mark > 0) {
            Some(length) => self.at += length,
            None => return Err(self.error(start, "a comment is not closed", "close it with */")),
        }
        Ok(())
    }

    /// The length of the quoted text that begins here.
    fn quoted(&self, quote: char) -> Result<usize, ClauseError> {
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && quote != '`' {
                chars.next();
            } else if c == quote {
                if chars.peek().is_some_and(|(_, next)| *next == quote) {
                    chars.next();
                } else {
                    return Ok(at + quote.len_utf8());
                }
            }
        }
        Err(self.error(
            self.at,
            "a quote is not closed",
            "close it; a quote inside a quoted text is written twice",
        ))
    }
}

/// Whether a server runs what stands in an executable comment with this version number.
fn runs(flavor: Flavor, mariadb_only: bool, version: Option<u32>) -> bool {
    let (major, minor, patch) = flavor.version;
    let server = u32::from(major) * 10_000 + u32::from(minor) * 100 + u32::from(patch);
    let version = version.unwrap_or(0);
    if flavor.is_mariadb() {
        // MariaDB passes over what is meant for MySQL 5.7 and later, whose syntax it may not know.
        let meant_for_mysql = !mariadb_only && (50_700..=99_999).contains(&version);
        version <= server && !meant_for_mysql
    } else {
        !mariadb_only && version <= server
    }
}

/// The length of the comment that begins `rest`; one that a server passes over for its version
/// may hold comments itself.
fn comment_length(rest: &str, nested: bool) -> Option<usize> {
    let mut at = 2;
    let mut depth = 1_usize;
    loop {
        let tail = rest.get(at..)?;
        let end = tail.find("*/")?;
        let inner = tail.find("/*").filter(|inner| nested && *inner < end);
        if let Some(inner) = inner {
            depth += 1;
            at += inner + 2;
        } else {
            depth -= 1;
            at += end + 2;
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn is_dash_comment(rest: &str) -> bool {
    rest.strip_prefix("--").is_some_and(|after| {
        after.chars().next().is_none_or(|c| c.is_ascii_whitespace() || c.is_ascii_control())
    })
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Everything outside ASCII belongs to names, also what looks like a space.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Bytes at the beginning of `text` for which `accept` holds.
fn run(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.char_indices().find(|(_, c)| !accept(*c)).map_or(text.len(), |(at, _)| at)
}

/// A number, a literal such as `0xFF` or `0b1`, or a name that begins with a digit.
fn number(rest: &str) -> (TokenKind, usize) {
    let word = run(rest, is_name);
    let name = rest.get(..word).unwrap_or("");
    for (mark, digits) in [("0x", "0123456789abcdefABCDEF"), ("0b", "01")] {
        if let Some(literal) = name.strip_prefix(mark)
            && !literal.is_empty()
            && literal.chars().all(|c| digits.contains(c))
        {
            return (TokenKind::Bits, word);
        }
    }
    let whole = run(rest, |c| c.is_ascii_digit());
    let after = |at: usize| rest.get(at..).unwrap_or("");
    let mut end = whole;
    if after(end).starts_with('.') {
        end += 1 + run(after(end + 1), |c| c.is_ascii_digit());
    }
    if after(end).starts_with(['e', 'E']) {
        let sign = usize::from(after(end + 1).starts_with(['+', '-']));
        let digits = run(after(end + 1 + sign), |c| c.is_ascii_digit());
        if digits > 0 {
            end += 1 + sign + digits;
        }
    }
    if end < word { (TokenKind::Word, word) } else { (TokenKind::Number, end) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mysql::connection::version::Family;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source, None).unwrap().into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn quotes_are_kept_whole() {
        assert_eq!(texts(r"a 'it''s, \' )' b"), ["a", r"'it''s, \' )'", "b"]);
        assert_eq!(texts(r#"x "a""b\"," y"#), ["x", r#""a""b\",""#, "y"]);
        assert_eq!(texts("`a``b\\`c"), ["`a``b\\`", "c"]);
        assert_eq!(tokens("`a``b`", None).unwrap()[0].ident(), Some(Ident::new("a`b")));
    }

    #[test]
    fn comments_are_left_out_and_executable_ones_are_code() {
        assert_eq!(texts("a -- b\nc # d\n/* e */ f--g --"), ["a", "c", "f", "-", "-", "g"]);
        assert_eq!(texts("a /*!80013 b, */ /*M! c */ /*! d*/"), ["a", "b", ",", "c", "d"]);
        assert_eq!(texts("/*!1234 a*/"), ["1234", "a"]);
    }

    #[test]
    fn a_version_in_a_comment_counts_when_the_server_is_known() {
        let mysql = Flavor { family: Family::Mysql, version: (9, 7, 4) };
        let mariadb = Flavor { family: Family::Mariadb, version: (10, 11, 19) };
        let source = "a /*!50100 b*/ /*!80023 c*/ /*M!100000 d*/ /*!999999 e /* f */ */ g";
        let texts = |flavor| -> Vec<&str> {
            tokens(source, Some(flavor)).unwrap().into_iter().map(|token| token.text).collect()
        };
        assert_eq!(texts(mysql), ["a", "b", "c", "g"]);
        assert_eq!(texts(mariadb), ["a", "b", "d", "g"]);
    }

    #[test]
    fn numbers_bits_and_names_that_begin_with_digits_are_told_apart() {
        let kinds: Vec<_> = tokens("1 1.5e-3 .5 0xFF x'1f' 0b01 b'1' 1a 0xyz 2e3", None)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect();
        use TokenKind::{Bits, Number, Word};
        assert_eq!(kinds, [Number, Number, Number, Bits, Bits, Bits, Bits, Word, Word, Number]);
        assert_eq!(texts("a.1b"), ["a", ".", "1b"]);
    }

    #[test]
    fn what_is_not_closed_is_an_error() {
        for source in ["'a", "\"a", "`a", "/* a", "/*! a", "x'1", "'\\'", "/*!"] {
            assert!(tokens(source, None).is_err(), "{source}");
        }
    }

    #[test]
    fn a_comment_that_becomes_a_space_does_not_make_another() {
        let source = "DEFAULT (1 --/* c */1)";
        let found = tokens(source, None).unwrap();
        assert_eq!(text_of(source, &found), "DEFAULT (1 - - 1)");
    }

    fn same_again(source: &str) -> Result<(), TestCaseError> {
        if let Ok(found) = tokens(source, None) {
            let joined = text_of(source, &found);
            let again = tokens(&joined, None).unwrap();
            let plain = |tokens: &[Token<'_>]| -> Vec<(TokenKind, String)> {
                tokens.iter().map(|token| (token.kind, token.text.to_owned())).collect()
            };
            prop_assert_eq!(plain(&found), plain(&again), "{}", joined);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_joined_text_reads_the_same(source in ".{0,60}") {
            same_again(&source)?;
        }

        #[test]
        fn text_rich_in_marks_joins_the_same(source in "[-/*!#'\"`\\\\ \n0-9a-exM.,()e\u{e9}]{0,40}") {
            same_again(&source)?;
        }
    }
}
