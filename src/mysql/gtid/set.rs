//! MySQL's global transaction identifiers: sets of them, with tags.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_async::{GnoInterval, Sid};
use mysql_common::packets::Tag;
use serde::{Deserialize, Serialize};

/// Who numbered the transactions: a server, and a tag if it has one (MySQL 8.4 and later).
type Source = ([u8; 16], String);

/// A set of transactions: `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:tag:1-3,…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct GtidSet {
    /// First and last number of each interval, in order, with gaps between them.
    intervals: BTreeMap<Source, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Adds one transaction.
    pub(crate) fn add(&mut self, server: [u8; 16], tag: &str, number: u64) {
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

    /// Whether all of `other` is in it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        other.intervals.iter().all(|(source, intervals)| {
            let ours = self.intervals.get(source).map(Vec::as_slice).unwrap_or_default();
            intervals.iter().all(|(first, last)| {
                ours.iter().any(|(ours_first, ours_last)| ours_first <= first && last <= ours_last)
            })
        })
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The set as the driver asks the server to leave it out.
    pub(crate) fn request(&self) -> Vec<Sid<'static>> {
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

    #[test]
    fn a_set_contains_its_parts() {
        let two = "3e11fa48-71ca-11e1-9e33-c80aa9429562";
        let other = "3e11fa49-71ca-11e1-9e33-c80aa9429562";
        let read = |text: &str| -> GtidSet {
            let text = text.replace('U', &ONE.to_uppercase()).replace('V', two);
            text.replace('W', other).parse().unwrap()
        };
        let set = read("U:1-5:8:blue:1-3:red:7,\nV:9");
        for part in ["", "U:1-5", "U:2-4:8", "U:blue:2", "U:RED:7,V:9"] {
            assert!(set.contains(&read(part)), "{part}");
        }
        for part in ["U:6", "U:5-8", "U:blue:4", "U:green:1", "W:1", "V:8-9"] {
            assert!(!set.contains(&read(part)), "{part}");
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
