//! What there is: the server's tables and log, the ledger, and what osc has in memory.

use super::table::{Keys, Log, Rows};
use super::writes::{Outcome, Write};

/// Chunks in flight at a time.
pub const CHUNKS: usize = 2;

/// Everything at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// What was committed, in the order of the log.
    pub log: Log,
    /// How much of the log a reader sees: commits become visible in its order, but later.
    pub visible: u8,
    /// The shadow.
    pub shadow: Rows,
    /// A row was written that was there already, and no index showed it.
    pub doubled: bool,
    /// What the ledger says.
    pub checkpoint: Option<Checkpoint>,
    /// A transaction of a dead attempt that the server is still at.
    pub dead: Option<Write>,
    /// The program.
    pub run: Run,
    /// Transactions that the application may still commit.
    pub writes_left: u8,
    /// Times that osc may still die or lose a connection.
    pub deaths_left: u8,
    /// Attempts at the cut-over that are left; the number of the next marker too.
    pub attempts_left: u8,
}

/// The program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Run {
    /// It begins: the position, if taken, and the end of the copy, if looked up.
    Preparing { position: Option<u8>, limit: Option<u8> },
    /// It is at work.
    Up(Attempt),
    /// It was killed.
    Down,
    /// The tables are swapped.
    Swapped,
}

/// From where a killed run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Of the stream.
    pub position: u8,
    /// The keys before it are copied.
    pub edge: u8,
    /// The keys from it on are not the copy's.
    pub limit: u8,
}

/// What osc has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Up to where the stream was delivered.
    pub read: u8,
    /// Up to where all changes are in the shadow.
    pub applied: u8,
    /// The dirty keys.
    pub dirty: Keys,
    /// Whether rows of the shadow can be found by their keys.
    pub keyed: bool,
    /// Keys that are deferred until they can.
    pub deferred: Keys,
    /// The keys from it on are not the copy's.
    pub limit: u8,
    /// The keys before it were handed out to chunks.
    pub handed_out: u8,
    /// Whether chunks clear their ranges first.
    pub clears: bool,
    /// The chunks in flight, in key order.
    pub chunks: [Option<Chunk>; CHUNKS],
    /// The refresher.
    pub cycle: Cycle,
    /// The repair of a chunk's clash.
    pub repair: Option<Repair>,
    /// The cut-over.
    pub cut_over: CutOver,
}

/// A chunk in flight: the keys from `from` up to but not including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    pub from: u8,
    pub to: u8,
    /// Its transaction; the rows excepted are those that clashed.
    pub write: Write,
    /// Rows that were in its way.
    pub stale: Keys,
    /// Rows that it needs refreshed before it goes on.
    pub needs: Keys,
    /// Its transaction is committed; only its last refresh is missing.
    pub written: bool,
}

impl Chunk {
    /// One that has not begun.
    pub fn new(from: u8, to: u8, clears: bool) -> Self {
        let (stale, needs) = Default::default();
        Self {
            from,
            to,
            write: Write::new(Keys::between(from, to), clears),
            stale,
            needs,
            written: false,
        }
    }
}

/// A refresh that the chunk beginning at `chunk` has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repair {
    pub chunk: u8,
    pub write: Write,
}

/// The refresher's cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cycle {
    /// None is under way.
    Idle,
    /// It has taken the dirty keys, complete up to the position.
    Taken { keys: Keys, position: u8 },
    /// Its commit is made; these keys are left, besides those in its transaction.
    Refreshing { keys: Keys, position: u8, write: Option<Write> },
}

/// The cut-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CutOver {
    /// No lock.
    Open,
    /// The original is locked.
    Locked,
    /// The marker with this number is in the log; whether it was delivered.
    Marked { marker: u8, came: bool },
    /// The last keys are taken.
    Drained { taken: Keys },
    /// And refreshed.
    Refreshed { taken: Keys },
    /// Their refresh clashed.
    Clashed,
}

/// Where a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Ahead,
    InFlight,
    Copied,
    Beyond,
}

