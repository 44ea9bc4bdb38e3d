//! The steps: who can do what, and what comes of it.

use stateright::{Model, Property};

use super::properties;
use super::state::{Attempt, Checkpoint, CutOver, Cycle, Put, Retired, Stage, State};
use super::table::{Entry, Keys, Log, Rows, differing, present, tables};

/// Keys of the model's table.
const KEYS: u8 = 2;

/// The rows that the change leaves.
const BEFORE: Rows = [1, 2, 0];

/// Something that the engine keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The change records where its swap stands in the log before it unlocks.
    SwapInLog,
    /// The undo takes its position before it compares.
    PositionBeforeComparing,
    /// What is in the log before the position is visible before the undo compares.
    BarrierBeforeComparing,
    /// A cycle commits something of its own between taking keys and reading their rows.
    VisibleBeforePut,
    /// The stream is read up to the marker before the swap.
    MarkerIsAwaited,
    /// Rows that differ are put.
    DifferencesCount,
    /// Only a change that was verified is undone by the log.
    LogAfterVerified,
    /// A log that is purged is not read on behind the gap.
    GapEndsTheLog,
    /// A position counts as applied when its keys are put, not before.
    AppliedWhenPut,
    /// An undo is resumed when no transaction of the dead is left.
    TheDeadAreGone,
    /// Rows keep what only they have.
    PutNotRewritten,
    /// No other session writes to the retired table.
    GuardStays,
}

/// A small world, and an undo in it, perhaps without one of its rules.
#[derive(Debug, Clone)]
pub struct Undo {
    /// Transactions of the application, before the swap, after it and during the undo.
    pub writes: u8,
    pub values: u8,
    /// Deaths of osc.
    pub deaths: u8,
    /// How often the log is purged.
    pub purges: u8,
    /// Whether the server has a log that tells what was written since the swap.
    pub logged: bool,
    /// Whether the change was; if not, it has left out a row.
    pub verified: bool,
    /// Attempts of others to write to the retired table.
    pub strangers: u8,
    pub without: Option<Rule>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The application commits: the rows after it.
    AppCommits(Rows),
    /// The next commit in the log becomes visible.
    NextIsVisible,
    /// All of the log is purged.
    Purge,
    /// Someone else deletes this row of the retired table.
    StrangerDeletes(u8),
    /// The change records where the log stands, before its swap or, without the rule, after it.
    RecordSwap,
    LockForChange,
    SwapForChange,
    BeginUndo,
    TakePosition,
    Barrier,
    Compare(u8),
    StreamDelivers,
    /// The stream finds that what it needs is purged.
    StreamFails,
    TakeDirty,
    Checkpoint,
    PutDeletes,
    PutReads,
    PutCommits,
    DeadCommits,
    DeadRollsBack,
    Lock,
    Mark,
    Drain,
    PutUnderLock,
    SwapBack,
    /// osc is killed; `true`: its transaction lives on.
    Die(bool),
    Resume,
}

impl Undo {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn app(&self, state: &State, actions: &mut Vec<Action>) {
        let locked = match state.stage {
            Stage::Changing { locked } => locked,
            Stage::Up(attempt) => attempt.cut_over != CutOver::Open,
            Stage::Back => true,
            Stage::Changed | Stage::Preparing { .. } | Stage::Down => false,
        };
        if state.writes_left == 0 || locked {
            return;
        }
        let now = state.live();
        // A row whose last change is not visible yet is still locked.
        let ending = state.log.touched_from(state.visible);
        let may = |after: &Rows| {
            let touched = differing(&now, after);
            !touched.is_empty() && !touched.meets(ending)
        };
        let tables = tables(KEYS, self.values).into_iter().filter(may);
        actions.extend(tables.map(Action::AppCommits));
    }

    fn change(&self, state: &State, locked: bool, actions: &mut Vec<Action>) {
        match (locked, state.swap) {
            (false, None) if self.keeps(Rule::SwapInLog) => actions.push(Action::RecordSwap),
            (false, _) => actions.push(Action::LockForChange),
            (true, _) => actions.push(Action::SwapForChange),
        }
    }

