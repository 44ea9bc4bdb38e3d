//! Which transactions a server has, and whether another has them too.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A set of global transaction identifiers, of either family: for each sequence (UUID and tag, or
/// domain) the numbers in it, first and last of each interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GtidSet(BTreeMap<String, Vec<(u64, u64)>>);

impl GtidSet {
    /// Reads MySQL's `uuid:1-5:7:tag:1-3,uuid:1`. A server writes its intervals merged.
    ///
    /// # Errors
    /// [`Error::Internal`] when the text is no such set.
    pub(super) fn mysql(text: &str) -> Result<Self> {
        let unreadable = || Error::Internal(format!("cannot read the GTID set {text:?}"));
        let mut sets = BTreeMap::<String, Vec<(u64, u64)>>::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split(':').map(str::trim);
            let uuid = words.next().unwrap_or_default().to_ascii_lowercase();
            let mut sequence = uuid.clone();
            for word in words {
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    let (first, last) = word.split_once('-').unwrap_or((word, word));
                    let number = |text: &str| text.parse::<u64>().map_err(|_| unreadable());
                    let interval = (number(first)?, number(last)?);
                    sets.entry(sequence.clone()).or_default().push(interval);
                } else if word.is_empty() {
                    return Err(unreadable());
                } else {
                    sequence = format!("{uuid}:{}", word.to_ascii_lowercase());
                }
            }
        }
        Ok(Self(sets))
    }

    /// Reads MariaDB's `0-1-100,5-2-7`: of each domain the last transaction, with all before it.
    ///
    /// # Errors
    /// [`Error::Internal`] when the text is no such position.
    pub(super) fn mariadb(text: &str) -> Result<Self> {
        let read = |part: &str| {
            let (domain, rest) = part.split_once('-')?;
            let (_server, number) = rest.split_once('-')?;
            Some((domain.to_owned(), vec![(0, number.parse().ok()?)]))
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(read)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| Error::Internal(format!("cannot read the GTID position {text:?}")))
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of `other` is in it.
    pub(super) fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(sequence, intervals)| {
            let ours = self.0.get(sequence).map(Vec::as_slice).unwrap_or_default();
            intervals.iter().all(|(first, last)| {
                ours.iter().any(|(ours_first, ours_last)| ours_first <= first && last <= ours_last)
            })
        })
    }
}

/// A place in a server's binary log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coordinates {
    base: String,
    number: u64,
    offset: u64,
}

impl Coordinates {
    /// The place `offset` in a file such as `binlog.000042`; `None` when that is no log's name.
    pub(super) fn new(file: &str, offset: u64) -> Option<Self> {
        let (base, number) = file.rsplit_once('.')?;
        Some(Self { base: base.to_owned(), number: number.parse().ok()?, offset })
    }

    /// Whether this place is `other` or after it, in the same log.
    pub(super) fn reaches(&self, other: &Self) -> bool {
        self.base == other.base && (self.number, self.offset) >= (other.number, other.offset)
    }
}

/// How far a server has come, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Executed {
    /// Its transactions, where all that it writes have identifiers.
    pub gtids: Option<GtidSet>,
    /// The place in the primary's binary log.
    pub coordinates: Option<Coordinates>,
}

impl Executed {
    /// Whether it is proven that everything in `earlier` is in this. Either way of telling is
    /// proof; both can be missing or blind, GTIDs where the replica was set up without the old
    /// ones, coordinates where there are servers between.
    pub(super) fn includes(&self, earlier: &Self) -> bool {
        let by_gtid = self.gtids.as_ref().zip(earlier.gtids.as_ref());
        let by_place = self.coordinates.as_ref().zip(earlier.coordinates.as_ref());
        by_gtid.is_some_and(|(ours, theirs)| ours.contains(theirs))
            || by_place.is_some_and(|(ours, theirs)| ours.reaches(theirs))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562";

    fn mysql(text: &str) -> GtidSet {
        GtidSet::mysql(&text.replace('U', UUID)).unwrap()
    }

    #[test]
    fn sets_of_mysql_contain_their_parts() {
        let set = mysql("U:1-5:8:blue:1-3:red:7,\nA-B:9");
        for part in ["", "U:1-5", "U:2-4:8", "U:blue:2", "U:RED:7,a-b:9"] {
            assert!(set.contains(&mysql(part)), "{part}");
        }
        for part in ["U:6", "U:5-8", "U:blue:4", "U:green:1", "C-D:1", "A-B:8-9"] {
            assert!(!set.contains(&mysql(part)), "{part}");
        }
    }

    #[test]
    fn positions_of_mariadb_contain_what_came_before() {
        let position = |text| GtidSet::mariadb(text).unwrap();
        let replica = position("0-1-100,7-2-5");
        for earlier in ["", "0-1-100", "0-9-99,7-2-5"] {
            assert!(replica.contains(&position(earlier)), "{earlier}");
        }
        for other in ["0-1-101", "7-2-6", "3-1-1"] {
            assert!(!replica.contains(&position(other)), "{other}");
        }
    }

    #[test]
    fn places_are_compared_within_one_log() {
        let place = |file, offset| Coordinates::new(file, offset).unwrap();
        assert!(place("bin.000009", 4).reaches(&place("bin.000009", 4)));
        assert!(place("bin.1000000", 4).reaches(&place("bin.999999", 900)));
        assert!(!place("bin.000009", 3).reaches(&place("bin.000009", 4)));
        assert!(!place("other.000010", 4).reaches(&place("bin.000009", 4)));
        assert_eq!(Coordinates::new("", 4), None);
        assert_eq!(Coordinates::new("bin.index", 4), None);
    }

    #[test]
    fn either_way_of_telling_is_proof_and_none_is_not() {
        let gtids = |text| Some(GtidSet::mariadb(text).unwrap());
        let place = |offset| Coordinates::new("bin.000001", offset);
        let at = |gtids, coordinates| Executed { gtids, coordinates };
        let sample = at(gtids("0-1-5,9-1-1"), place(500));
        assert!(at(gtids("0-1-5,9-1-1"), None).includes(&sample));
        assert!(at(gtids("0-1-5"), place(500)).includes(&sample));
        assert!(!at(gtids("0-1-5"), place(499)).includes(&sample));
        assert!(!at(None, None).includes(&sample));
        assert!(!at(None, None).includes(&Executed::default()));
    }

    proptest! {
        #[test]
        fn reading_rubbish_never_panics(text in "[0-9a-f:, -]{0,30}|.*") {
            let _ = GtidSet::mysql(&text);
            let _ = GtidSet::mariadb(&text);
            let _ = Coordinates::new(&text, 0);
        }
    }
}
