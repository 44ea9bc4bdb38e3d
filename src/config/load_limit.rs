//! The limits of `--max-load` and `--critical-load`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A status variable and the value that it must not exceed; written `Threads_running=25`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub(crate) name: String,
    pub(crate) most: f64,
}

impl Limit {
    /// The variable.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Limit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let limit = text.split_once('=').and_then(|(name, most)| {
            let (name, most) = (name.trim(), most.trim().parse::<f64>().ok()?);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            (!name.is_empty() && name.chars().all(plain) && most.is_finite() && most >= 0.0)
                .then(|| Self { name: name.to_owned(), most })
        });
        limit.ok_or_else(|| Error::Usage {
            message: format!(
                "{text:?} is no load limit: write NAME=NUMBER, like Threads_running=25"
            ),
            help: String::new(),
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_a_name_and_a_number() {
        assert_eq!("a_B=2.5".parse::<Limit>().unwrap().to_string(), "a_B=2.5");
        for wrong in ["", "a", "=1", "a=", "a=x", "a=-1", "a=inf", "a b=1", "a'=1"] {
            assert!(matches!(wrong.parse::<Limit>(), Err(Error::Usage { .. })), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_limit_never_panics(text: String) {
            let _ = text.parse::<Limit>();
        }
    }
}