    fn prepare(
        &self,
        state: &State,
        position: Option<u8>,
        compared: Keys,
        actions: &mut Vec<Action>,
    ) {
        let early = match position {
            None => !self.keeps(Rule::PositionBeforeComparing),
            Some(_) => !self.keeps(Rule::BarrierBeforeComparing),
        };
        if early {
            let rest = Keys::between(0, KEYS).but(compared);
            actions.extend(rest.each().map(Action::Compare));
        }
        match position {
            None => actions.push(Action::TakePosition),
            Some(position) if state.visible >= position => actions.push(Action::Barrier),
            // Where it is not waited for.
            Some(_) if early => actions.push(Action::Barrier),
            Some(_) => {}
        }
    }

    fn attempt(&self, state: &State, attempt: &Attempt, actions: &mut Vec<Action>) {
        if attempt.read < state.purged {
            actions.push(Action::StreamFails);
            if self.keeps(Rule::GapEndsTheLog) {
                return;
            }
        }
        if attempt.read.max(state.purged) < state.log.len() {
            actions.push(Action::StreamDelivers);
        }
        match attempt.cycle {
            Cycle::Idle if attempt.cut_over == CutOver::Open => {
                if !attempt.dirty.is_empty() || attempt.read > attempt.applied {
                    actions.push(Action::TakeDirty);
                }
            }
            Cycle::Idle => {}
            // The checkpoint's commit is visible after all that the stream had delivered.
            Cycle::Taken { position, .. } => {
                if state.visible >= position || !self.keeps(Rule::VisibleBeforePut) {
                    actions.push(Action::Checkpoint);
                }
            }
            Cycle::Putting { put, .. } => actions.push(match (put.own, put.read) {
                (None, _) => Action::PutDeletes,
                (_, None) => Action::PutReads,
                (_, Some(_)) => Action::PutCommits,
            }),
        }
        let settled = if attempt.by_log {
            attempt.read >= attempt.begun_at
        } else {
            let rest = Keys::between(0, KEYS).but(attempt.compared);
            // Comparing takes turns with putting: it waits for a whole cycle.
            if attempt.cycle == Cycle::Idle && attempt.dirty.is_empty() {
                actions.extend(rest.each().map(Action::Compare));
            }
            rest.is_empty()
        };
        match attempt.cut_over {
            CutOver::Open if settled && attempt.cycle == Cycle::Idle => actions.push(Action::Lock),
            CutOver::Open => {}
            CutOver::Locked => actions.push(Action::Mark),
            CutOver::Marked { at } => {
                if attempt.read > at || !self.keeps(Rule::MarkerIsAwaited) {
                    actions.push(Action::Drain);
                }
            }
            CutOver::Drained if attempt.dirty.is_empty() => actions.push(Action::SwapBack),
            CutOver::Drained => actions.push(Action::PutUnderLock),
        }
    }

    /// Compares a key: by what a reader sees.
    fn differs(state: &State, key: u8) -> bool {
        let (live, at) = (state.log.rows(state.visible), usize::from(key));
        live[at] != state.retired.rows[at]
    }

    /// The first attempt's state, or that of one that starts over.
    fn begin(&self, state: &State, position: u8, compared: Keys) -> Attempt {
        let usable = self.logged && (self.verified || !self.keeps(Rule::LogAfterVerified));
        let log = state.swap.filter(|_| usable && !state.fell_back);
        Attempt {
            read: log.unwrap_or(position),
            applied: log.unwrap_or(position),
            begun_at: position,
            by_log: log.is_some(),
            dirty: Keys::default(),
            compared,
            cycle: Cycle::Idle,
            cut_over: CutOver::Open,
        }
    }

    fn commit(&self, retired: &mut Retired, put: &Put) {
        let read = put.read.unwrap_or_default();
        for key in put.keys.each() {
            retired.rows[usize::from(key)] = read[usize::from(key)];
        }
        let own = match self.keeps(Rule::PutNotRewritten) {
            true => put.own.unwrap_or_default(),
            false => Keys::default(),
        };
        retired.own = retired.own.but(put.keys).and(Keys(own.0 & present(&retired.rows).0));
    }

