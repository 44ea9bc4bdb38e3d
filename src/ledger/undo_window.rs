//! How long a retired table is kept for an undo: until then `osc cleanup` drops it only when it is told to.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::{Outcome, RunRecord};
use crate::error::{Error, Finding, Result};
use crate::testing::mutation::{self, Rule};

/// A retired table that is still kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Kept {
    /// The table.
    pub table: String,
    /// The run that retired it.
    pub run: i64,
    /// Until when, UTC.
    pub until: String,
}

impl RunRecord {
    /// Says whether the run can be undone, and until when. `found`: whether an undo finds its retired table;
    /// `verdict` and `kept_for`: as the run recorded them.
    pub(crate) fn tell_undo(
        &mut self,
        found: Result<()>,
        verdict: Vec<String>,
        kept_for: Duration,
    ) -> Result<()> {
        match found {
            Ok(()) => {
                self.undo = verdict;
                self.undo_until = self.kept_until(kept_for);
            }
            Err(Error::Refused(findings)) => {
                let why = |finding: Finding| format!("impossible: {}", finding.problem);
                self.undo = findings.into_iter().map(why).collect();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Until when what the run retired is kept, UTC, where that time is not over; `kept_for`: how long that is, as
    /// the run recorded it.
    pub(crate) fn kept_until(&self, kept_for: Duration) -> Option<String> {
        if self.result != Some(Outcome::Done) || mutation::active(Rule::RetiredKept) {
            return None;
        }
        // A clock that went back keeps it longer.
        let over = Duration::from_secs(self.ended_seconds?) >= kept_for;
        let ended: DateTime = self.ended.as_deref()?.parse().ok()?;
        let until = ended.checked_add(SignedDuration::try_from(kept_for).ok()?).ok()?;
        (!over).then(|| shown(until))
    }
}

/// The newest finished run of each table that this server has: what an undo of the table is about.
pub(crate) fn newest_done(runs: &mut [RunRecord]) -> Vec<&mut RunRecord> {
    let mut newest: Vec<&mut RunRecord> = Vec::new();
    for run in runs.iter_mut().filter(|run| run.elsewhere.is_none()) {
        let same = |one: &&mut RunRecord| (&one.schema, &one.table) == (&run.schema, &run.table);
        if run.result == Some(Outcome::Done) && !newest.iter().any(same) {
            newest.push(run);
        }
    }
    newest
}

/// When a retired table that is made now may be dropped, UTC.
pub(crate) fn until(kept_for: Duration) -> Option<String> {
    let until = Timestamp::now().checked_add(SignedDuration::try_from(kept_for).ok()?).ok()?;
    Some(shown(until.to_zoned(jiff::tz::TimeZone::UTC).datetime()))
}

fn shown(time: DateTime) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::record;

    #[test]
    fn a_window_is_over_when_its_time_is() {
        let of = |seconds, result| {
            let ended = Some("2026-11-30 22:00:00.123".to_owned());
            let run = record(result, "done", "{}", false);
            RunRecord { ended, ended_seconds: Some(seconds), ..run }
        };
        let day = Duration::from_secs(86_400);
        let done = Some(Outcome::Done);
        assert_eq!(of(86_399, done).kept_until(day).as_deref(), Some("2026-12-01 22:00:00"));
        assert_eq!(of(86_400, done).kept_until(day), None);
        assert_eq!(of(0, done).kept_until(Duration::ZERO), None);
        assert_eq!(of(0, Some(Outcome::Failed)).kept_until(day), None);
        assert_eq!(of(0, done).kept_until(Duration::MAX), None);
    }
}
