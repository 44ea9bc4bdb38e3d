//! What is wrong with the text, and where.

use std::fmt;
use std::ops::Range;

use crate::error::{Error, marked};

/// A mistake in a text. `Display` shows the line and marks the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The place, in bytes of the text that was given.
    pub span: Range<usize>,
    shown: String,
}

impl SyntaxError {
    pub(crate) fn new(
        source: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let shown = marked(source, span.clone()).shown;
        Self { message: message.into(), help: help.into(), span, shown }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.message, self.shown)
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