    fn act(&self, attempt: &mut Attempt, state: &mut State, action: Action) -> Option<Stage> {
        match action {
            Action::Compare(key) => {
                if Self::differs(state, key) && self.keeps(Rule::DifferencesCount) {
                    attempt.dirty = attempt.dirty.with(key);
                } else {
                    attempt.compared = attempt.compared.with(key);
                }
            }
            Action::StreamDelivers => {
                attempt.read = attempt.read.max(state.purged);
                let entry = state.log.at(attempt.read)?;
                attempt.dirty = attempt.dirty.and(entry.touched);
                attempt.read += 1;
            }
            Action::StreamFails => {
                // A later attempt compares.
                state.fell_back = true;
                state.checkpoint = None;
                return Some(Stage::Preparing { position: None, compared: Keys::default() });
            }
            Action::TakeDirty => {
                attempt.cycle = Cycle::Taken { keys: attempt.dirty, position: attempt.read };
                attempt.dirty = Keys::default();
            }
            Action::Checkpoint => {
                let Cycle::Taken { keys, position } = attempt.cycle else { return None };
                let applied = match self.keeps(Rule::AppliedWhenPut) {
                    true => attempt.applied,
                    false => position,
                };
                state.checkpoint = Some(Checkpoint { position: applied, by_log: attempt.by_log });
                attempt.cycle = Cycle::Putting { keys, position, put: Put::new(keys) };
            }
            Action::PutDeletes | Action::PutReads | Action::PutCommits => {
                let Cycle::Putting { keys, position, mut put } = attempt.cycle else { return None };
                match action {
                    // Its lock is waited for.
                    Action::PutDeletes if state.dead.is_some_and(|dead| dead.own.is_some()) => {
                        return None;
                    }
                    Action::PutDeletes => put.own = Some(Keys(keys.0 & state.retired.own.0)),
                    Action::PutReads => put.read = Some(state.log.rows(state.visible)),
                    _ => {
                        self.commit(&mut state.retired, &put);
                        state.put_by_log |= attempt.by_log && !keys.is_empty();
                        attempt.applied = position;
                        attempt.cycle = Cycle::Idle;
                        return Some(Stage::Up(*attempt));
                    }
                }
                attempt.cycle = Cycle::Putting { keys, position, put };
            }
            Action::Lock => attempt.cut_over = CutOver::Locked,
            Action::Mark => {
                attempt.cut_over = CutOver::Marked { at: state.log.len() };
                state.log.push(Entry { marker: 2, ..Entry::default() });
            }
            Action::Drain => attempt.cut_over = CutOver::Drained,
            Action::PutUnderLock => {
                let own = Some(Keys(attempt.dirty.0 & state.retired.own.0));
                let put = Put { keys: attempt.dirty, own, read: Some(state.live()) };
                self.commit(&mut state.retired, &put);
                state.put_by_log |= attempt.by_log;
                attempt.dirty = Keys::default();
            }
            Action::SwapBack => return Some(Stage::Back),
            Action::Die(lives) => {
                if let (true, Cycle::Putting { put, .. }) = (lives, attempt.cycle) {
                    state.dead = Some(put);
                }
                state.deaths_left -= 1;
                return Some(Stage::Down);
            }
            _ => return None,
        }
        Some(Stage::Up(*attempt))
    }
}

