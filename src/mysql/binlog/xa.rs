//! XA transactions: logged when they are prepared, visible only after they were committed.

use super::bytes::{Bytes, Read};
use super::position::Place;
use crate::key::Key;
use crate::mysql::name::Hex;
use crate::testing::mutation::{self, Rule};

/// An XA transaction's name, in the servers' text: `X'6162',X'',1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xid(String);

impl Xid {
    /// The name from what follows XA COMMIT or ROLLBACK.
    pub(super) fn new(text: &str) -> Self {
        Self(text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase())
    }
}

/// An XA_PREPARE event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PrepareEvent {
    /// Whether it is the commit in one phase.
    pub(super) one_phase: bool,
    /// Whose.
    pub(super) xid: Xid,
}

impl PrepareEvent {
    /// Reads an event.
    pub(super) fn parse(body: &[u8]) -> Read<Self> {
        let mut bytes = Bytes(body);
        let one_phase = bytes.byte()? != 0;
        let format = bytes.little(4)?;
        let (global, branch) = (bytes.length(4)?, bytes.length(4)?);
        let (global, branch) = (Hex(bytes.take(global)?), Hex(bytes.take(branch)?));
        Ok(Self { one_phase, xid: Xid(format!("{global},{branch},{format}")) })
    }
}

/// The keys of rows that a transaction changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// In the original.
    pub(super) original: Vec<Key>,
    /// In the shadow, by another session.
    pub(super) shadow: Vec<Key>,
}

impl Touched {
    fn is_empty(&self) -> bool {
        self.original.is_empty() && self.shadow.is_empty()
    }
}

/// A prepared transaction that changed rows of the original or the shadow.
#[derive(Debug)]
struct Prepared {
    xid: Xid,
    touched: Touched,
    before: Place,
}

/// The prepared transactions that await their end, oldest first.
#[derive(Debug, Default)]
pub(super) struct PreparedList(Vec<Prepared>);

impl PreparedList {
    /// Keeps the keys of a transaction that was prepared after `before`.
    pub(super) fn prepare(&mut self, xid: Xid, touched: Touched, before: Place) {
        if !touched.is_empty() {
            self.0.push(Prepared { xid, touched, before });
        }
    }

    /// Takes the keys of a transaction that was committed or rolled back. None for one that was
    /// prepared before the stream began: the start barrier has waited for its end.
    pub(super) fn resolve(&mut self, xid: &Xid) -> Option<Touched> {
        let at = self.0.iter().position(|prepared| prepared.xid == *xid);
        at.map(|at| self.0.remove(at).touched)
    }

    /// The place before which no transaction awaits its end; none awaits: `None`.
    pub(super) fn hold(&self) -> Option<&Place> {
        self.0
            .first()
            .filter(|_| !mutation::active(Rule::XaHoldsPosition))
            .map(|prepared| &prepared.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_and_a_statement_name_the_same_transaction() {
        let body = [&[0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], b"\xabaz"].concat();
        let event = PrepareEvent::parse(&body).unwrap();
        assert_eq!(event, PrepareEvent { one_phase: false, xid: Xid::new("X'ab61', X'7a',1") });
        assert!(PrepareEvent::parse(&body[..15]).is_err());
    }

    proptest! {
        #[test]
        fn no_event_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PrepareEvent::parse(&body);
            // Lengths that promise more than there is.
            let liar = [&[0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f], &body[..]];
            prop_assert!(PrepareEvent::parse(&liar.concat()).is_err());
        }
    }
}
