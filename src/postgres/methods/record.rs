//! A run on one of the server's own methods, and its record in the ledger.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use super::opposite::{Definition, NativeRecord, opposite};
use super::{Going, Method};
use crate::engine::event::{Event, Summary};
use crate::engine::orders;
use crate::error::{Error, Result};
use crate::ledger::{Checkpoint, End, FencingToken, NewRun, RunId, RunRecord};
use crate::plan::Job;
use crate::plan::undo::Verdict;
use crate::postgres::clauses::same::same;
use crate::postgres::connection::connect::Options;
use crate::postgres::connection::settings::RoleSettings;
use crate::postgres::methods;
use crate::postgres::name::TableName;
use crate::postgres::runs::ledger::Ledger;
use crate::postgres::runs::orders::{Orders, now};
use crate::postgres::throttle;

/// How often the record is renewed, so that the run is not taken for an interrupted one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Runs of a table that may have to be closed.
const EARLIER: u32 = 20;

/// Where a change is made, and as whom.
pub(crate) struct Place<'a> {
    /// The session that holds the table's claim.
    pub(crate) client: &'a Client,
    /// How to connect.
    pub(crate) options: &'a Options,
    /// What a plain session of the role has.
    pub(crate) role: &'a RoleSettings,
    /// The ledger.
    pub(crate) ledger: Ledger,
}

/// Changes the table by a method of the server's own.
///
/// # Errors
/// Those of [`methods::run()`].
pub(crate) async fn run(
    place: Place<'_>,
    job: &Job,
    name: &TableName,
    clauses: &str,
    method: &Method,
    verdict: Option<&Verdict>,
) -> Result<Summary> {
    let Place { client, options, role, ledger } = place;
    let record = Record { client, job, ledger, token: FencingToken::random() };
    let new = NewRun {
        schema: name.schema.as_str(),
        table: name.table.as_str(),
        clauses,
        method: method.word(),
        verify: false,
        token: &record.token,
    };
    let mut unrecorded = None;
    let mut note = |outcome: Result<()>| {
        if let Err(error) = outcome {
            unrecorded = Some(format!("not recorded in the ledger: {error}"));
        }
    };
    let before = Definition::read(client, name).await?;
    let mut begun = None;
    let throttle = throttle::build(job, options, false)?;
    let permission = job.permission(&throttle);
    // What is done in one moment is recorded when it is done: nothing can be left of it. But where it has to
    // wait, orders find it meanwhile.
    let mut since = String::new();
    if matches!(method, Method::Steps(_)) || !permission.is_near().await {
        since = now(client).await?;
        match record.begin(&new, name).await {
            Ok(run) => begun = Some(run),
            Err(error) => note(Err(error)),
        }
    }
    let sink = Arc::clone(&job.sink);
    let attempts = job.settings.cut_over_attempts().get();
    let say = |attempt, reason: String| {
        job.progress.set_blocked(Some(reason.clone()));
        sink.event(Event::CutOverRetry { attempt, attempts, retry_seconds: None, reason });
    };
    let report = |text| sink.event(Event::Note { text });
    let going = Going {
        attempts,
        budget: methods::LOCK_BUDGET,
        stop: &job.stop,
        say: &say,
        report: &report,
        trusts_owner: job.settings.trust_owner,
        permission: Some(permission),
    };
    let work = async {
        tokio::select! {
            outcome = methods::run(options, role, name, method, &going) => outcome,
            never = record.renew(begun) => match never {},
            never = permission.report_throttle() => match never {},
        }
    };
    let outcome = match begun {
        Some(run) => {
            let (ledger, token) = (record.ledger.clone(), record.token.clone());
            let book = Orders::new(options.clone(), ledger, run, token, since);
            Box::pin(orders::beside(book, &job.scene(&throttle), work)).await
        }
        None => work.await,
    };
    let mut done = match outcome {
        Ok(done) => done,
        Err(error) => {
            if let Some(run) = begun
                && let Err(unrecorded) =
                    record.ledger.end(client, run, None, &End::by(&error)).await
            {
                tracing::warn!(error = %unrecorded, "the end of the run could not be recorded");
            }
            return Err(error);
        }
    };
    let told = verdict.map(|verdict| verdict.record(&name.plain())).unwrap_or_default();
    let undo = told.first().cloned();
    let run = match begun {
        Some(run) => Ok(run),
        None => record.begin(&new, name).await,
    };
    note(match run {
        Ok(run) => record.end(run, name, &before, told).await,
        Err(error) => Err(error),
    });
    done.warnings.extend(unrecorded);
    Ok(Summary {
        table: name.plain(),
        clauses: clauses.to_owned(),
        method: method.word().into(),
        attempts: done.attempts,
        undo,
        warnings: done.warnings,
        ..Summary::default()
    })
}

struct Record<'a> {
    client: &'a Client,
    job: &'a Job,
    ledger: Ledger,
    token: FencingToken,
}

impl Record<'_> {
    /// Opens the run's record, and closes those of earlier runs that this one resumes.
    async fn begin(&self, new: &NewRun<'_>, name: &TableName) -> Result<RunId> {
        self.ledger.create(self.client).await?;
        let ledger = Ledger::open(self.client, self.ledger.schema.as_str()).await?;
        let earlier = ledger.runs(self.client, name, EARLIER).await?;
        let same = |run: &&RunRecord| {
            run.is_unfinished() && run.method == new.method && same(&run.clauses, new.clauses)
        };
        for run in earlier.iter().filter(same) {
            let end = End::failed("resumed as a later run");
            let _ = self.ledger.end(self.client, RunId(run.run), None, &end).await?;
        }
        let run = self.ledger.begin(self.client, new).await?;
        self.job.progress.subject().set_run(run.0);
        Ok(run)
    }

    async fn end(
        &self,
        run: RunId,
        name: &TableName,
        before: &Definition,
        verdict: Vec<String>,
    ) -> Result<()> {
        let after = Definition::read(self.client, name).await?;
        let opposite = opposite(name, before, &after);
        let text = serde_json::to_string(&NativeRecord { after, opposite, verdict });
        let text = text.map_err(|error| Error::Internal(format!("a record: {error}")))?;
        self.ledger.carry(self.client, run, &self.token, &text).await?;
        self.ledger.end(self.client, run, None, &End::done_natively()).await.map(drop)
    }

    /// Keeps the record young, for ever.
    async fn renew(&self, run: Option<RunId>) -> Infallible {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let Some(run) = run else { continue };
            let now = Checkpoint::now(None, &self.job.progress);
            if let Err(error) = self.ledger.checkpoint(self.client, run, &self.token, &now).await {
                tracing::warn!(%error, "the record of the run could not be renewed");
            }
        }
    }
}
