//! Which road a change takes on PostgreSQL, and the roads that are the server's own.
//!
//! | road | when |
//! |---|---|
//! | direct | metadata only: one statement under a short lock |
//! | steps | the server has an online way: an index built concurrently, a constraint that is added first and validated afterwards |
//! | copy | the server would rewrite or scan the table under its lock |
//!
//! The clauses are not judged by a list: they are applied to an empty copy of the table in a
//! transaction that is rolled back, and what the server did there is looked at (`probe`). On an empty
//! copy it shows rewrites, index builds and scans as it would on the full table.

mod probe;
mod run;
mod steps;

use std::time::Duration;

use tokio_postgres::Client;

use crate::engine::error::Finding;
use crate::engine::{Error, Result};
use crate::plan::road::Strategy;
use crate::postgres::clauses::{ActionKind, Statement};
use crate::postgres::name::TableName;

pub use probe::{Seen, foreign_keys};
pub use run::{NativeDone, run};
pub use steps::{Look, Step};

/// How long one attempt may wait for its lock: what the application may see as a stall.
pub const LOCK_BUDGET: Duration = Duration::from_millis(200);

/// A road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Road {
    /// One transaction of metadata.
    Direct(Vec<String>),
    /// Several, each online.
    Steps(Vec<Step>),
    /// A shadow that is filled, verified and swapped in.
    Copy,
}

impl Road {
    /// The word for the ledger and the output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Direct(_) => "instant",
            Self::Steps(_) => "inplace",
            Self::Copy => "copy",
        }
    }

    /// What would run.
    pub fn statements(&self) -> Vec<String> {
        match self {
            Self::Direct(statements) => statements.clone(),
            Self::Steps(steps) => steps.iter().map(|step| step.sql.clone()).collect(),
            Self::Copy => Vec::new(),
        }
    }
}

/// A road and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The road.
    pub road: Road,
    /// Why.
    pub reason: String,
    /// Things to know.
    pub notes: Vec<String>,
}

/// Chooses the road.
///
/// # Errors
/// `Refused` where the strategy that was asked for cannot be; the server's where the clauses cannot
/// be applied at all.
pub async fn choose(
    client: &Client,
    original: &TableName,
    statement: &Statement,
    strategy: Strategy,
    version: u32,
) -> Result<Chosen> {
    let chosen = |road, reason: &str| Chosen { road, reason: reason.into(), notes: Vec::new() };
    let clauses = match statement {
        Statement::CreateIndex(create) => {
            let steps = steps::create_index(create, original)?;
            return allowed(strategy, chosen(Road::Steps(steps), "indexes are built concurrently"));
        }
        Statement::DropIndex { indexes, if_exists } => {
            let steps = steps::drop_index(client, indexes, *if_exists, original).await?;
            let reason = "indexes are dropped concurrently";
            return allowed(strategy, chosen(Road::Steps(steps), reason));
        }
        Statement::Alter { clauses, .. } => clauses,
    };
    let in_place =
        clauses.actions.iter().find(|action| matches!(action.kind, ActionKind::InPlace { .. }));
    if strategy == Strategy::Copy {
        if let Some(action) = in_place {
            return Err(Error::Refused(vec![Finding::new(
                "strategy",
                format!("{} concerns the table itself; a copy would lose it", action.text),
                "leave --strategy out",
            )]));
        }
        return Ok(chosen(Road::Copy, "--strategy copy"));
    }
    if clauses.is_empty() {
        return allowed(strategy, chosen(Road::Copy, "no clauses: the table is written anew"));
    }
    let seen = probe::probe(client, original, clauses).await?;
    if seen.is_nothing()
        && clauses.foreign_keys().is_empty()
        && let Some(whole) = clauses.for_shadow(original, &[])
    {
        return Ok(chosen(Road::Direct(vec![whole]), "metadata only"));
    }
    split(client, original, statement, strategy, version, &seen).await
}

/// Tries the clauses one by one: those with an online way in steps, the rest directly, if that is
/// metadata only.
async fn split(
    client: &Client,
    original: &TableName,
    statement: &Statement,
    strategy: Strategy,
    version: u32,
    seen: &Seen,
) -> Result<Chosen> {
    let Some(clauses) = statement.clauses() else {
        return Err(Error::Internal("a statement without clauses".into()));
    };
    let mut all = Vec::new();
    let mut rest = clauses.clone();
    for action in &clauses.actions {
        if let Some(steps) = steps::online(original, action, version) {
            rest.actions.retain(|other| other != action);
            all.extend(steps);
        }
    }
    if !all.is_empty() {
        let left = if rest.is_empty() {
            Seen::default()
        } else {
            probe::probe(client, original, &rest).await?
        };
        if left.is_nothing() {
            // Metadata first: a step may be about a column that it adds.
            let first = rest.for_shadow(original, &[]).map(Step::short);
            let steps = first.into_iter().chain(all).collect();
            let reason = "the server has an online way for each clause".into();
            let road = Road::Steps(steps);
            return allowed(strategy, Chosen { road, reason, notes: Vec::new() });
        }
    }
    if let Some(action) =
        clauses.actions.iter().find(|a| matches!(a.kind, ActionKind::InPlace { .. }))
    {
        return Err(Error::Refused(vec![Finding::new(
            "clauses",
            format!("{} cannot be in one change with what needs a copy ({seen})", action.text),
            "make two changes of it",
        )]));
    }
    let reason =
        if seen.is_nothing() { "a clause has no online way".into() } else { seen.to_string() };
    allowed(strategy, Chosen { road: Road::Copy, reason, notes: Vec::new() })
}

fn allowed(strategy: Strategy, chosen: Chosen) -> Result<Chosen> {
    let fits = match (strategy, &chosen.road) {
        (Strategy::Auto, _) | (_, Road::Direct(_)) | (Strategy::Inplace, Road::Steps(_)) => true,
        (Strategy::Copy, road) => *road == Road::Copy,
        _ => false,
    };
    if fits {
        return Ok(chosen);
    }
    Err(Error::Refused(vec![Finding::new(
        "strategy",
        format!("this change cannot be made in this way: {}", chosen.reason),
        "use --strategy auto",
    )]))
}
