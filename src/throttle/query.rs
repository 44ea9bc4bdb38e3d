//! A query of the user's.

use std::time::Duration;

use super::gauge::{Gauge, brief};
use super::{Source, Verdict};
use crate::control::Directives;

/// Pauses the copy while the first column of a query's first row is greater than 0. No row, NULL
/// and whatever is no number pause it too.
#[derive(Debug)]
pub struct Query<G> {
    gauge: G,
    sql: String,
}

impl<G: Gauge> Query<G> {
    /// `sql` is asked once a second.
    pub fn new(gauge: G, sql: impl Into<String>) -> Self {
        Self { gauge, sql: sql.into() }
    }
}

impl<G: Gauge> Source for Query<G> {
    fn name(&self) -> &'static str {
        "throttle query"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        match self.gauge.number(&self.sql).await {
            Ok(Some(number)) if number <= 0.0 => Verdict::Run,
            Ok(Some(number)) => Verdict::Pause(format!("the throttle query returns {number}")),
            Ok(None) => Verdict::Pause("the throttle query returns nothing".into()),
            Err(error) => Verdict::Pause(format!("the throttle query: {}", brief(&error))),
        }
    }
}
