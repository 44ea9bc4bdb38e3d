//! Rules switched off, one at a time: for tests of the tests only.
//!
//! Without the feature `faults` [`active`] is `false`, and the compiler drops what follows from it. With it,
//! `OSC_BROKEN_RULE` names the rule that osc does not keep. `tests/it/broken_rules.rs` requires that a test
//! fails then (`docs/develop/mutations.md`).

macro_rules! rules {
    ($($(#[doc = $words:literal])+ $rule:ident = $name:literal;)+) => {
        /// A rule that can be switched off.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $($(#[doc = $words])+ $rule,)+ }

        impl Rule {
            /// All rules: for each there must be a test that fails without it.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// Its name in `OSC_BROKEN_RULE`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)+ }
            }

            /// What is so while it is on.
            pub fn words(self) -> &'static str {
                match self { $(Self::$rule => concat!($($words),+).trim_ascii(),)+ }
            }
        }
    };
}

rules! {
    /// 1: the position is taken before the copy begins, not after.
    StreamBeforeCopy = "stream-before-copy";
    /// 1: transactions that are prepared or under way at the start are waited for.
    StartBarrier = "start-barrier";
    /// 2: a cycle of the refresher reads after its own commit.
    VisibleFirst = "visible-first";
    /// 2: a cycle on PostgreSQL waits until snapshots show what the stream named.
    SnapshotShows = "snapshot-shows";
    /// 2: rows of an XA transaction count at its commit, not when it is prepared.
    XaAtCommit = "xa-at-commit";
    /// 2: the position does not go past a transaction that is prepared only.
    XaHoldsPosition = "xa-holds-position";
    /// 2: PostgreSQL's log of the triggers is read by who is visible, not in the order of its numbers.
    LateCommits = "late-commits";
    /// 3: keys behind the copy are refreshed.
    CopiedRefreshed = "copied-refreshed";
    /// 3: keys beyond the last row of the start are refreshed.
    BeyondRefreshed = "beyond-refreshed";
    /// 3: an update that changes a key names the key before, too.
    BothKeys = "both-keys";
    /// 3: a position counts as applied after its keys are refreshed.
    AppliedAfterRefresh = "applied-after-refresh";
    /// 3: the position stays before keys that are deferred until the copy key has its index.
    DeferredHeld = "deferred-held";
    /// 3: deferred keys are refreshed.
    DeferredRefreshed = "deferred-refreshed";
    /// 4: keys of a chunk in flight wait for its end.
    InFlightWaits = "in-flight-waits";
    /// 4: where only the server can order keys, chunks and refreshes take turns.
    TurnsTaken = "turns-taken";
    /// 4: a chunk repairs a clash while the refresher stands still.
    RepairAlone = "repair-alone";
    /// 4: of two refreshes on PostgreSQL the later reads what the earlier has read, or newer.
    RefreshesInOrder = "refreshes-in-order";
    /// 5: a chunk is a plain INSERT, not one that ignores what clashes or does not fit.
    PlainInsert = "plain-insert";
    /// 5: a refresh deletes by key and inserts, and is no REPLACE.
    NoReplace = "no-replace";
    /// 12: an undo reads the log from the lock of the swap on, not from when the run had ended.
    SwapInLog = "swap-in-log";
    /// 10: a retired table is kept for as long as its change is to be undone.
    RetiredKept = "retired-kept";
    /// 12: a row that goes back keeps the values of columns that the change dropped: it is put, not written anew.
    RowsKeepTheirOwn = "rows-keep-their-own";
    /// 12: a column that was not written since keeps what the new type could not hold.
    ColumnsKeepTheirOwn = "columns-keep-their-own";
    /// 12: columns are paired by what the run recorded, not by their names.
    PairedByRecord = "paired-by-record";
    /// 12: a row that went back is compared with the live one.
    PutCompared = "put-compared";
    /// 12: while rows are put on PostgreSQL, no other session writes the retired table.
    GuardStays = "guard-stays";
    /// 5: sessions are strict, and their warnings count.
    Strict = "strict";
    /// 5: a warning about a row is a failure.
    WarningsCount = "warnings-count";
    /// 6: the copy waits while too many keys are dirty.
    CopyWaits = "copy-waits";
    /// 6: the stream is not read on while the set of dirty keys is full.
    SetBounded = "set-bounded";
    /// 6: the throttle stops the copy and not the refresher.
    OnlyCopyThrottled = "only-copy-throttled";
    /// 7: a range that differs is looked into.
    DifferencesCount = "differences-count";
    /// 7: what others write to the shadow after it was compared is written again.
    ShadowWatched = "shadow-watched";
    /// 7: what osc writes to the shadow is not taken for another session's.
    WritesSigned = "writes-signed";
    /// 7: PostgreSQL's values are compared by all that they are, not by their `=`.
    SameNotEqual = "same-not-equal";
    /// 8: the copy reads without locks, under READ COMMITTED.
    NoReadLocks = "no-read-locks";
    /// 8: the cut-over's lock is requested shortly, and the request is taken back.
    LockBudget = "lock-budget";
    /// 8: whoever holds the cut-over's lock has a deadline that the server enforces.
    ServerEndsLock = "server-ends-lock";
    /// 11: sessions fix every setting that changes how a statement is read, limited or timed.
    SettingsFixed = "settings-fixed";
    /// 11: a later attempt converts values by the login's settings of the first, on MySQL and MariaDB.
    RoleStored = "role-stored";
    /// 7: a row longer than `max_allowed_packet` is compared.
    LongRowsCompared = "long-rows-compared";
    /// 9: a chunk whose connection broke is copied again.
    LostChunkAgain = "lost-chunk-again";
    /// 9: an attempt that was taken over writes nothing more.
    Fenced = "fenced";
    /// 9: what is committed on PostgreSQL is on disk.
    CommitsOnDisk = "commits-on-disk";
    /// 10: the retired table stays.
    RetiredStays = "retired-stays";
    /// Nothing is changed by any method before operator and throttle permit it.
    PermissionFirst = "permission-first";
    /// Permission that was given before the run began is none.
    PermissionIsNewer = "permission-is-newer";
    /// A copy is kept when what ended the run can be tried again.
    CopyKept = "copy-kept";
    /// 11: what is in PostgreSQL's schema of osc's own is looked at before it is used.
    PgOwnSchemaChecked = "pg-own-schema-checked";
    /// 11: a swap on PostgreSQL is proved by the catalog, and not by what the ledger says.
    PgSwapProved = "pg-swap-proved";
    /// 11: a table on PostgreSQL is dropped only if it bears osc's mark.
    PgDropProved = "pg-drop-proved";
    /// 11: functions of the table's owner are not run by a stronger role on PostgreSQL.
    PgFunctionsTrusted = "pg-functions-trusted";
    /// 11: nor are those that PostgreSQL resolves to after osc has looked at the words.
    PgResolvedTrusted = "pg-resolved-trusted";
    /// 11: nor are casts, of a type and from the server's own, that an untrusted owner of the type makes.
    PgCastsTrusted = "pg-casts-trusted";
    /// 11: nor are checks and defaults that an untrusted owner of a domain may give it.
    PgDomainsTrusted = "pg-domains-trusted";
    /// 11: the triggers' function calls no cast.
    PgTriggersCastNothing = "pg-triggers-cast-nothing";
    /// 11: until the swap the shadow on PostgreSQL belongs to osc's role.
    PgShadowOwned = "pg-shadow-owned";
    /// 11: every transaction on PostgreSQL that reads or writes the tables proves that they are the run's.
    ObjectsProved = "objects-proved";
    /// 11: what the ledger says of tables is proved by the catalog, on MySQL and MariaDB by InnoDB's numbers.
    FactsProved = "facts-proved";
    /// 11: the ledger's tables are looked at before they are read, on MySQL and MariaDB.
    LedgerVetted = "ledger-vetted";
    /// The cut-over waits for its marker.
    MarkerAwaited = "marker-awaited";
    /// A marker of an earlier attempt is not taken for one of ours.
    OwnMarkersOnly = "own-markers-only";
    /// No cycle of the refresher is under way beside the cut-over.
    CutOverAlone = "cut-over-alone";
    /// The counter of AUTO_INCREMENT is carried over under the lock, so that it never goes back.
    CounterUnderLock = "counter-under-lock";
    /// The session that holds LOCK TABLES never begins a transaction.
    NeverBegins = "never-begins";
    /// The names of the helper tables sort after the original's.
    NamesSortAfter = "names-sort-after";
    /// PostgreSQL's retired table takes no writes.
    RetiredGuarded = "retired-guarded";
    /// PostgreSQL's new table takes no writes by a snapshot from before the swap.
    SnapshotGuarded = "snapshot-guarded";
    /// What hangs on PostgreSQL's table is looked at again under the lock.
    LookedAtUnderLock = "looked-at-under-lock";
    /// What hangs on the table goes with its name.
    DependentsFollow = "dependents-follow";
    /// What others do to the table is reported by the stream.
    ForeignReported = "foreign-reported";
    /// A transaction ends where it ends, and not at a savepoint.
    GroupsWhole = "groups-whole";
    /// Compressed events are read.
    CompressedRead = "compressed-read";
    /// Offsets in the log go on beyond four gibibytes.
    LongOffsets = "long-offsets";
    /// A renamed column keeps its rows' values.
    RenamesFollowed = "renames-followed";
    /// Values that a change converts are read in the server's time zone.
    ServersZone = "servers-zone";
    /// A number that goes into text goes there as the server shows it.
    ShownAsText = "shown-as-text";
    /// A value that would be lost in part stops the copy, where the server says nothing of it.
    LossSeen = "loss-seen";
    /// A BINARY key gets back the zeros that the log leaves out.
    KeysPadded = "keys-padded";
    /// A key's value that one image of a row lacks is that of the other.
    ImagesTogether = "images-together";
    /// PostgreSQL's slot is confirmed up to what was applied, not to where it is read.
    AppliedConfirmed = "applied-confirmed";
    /// A table that would refuse changes once it is published is not published.
    IdentityChecked = "identity-checked";
    /// An identity sequence of PostgreSQL's new table has the type of the original's.
    SequencesTyped = "sequences-typed";
    /// An index of PostgreSQL's new table is in the tablespace of the original's.
    IndexesPlaced = "indexes-placed";
    /// A check that PostgreSQL has not proved stays so, and no row of the copy has to keep it.
    UnprovedLater = "unproved-later";
    /// A foreign key whose triggers are disabled comes back with disabled ones.
    DisabledStay = "disabled-stay";
    /// No session draws a number from the original's sequence once the new table's has its place.
    CountersLocked = "counters-locked";
    /// An index that was not built to its end is not taken for one.
    InvalidSeen = "invalid-seen";
    /// 11: PostgreSQL's sessions find pg_catalog's functions and operators only.
    PgPathFixed = "pg-path-fixed";
    /// 11: PostgreSQL's sessions fix what changes how osc's statements are read, limited and timed.
    PgSettingsFixed = "pg-settings-fixed";
    /// 11: operators of types that are not pg_catalog's are named with their schema.
    PgOperatorsNamed = "pg-operators-named";
    /// 11: values are converted by the settings of a plain session of the role.
    PgRoleValues = "pg-role-values";
    /// 11: the server ends the lock of a frozen osc's cut-over on PostgreSQL.
    PgLockDeadline = "pg-lock-deadline";
}

/// Does `work`, by which `rule` is kept; `None` when it is broken.
pub async fn skip_if<T>(rule: Rule, work: impl Future<Output = T>) -> Option<T> {
    if active(rule) { None } else { Some(work.await) }
}

/// Whether osc is to break `rule`.
#[cfg(not(feature = "faults"))]
#[inline]
pub const fn active(_: Rule) -> bool {
    false
}

#[cfg(feature = "faults")]
pub use chosen::active;

#[cfg(feature = "faults")]
mod chosen {
    use std::io::Write;
    use std::sync::LazyLock;

    use super::Rule;

    static BROKEN: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let name = std::env::var("OSC_BROKEN_RULE").ok()?;
        let rule = Rule::ALL.iter().copied().find(|rule| rule.name() == name);
        if rule.is_none() {
            let _ = writeln!(std::io::stderr(), "osc: OSC_BROKEN_RULE names no rule: {name}");
            std::process::exit(2);
        }
        rule
    });

    /// Whether osc is to break `rule`.
    pub fn active(rule: Rule) -> bool {
        *BROKEN == Some(rule)
    }
}
