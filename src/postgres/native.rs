//! A run on one of the server's own roads, and its record in the ledger.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::engine::Result;
use crate::engine::progress::{Event, Summary};
use crate::ledger::{Checkpoint, End, NewRun, RunId, RunRecord, new_owner};
use crate::plan::Job;
use crate::postgres::connect::Options;
use crate::postgres::ledger::Ledger;
use crate::postgres::name::TableName;
use crate::postgres::roads::{self, Road};

/// How often the record is renewed, so that nobody takes the run for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Runs of a table that may have to be closed.
const EARLIER: u32 = 20;

/// Takes the road. `client` is the session that holds the table's claim.
///
/// # Errors
/// Those of [`roads::run`].
pub(super) async fn run(
    client: &Client,
    options: &Options,
    job: &Job,
    name: &TableName,
    clauses: &str,
    road: &Road,
) -> Result<Summary> {
    let record = Record { client, job, ledger: Ledger::of(&name.schema), owner: new_owner() };
    let new = NewRun {
        table: name.table.as_str(),
        clauses,
        road: road.word(),
        verify: false,
        owner: &record.owner,
    };
    let mut unrecorded = None;
    let mut note = |outcome: Result<()>| {
        if let Err(error) = outcome {
            unrecorded = Some(format!("not recorded in the ledger: {error}"));
        }
    };
    let mut begun = None;
    // What is done in one moment is recorded when it is done: nothing can be left of it.
    if matches!(road, Road::Steps(_)) {
        match record.begin(&new, name).await {
            Ok(run) => begun = Some(run),
            Err(error) => note(Err(error)),
        }
    }
    let sink = Arc::clone(&job.sink);
    let say = |attempt, reason: String| sink.event(Event::CutOverRetry { attempt, reason });
    let attempts = job.settings.cut_over_attempts.get();
    let walk = roads::run(options, name, road, attempts, roads::LOCK_BUDGET, &job.stop, &say);
    let outcome = tokio::select! {
        outcome = walk => outcome,
        never = record.renew(begun) => match never {},
    };
    let mut done = match outcome {
        Ok(done) => done,
        Err(error) => {
            if let Some(run) = begun
                && let Err(unrecorded) = record.ledger.end(client, run, &End::by(&error)).await
            {
                tracing::warn!(error = %unrecorded, "the end of the run could not be recorded");
            }
            return Err(error);
        }
    };
    note(match begun {
        Some(run) => record.end(run).await,
        None => match record.begin(&new, name).await {
            Ok(run) => record.end(run).await,
            Err(error) => Err(error),
        },
    });
    done.warnings.extend(unrecorded);
    Ok(Summary {
        table: name.plain(),
        clauses: clauses.to_owned(),
        road: road.word().into(),
        attempts: done.attempts,
        warnings: done.warnings,
        ..Summary::default()
    })
}

struct Record<'a> {
    client: &'a Client,
    job: &'a Job,
    ledger: Ledger,
    owner: String,
}

impl Record<'_> {
    /// Opens the run's record, and closes those of earlier runs that this one goes on with.
    async fn begin(&self, new: &NewRun<'_>, name: &TableName) -> Result<RunId> {
        self.ledger.create(self.client).await?;
        let earlier = self.ledger.runs(self.client, Some(&name.table), EARLIER).await?;
        let same = |run: &&RunRecord| {
            run.is_unfinished() && run.road == new.road && run.clauses.trim() == new.clauses.trim()
        };
        for run in earlier.iter().filter(same) {
            let end = End::failed("gone on with by a later run");
            self.ledger.end(self.client, RunId(run.run), &end).await?;
        }
        self.ledger.begin(self.client, new).await
    }

    async fn end(&self, run: RunId) -> Result<()> {
        let end = End { result: "done", phase: Some("done"), ..End::default() };
        self.ledger.end(self.client, run, &end).await
    }

    /// Keeps the record young, for ever.
    async fn renew(&self, run: Option<RunId>) -> Infallible {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let Some(run) = run else { continue };
            let now = Checkpoint::now(None, &self.job.progress);
            if let Err(error) = self.ledger.checkpoint(self.client, run, &self.owner, &now).await {
                tracing::warn!(%error, "the record of the run could not be renewed");
            }
        }
    }
}
