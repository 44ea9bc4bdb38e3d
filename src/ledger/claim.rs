//! Who may work on a table: the lock that one osc holds, and the unfinished run that it resumes (rule 9).
//! The order of the steps is here, and the same on every server; a server implements [`Lease`].

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::refusals::{lock_lost, other_clauses, replaced};
use super::{RunId, RunRecord};
use crate::engine::backend::Resumable;
use crate::error::{Error, Result};
use crate::testing::failpoint::{self, Point};

/// How often the lock is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a lost lock is waited for: the server may still hold it for the lost session.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the catalog proves of the tables of an unfinished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The table that the run made has the original's name.
    Swapped,
    /// It has the shadow's name.
    Unswapped,
    /// It has neither name, and the original is not the one that it was: it was rewritten
    /// after the swap, or put another table in its place.
    Replaced,
    /// It has neither name.
    Gone,
}

/// The steps of a claim on one server.
pub(crate) trait Lease: Sync {
    /// A session for the ledger.
    type Session: Send;
    /// What a run recorded of its tables.
    type Record: Send;

    /// When the lock was last looked at.
    fn looked(&self) -> &Looked;

    /// Whether these clauses are the change's.
    fn is_same(&self, clauses: &str) -> bool;

    /// Takes the lock of runs on the table in a session of its own, and sees to it that no other run works on a table that
    /// a foreign key joins with it. A lock that it had is given up first. `Refused` when another session holds it.
    fn lock(&self, patience: Duration) -> impl Future<Output = Result<()>> + Send;

    /// Whether the lock is still held.
    fn is_locked(&self) -> impl Future<Output = bool> + Send;

    /// Opens a session, and creates the ledger where it is missing.
    fn open(&self) -> impl Future<Output = Result<Self::Session>> + Send;

    /// The last run on the table.
    fn last(
        &self,
        session: &mut Self::Session,
    ) -> impl Future<Output = Result<Option<RunRecord>>> + Send;

    /// What the run recorded. `Refused` where another version of osc wrote it.
    fn record(&self, run: &RunRecord) -> Result<Self::Record>;

    /// Whether an unfinished run left nothing that the next one would have to look at.
    fn left_nothing(&self, run: &RunRecord) -> bool {
        run.left_nothing()
    }

    /// Begins a run.
    fn begin(&self, session: &mut Self::Session) -> impl Future<Output = Result<()>> + Send;

    /// Makes this attempt the run's only one: nothing that an earlier one writes commits after this, but what
    /// [`Lease::wait_for_the_dead`] waits for.
    fn fence(
        &self,
        session: &mut Self::Session,
        run: RunId,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Waits until no transaction of an earlier attempt is open on the shadow.
    fn wait_for_the_dead(
        &self,
        session: &mut Self::Session,
        record: &Self::Record,
    ) -> impl Future<Output = Result<()>> + Send;

    /// How the run's tables stand.
    fn standing(
        &self,
        session: &mut Self::Session,
        record: &Self::Record,
    ) -> impl Future<Output = Result<Standing>> + Send;

    /// Ends a run that nothing can be made of, for this reason.
    fn forget(
        &self,
        session: &mut Self::Session,
        run: RunId,
        why: &'static str,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes everything ready to resume the run. What was altered meanwhile ends it; another error leaves its copy.
    fn resume(
        &self,
        session: &mut Self::Session,
        run: &RunRecord,
        record: Self::Record,
        swapped: bool,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Takes the table's lock, and takes over its unfinished run or begins one.
pub(crate) async fn claim<L: Lease>(lease: &L) -> Result<Option<Resumable>> {
    lease.lock(Duration::ZERO).await?;
    failpoint::hit(Point::Locked)?;
    let session = &mut lease.open().await?;
    let Some(earlier) = lease.last(session).await?.filter(RunRecord::is_unfinished) else {
        lease.begin(session).await?;
        return Ok(None);
    };
    if lease.left_nothing(&earlier) {
        lease.fence(session, RunId(earlier.run)).await?;
        lease.forget(session, RunId(earlier.run), "died before it changed anything").await?;
        lease.begin(session).await?;
        return Ok(None);
    }
    // A watch whose process has gone had undone nothing: whoever comes begins anew.
    let dead_watch = earlier.is_watch();
    let same = lease.is_same(&earlier.clauses);
    if !same && !dead_watch {
        return Err(other_clauses(&earlier));
    }
    let record = lease.record(&earlier)?;
    // First: what an attempt writes that lives on is seen by the wait, or sees this.
    let run = RunId(earlier.run);
    lease.fence(session, run).await?;
    // From here on an error must leave the copy: the same command resumes it.
    lease.wait_for_the_dead(session, &record).await.map_err(Error::keeping_the_copy)?;
    let standing = match &earlier.state {
        Some(_) => lease.standing(session, &record).await.map_err(Error::keeping_the_copy)?,
        None => Standing::Gone,
    };
    match (standing, earlier.state.clone()) {
        (Standing::Swapped, _) if !same => Err(other_clauses(&earlier)),
        (Standing::Unswapped | Standing::Gone, _) if dead_watch => {
            lease.forget(session, run, "the watch ended with its process").await?;
            lease.begin(session).await?;
            Ok(None)
        }
        (Standing::Swapped | Standing::Unswapped, Some(state)) => {
            let swapped = standing == Standing::Swapped;
            lease.resume(session, &earlier, record, swapped).await?;
            Ok(Some(Resumable { state, swapped }))
        }
        (Standing::Replaced, _) => Err(replaced(&earlier)),
        (_, state) => {
            let why = match state {
                None => "died before its first checkpoint",
                Some(_) => "its shadow is not there, or not as the run left it",
            };
            lease.forget(session, run, why).await?;
            lease.begin(session).await?;
            Ok(None)
        }
    }
}

/// Looks whether the lock is still held, and takes it again where its session was lost.
pub(crate) async fn hold<L: Lease>(lease: &L) -> Result<()> {
    if !lease.looked().is_due() || lease.is_locked().await {
        return Ok(());
    }
    lease.lock(PATIENCE).await.map_err(lock_lost)
}

/// When a lock was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<Option<Instant>>);

impl Looked {
    /// Whether it is time to look again: then this is the look.
    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= PERIOD);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
