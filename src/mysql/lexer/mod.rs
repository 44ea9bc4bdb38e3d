//! Splits SQL into tokens, as MySQL and MariaDB do: the one place that knows their quotes and comments.

mod dialect;
mod error;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use super::name::Ident;
pub use dialect::Dialect;
pub use error::SyntaxError;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in backticks or, under `ANSI_QUOTES`, in double quotes.
    Quoted,
    /// A string.
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

impl<'a> Token<'a> {
    /// Whether it is this keyword, unquoted, in any case.
    pub fn is(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub fn is_symbol(&self, symbol: char) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// The name that it can be.
    pub fn name(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            TokenKind::Word => Some(self.text.into()),
            TokenKind::Quoted => {
                let (quote, twice) =
                    if self.text.starts_with('`') { ("`", "``") } else { ("\"", "\"\"") };
                let inner = self.text.strip_prefix(quote)?.strip_suffix(quote)?;
                Some(inner.replace(twice, quote).into())
            }
            _ => None,
        }
    }

    /// As [`Token::name`].
    pub fn ident(&self) -> Option<Ident> {
        self.name().map(Ident::new)
    }
}

/// The tokens of `source`.
///
/// # Errors
/// A quote or a comment is not closed.
pub fn tokens(source: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, SyntaxError> {
    Lexer::new(source, dialect).collect()
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

/// Reads one token after the other. Comments are left out; what stands in an executable comment is code
/// where the [`Dialect`] has it so. Nothing follows an error.
#[derive(Debug)]
pub struct Lexer<'a> {
    source: &'a str,
    at: usize,
    open_comments: Vec<usize>,
    dialect: Dialect,
    /// Where the last token ended, if it was a name: a full stop there joins names.
    name_end: Option<usize>,
    /// Where such a full stop ended: what follows it there is a name, also `1e5`.
    joint: Option<usize>,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Result<Token<'a>, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let token = self.token();
        if token.is_err() {
            self.at = self.source.len();
            self.open_comments.clear();
        }
        token.transpose()
    }
}

impl<'a> Lexer<'a> {
    /// Reads `source` from its beginning.
    pub fn new(source: &'a str, dialect: Dialect) -> Self {
        Self { source, at: 0, open_comments: Vec::new(), dialect, name_end: None, joint: None }
    }

    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn error(&self, from: usize, message: &str, help: &str) -> SyntaxError {
        SyntaxError::new(self.source, from..self.source.len(), message, help)
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, SyntaxError> {
        self.skip()?;
        let start = self.at;
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return match self.open_comments.pop() {
                Some(from) => Err(self.error(from, "a comment is not closed", "close it with */")),
                None => Ok(None),
            };
        };
        let (kind, length) = match (first, chars.next()) {
            _ if self.joint == Some(start) && is_name(first) => {
                (TokenKind::Word, run(rest, is_name))
            }
            ('`' | '\'' | '"', _) => {
                let named = self.dialect.names(first);
                let kind = if named { TokenKind::Quoted } else { TokenKind::Text };
                (kind, self.quoted(first)?)
            }
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
        let joins = kind == TokenKind::Symbol('.') && self.name_end == Some(start);
        self.joint = joins.then_some(self.at);
        let named = matches!(kind, TokenKind::Word | TokenKind::Quoted);
        self.name_end = named.then_some(self.at);
        let text = self.source.get(start..self.at).unwrap_or("");
        Ok(Some(Token { kind, text, span: start..self.at }))
    }

    /// Passes over white space, comments and the marks of executable comments.
    fn skip(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            let space = run(rest, is_space);
            if space > 0 {
                self.at += space;
            } else if rest.starts_with('#') || is_dash_comment(rest) {
                self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
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

    fn comment(&mut self, rest: &str) -> Result<(), SyntaxError> {
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
        if mark > 0 && self.dialect.runs(mark == 4, version) {
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
    fn quoted(&self, quote: char) -> Result<usize, SyntaxError> {
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && self.dialect.escapes(quote) {
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

/// The length of the comment that begins `rest`; one that a server passes over for its version
/// may hold comments itself.
fn comment_length(rest: &str, nested: bool) -> Option<usize> {
    let mut at = 2;
    let mut depth = 1_usize;
    loop {
        let tail = rest.get(at..)?;
        let end = tail.find("*/")?;
        if nested && let Some(inner) = tail.get(..end)?.find("/*") {
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
