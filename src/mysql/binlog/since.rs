//! Reading the log from a swap on, for an undo: what was written since is named there.
//!
//! The run that swapped wrote a marker under the cut-over's lock, when everything before it was refreshed and
//! compared. Before that marker the names belong to other tables. Behind it stands what osc itself did to the
//! tables' definitions: the rename, and what hangs on the table being settled; a second marker ends that. From
//! there on the stream reads as always.

use super::position::Place;
use crate::key::Position;
use crate::testing::mutation::{self, Rule};

/// Marks a marker as the second one: those of the engine are smaller.
const SETTLED: u64 = 1 << 62;

/// The marker that ends what follows a swap whose first marker was `lock`.
pub(in crate::mysql) fn settled(lock: u64) -> u64 {
    SETTLED | lock
}

/// A swap that the log is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// A place before its marker.
    pub position: Position,
    /// The run that swapped.
    pub run: i64,
    /// The marker that it wrote under the lock.
    pub marker: u64,
    /// The sessions in which it settled what hangs on the table.
    pub sessions: Vec<u32>,
}

/// How far the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    Settling,
    Open,
}

/// Follows a stream past a swap.
#[derive(Debug)]
pub(super) struct Passage {
    since: Option<Since>,
    stage: Stage,
    /// Where the stream began: a later one must begin there too, until this one is past the swap.
    begun: Place,
}

impl Passage {
    /// Of a stream that begins at `begun`.
    pub(super) fn new(since: Option<Since>, begun: Place) -> Self {
        let since = since.filter(|since| Place::parse(&since.position).is_ok_and(|at| at == begun));
        let stage = if since.is_some() { Stage::Before } else { Stage::Open };
        Self { since, stage, begun }
    }

    /// Whether the names belong to the tables that are read.
    pub(super) fn reads(&self) -> bool {
        self.stage != Stage::Before
    }

    /// Whether what this session did to a table is known.
    pub(super) fn knows(&self, session: u32) -> bool {
        match self.stage {
            Stage::Before => true,
            Stage::Settling => {
                self.since.as_ref().is_some_and(|since| since.sessions.contains(&session))
            }
            Stage::Open => false,
        }
    }

    /// From where a new stream must begin.
    pub(super) fn hold(&self) -> Option<&Place> {
        (self.stage != Stage::Open).then_some(&self.begun)
    }

    /// A marker of run `of` is read. Returns what is wrong if it is the reader's own, and the swap did not come.
    pub(super) fn passes(&mut self, of: i64, marker: u64, own: i64) -> Option<String> {
        let since = self.since.as_ref()?;
        if of == since.run && marker == since.marker && self.stage == Stage::Before {
            if mutation::active(Rule::SwapInLog) {
                return None;
            }
            self.stage = Stage::Settling;
        } else if of == since.run && marker == settled(since.marker) {
            self.stage = Stage::Open;
        }
        let missed = of == own && self.stage != Stage::Open;
        missed.then(|| format!("the log does not show the swap of run {}", since.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::gtid::Gtids;

    fn place(offset: u64) -> Place {
        Place { server: "s".into(), file: "bin.000001".into(), offset, gtid: Gtids::Off }
    }

    fn passage(begun: u64) -> Passage {
        let position = place(4).position().unwrap();
        let since = Since { position, run: 7, marker: 5, sessions: vec![31] };
        Passage::new(Some(since), place(begun))
    }

    #[test]
    fn what_stands_before_the_swap_is_another_tables() {
        let mut passage = passage(4);
        assert!(!passage.reads() && passage.knows(99) && passage.hold() == Some(&place(4)));
        assert_eq!(passage.passes(6, 5, 9), None, "another run's marker");
        assert!(!passage.reads());
        assert_eq!(passage.passes(7, 5, 9), None);
        assert!(passage.reads() && passage.knows(31) && !passage.knows(99));
        assert_eq!(passage.passes(7, settled(5), 9), None);
        assert!(passage.reads() && !passage.knows(31) && passage.hold().is_none());
        assert_eq!(passage.passes(9, 1, 9), None);
    }

    #[test]
    fn a_log_without_the_swap_is_reported() {
        let mut passage = passage(4);
        assert!(passage.passes(9, 1, 9).is_some());
        assert_eq!(passage.passes(7, 5, 9), None);
        assert!(passage.passes(9, 1, 9).is_some(), "not settled");
    }

    #[test]
    fn a_stream_that_begins_later_is_past_it() {
        let mut passage = passage(200);
        assert!(passage.reads() && !passage.knows(31) && passage.hold().is_none());
        assert_eq!(passage.passes(9, 1, 9), None);
    }
}
