//! The steps: who can do what, and what comes of it.

use stateright::{Model, Property};

use super::properties;
use super::rules::Rule;
use super::state::{
    Attempt, CHUNKS, Checkpoint, Chunk, CutOver, Cycle, Place, Repair, Run, State, Whose,
};
use super::table::{Entry, Keys, Log, Rows, differing, holder, present, tables};
use super::writes::{Outcome, Step, Write};

/// Whether osc can compare keys, as `KeyOrder` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Bytes,
    Server,
}

/// A small world, and osc in it, perhaps without one of its rules.
#[derive(Debug, Clone)]
pub struct Protocol {
    pub keys: u8,
    /// What the application makes of the table.
    pub app: App,
    /// Deaths of osc.
    pub deaths: u8,
    /// Attempts at the cut-over.
    pub attempts: u8,
    /// Above so many dirty keys the stream is not read on.
    pub room: u32,
    pub order: Order,
    /// Whether the copy key's index comes after the copy, or in its midst.
    pub late_key: bool,
    pub without: Option<Rule>,
}

/// The application's transactions.
#[derive(Debug, Clone)]
pub enum App {
    /// Any, so many, each of which changes at most so many rows.
    Any { transactions: u8, width: u32, tables: Vec<Rows> },
    /// From the first of these tables to the last.
    Script(&'static [Rows]),
}

impl App {
    /// Any transactions on so many keys and values.
    pub fn any(transactions: u8, width: u32, keys: u8, values: u8) -> Self {
        Self::Any { transactions, width, tables: tables(keys, values) }
    }

    /// The same on two keys, each of which has two values that the other never has.
    pub fn apart(transactions: u8) -> Self {
        let own = |rows: &Rows| matches!(rows[0], 0 | 1 | 3) && matches!(rows[1], 0 | 2 | 4);
        let tables = tables(2, 4).into_iter().filter(own).collect();
        Self::Any { transactions, width: 2, tables }
    }
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The application commits: the rows after it.
    AppCommits(Rows),
    /// The next commit in the log becomes visible.
    NextIsVisible,
    TakePosition,
    /// The barrier, and the last row is looked up.
    BarrierAndLastRow,
    StreamDelivers,
    /// A chunk up to this key is handed out.
    HandOut(u8),
    Write(Whose, Step),
    /// A dead attempt's transaction rolls back.
    DeadRollBack,
    /// The repair that this chunk needs begins.
    BeginRepair(u8),
    TakeDirty,
    Checkpoint,
    /// The keys of the cycle are looked at: dropped, refreshed or waited for.
    Sort,
    /// The copy key's index is built.
    BuildKey,
    /// The cycle ends with its keys deferred.
    Defer,
    /// The cycle ends with keys of chunks in flight left.
    PutBack,
    Lock,
    Mark,
    Drain,
    RefreshUnderLock,
    Rename,
    /// The attempt is given up.
    Unlock,
    /// osc is killed; a transaction of its may live on.
    Die(Option<Whose>),
    Resume,
}

impl Protocol {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// What the application can make of the table in one transaction. Rows and values of commits
    /// that are not visible yet are still locked.
    fn app(&self, state: &State, actions: &mut Vec<Action>) {
        let locked = match state.run {
            Run::Up(attempt) => attempt.cut_over != CutOver::Open && self.keeps(Rule::LockIsHeld),
            Run::Preparing { .. } | Run::Down => false,
            Run::Swapped => true,
        };
        if state.writes_left == 0 || locked {
            return;
        }
        let (now, seen) = (state.log.rows(state.log.len()), state.log.rows(state.visible));
        let ending = state.log.touched_from(state.visible);
        let may = |after: &Rows| {
            let touched = differing(&now, after);
            let free = |key: u8| {
                let value = after[usize::from(key)];
                [now, seen].iter().filter_map(|rows| holder(rows, value)).all(|h| touched.has(h))
            };
            !touched.is_empty() && !touched.meets(ending) && touched.each().all(free)
        };
        match &self.app {
            App::Any { width, tables, .. } => {
                let narrow = |after: &&Rows| differing(&now, after).len() <= *width;
                let tables = tables.iter().filter(narrow).filter(|after| may(after));
                actions.extend(tables.copied().map(Action::AppCommits));
            }
            App::Script(tables) => {
                let next = tables[tables.len() - usize::from(state.writes_left)];
                actions.extend(may(&next).then_some(Action::AppCommits(next)));
            }
        }
    }

