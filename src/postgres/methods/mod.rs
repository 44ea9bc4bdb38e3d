//! Which method a change takes on PostgreSQL, and the methods that are the server's own.
//!
//! | method | when |
//! |---|---|
//! | direct | metadata only: one statement under a short lock |
//! | steps | the server has an online way: an index built concurrently, a constraint that is added first and validated afterwards |
//! | copy | the server would rewrite or scan the table under its lock |
//!
//! Clauses that have an online way are known by what they say; the others are not work_of by a list:
//! they are applied to an empty copy of the table in a transaction that is rolled back, and what the
//! server did there is looked at (`probe`). On an empty copy it shows rewrites, index builds and scans
//! as it would on the full table. `docs/use/postgres-clauses.md` has the table.

mod build_index;
mod choose;
mod constraints;
mod facts;
mod indexes;
mod naming;
pub(crate) mod opposite;
mod partitions;
mod probe;
mod progress;
pub(crate) mod record;
mod run;
mod step;

use std::time::Duration;

use tokio_postgres::Client;

use super::clauses::Lock;
use super::name::{Ident, TableName};
use crate::error::Result;

pub use choose::choose;
pub use indexes::table_of;
pub use naming::named;
pub(crate) use probe::expressions_of;
pub use probe::{Seen, expressions, formed};
pub use run::{Going, NativeDone, leftovers, run, take_back};
pub use step::{Look, Step, Undo};

/// How long one attempt may wait for its lock: what the application may see as a stall.
pub const LOCK_BUDGET: Duration = Duration::from_millis(200);

/// A method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// One transaction of metadata.
    Direct(Step),
    /// Several, each online.
    Steps(Vec<Step>),
    /// A shadow that is filled, verified and swapped in.
    Copy,
}

impl Method {
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
            Self::Direct(step) => vec![step.sql.clone()],
            Self::Steps(steps) => steps.iter().map(|step| step.sql.clone()).collect(),
            Self::Copy => Vec::new(),
        }
    }
}

/// A method and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The method.
    pub method: Method,
    /// Why.
    pub reason: String,
    /// Things to know.
    pub notes: Vec<String>,
    /// What the server itself would do for each clause.
    pub clauses: Vec<ClauseWork>,
}

/// What the server itself would do for a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClauseWork {
    /// The clause.
    pub text: String,
    /// The lock on the table.
    pub lock: Lock,
    /// The work under that lock.
    pub work: Seen,
}

/// The names of the original's foreign keys, which its copies do not have.
///
/// # Errors
/// The server's.
pub async fn foreign_keys(client: &Client, original: &TableName) -> Result<Vec<Ident>> {
    Ok(facts::Facts::read(client, original).await?.foreign_keys())
}
