//! Places in the binary log, and their text.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::key::Position;
use crate::mysql::gtid::Gtids;
use crate::testing::mutation::{self, Rule};

/// A place between two transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Which server's log: file names and offsets mean nothing in another's.
    pub(super) server: String,
    /// The log's file.
    pub(super) file: String,
    /// Bytes from its beginning.
    pub(super) offset: u64,
    /// The transactions before it; where the server does not number them, file and offset name the place.
    pub(super) gtid: Gtids,
}

impl Place {
    /// The engine's form.
    pub(super) fn position(&self) -> Result<Position> {
        serde_json::to_string(self)
            .map(Position)
            .map_err(|error| Error::Internal(format!("a position cannot be written: {error}")))
    }

    /// Reads the engine's form.
    pub(super) fn parse(position: &Position) -> Result<Self> {
        serde_json::from_str(&position.0).map_err(|error| Error::StreamGap {
            position: position.clone(),
            reason: format!("the position cannot be read: {error}"),
        })
    }

    /// Moves to the end of an event that gives its low 32 bits only.
    ///
    /// Offsets in the log's events are 32 bits wide and wrap in files beyond 4 GiB, which one
    /// large transaction makes. A small step back is not a wrap: the server sends some events of
    /// its own making.
    pub(super) fn advance(offset: &mut u64, low: u32) {
        const WRAP: u64 = 1 << 32;
        if mutation::active(Rule::LongOffsets) {
            *offset = u64::from(low);
            return;
        }
        if low == 0 {
            return;
        }
        let mut next = *offset & !(WRAP - 1) | u64::from(low);
        if next < *offset && *offset - next > WRAP / 2 {
            next = next.saturating_add(WRAP);
        }
        *offset = next.max(*offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_survives_its_text() {
        for gtid in [
            Gtids::Off,
            Gtids::Mysql("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap()),
            Gtids::Mariadb("0-1-5".parse().unwrap()),
        ] {
            let place =
                Place { server: "s".into(), file: "bin.000007".into(), offset: 1 << 33, gtid };
            assert_eq!(Place::parse(&place.position().unwrap()).unwrap(), place);
        }
        assert!(Place::parse(&Position("nonsense".into())).is_err());
    }

    #[test]
    fn offsets_go_on_beyond_four_gibibytes() {
        let mut offset = 4;
        for low in [3_000_000_000, 4_000_000_000, 100, 0, 50, 3_000_000_000, 7] {
            Place::advance(&mut offset, low);
        }
        assert_eq!(offset, 2 * (1 << 32) + 7);
    }

    #[test]
    fn an_offset_at_the_end_of_all_numbers_stays_there() {
        let mut offset = u64::MAX - 7;
        Place::advance(&mut offset, 100);
        assert_eq!(offset, u64::MAX);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\{.*\\})?.*") {
            let _ = Place::parse(&Position(text));
        }
    }
}