    fn write_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (whose, write) in state.writes() {
            let step = write.next();
            let free = match step {
                Step::Deletes => !state.locked_by_others(whose).meets(write.keys),
                Step::Reads | Step::Commits => true,
            };
            if free && (write.has_begun() || self.may_begin(state, whose)) {
                actions.push(Action::Write(whose, step));
            }
            if whose == Whose::Dead {
                actions.push(Action::DeadRollBack);
            }
        }
    }

    /// Where osc cannot compare keys, a chunk begins only while no cycle refreshes.
    fn may_begin(&self, state: &State, whose: Whose) -> bool {
        let Run::Up(attempt) = state.run else { return true };
        let clears = state.write(whose).is_some_and(|write| write.clears);
        if clears && !attempt.keyed {
            return false;
        }
        let refreshing = matches!(attempt.cycle, Cycle::Refreshing { write: Some(_), .. });
        !(self.order == Order::Server
            && self.keeps(Rule::TakingTurns)
            && matches!(whose, Whose::Chunk(_))
            && refreshing)
    }

    fn attempt_actions(&self, state: &State, attempt: &Attempt, actions: &mut Vec<Action>) {
        let there_is_more = attempt.read < state.log.len();
        if there_is_more && (attempt.dirty.len() < self.room || !self.keeps(Rule::NoRoomNoReading))
        {
            actions.push(Action::StreamDelivers);
        }
        if attempt.chunks[CHUNKS - 1].is_none() {
            actions.extend((attempt.handed_out + 1..=attempt.limit).map(Action::HandOut));
        }
        let no_cycle = attempt.cycle == Cycle::Idle;
        let cycle_may_begin = (attempt.cut_over == CutOver::Open
            || !self.keeps(Rule::CutOverAlone))
            && (attempt.repair.is_none() || !self.keeps(Rule::RepairsAlone));
        for chunk in attempt.in_flight() {
            let asks = !chunk.needs.is_empty() && attempt.repair.is_none();
            if asks && attempt.keyed && (no_cycle || !self.keeps(Rule::RepairsAlone)) {
                actions.push(Action::BeginRepair(chunk.from));
            }
        }
        match attempt.cycle {
            Cycle::Idle if cycle_may_begin => {
                if !attempt.dirty.is_empty() || attempt.read > attempt.applied {
                    actions.push(Action::TakeDirty);
                }
            }
            Cycle::Taken { .. } => actions.push(Action::Checkpoint),
            Cycle::Refreshing { write: None, .. } if !attempt.keyed => {
                actions.push(Action::Defer);
            }
            Cycle::Refreshing { keys, write: None, .. } => {
                let waits = self.waiting(attempt, keys);
                let turn = self.order == Order::Bytes
                    || !self.keeps(Rule::TakingTurns)
                    || attempt.in_flight().all(|chunk| !chunk.write.has_begun());
                if waits != keys && turn {
                    actions.push(Action::Sort);
                }
                if waits == keys {
                    actions.push(Action::PutBack);
                }
            }
            Cycle::Idle | Cycle::Refreshing { .. } => {}
        }
        let no_chunk = attempt.in_flight().all(|chunk| !chunk.write.has_begun());
        if !attempt.keyed && no_cycle && no_chunk {
            actions.push(Action::BuildKey);
        }
        match attempt.cut_over {
            CutOver::Open => {
                let nobody_writes = state.visible == state.log.len();
                let ready = attempt.is_copied()
                    && attempt.keyed
                    && (no_cycle || !self.keeps(Rule::CutOverAlone));
                if ready && nobody_writes && state.attempts_left > 0 {
                    actions.push(Action::Lock);
                }
            }
            CutOver::Locked => actions.extend([Action::Mark, Action::Unlock]),
            CutOver::Marked { came, .. } => {
                if came || !self.keeps(Rule::MarkerIsAwaited) {
                    actions.push(Action::Drain);
                }
                actions.push(Action::Unlock);
            }
            CutOver::Drained { .. } => {
                actions.extend([Action::RefreshUnderLock, Action::Unlock]);
            }
            CutOver::Refreshed { .. } => actions.extend([Action::Rename, Action::Unlock]),
            CutOver::Clashed => {}
        }
        if state.deaths_left > 0 {
            actions.push(Action::Die(None));
            let alive =
                state.writes().filter(|(whose, write)| *whose != Whose::Dead && write.has_begun());
            actions.extend(alive.map(|(whose, _)| Action::Die(Some(whose))));
        }
    }