impl Attempt {
    /// One that begins or goes on at a checkpoint.
    pub fn at(checkpoint: Checkpoint, clears: bool, keyed: bool) -> Self {
        Self {
            read: checkpoint.position,
            applied: checkpoint.position,
            dirty: Keys::default(),
            keyed,
            deferred: Keys::default(),
            limit: checkpoint.limit,
            handed_out: checkpoint.edge,
            clears,
            chunks: [None; CHUNKS],
            cycle: Cycle::Idle,
            repair: None,
            cut_over: CutOver::Open,
        }
    }

    pub fn in_flight(&self) -> impl Iterator<Item = Chunk> {
        self.chunks.into_iter().flatten()
    }

    /// As `Coverage::copied`: the edge below which all chunks have ended.
    pub fn edge(&self) -> u8 {
        self.in_flight().map(|chunk| chunk.from).min().unwrap_or(self.handed_out)
    }

    /// As `Coverage::place`.
    pub fn place(&self, key: u8) -> Place {
        if key >= self.limit {
            Place::Beyond
        } else if key >= self.handed_out {
            Place::Ahead
        } else if self.in_flight().any(|chunk| (chunk.from..chunk.to).contains(&key)) {
            Place::InFlight
        } else {
            Place::Copied
        }
    }

    /// The keys that lie there.
    pub fn placed(&self, keys: Keys, place: Place) -> Keys {
        keys.each().filter(|key| self.place(*key) == place).fold(Keys::default(), Keys::with)
    }

    /// Whether everything is copied, and no attempt is at work.
    pub fn is_copied(&self) -> bool {
        self.handed_out >= self.limit && self.in_flight().next().is_none()
    }

    /// Replaces the chunk that begins there, or takes it out.
    pub fn set_chunk(&mut self, from: u8, chunk: Option<Chunk>) {
        for slot in &mut self.chunks {
            if slot.is_some_and(|old| old.from == from) {
                *slot = chunk;
            }
        }
        self.chunks.sort_by_key(|slot| slot.map_or(u8::MAX, |chunk| chunk.from));
    }
}

/// Whose transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of the chunk that begins there.
    Chunk(u8),
    /// Of the repair of a clash.
    Repair,
    /// Of the refresher's cycle.
    Cycle,
    /// Of an attempt that is dead.
    Dead,
}

impl Attempt {
    /// Ends the cycle when nothing is left of it: its position is applied.
    pub fn end_cycle(&mut self) {
        if let Cycle::Refreshing { keys, position, write: None } = self.cycle
            && keys.is_empty()
        {
            self.applied = position;
            self.cycle = Cycle::Idle;
        }
    }

    fn end_chunk(&mut self, mut chunk: Chunk, outcome: Outcome) {
        let from = chunk.from;
        match outcome {
            Outcome::Written(_) => {
                let needs = chunk.write.except.and(chunk.stale);
                let late = Chunk { needs, written: true, ..Chunk::new(from, chunk.to, false) };
                return self.set_chunk(from, (!needs.is_empty()).then_some(late));
            }
            Outcome::Contention => chunk.write.clears = true,
            Outcome::Clash { own, holders } => {
                chunk.write.except = chunk.write.except.and(own);
                chunk.stale = chunk.stale.and(holders);
                chunk.needs = holders;
            }
        }
        chunk.write = chunk.write.again();
        self.set_chunk(from, Some(chunk));
    }

    fn end_repair(&mut self, repair: Repair, outcome: Outcome) {
        if let Some(write) = repair.write.after(outcome) {
            self.repair = Some(Repair { write, ..repair });
            return;
        }
        self.repair = None;
        let chunk = self.in_flight().find(|chunk| chunk.from == repair.chunk);
        let left = chunk.filter(|chunk| !chunk.written);
        self.set_chunk(repair.chunk, left.map(|chunk| Chunk { needs: Keys::default(), ..chunk }));
    }
}

impl State {
    /// Whether osc is at work, and so.
    pub fn is_up(&self, so: impl Fn(&Attempt) -> bool) -> bool {
        matches!(&self.run, Run::Up(attempt) if so(attempt))
    }

