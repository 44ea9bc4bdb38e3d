//! Orders as those see them who make them: written for the run that is under way, and answered by it.

use std::time::Duration;

use serde::Serialize;

use super::RunRecord;
use crate::control::order::{Answer, Verb};
use crate::error::{Error, Finding};

/// The code of an order that no one answered in time.
pub(crate) const NO_ANSWER: &str = "no-answer";

/// How long an order's answer is waited for, and how often is looked.
pub(crate) const WAIT: Duration = Duration::from_secs(5);
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Orders that `osc status TABLE` shows of a run.
pub(crate) const SHOWN: u32 = 5;

/// An order that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewOrder {
    /// What it asks for.
    pub(crate) verb: Verb,
    /// With what.
    pub(crate) arguments: String,
    /// Why.
    pub(crate) why: Option<String>,
    /// From where: `ann@ops1`.
    pub(crate) host: String,
    /// For how long.
    pub(crate) lasts: Option<Duration>,
}

/// An order that was made, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Its number.
    pub(crate) order: i64,
    /// The run that it is for.
    pub(crate) run: i64,
    /// The run's table.
    pub(crate) table: String,
    /// The run's answer; `None`: there was none in time.
    pub(crate) answer: Option<Answer>,
}

/// An order as the record of its run has it.
#[derive(Debug, Clone, Serialize)]
pub struct OrderRecord {
    /// Its number.
    pub order: i64,
    /// What it asks for.
    pub verb: String,
    /// With what.
    pub arguments: Option<String>,
    /// The account that made it.
    pub who: String,
    /// From where.
    pub host: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// When it was made, UTC.
    pub made: String,
    /// Until when it is meant to last, UTC.
    pub expires: Option<String>,
    /// The run's answer: `accepted: …`, `refused: …`, `expired: …`; `None`: not yet.
    pub answer: Option<String>,
    /// When it was answered, UTC.
    pub answered: Option<String>,
}

/// Where no attempt of a run on `table` is under way.
pub(crate) fn no_attempt(table: &str) -> Error {
    Error::Order(Finding::new(
        "no-attempt",
        format!("no attempt of a run on {table} is running: the order was not made"),
        "`osc status` shows the table's runs; the same command resumes one that was stopped",
    ))
}

/// Where the account lacks a right; `grant` gives it.
pub(crate) fn no_right(message: &str, grant: &str) -> Error {
    Error::Order(Finding::new("order-rights", message, format!("as an administrator: {grant}")))
}

/// Where tables of the same name in several schemas are being changed.
pub(crate) fn ambiguous(runs: &[RunRecord]) -> Error {
    let names: Vec<String> =
        runs.iter().map(|run| format!("{}.{}", run.schema, run.table)).collect();
    Error::Usage {
        message: format!("several runs are under way: {}", names.join(", ")),
        help: "name the table with its schema".into(),
    }
}

impl Made {
    /// What the answer means to whoever made the order.
    ///
    /// # Errors
    /// `Order` where it had no effect, or none that is known.
    pub(crate) fn accepted(&self) -> crate::error::Result<&str> {
        let Self { order, table, .. } = self;
        let failed =
            |check, what: String, help: &str| Err(Error::Order(Finding::new(check, what, help)));
        match &self.answer {
            Some(Answer::Accepted(text)) => Ok(text),
            Some(Answer::Refused(why)) => {
                failed("order-refused", format!("order {order} for {table} was refused: {why}"), "")
            }
            Some(Answer::Expired(why)) => {
                failed("order-expired", format!("order {order} for {table} expired: {why}"), "")
            }
            None => failed(
                NO_ANSWER,
                format!("order {order} for {table} was not answered within {} s", WAIT.as_secs()),
                "the run takes it as soon as it reads its orders again; `osc status TABLE` shows the answer",
            ),
        }
    }
}
