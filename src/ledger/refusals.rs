//! What osc says where another run, or one that was not finished, is in the way.

use super::{REVERT, RunRecord};
use crate::error::{Error, Finding};

/// The end of an attempt whose run another one has taken over.
pub(crate) fn taken_over() -> Error {
    Error::Stopped {
        reason: "another osc has taken over this run, or its record is gone".into(),
        help: "look at `osc status`".into(),
    }
}

/// The refusal where another run is under way on `table`.
pub(crate) fn other_run(table: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "other-run",
        format!("another osc is already changing {table}"),
        "wait for it to end; `osc status` shows how far it is",
    )])
}

/// The refusal where a session holds the lock of runs on `table`, which every login can take: the
/// `holder`, as far as the server shows it, and what ends it.
pub(crate) fn locked_by(table: &str, holder: &str, cure: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "other-run",
        format!("another osc is already changing {table}, or a session holds its lock: {holder}"),
        format!(
            "wait for it to end (`osc status` shows how far a run is); if it is no osc: {cure}"
        ),
    )])
}

/// Something about the ledger's own schema that osc does not trust, and the statement that cures it.
pub(crate) fn untrusted(problem: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding::new("ledger", problem, cure)
}

/// Tables of an earlier build in the schema of the application, which can write them: they are not
/// read. `drop` is the statement that ends this.
pub(crate) fn earlier_ledger(tables: &str, ledger: &str, drop: &str) -> Finding {
    Finding::new(
        "ledger",
        format!("{tables}: the ledger of an earlier build of osc, which is no longer read"),
        format!("osc keeps its ledger in {ledger} now; when no run of that build is left: {drop}"),
    )
}

/// The refusal where a run is under way on a table that a foreign key joins with `table`.
pub(crate) fn related_run(table: &str, related: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "related-run",
        format!("another osc is changing {related}, which a foreign key joins with {table}"),
        "wait for it to end (osc status), then run this command again",
    )])
}

/// The refusal where a run on such a table was not finished: it could not be resumed after this one.
pub(crate) fn related_unfinished(earlier: &RunRecord, table: &str, related: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "related-run",
        format!(
            "run {} on {related}, which a foreign key joins with {table}, was not finished",
            earlier.run
        ),
        format!("resume it with its own command, or discard it: osc cleanup {related}"),
    )])
}

/// The refusal of a strategy that an unfinished copy cannot be resumed by.
pub(crate) fn other_strategy(earlier: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "strategy",
        format!("run {} of this change is a copy that was not finished", earlier.run),
        "resume it with --strategy auto or copy, or discard it first: osc cleanup TABLE",
    )])
}

/// The checks by which a resumed run finds that its tables are not what they were. Others are about the login
/// and its rights, which come back.
const ALTERED: [&str; 6] =
    ["column-outcomes", "conversion", "copy-key", "new-column-default", "referenced-key", "table"];

/// What ends a run that finds, when it is resumed, that its tables are not what they were; anything else
/// leaves the copy as it is.
pub(crate) fn altered_meanwhile(error: Error, table: &str, run: i64) -> Error {
    let altered = match &error {
        Error::Refused(findings) => findings.iter().any(|found| ALTERED.contains(&found.check)),
        Error::Internal(_) | Error::Foreign(_) => true,
        _ => false,
    };
    match altered {
        true => Error::Foreign(format!(
            "{table} was altered by another session while run {run} was not running, so its copy cannot be used ({})",
            error.problem()
        )),
        false => error.keeping_the_copy(),
    }
}

/// What a run ends with that has lost its lock and was not given it again.
pub(crate) fn lock_lost(error: Error) -> Error {
    match error {
        Error::Refused(_) => Error::Stopped {
            reason: "the run's lock was lost, and another osc holds it now".into(),
            help: "look at `osc status`".into(),
        },
        error => error,
    }
}

/// The refusal where a run with other clauses was not finished.
pub(crate) fn other_clauses(earlier: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "unfinished-run",
        format!("run {} on this table was not finished; it was: {}", earlier.run, earlier.clauses),
        match earlier.method == REVERT {
            true => format!(
                "resume it with: osc revert {0}, or discard it with: osc cleanup {0}",
                earlier.table
            ),
            false => format!(
                "rerun with the same clauses to resume it, or discard it with: osc cleanup {}",
                earlier.table
            ),
        },
    )])
}

/// The refusal of a cleanup behind a swap that is not settled.
pub(crate) fn unsettled(dead: &RunRecord, table: &str, why: &str) -> Error {
    Error::Refused(vec![Finding::new(
        "unsettled",
        format!("run {} on {table} died after its swap{why}", dead.run),
        match dead.method == REVERT {
            true => format!("finish it first, with the same command: osc revert {table}"),
            false => {
                format!("finish it first, with the same command: osc alter … {:?}", dead.clauses)
            }
        },
    )])
}

/// The refusal where a run's tables were swapped, and the new one is not the run's any more.
pub(crate) fn replaced(dead: &RunRecord) -> Error {
    Error::Refused(vec![Finding::new(
        "unsettled",
        format!(
            "run {} swapped the tables and died, and {}.{} was rebuilt since: what follows the swap \
             may not be done",
            dead.run, dead.schema, dead.table
        ),
        "see to it that keys and triggers hang on it, then discard the run with: osc cleanup TABLE",
    )])
}