    /// All transactions of ours that are under way or about to be.
    pub fn writes(&self) -> impl Iterator<Item = (Whose, Write)> {
        let attempt = match self.run {
            Run::Up(attempt) => Some(attempt),
            Run::Preparing { .. } | Run::Down | Run::Swapped => None,
        };
        let chunks = attempt.into_iter().flat_map(|attempt| attempt.chunks).flatten();
        let at_work = chunks.filter(|chunk| !chunk.written && chunk.needs.is_empty());
        let repair = attempt.and_then(|attempt| attempt.repair);
        let cycle = attempt.and_then(|attempt| match attempt.cycle {
            Cycle::Refreshing { write, .. } => write,
            Cycle::Idle | Cycle::Taken { .. } => None,
        });
        at_work
            .map(|chunk| (Whose::Chunk(chunk.from), chunk.write))
            .chain(repair.map(|repair| (Whose::Repair, repair.write)))
            .chain(cycle.map(|write| (Whose::Cycle, write)))
            .chain(self.dead.map(|write| (Whose::Dead, write)))
    }

    /// One of them.
    pub fn write(&self, whose: Whose) -> Option<Write> {
        self.writes().find(|(other, _)| *other == whose).map(|(_, write)| write)
    }

    /// The keys of the shadow that the others lock.
    pub fn locked_by_others(&self, whose: Whose) -> Keys {
        let others = self.writes().filter(|(other, _)| *other != whose);
        others.fold(Keys::default(), |keys, (_, write)| keys.and(write.locks()))
    }

    /// Notes a step of one of them.
    pub fn set_write(&mut self, whose: Whose, now: Write) {
        match (whose, &mut self.run) {
            (Whose::Dead, _) => self.dead = Some(now),
            (Whose::Chunk(from), Run::Up(attempt)) => {
                let chunk = attempt.in_flight().find(|chunk| chunk.from == from);
                attempt.set_chunk(from, chunk.map(|chunk| Chunk { write: now, ..chunk }));
            }
            (Whose::Repair, Run::Up(Attempt { repair: Some(Repair { write, .. }), .. }))
            | (
                Whose::Cycle,
                Run::Up(Attempt { cycle: Cycle::Refreshing { write: Some(write), .. }, .. }),
            ) => *write = now,
            _ => {}
        }
    }

    /// What follows from how the commit of one of them came out.
    pub fn end_write(&mut self, whose: Whose, outcome: Outcome) {
        match (whose, &mut self.run) {
            // Whatever failed was rolled back.
            (Whose::Dead, _) => self.dead = None,
            (Whose::Chunk(from), Run::Up(attempt)) => {
                let chunk = attempt.in_flight().find(|chunk| chunk.from == from);
                if let Some(chunk) = chunk {
                    attempt.end_chunk(chunk, outcome);
                }
            }
            (Whose::Repair, Run::Up(attempt)) => {
                if let Some(repair) = attempt.repair {
                    attempt.end_repair(repair, outcome);
                }
            }
            (Whose::Cycle, Run::Up(attempt)) => {
                if let Cycle::Refreshing { write: write @ Some(_), .. } = &mut attempt.cycle {
                    *write = write.and_then(|write| write.after(outcome));
                }
                attempt.end_cycle();
            }
            _ => {}
        }
    }

    /// Forgets what everybody has seen and read, so that states with the same future are the same.
    pub fn forget(&mut self) {
        while self.positions().into_iter().flatten().all(|position| *position > 0) {
            self.positions().into_iter().flatten().for_each(|position| *position -= 1);
            self.log.forget_first();
        }
    }

    /// All places in the log that an attempt resumes from.
    fn positions(&mut self) -> [Option<&mut u8>; 5] {
        let checkpoint = self.checkpoint.as_mut().map(|checkpoint| &mut checkpoint.position);
        let (one, two, three) = match &mut self.run {
            Run::Preparing { position, .. } => (position.as_mut(), None, None),
            Run::Up(Attempt { read, applied, cycle, .. }) => match cycle {
                Cycle::Taken { position, .. } | Cycle::Refreshing { position, .. } => {
                    (Some(read), Some(applied), Some(position))
                }
                Cycle::Idle => (Some(read), Some(applied), None),
            },
            Run::Down | Run::Swapped => (None, None, None),
        };
        [Some(&mut self.visible), checkpoint, one, two, three]
    }
}
