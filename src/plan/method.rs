//! How a change is made.

use std::fmt;

/// How a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The server changes only what it knows about the table.
    Instant,
    /// The server changes the table in place, without locks and without rewriting rows.
    Inplace,
    /// osc copies the table.
    Copy,
}

impl Method {
    /// The word for it in output and in the ledger.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Inplace => "inplace",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
