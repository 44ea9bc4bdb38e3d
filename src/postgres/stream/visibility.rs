//! Which transactions the stream has delivered, and whether readers see them: rule 2.
//!
//! PostgreSQL flushes a commit, then may wait for a standby, and only then shows it to snapshots;
//! the stream delivers it after the flush. So every delivered transaction is remembered until a
//! snapshot shows it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::key::Position;
use crate::postgres::connection::errors::server_error;
use crate::testing::mutation::{self, Rule};

/// Pauses between looks at the snapshot.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
];

/// 64 transactions whose numbers differ in the lowest bits only: number ÷ 64 → one bit each.
type Blocks = HashMap<u32, u64>;

/// What the stream and its user tell each other: transactions delivered, position applied.
#[derive(Debug, Default)]
pub struct Seen {
    delivered: Mutex<Blocks>,
    confirmed: Mutex<Option<Position>>,
    confirming: Notify,
}

impl Seen {
    fn delivered(&self) -> MutexGuard<'_, Blocks> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a transaction. Called before the first of its keys is delivered.
    pub(super) fn deliver(&self, xid: u32) {
        *self.delivered().entry(xid / 64).or_default() |= 1 << (xid % 64);
    }

    /// Waits until every transaction whose keys were delivered before this call is visible to
    /// statements that begin after it, and forgets those. `client` must not be in a transaction.
    /// Waits without end while a commit is held back; a dropped call forgets nothing.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn visible(&self, client: &Client) -> Result<()> {
        let awaited = self.delivered().clone();
        if awaited.is_empty() || mutation::active(Rule::SnapshotShows) {
            return Ok(());
        }
        for attempt in 0.. {
            let snapshot = Snapshot::take(client).await?;
            if snapshot.shows(&awaited) {
                break;
            }
            let pause = PAUSES.get(attempt).or(PAUSES.last()).copied().unwrap_or_default();
            tokio::time::sleep(pause).await;
        }
        self.delivered().retain(|block, bits| {
            *bits &= !awaited.get(block).copied().unwrap_or_default();
            *bits != 0
        });
        Ok(())
    }

    /// Lets the server forget the stream up to `position`, which must be stored as applied, and
    /// must not go backwards. The server learns of it while the stream is read.
    pub fn confirm(&self, position: &Position) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(position.clone());
        self.confirming.notify_one();
    }

    /// What was confirmed last.
    pub(super) fn confirmed(&self) -> Option<Position> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the next [`Seen::confirm`].
    pub(super) async fn confirming(&self) {
        self.confirming.notified().await;
    }
}

/// Which transactions are over, as `pg_current_snapshot` has it: all below `xmin`, none from `xmax`
/// on, and between them those that are not in progress.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    async fn take(client: &Client) -> Result<Self> {
        let action = "asking which commits are visible";
        let row = client
            .query_one("SELECT pg_catalog.pg_current_snapshot()::text", &[])
            .await
            .map_err(|error| server_error(action, &error))?;
        let text: &str = row.try_get(0).map_err(|error| server_error(action, &error))?;
        Self::parse(text).ok_or_else(|| Error::Internal(format!("not a snapshot: {text}")))
    }

    /// Parses `xmin:xmax:xid,xid…`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax, list) = (parts.next()?, parts.next()?, parts.next()?);
        let in_progress: Option<Vec<u64>> =
            list.split(',').filter(|xid| !xid.is_empty()).map(|xid| xid.parse().ok()).collect();
        let (xmin, xmax) = (xmin.parse().ok()?, xmax.parse().ok()?);
        // One that no server makes, which would show what has not begun.
        (xmin <= xmax).then_some(Self { xmin, xmax, in_progress: in_progress? })
    }

    fn shows(&self, blocks: &Blocks) -> bool {
        blocks.iter().all(|(block, bits)| {
            (0..64)
                .filter(|bit| bits >> bit & 1 == 1)
                .all(|bit| self.shows_one(self.extend(block * 64 + bit)))
        })
    }

    fn shows_one(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// The number in full of a transaction that the stream numbers in 32 bits. The server never has
    /// numbers in use that are further than 2³¹ apart, and a slot keeps those that it needs in use.
    fn extend(&self, xid: u32) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let distance = xid.wrapping_sub(self.xmax as u32).cast_signed();
        self.xmax.saturating_add_signed(i64::from(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[allow(clippy::let_and_return, reason = "the guard must end before what it guards")]
    fn blocks(xids: &[u32]) -> Blocks {
        let seen = Seen::default();
        xids.iter().for_each(|xid| seen.deliver(*xid));
        let blocks = seen.delivered().clone();
        blocks
    }

    #[test]
    fn a_snapshot_is_read() {
        let snapshot = Snapshot::parse("10:20:10,15").unwrap();
        assert_eq!(snapshot, Snapshot { xmin: 10, xmax: 20, in_progress: vec![10, 15] });
        assert_eq!(Snapshot::parse("10:10:").unwrap().in_progress, [0_u64; 0]);
        for broken in ["", "1", "1:2", "1:x:", "1:2:y", "2200000000:0:"] {
            assert_eq!(Snapshot::parse(broken), None);
        }
    }

    #[test]
    fn a_transaction_in_progress_or_to_come_is_not_shown() {
        let snapshot = Snapshot::parse("10:20:10,15").unwrap();
        assert!(snapshot.shows(&blocks(&[3, 9, 11, 14, 16, 19])));
        for hidden in [10, 15, 20, 25] {
            assert!(!snapshot.shows(&blocks(&[3, hidden])), "{hidden}");
        }
    }

    #[test]
    fn numbers_are_extended_over_a_wrap() {
        let xmax = (3 << 32) + 5;
        let snapshot = Snapshot { xmin: xmax, xmax, in_progress: vec![] };
        assert_eq!(snapshot.extend(4), (3 << 32) + 4);
        assert_eq!(snapshot.extend(u32::MAX), (3 << 32) - 1, "from before the wrap");
        assert_eq!(snapshot.extend(6), (3 << 32) + 6, "not yet known to the snapshot");
        assert!(snapshot.shows(&blocks(&[u32::MAX, 4])));
        assert!(!snapshot.shows(&blocks(&[u32::MAX, 6])));
    }

    #[test]
    fn many_transactions_take_little_room() {
        let xids: Vec<u32> = (0..64_000).collect();
        assert_eq!(blocks(&xids).len(), 1_000);
    }

    proptest! {
        #[test]
        fn no_snapshot_makes_it_panic(text in "[0-9]{0,22}:?[0-9]{0,22}:?[0-9,]{0,60}.{0,3}") {
            if let Some(snapshot) = Snapshot::parse(&text) {
                let all = [0, 1, u32::MAX / 2, u32::MAX];
                prop_assert!(!snapshot.shows(&blocks(&all)) || snapshot.xmax > 0);
            }
        }
    }
}
