//! What the operator asks for with `--strategy`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// What the operator asks for (`--strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The cheapest method that is safe.
    #[default]
    Auto,
    /// Instant or not at all.
    Instant,
    /// In place without locks or not at all, however long it takes.
    Inplace,
    /// Copy, whatever else could be done.
    Copy,
}

impl Strategy {
    /// The words that [`Strategy::from_str`] takes.
    pub const WORDS: [&'static str; 4] = ["auto", "instant", "inplace", "copy"];

    /// Whether the change may be made by a copy.
    pub fn copies(self) -> bool {
        matches!(self, Self::Auto | Self::Copy)
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "instant" => Ok(Self::Instant),
            "inplace" => Ok(Self::Inplace),
            "copy" => Ok(Self::Copy),
            _ => Err(Error::Usage {
                message: format!("{word:?} is no strategy"),
                help: format!("one of {}", Self::WORDS.join(", ")),
            }),
        }
    }
}
