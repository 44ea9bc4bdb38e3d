//! Positions: log sequence numbers as text, `16/B374D848`.

use pgwire_replication::Lsn;

use crate::error::{Error, Result};
use crate::key::Position;

/// The position of a number.
pub(super) fn of(lsn: Lsn) -> Position {
    Position(lsn.to_string())
}

/// The number of a position.
pub(super) fn parse(position: &Position) -> Result<Lsn> {
    Lsn::parse(&position.0)
        .map_err(|_| Error::Internal(format!("{position} is not a position of this stream")))
}
