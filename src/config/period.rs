//! A length of time as an operator writes it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A positive length of time, read from `500ms`, `2s`, `1m30s` or `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// The length.
    pub fn get(self) -> Duration {
        self.0
    }
}

/// Why a text is not a [`Period`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Not a duration at all.
    #[error("not a duration; write a number and a unit, like 500ms, 2s or 1m30s")]
    Malformed,
    /// Zero or negative.
    #[error("a duration must be longer than zero")]
    NotPositive,
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let signed: jiff::SignedDuration =
            text.trim().parse().map_err(|_| PeriodError::Malformed)?;
        match Duration::try_from(signed) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(PeriodError::NotPositive),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_spellings_are_read() {
        let period = |text: &str| text.parse::<Period>().map(Period::get);
        assert_eq!(period("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(period(" 2s "), Ok(Duration::from_secs(2)));
        assert_eq!(period("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(period("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(period("1.5s"), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_not_a_positive_duration_says_why() {
        for text in ["", "500", "soon", "2 fortnights", "99999999999999999999s"] {
            assert_eq!(text.parse::<Period>(), Err(PeriodError::Malformed), "{text}");
        }
        for text in ["0s", "-1s"] {
            assert_eq!(text.parse::<Period>(), Err(PeriodError::NotPositive), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<Period>();
        }
    }
}