    /// The keys of a cycle that wait for their chunks.
    pub fn waiting(&self, attempt: &Attempt, keys: Keys) -> Keys {
        if self.order == Order::Server || self.without == Some(Rule::InFlightWaits) {
            return Keys::default();
        }
        if self.without == Some(Rule::InFlightIsRefreshed) {
            return Keys::default();
        }
        attempt.placed(keys, Place::InFlight)
    }

    /// The keys of a cycle that are dropped.
    fn dropped(&self, attempt: &Attempt, keys: Keys) -> Keys {
        if self.order == Order::Server {
            return Keys::default();
        }
        let broken = match self.without {
            Some(Rule::BehindIsRefreshed) => attempt.placed(keys, Place::Copied),
            Some(Rule::BeyondIsRefreshed) => attempt.placed(keys, Place::Beyond),
            Some(Rule::InFlightIsRefreshed) => attempt.placed(keys, Place::InFlight),
            _ => Keys::default(),
        };
        attempt.placed(keys, Place::Ahead).and(broken)
    }

    fn attempt_step(&self, state: &mut State, attempt: &mut Attempt, action: Action) {
        match action {
            Action::StreamDelivers => {
                let Some(entry) = state.log.at(attempt.read) else { return };
                attempt.read += 1;
                for key in entry.touched.each() {
                    // Kept, there is room whenever the stream is read.
                    if self.keeps(Rule::NoRoomNoReading) || attempt.dirty.len() < self.room {
                        attempt.dirty = attempt.dirty.with(key);
                    }
                }
                if let CutOver::Marked { marker, came } = &mut attempt.cut_over {
                    let own = entry.marker == *marker || !self.keeps(Rule::MarkerIsOwn);
                    *came |= entry.marker != 0 && own;
                }
            }
            Action::HandOut(upto) => {
                let chunk = Chunk::new(attempt.handed_out, upto, attempt.clears);
                attempt.handed_out = upto;
                if let Some(slot) = attempt.chunks.iter_mut().find(|slot| slot.is_none()) {
                    *slot = Some(chunk);
                }
            }
            Action::BeginRepair(from) => {
                let chunk = attempt.in_flight().find(|chunk| chunk.from == from);
                attempt.repair =
                    chunk.map(|chunk| Repair { chunk: from, write: Write::new(chunk.needs, true) });
            }
            Action::TakeDirty => {
                let keys = std::mem::take(&mut attempt.dirty);
                attempt.cycle = Cycle::Taken { keys, position: attempt.read };
            }
            Action::Checkpoint => {
                let Cycle::Taken { keys, position } = attempt.cycle else { return };
                if !self.keeps(Rule::AppliedWhenRefreshed) {
                    attempt.applied = position;
                }
                let whole = self.keeps(Rule::EdgeOfEndedChunks);
                state.checkpoint = Some(Checkpoint {
                    position: attempt.applied,
                    edge: if whole { attempt.edge() } else { attempt.handed_out },
                    limit: attempt.limit,
                });
                if self.keeps(Rule::VisibleBeforeRefreshed) {
                    state.visible = state.log.len();
                }
                attempt.cycle = Cycle::Refreshing { keys, position, write: None };
                if attempt.keyed {
                    attempt.end_cycle();
                }
            }
            Action::Sort => {
                let Cycle::Refreshing { keys, position, .. } = attempt.cycle else { return };
                let waits = self.waiting(attempt, keys);
                let refreshed = keys.but(waits).but(self.dropped(attempt, keys));
                let write = (!refreshed.is_empty()).then(|| Write::new(refreshed, true));
                attempt.cycle = Cycle::Refreshing { keys: waits, position, write };
                attempt.end_cycle();
            }
            Action::Defer => {
                let Cycle::Refreshing { keys, position, .. } = attempt.cycle else { return };
                attempt.deferred = attempt.deferred.and(keys.but(self.dropped(attempt, keys)));
                if attempt.deferred.is_empty() || !self.keeps(Rule::DeferredHoldPosition) {
                    attempt.applied = position;
                }
                attempt.cycle = Cycle::Idle;
            }
            Action::BuildKey => {
                attempt.keyed = true;
                let deferred = std::mem::take(&mut attempt.deferred);
                if self.keeps(Rule::DeferredComeBack) {
                    attempt.dirty = attempt.dirty.and(deferred);
                }
                // Refreshes may put rows ahead of the copy from here on. A chunk looks when it begins.
                attempt.clears |= self.order == Order::Server;
                for chunk in attempt.chunks.iter_mut().flatten() {
                    chunk.write.clears |= attempt.clears && !chunk.write.has_begun();
                }
            }
            Action::PutBack => {
                if let Cycle::Refreshing { keys, .. } = attempt.cycle {
                    attempt.dirty = attempt.dirty.and(keys);
                    attempt.cycle = Cycle::Idle;
                }
            }
            Action::Lock => attempt.cut_over = CutOver::Locked,
            Action::Mark => {
                let marker = state.attempts_left;
                state.attempts_left -= 1;
                state.log.push(Entry { marker, ..Entry::default() });
                state.visible = state.log.len();
                attempt.cut_over = CutOver::Marked { marker, came: false };
            }
            Action::Drain => {
                attempt.cut_over = CutOver::Drained { taken: std::mem::take(&mut attempt.dirty) };
            }
            Action::RefreshUnderLock => {
                let CutOver::Drained { taken } = attempt.cut_over else { return };
                let mut write = Write::new(taken, true);
                write.delete(present(&state.shadow));
                write.read(state.log.rows(state.visible));
                attempt.cut_over = CutOver::Clashed;
                if let Outcome::Written(after) =
                    write.outcome(&state.shadow, Keys::default(), false)
                {
                    state.shadow = after;
                    attempt.cut_over = CutOver::Refreshed { taken };
                }
            }
            Action::Unlock => {
                if let CutOver::Drained { taken } | CutOver::Refreshed { taken } = attempt.cut_over
                    && self.keeps(Rule::TakenComesBack)
                {
                    attempt.dirty = attempt.dirty.and(taken);
                }
                attempt.cut_over = CutOver::Open;
            }
            _ => {}
        }
    }

