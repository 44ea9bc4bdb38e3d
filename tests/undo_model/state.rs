//! What there is: the live and the retired table, the log, the ledger, and what osc has in memory.

use super::table::{Keys, Log, Rows};

/// Everything at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// What was committed to the live table since its change was about to be swapped in, in the order of the log.
    pub log: Log,
    /// How much of the log a reader sees.
    pub visible: u8,
    /// The log before this position is purged.
    pub purged: u8,
    /// The retired table.
    pub retired: Retired,
    /// The keys that had no row at some moment since the swap.
    pub gone: Keys,
    /// How far the change is, and then the undo.
    pub stage: Stage,
    /// What the change recorded: where the log must be read from.
    pub swap: Option<u8>,
    /// The undo's checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// A transaction of a dead attempt that the server is still at.
    pub dead: Option<Put>,
    /// Rows were put after the log named them, and not by comparing.
    pub put_by_log: bool,
    /// The log ended too early.
    pub fell_back: bool,
    pub writes_left: u8,
    pub deaths_left: u8,
    pub purges_left: u8,
    pub strangers_left: u8,
}

/// Rows of the retired table: what the live table has too, and which rows have values of their own in a column
/// that the change dropped; the others have its DEFAULT there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retired {
    pub rows: Rows,
    pub own: Keys,
}

/// How far all is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The change is about to be swapped in; `locked`: it has the lock.
    Changing { locked: bool },
    /// It is live, and nobody undoes it.
    Changed,
    /// An undo begins. `compared`: keys that were compared too early, where a rule is broken.
    Preparing { position: Option<u8>, compared: Keys },
    /// It is at work.
    Up(Attempt),
    /// It was killed.
    Down,
    /// The retired table is live again.
    Back,
}

/// From where a killed undo goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    pub position: u8,
    pub by_log: bool,
}

/// What osc has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Up to where the stream was delivered, and from where the log must still be there.
    pub read: u8,
    /// Up to where all changes are in the retired table.
    pub applied: u8,
    /// Up to here the log must be read before an undo by the log has all.
    pub begun_at: u8,
    pub by_log: bool,
    pub dirty: Keys,
    /// Keys that were found to be equal.
    pub compared: Keys,
    /// The refresher.
    pub cycle: Cycle,
    /// The marker's position, once the live table is locked.
    pub cut_over: CutOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cycle {
    Idle,
    /// Keys and position are taken.
    Taken {
        keys: Keys,
        position: u8,
    },
    /// The checkpoint is committed, and so all that the stream had delivered is visible.
    Putting {
        keys: Keys,
        position: u8,
        put: Put,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutOver {
    Open,
    Locked,
    Marked { at: u8 },
    Drained,
}

/// A transaction that puts rows: what they have of their own is set aside, they are deleted, the live table is
/// read, and it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Put {
    pub keys: Keys,
    /// What was deleted: which of the rows had values of their own.
    pub own: Option<Keys>,
    pub read: Option<Rows>,
}

impl Put {
    pub fn new(keys: Keys) -> Self {
        Self { keys, own: None, read: None }
    }
}

impl State {
    /// The live table.
    pub fn live(&self) -> Rows {
        self.log.rows(self.log.len())
    }
}
