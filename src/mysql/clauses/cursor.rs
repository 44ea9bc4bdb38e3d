//! Walks over the tokens of one clause.

use crate::mysql::lexer::{SyntaxError, Token, TokenKind, text_of};
use crate::mysql::name::Ident;

/// A place among tokens that are neighbours in a source.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    source: &'t str,
    rest: &'t [Token<'t>],
    end: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(source: &'t str, tokens: &'t [Token<'t>], end: usize) -> Self {
        let end = tokens.last().map_or(end, |token| token.span.end);
        Self { source, rest: tokens, end }
    }

    pub(super) fn rest(&self) -> &'t [Token<'t>] {
        self.rest
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<&'t Token<'t>> {
        self.rest.first()
    }

    pub(super) fn next(&mut self) -> Option<&'t Token<'t>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Whether these keywords come next.
    pub(super) fn sees(&self, words: &[&str]) -> bool {
        words.len() <= self.rest.len()
            && words.iter().zip(self.rest).all(|(word, token)| token.is(word))
    }

    /// Passes over these keywords, all or none.
    pub(super) fn eat(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.rest = self.rest.get(words.len()..).unwrap_or_default();
        }
        seen
    }

    /// Passes over one of these keywords.
    pub(super) fn eat_one(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(&[word]))
    }

    pub(super) fn eat_symbol(&mut self, symbol: char) -> bool {
        let seen = self.peek().is_some_and(|token| token.is_symbol(symbol));
        if seen {
            self.next();
        }
        seen
    }

    pub(super) fn ident(&mut self, what: &str) -> Result<Ident, SyntaxError> {
        let Some(name) = self.peek().and_then(Token::ident) else {
            return Err(self.error(
                format!("{what} is missing here"),
                "a name with other characters than letters, digits, _ and $ is written in backticks",
            ));
        };
        self.next();
        Ok(name)
    }

    /// `schema.table` or `table`.
    pub(super) fn table(&mut self) -> Result<(Option<Ident>, Ident), SyntaxError> {
        let first = self.ident("the table's name")?;
        if self.eat_symbol('.') {
            return Ok((Some(first), self.ident("the table's name")?));
        }
        Ok((None, first))
    }

    /// The tokens inside the parentheses that open here; the cursor goes on after them.
    pub(super) fn group(&mut self, what: &str) -> Result<Self, SyntaxError> {
        let missing = self.error(format!("{what} in parentheses is missing here"), "");
        if !self.eat_symbol('(') {
            return Err(missing);
        }
        let mut open = 1_usize;
        let close = self.rest.iter().position(|token| {
            open += usize::from(token.is_symbol('('));
            open -= usize::from(token.is_symbol(')'));
            open == 0
        });
        let close = close.ok_or(missing)?;
        let (inside, after) = self.rest.split_at(close);
        self.rest = after.get(1..).unwrap_or_default();
        Ok(Self::new(self.source, inside, self.end))
    }

    /// The parts between the commas outside parentheses.
    pub(super) fn split(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = 0;
        for (at, token, depth) in depths(self.rest) {
            if depth == 0 && token.is_symbol(',') {
                parts.push(self.part(from, at));
                from = at + 1;
            }
        }
        parts.push(self.part(from, self.rest.len()));
        parts
    }

    /// The tokens `from..to`.
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        let tokens = self.rest.get(from..to).unwrap_or_default();
        let end = self.rest.get(to).map_or(self.end, |token| token.span.start);
        Self::new(self.source, tokens, end)
    }

    /// What was passed over since `start`, an earlier state of this cursor.
    pub(super) fn since(&self, start: &Self) -> &'t [Token<'t>] {
        start.rest.get(..start.rest.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// The text of `tokens`.
    pub(super) fn text(&self, tokens: &[Token<'_>]) -> String {
        text_of(self.source, tokens)
    }

    /// An error at the next token, or at the end.
    pub(super) fn error(&self, message: impl Into<String>, help: &str) -> SyntaxError {
        let span = self.peek().map_or(self.end..self.end, |token| token.span.clone());
        SyntaxError::new(self.source, span, message, help)
    }

    /// Fails unless everything was passed over.
    pub(super) fn done(&self) -> Result<(), SyntaxError> {
        if self.is_done() {
            return Ok(());
        }
        Err(self.error("this was not expected here", "clauses are separated by commas"))
    }
}

/// Tokens with their place and how many parentheses are open around them; both parentheses of a
/// pair stand at the depth outside it.
pub(super) fn depths<'t>(
    tokens: &'t [Token<'t>],
) -> impl Iterator<Item = (usize, &'t Token<'t>, usize)> {
    let mut open = 0_usize;
    tokens.iter().enumerate().map(move |(at, token)| {
        if token.kind == TokenKind::Symbol(')') {
            open = open.saturating_sub(1);
        }
        let depth = open;
        if token.kind == TokenKind::Symbol('(') {
            open += 1;
        }
        (at, token, depth)
    })
}
