//! The rules that a model can do without, one at a time.

/// Something that the engine keeps to. The numbers are those of `docs/understand/how-it-works.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 1: the position is taken before the last row is looked up.
    StreamBeforeCopy,
    /// 1: what is in the log before the position is visible before the first chunk reads.
    StartBarrier,
    /// 2: a cycle commits something of its own between taking keys and reading their rows.
    VisibleBeforeRefreshed,
    /// 3: keys behind the copy are refreshed, not dropped as those ahead are.
    BehindIsRefreshed,
    /// 3: keys beyond the last row of the start are refreshed.
    BeyondIsRefreshed,
    /// 3: keys of a chunk in flight are refreshed after it, not dropped.
    InFlightIsRefreshed,
    /// 3: a position counts as applied when its keys are refreshed, not before.
    AppliedWhenRefreshed,
    /// 3: the position stays before deferred keys.
    DeferredHoldPosition,
    /// 3: deferred keys are dirty again when the key has its index.
    DeferredComeBack,
    /// 4: keys of a chunk in flight wait for it.
    InFlightWaits,
    /// 4: a chunk writes rows outside its range only while no cycle is under way.
    RepairsAlone,
    /// 4: where osc cannot compare keys, chunks and refreshes take turns.
    TakingTurns,
    /// 5: a row that clashes is not left out.
    NothingIsIgnored,
    /// 6: what finds no room is not read on from the stream.
    NoRoomNoReading,
    /// 9: the chunks of a resumed run clear their ranges.
    ResumedChunksClear,
    /// 9: a run is resumed when no transaction of the dead is left.
    TheDeadAreGone,
    /// 9: the checkpoint's edge is the one below which all chunks have ended.
    EdgeOfEndedChunks,
    /// Cut-over: no cycle is under way while an attempt takes the last keys.
    CutOverAlone,
    /// Cut-over: the lock is held until the rename.
    LockIsHeld,
    /// Cut-over: the stream is read up to the marker.
    MarkerIsAwaited,
    /// Cut-over: a marker of an earlier attempt is not taken for this one's.
    MarkerIsOwn,
    /// Cut-over: the keys that a failed attempt took are dirty again.
    TakenComesBack,
}
