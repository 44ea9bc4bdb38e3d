//! A query of the user's.

use std::time::Duration;

use super::probe::{StatusProbe, brief};
use super::{Source, Verdict};
use crate::control::Directives;

/// Pauses the copy while the first column of a query's first row is greater than 0. No row, NULL
/// and whatever is no number pause it too.
#[derive(Debug)]
pub struct Query<G> {
    probe: G,
    sql: String,
}

impl<G: StatusProbe> Query<G> {
    /// `sql` runs once a second.
    pub fn new(probe: G, sql: impl Into<String>) -> Self {
        Self { probe, sql: sql.into() }
    }
}

/// What a statement that only reads may begin with.
const READING: [&str; 5] = ["SELECT", "WITH", "SHOW", "TABLE", "VALUES"];

/// Whether the text begins as a statement that reads.
///
/// # Errors
/// What is wrong with it.
pub fn reads(sql: &str) -> Result<(), &'static str> {
    let start = uncommented(sql).trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    let end = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
    let word = start.get(..end).unwrap_or_default();
    match READING.iter().any(|reading| word.eq_ignore_ascii_case(reading)) {
        true => Ok(()),
        false if start.is_empty() => Err("it is empty"),
        false => Err("it begins with none of SELECT, WITH, SHOW, TABLE, VALUES"),
    }
}

/// The text behind the comments that it begins with.
fn uncommented(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let line = rest.strip_prefix("--").or_else(|| rest.strip_prefix('#'));
        rest = match (line, rest.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n').map_or("", |(_, rest)| rest),
            // An executable comment is code.
            (None, Some(block)) if !block.starts_with(['!', 'M', '+']) => {
                block.split_once("*/").map_or("", |(_, rest)| rest)
            }
            _ => return rest,
        }
        .trim_start();
    }
}

impl<G: StatusProbe> Source for Query<G> {
    fn name(&self) -> &'static str {
        "throttle query"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        match self.probe.number(&self.sql).await {
            Ok(Some(number)) if number <= 0.0 => Verdict::Run,
            Ok(Some(number)) => Verdict::Pause(format!("the throttle query returns {number}")),
            Ok(None) => Verdict::Pause("the throttle query returns nothing".into()),
            Err(error) => Verdict::Pause(format!("the throttle query: {}", brief(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_as_a_reading_statement_is_one() {
        for sql in [
            "SELECT 1",
            " -- why\n select 1",
            "/* why */ (SELECT 1)",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "TABLE flag",
            "VALUES ROW(1)",
            "SHOW STATUS",
        ] {
            assert_eq!(reads(sql), Ok(()), "{sql}");
        }
        for sql in
            ["", " ", "-- SELECT 1", "/*! DELETE */ SELECT 1", "DELETE FROM t", "SELECTS", "1"]
        {
            assert!(reads(sql).is_err(), "{sql}");
        }
    }
}
