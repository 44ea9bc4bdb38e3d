//! What is wrong with the text, and where.

use std::fmt;
use std::ops::Range;

use crate::error::Error;

/// A mistake in a text. `Display` shows the line and marks the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The place, in bytes of the text that was given.
    pub span: Range<usize>,
    line: String,
    marks: String,
}

impl SyntaxError {
    pub(crate) fn new(
        source: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let start = span.start.min(source.len());
        let (before, after) = source.split_at_checked(start).unwrap_or((source, ""));
        let head = before.rsplit('\n').next().unwrap_or("");
        let tail = after.split('\n').next().unwrap_or("");
        let width = span.end.saturating_sub(start).min(tail.len());
        let marked = tail.get(..width).map_or(1, |text| text.chars().count()).max(1);
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            message: message.into(),
            help: help.into(),
            span,
            line: head.chars().chain(tail.chars()).map(plain).collect(),
            marks: " ".repeat(head.chars().count()) + &"^".repeat(marked),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}\n  {}", self.message, self.line, self.marks)
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Self {
        Self::Usage { message: error.to_string(), help: error.help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_marked_on_its_line() {
        let error = SyntaxError::new("ADD a INT,\nDROP é x", 19..20, "no", "");
        assert_eq!(error.to_string(), "no\n  DROP é x\n         ^");
    }

    #[test]
    fn a_place_past_the_end_is_marked_there() {
        assert_eq!(SyntaxError::new("ab", 2..2, "no", "").to_string(), "no\n  ab\n    ^");
        assert_eq!(SyntaxError::new("é", 9..12, "no", "").to_string(), "no\n  é\n   ^");
    }
}
