//! How far a server has come, and whether another has come as far.

use crate::mysql::gtid::Gtids;

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

/// How far a server has come, as far as it can be known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Executed {
    /// Its transactions, where all that it writes have identifiers.
    pub gtids: Gtids,
    /// The place in the primary's binary log.
    pub coordinates: Option<Coordinates>,
}

impl Executed {
    /// Whether it is proven that everything in `earlier` is in this. Either way of telling is
    /// proof; both can be missing or blind, GTIDs where the replica was set up without the old
    /// ones, coordinates where there are servers between.
    pub(super) fn includes(&self, earlier: &Self) -> bool {
        let by_place = self.coordinates.as_ref().zip(earlier.coordinates.as_ref());
        self.gtids.contains(&earlier.gtids)
            || by_place.is_some_and(|(ours, theirs)| ours.reaches(theirs))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mysql::connection::version::Family;

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
        let gtids = |text| Gtids::parse(Family::Mariadb, text).unwrap();
        let place = |offset| Coordinates::new("bin.000001", offset);
        let at = |gtids, coordinates| Executed { gtids, coordinates };
        let sample = at(gtids("0-1-5,9-1-1"), place(500));
        assert!(at(gtids("0-1-5,9-1-1"), None).includes(&sample));
        assert!(at(gtids("0-1-5"), place(500)).includes(&sample));
        assert!(!at(gtids("0-1-5"), place(499)).includes(&sample));
        assert!(!at(Gtids::Off, None).includes(&sample));
        assert!(!at(Gtids::Off, None).includes(&Executed::default()));
    }

    proptest! {
        #[test]
        fn reading_rubbish_never_panics(text in "[0-9a-f:, -]{0,30}|.*") {
            let _ = Gtids::parse(Family::Mysql, &text);
            let _ = Gtids::parse(Family::Mariadb, &text);
            let _ = Coordinates::new(&text, 0);
        }
    }
}
