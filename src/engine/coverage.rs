//! Which part of the key space has been handed out, is in flight, and is copied.
//!
//! Chunks are handed out in key order and numbered; they end in any order. What counts for a
//! checkpoint is the edge below which *all* chunks have ended.
//!
//! The copy ends at the last key that the table had when the stream had been opened. Rows that come
//! after it are all in the stream, so that their keys are refreshed from the start, and the copy
//! never chases the end of a table that grows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::{Key, KeyRange};
use crate::testing::mutation::{self, Rule};

/// An edge in the key space: everything up to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Watermark {
    /// Before the first key.
    #[default]
    Start,
    /// At this key, included.
    At(Key),
    /// After every key.
    End,
}

/// Up to where the copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// To the table's end, wherever that is by then: osc cannot compare its keys.
    #[default]
    Open,
    /// To this key; all keys after it are the stream's.
    At(Key),
    /// The table was empty: all keys are the stream's.
    Empty,
}

impl Watermark {
    fn of_upper(bound: Option<&Key>) -> Self {
        bound.map_or(Self::End, |key| Self::At(key.clone()))
    }
}

/// Where a key lies; meaningful under [`KeyOrder::Bytes`](crate::key::KeyOrder::Bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// No chunk with it has been handed out: a later one will read it.
    Ahead,
    /// A chunk with it is in flight.
    InFlight,
    /// Its chunk is copied.
    Copied,
}

/// The number of a chunk, in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkNumber(u64);

/// The state of the copy.
#[derive(Debug, Default)]
pub struct Coverage {
    limit: Limit,
    handed_out: Watermark,
    copied: Watermark,
    next: u64,
    lowest_open: u64,
    in_flight: BTreeMap<ChunkNumber, KeyRange>,
    ended: BTreeMap<ChunkNumber, Watermark>,
}

impl Coverage {
    /// Goes on from a checkpoint's edge.
    pub fn resume(copied: Watermark, limit: Limit) -> Self {
        let copied = if limit == Limit::Empty { Watermark::End } else { copied };
        Self { limit, handed_out: copied.clone(), copied, ..Self::default() }
    }

    /// Up to where the copy goes.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Up to where chunks have been handed out.
    pub fn handed_out(&self) -> &Watermark {
        &self.handed_out
    }

    /// Up to where everything is copied.
    pub fn copied(&self) -> &Watermark {
        &self.copied
    }

    /// Hands out the chunk from the last edge up to `upto` (`None`: to the end). Its copy must
    /// start after this call, or rule 3 breaks: keys `Ahead` are dropped from the dirty set.
    pub fn hand_out(&mut self, upto: Option<Key>) -> (ChunkNumber, KeyRange) {
        let after = match &self.handed_out {
            Watermark::Start | Watermark::End => None,
            Watermark::At(key) => Some(key.clone()),
        };
        let number = ChunkNumber(self.next);
        self.next += 1;
        let range = match &self.limit {
            Limit::At(limit) if upto.as_ref().is_none_or(|upto| upto >= limit) => {
                self.handed_out = Watermark::End;
                KeyRange { after, upto: Some(limit.clone()) }
            }
            _ => {
                self.handed_out = Watermark::of_upper(upto.as_ref());
                KeyRange { after, upto }
            }
        };
        self.in_flight.insert(number, range.clone());
        (number, range)
    }

    /// The chunk's copy is committed.
    pub fn end(&mut self, number: ChunkNumber) {
        let Some(range) = self.in_flight.remove(&number) else { return };
        let last = matches!((&self.limit, &range.upto), (Limit::At(l), Some(upto)) if l == upto);
        let edge = if last { Watermark::End } else { Watermark::of_upper(range.upto.as_ref()) };
        self.ended.insert(number, edge);
        while let Some(edge) = self.ended.remove(&ChunkNumber(self.lowest_open)) {
            self.copied = edge;
            self.lowest_open += 1;
        }
    }

    /// Where `key` lies.
    pub fn place(&self, key: &Key) -> Place {
        let beyond = match &self.limit {
            Limit::Open => false,
            Limit::At(limit) => key > limit,
            Limit::Empty => true,
        };
        if beyond && !mutation::active(Rule::BeyondRefreshed) {
            return Place::Copied;
        }
        let ahead = match &self.handed_out {
            Watermark::Start => true,
            Watermark::At(edge) => key > edge,
            Watermark::End => false,
        };
        if ahead {
            Place::Ahead
        } else if self.in_flight.values().any(|range| range.contains(key)) {
            Place::InFlight
        } else if mutation::active(Rule::CopiedRefreshed) {
            Place::Ahead
        } else {
            Place::Copied
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key(Box::new([byte]))
    }

    #[test]
    fn a_key_is_ahead_then_in_flight_then_copied() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.place(&key(5)), Place::Ahead);
        let (first, range) = coverage.hand_out(Some(key(5)));
        assert_eq!(range, KeyRange { after: None, upto: Some(key(5)) });
        assert_eq!(coverage.place(&key(5)), Place::InFlight);
        assert_eq!(coverage.place(&key(6)), Place::Ahead);
        coverage.end(first);
        assert_eq!(coverage.place(&key(5)), Place::Copied);
    }

    #[test]
    fn the_checkpoint_edge_waits_for_the_slowest_chunk() {
        let mut coverage = Coverage::default();
        let (first, _) = coverage.hand_out(Some(key(5)));
        let (second, _) = coverage.hand_out(Some(key(9)));
        let (last, range) = coverage.hand_out(None);
        assert_eq!(range, KeyRange { after: Some(key(9)), upto: None });
        coverage.end(second);
        assert_eq!(*coverage.copied(), Watermark::Start);
        assert_eq!(coverage.place(&key(7)), Place::Copied);
        coverage.end(first);
        assert_eq!(*coverage.copied(), Watermark::At(key(9)));
        coverage.end(last);
        assert_eq!(*coverage.copied(), Watermark::End);
        assert_eq!(coverage.place(&key(200)), Place::Copied);
    }

    #[test]
    fn a_resumed_copy_hands_out_from_its_checkpoint() {
        let mut coverage = Coverage::resume(Watermark::At(key(9)), Limit::Open);
        assert_eq!(coverage.place(&key(9)), Place::Copied);
        assert_eq!(coverage.place(&key(10)), Place::Ahead);
        assert_eq!(coverage.hand_out(None).1, KeyRange { after: Some(key(9)), upto: None });
    }

    #[test]
    fn keys_beyond_the_limit_are_the_streams_from_the_start() {
        let mut coverage = Coverage::resume(Watermark::Start, Limit::At(key(9)));
        assert_eq!(coverage.place(&key(10)), Place::Copied);
        assert_eq!(coverage.place(&key(9)), Place::Ahead);
        let (first, _) = coverage.hand_out(Some(key(5)));
        let (last, range) = coverage.hand_out(None);
        assert_eq!(range, KeyRange { after: Some(key(5)), upto: Some(key(9)) });
        assert_eq!(*coverage.handed_out(), Watermark::End);
        coverage.end(first);
        assert_eq!(*coverage.copied(), Watermark::At(key(5)));
        coverage.end(last);
        assert_eq!(*coverage.copied(), Watermark::End);
        assert_eq!(*Coverage::resume(Watermark::Start, Limit::Empty).copied(), Watermark::End);
    }
}