    fn write_step(&self, state: &mut State, whose: Whose, step: Step) {
        let Some(mut write) = state.write(whose) else { return };
        match step {
            Step::Deletes => write.delete(present(&state.shadow)),
            Step::Reads => write.read(state.log.rows(state.visible)),
            Step::Commits => {
                let locked = state.locked_by_others(whose);
                let ignoring =
                    !self.keeps(Rule::NothingIsIgnored) && matches!(whose, Whose::Chunk(_));
                let outcome = write.outcome(&state.shadow, locked, ignoring);
                if let Outcome::Written(after) = outcome {
                    state.shadow = after;
                }
                state.doubled |= outcome == Outcome::Contention && state.is_up(|it| !it.keyed);
                state.end_write(whose, outcome);
                return;
            }
        }
        state.set_write(whose, write);
    }

    fn prepare(&self, state: &mut State, action: Action) {
        let Run::Preparing { mut position, mut limit } = state.run else { return };
        if action == Action::TakePosition {
            position = Some(state.log.len());
        } else {
            if self.keeps(Rule::StartBarrier) {
                state.visible = state.log.len();
            }
            let last = present(&state.log.rows(state.visible)).each().last();
            limit = Some(match self.order {
                Order::Bytes => last.map_or(0, |last| last + 1),
                Order::Server => self.keys,
            });
        }
        state.run = Run::Preparing { position, limit };
        if let (Some(position), Some(limit)) = (position, limit) {
            let checkpoint = Checkpoint { position, edge: 0, limit };
            state.checkpoint = Some(checkpoint);
            let clears = self.order == Order::Server && !self.late_key;
            state.run = Run::Up(Attempt::at(checkpoint, clears, !self.late_key));
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // Values are names: which row has which is the same.
        let named = |rows: &Rows| {
            let values: Vec<u8> = rows.iter().copied().filter(|value| *value != 0).collect();
            values.iter().zip(1..).all(|(value, name)| *value == name)
        };
        let (writes, tables) = match &self.app {
            App::Any { transactions, tables, .. } => (*transactions, tables.as_slice()),
            App::Script(tables) => (tables[1..].iter().fold(0, |count, _| count + 1), &tables[..1]),
        };
        // Where each row has values of its own they are no names.
        let tables = tables.iter().copied().filter(|rows| self.late_key || named(rows));
        tables
            .map(|rows| State {
                log: Log::new(rows),
                visible: 0,
                shadow: Rows::default(),
                doubled: false,
                checkpoint: None,
                dead: None,
                run: Run::Preparing { position: None, limit: None },
                writes_left: writes,
                deaths_left: self.deaths,
                attempts_left: self.attempts,
            })
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.app(state, actions);
        if state.visible < state.log.len() {
            actions.push(Action::NextIsVisible);
        }
        self.write_actions(state, actions);
        match &state.run {
            Run::Preparing { position, limit } => {
                let stream_first = self.keeps(Rule::StreamBeforeCopy);
                if position.is_none() && (stream_first || limit.is_some()) {
                    actions.push(Action::TakePosition);
                }
                if limit.is_none() && (!stream_first || position.is_some()) {
                    actions.push(Action::BarrierAndLastRow);
                }
            }
            Run::Up(attempt) => self.attempt_actions(state, attempt, actions),
            Run::Down => {
                if state.dead.is_none() || !self.keeps(Rule::TheDeadAreGone) {
                    actions.push(Action::Resume);
                }
            }
            Run::Swapped => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::AppCommits(after) => {
                let touched = differing(&state.log.rows(state.log.len()), &after);
                state.log.push(Entry { touched, after, marker: 0 });
                state.writes_left -= 1;
            }
            Action::NextIsVisible => state.visible += 1,
            Action::TakePosition | Action::BarrierAndLastRow => self.prepare(&mut state, action),
            Action::Write(whose, step) => self.write_step(&mut state, whose, step),
            Action::DeadRollBack => state.dead = None,
            Action::Die(alive) => {
                state.dead = alive.and_then(|whose| state.write(whose));
                state.deaths_left -= 1;
                state.run = Run::Down;
            }
            Action::Resume => {
                let clears = self.order == Order::Server || self.keeps(Rule::ResumedChunksClear);
                state.run = Run::Up(Attempt::at(state.checkpoint?, clears, !self.late_key));
            }
            Action::Rename => state.run = Run::Swapped,
            _ => {
                let Run::Up(mut attempt) = state.run else { return None };
                self.attempt_step(&mut state, &mut attempt, action);
                state.run = Run::Up(attempt);
            }
        }
        state.forget();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
