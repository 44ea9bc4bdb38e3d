//! Our transactions on the shadow, step by step: delete, read the original, insert and commit.

use super::table::{Keys, Rows, holder};

/// A chunk's or a refresh's transaction. What it deleted is locked until its end; what it inserts
/// appears at its end, which leaves others more freedom than a server's row locks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Write {
    /// The rows that it writes.
    pub keys: Keys,
    /// Rows of these that it leaves out.
    pub except: Keys,
    /// Whether it deletes what is there first.
    pub clears: bool,
    deleted: Option<Keys>,
    read: Option<Rows>,
}

/// Its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It deletes rows of the shadow.
    Deletes,
    /// It reads the original: its snapshot.
    Reads,
    /// It inserts what it has read, and commits.
    Commits,
}

/// How its commit comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The shadow after it.
    Written(Rows),
    /// A row is there already, or locked by another of ours: it rolls back and begins again.
    Contention,
    /// Unique values of its rows are held by other rows.
    Clash {
        /// Its rows.
        own: Keys,
        /// The others.
        holders: Keys,
    },
}

impl Write {
    /// One that writes these rows.
    pub fn new(keys: Keys, clears: bool) -> Self {
        Self { keys, except: Keys::default(), clears, deleted: None, read: None }
    }

    /// The same from its beginning.
    pub fn again(self) -> Self {
        Self { deleted: None, read: None, ..self }
    }

    /// What a refresh does after its commit came out so: nothing more, or all over again, with those
    /// that it clashed with.
    pub fn after(self, outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Written(_) => None,
            Outcome::Contention => Some(self.again()),
            Outcome::Clash { own, holders } => {
                Some(Self { keys: self.keys.and(own).and(holders), ..self.again() })
            }
        }
    }

    /// What it does next.
    pub fn next(&self) -> Step {
        match (self.clears, self.deleted, self.read) {
            (true, None, _) => Step::Deletes,
            (_, _, None) => Step::Reads,
            (_, _, Some(_)) => Step::Commits,
        }
    }

    /// Whether its first step is done.
    pub fn has_begun(&self) -> bool {
        self.deleted.is_some() || self.read.is_some()
    }

    /// The keys whose rows in the shadow no one else can write.
    pub fn locks(&self) -> Keys {
        self.deleted.unwrap_or_default()
    }

    /// Deletes; the rows that were there are locked.
    pub fn delete(&mut self, there: Keys) {
        self.deleted = Some(Keys(self.keys.0 & there.0));
    }

    /// Takes the snapshot.
    pub fn read(&mut self, visible: Rows) {
        self.read = Some(visible);
    }

    /// What its commit does to the shadow, where others lock `locked`. With `ignoring`, rows that
    /// clash are left out without a word.
    pub fn outcome(&self, shadow: &Rows, locked: Keys, ignoring: bool) -> Outcome {
        let read = self.read.unwrap_or_default();
        let mut after = *shadow;
        self.locks().each().for_each(|key| after[usize::from(key)] = 0);
        let left = after;
        let (mut own, mut holders, mut contention) = (Keys::default(), Keys::default(), false);
        for key in self.keys.but(self.except).each() {
            let value = read[usize::from(key)];
            if value == 0 {
                continue;
            }
            if left[usize::from(key)] != 0 {
                contention = true;
            } else if let Some(other) = holder(&left, value) {
                contention |= locked.has(other);
                own = own.with(key);
                holders = holders.with(other);
            } else {
                after[usize::from(key)] = value;
            }
        }
        match (contention && !ignoring, own.is_empty() || ignoring) {
            (true, _) => Outcome::Contention,
            (false, false) => Outcome::Clash { own, holders },
            (false, true) => Outcome::Written(after),
        }
    }
}