impl Model for Undo {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let left_out: Rows = [BEFORE[0], 0, 0];
        let own = present(&BEFORE);
        vec![State {
            // What the change did not copy is not live, and stands in the retired table.
            log: Log::new(if self.verified { BEFORE } else { left_out }),
            visible: 0,
            purged: 0,
            retired: Retired { rows: BEFORE, own },
            gone: Keys::default(),
            stage: Stage::Changing { locked: false },
            swap: None,
            checkpoint: None,
            dead: None,
            put_by_log: false,
            fell_back: false,
            writes_left: self.writes,
            deaths_left: self.deaths,
            purges_left: self.purges,
            strangers_left: self.strangers,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.app(state, actions);
        if state.visible < state.log.len() {
            actions.push(Action::NextIsVisible);
        }
        let changed = !matches!(state.stage, Stage::Changing { .. } | Stage::Back);
        if state.purges_left > 0 && changed && state.purged < state.log.len() {
            actions.push(Action::Purge);
        }
        if state.strangers_left > 0 && changed && !self.keeps(Rule::GuardStays) {
            actions.extend(present(&state.retired.rows).each().map(Action::StrangerDeletes));
        }
        if state.dead.is_some() {
            actions.push(Action::DeadCommits);
            actions.push(Action::DeadRollsBack);
        }
        match state.stage {
            Stage::Changing { locked } => self.change(state, locked, actions),
            Stage::Changed => {
                if state.swap.is_none() {
                    actions.push(Action::RecordSwap);
                }
                actions.push(Action::BeginUndo);
            }
            Stage::Preparing { position, compared } => {
                self.prepare(state, position, compared, actions);
            }
            Stage::Up(attempt) => {
                self.attempt(state, &attempt, actions);
                if state.deaths_left > 0 {
                    actions.push(Action::Die(false));
                    if matches!(attempt.cycle, Cycle::Putting { put, .. } if put.own.is_some()) {
                        actions.push(Action::Die(true));
                    }
                }
            }
            Stage::Down if state.dead.is_none() || !self.keeps(Rule::TheDeadAreGone) => {
                actions.push(Action::Resume);
            }
            Stage::Down | Stage::Back => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::AppCommits(after) => {
                let touched = differing(&state.live(), &after);
                // Before the lock is let go both tables get it.
                if matches!(state.stage, Stage::Changing { .. }) {
                    state.retired = Retired { rows: after, own: present(&after) };
                } else {
                    let absent = Keys::between(0, KEYS).but(present(&after));
                    state.gone = state.gone.and(absent);
                }
                state.log.push(Entry { touched, after, marker: 0 });
                state.writes_left -= 1;
            }
            Action::NextIsVisible => state.visible += 1,
            Action::Purge => {
                state.purged = state.log.len();
                state.purges_left -= 1;
            }
            Action::StrangerDeletes(key) => {
                state.retired.rows[usize::from(key)] = 0;
                state.strangers_left -= 1;
            }
            Action::RecordSwap => state.swap = Some(state.log.len()),
            Action::LockForChange => state.stage = Stage::Changing { locked: true },
            Action::SwapForChange => {
                state.log.push(Entry { marker: 1, ..Entry::default() });
                let absent = Keys::between(0, KEYS).but(present(&state.live()));
                state.gone = absent;
                state.stage = Stage::Changed;
            }
            Action::BeginUndo => {
                state.stage = Stage::Preparing { position: None, compared: Keys::default() };
            }
            Action::TakePosition | Action::Barrier | Action::Compare(_)
                if matches!(state.stage, Stage::Preparing { .. }) =>
            {
                let Stage::Preparing { position, compared } = state.stage else { return None };
                state.stage = match (action, position) {
                    (Action::Compare(key), _) if Self::differs(&state, key) => return None,
                    (Action::Compare(key), position) => {
                        Stage::Preparing { position, compared: compared.with(key) }
                    }
                    (Action::TakePosition, _) => {
                        Stage::Preparing { position: Some(state.log.len()), compared }
                    }
                    (_, position) => Stage::Up(self.begin(&state, position?, compared)),
                };
                if let Stage::Up(attempt) = state.stage {
                    let Attempt { applied: position, by_log, .. } = attempt;
                    state.checkpoint = Some(Checkpoint { position, by_log });
                }
            }
            Action::DeadCommits => {
                let mut put = state.dead.take()?;
                put.read = put.read.or(Some(state.log.rows(state.visible)));
                self.commit(&mut state.retired, &put);
            }
            Action::DeadRollsBack => state.dead = None,
            Action::Resume => {
                let Checkpoint { position, by_log } = state.checkpoint?;
                state.stage = Stage::Up(Attempt {
                    read: position,
                    applied: position,
                    begun_at: state.log.len(),
                    by_log,
                    dirty: Keys::default(),
                    compared: Keys::default(),
                    cycle: Cycle::Idle,
                    cut_over: CutOver::Open,
                });
            }
            action => {
                let Stage::Up(mut attempt) = state.stage else { return None };
                state.stage = self.act(&mut attempt, &mut state, action)?;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
