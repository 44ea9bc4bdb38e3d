//! MariaDB's global transaction identifiers: the last one of each domain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The last transaction of each domain: `0-1-5,7-2-9` (domain, server, sequence number).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct GtidList {
    domains: BTreeMap<u32, (u32, u64)>,
}

impl GtidList {
    /// Notes a domain's newest transaction.
    pub(crate) fn set(&mut self, gtid: Gtid) {
        self.domains.insert(gtid.domain, (gtid.server, gtid.sequence));
    }

    /// Whether nothing was ever logged.
    pub(crate) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Whether all of `other` comes before its end: in a domain, what has a number has all before it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        other.domains.iter().all(|(domain, (_, theirs))| {
            self.domains.get(domain).is_some_and(|(_, ours)| theirs <= ours)
        })
    }
}

impl FromStr for GtidList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let broken = || format!("{part:?} is no GTID");
            let numbers: Vec<&str> = part.split('-').collect();
            let [domain, server, sequence] = numbers[..] else { return Err(broken()) };
            match (domain.parse(), server.parse(), sequence.parse()) {
                (Ok(domain), Ok(server), Ok(sequence)) => {
                    list.set(Gtid { domain, server, sequence });
                }
                _ => return Err(broken()),
            }
        }
        Ok(list)
    }
}

impl TryFrom<String> for GtidList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GtidList> for String {
    fn from(list: GtidList) -> Self {
        list.to_string()
    }
}

impl fmt::Display for GtidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (domain, (server, sequence))) in self.domains.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// One transaction's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gtid {
    pub(crate) domain: u32,
    pub(crate) server: u32,
    pub(crate) sequence: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_as_the_server_writes_them() {
        let mut list: GtidList = "7-2-9,0-1-5".parse().unwrap();
        assert_eq!(list.to_string(), "0-1-5,7-2-9");
        list.set(Gtid { domain: 0, server: 3, sequence: 6 });
        assert_eq!(list.to_string(), "0-3-6,7-2-9");
        assert!("".parse::<GtidList>().unwrap().is_empty());
        assert!("0-1".parse::<GtidList>().is_err());
        assert!("0-1-x".parse::<GtidList>().is_err());
    }

    #[test]
    fn a_list_contains_what_came_before() {
        let list = |text: &str| text.parse::<GtidList>().unwrap();
        let replica = list("0-1-100,7-2-5");
        for earlier in ["", "0-1-100", "0-9-99,7-2-5"] {
            assert!(replica.contains(&list(earlier)), "{earlier}");
        }
        for other in ["0-1-101", "7-2-6", "3-1-1"] {
            assert!(!replica.contains(&list(other)), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9, -]{0,30}|.*") {
            let _ = text.parse::<GtidList>();
        }
    }
}
