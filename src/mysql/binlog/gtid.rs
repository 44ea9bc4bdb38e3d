//! MySQL's global transaction identifiers: sets of them, with tags.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_async::{GnoInterval, Sid};
use mysql_common::packets::Tag;
use serde::{Deserialize, Serialize};

use super::bytes::{Malformed, Read};

/// Who numbered the transactions: a server, and a tag if it has one (MySQL 8.4 and later).
type Source = ([u8; 16], String);

/// A set of transactions: `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:tag:1-3,…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct GtidSet {
    /// First and last number of each interval, in order, with gaps between them.
    intervals: BTreeMap<Source, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Adds one transaction.
    pub(super) fn add(&mut self, server: [u8; 16], tag: &str, number: u64) {
        self.add_interval((server, tag.to_owned()), number, number);
    }

    fn add_interval(&mut self, source: Source, first: u64, last: u64) {
        let intervals = self.intervals.entry(source).or_default();
        // The usual case: the next number.
        if let Some(end) = intervals.last_mut()
            && first >= end.0
            && first <= end.1.saturating_add(1)
        {
            end.1 = end.1.max(last);
            return;
        }
        let begin = intervals.partition_point(|(_, end)| end.saturating_add(1) < first);
        let end = intervals.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let merged = intervals
            .get(begin..end)
            .unwrap_or_default()
            .iter()
            .fold((first, last), |(first, last), (start, end)| (first.min(*start), last.max(*end)));
        intervals.splice(begin..end.max(begin), [merged]);
    }

    /// The set as the driver asks the server to leave it out.
    pub(super) fn request(&self) -> Vec<Sid<'static>> {
        self.intervals
            .iter()
            .map(|((server, tag), intervals)| {
                let sid = Sid::new(*server).with_intervals(
                    intervals
                        .iter()
                        .map(|(first, last)| GnoInterval::new(*first, last.saturating_add(1)))
                        .collect(),
                );
                match Tag::new(tag.clone()) {
                    Ok(tag) => sid.with_tag(tag),
                    Err(_) => sid,
                }
            })
            .collect()
    }
}

/// A transaction's number as an event gives it. They begin at 1: a set with another could not be
/// read again by the next attempt.
pub(super) fn number(number: u64) -> Read<u64> {
    match number {
        0 => Err(Malformed("a GTID has the number 0".into())),
        number => Ok(number),
    }
}

impl FromStr for GtidSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let broken = || format!("{part:?} is no set of GTIDs");
            let mut fields = part.split(':').map(str::trim);
            let server = fields.next().and_then(uuid).ok_or_else(broken)?;
            let mut tag = String::new();
            for field in fields {
                if let Ok(valid) = Tag::new(field.to_ascii_lowercase()) {
                    tag = valid.as_str().to_owned();
                    continue;
                }
                let (first, last) = field.split_once('-').unwrap_or((field, field));
                match (first.trim().parse(), last.trim().parse()) {
                    (Ok(first), Ok(last)) if 0 < first && first <= last => {
                        set.add_interval((server, tag.clone()), first, last);
                    }
                    _ => return Err(broken()),
                }
            }
        }
        Ok(set)
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

impl TryFrom<String> for GtidSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> Self {
        set.to_string()
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, ((server, tag), intervals)) in self.intervals.iter().enumerate() {
            let digits = format!("{:032x}", u128::from_be_bytes(*server));
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{}", &digits[..8])?;
            for part in [8..12, 12..16, 16..20, 20..32] {
                write!(f, "-{}", &digits[part])?;
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn a_number_that_no_set_can_hold_is_an_error() {
        assert_eq!(number(1), Ok(1));
        assert!(number(0).is_err());
        let zero = "3e11fa47-71ca-11e1-9e33-c80aa9429562:0";
        assert!(zero.parse::<GtidSet>().is_err());
    }

    #[test]
    fn sets_are_read_as_the_server_writes_them() {
        let text = format!(
            "{}:1-5:7:tag_a:1-3,\n3e11fa48-71ca-11e1-9e33-c80aa9429562:9",
            ONE.to_uppercase()
        );
        let set: GtidSet = text.parse().unwrap();
        assert_eq!(
            set.to_string(),
            format!("{ONE}:1-5:7,{ONE}:tag_a:1-3,3e11fa48-71ca-11e1-9e33-c80aa9429562:9")
        );
        assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set);
        assert_eq!("".parse::<GtidSet>().unwrap(), GtidSet::default());
        for wrong in ["x:1", &format!("{ONE}:0"), &format!("{ONE}:5-3"), &format!("{ONE}:-")] {
            assert!(wrong.parse::<GtidSet>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn adding_in_any_order_gives_the_same_set(numbers in proptest::collection::vec(1_u64..60, 0..60)) {
            let server = uuid(ONE).unwrap();
            let mut set = GtidSet::default();
            for number in &numbers {
                set.add(server, "", *number);
            }
            let mut sorted = GtidSet::default();
            for number in numbers.iter().collect::<BTreeSet<_>>() {
                sorted.add(server, "", *number);
            }
            prop_assert_eq!(&set, &sorted);
            let all: Vec<u64> =
                set.intervals.values().flatten().flat_map(|(a, b)| *a..=*b).collect();
            prop_assert_eq!(all, numbers.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
            prop_assert!(set.intervals.values().all(|list| list.windows(2).all(|w| w[0].1 + 1 < w[1].0)));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<GtidSet>();
        }
    }
}
