//! What can end a run.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::key::Position;

/// What resumes a run.
pub const AGAIN: &str = "run the same command again to resume";

/// What to do where transactions of others keep a lock on `table`.
pub(crate) fn end_transactions(table: &str) -> String {
    format!("end long transactions on {table}, then {AGAIN}")
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

/// The error that another one came of, for `-vv`.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// One thing that the checks before the start found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Stable short name of the check, such as `binlog-format`.
    #[serde(rename = "code")]
    pub check: &'static str,
    /// What is wrong, and where.
    #[serde(rename = "message")]
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    /// A finding of `check`: the `problem` and what helps.
    pub fn new(check: &'static str, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, problem: problem.into(), help: help.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.problem, self.check)?;
        if !self.help.is_empty() {
            write!(f, "\n    help: {}", self.help)?;
        }
        Ok(())
    }
}

/// What the checks before the start found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Reasons not to start.
    pub refusals: Vec<Finding>,
    /// Things to know.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a refusal.
    pub fn refuse(
        &mut self,
        check: &'static str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.refusals.push(Finding::new(check, problem, help));
    }
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  - {finding}")).collect()
}

/// A server's own code for an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCode {
    /// The error number of MySQL and MariaDB.
    Mysql(u16),
    /// The SQLSTATE of PostgreSQL, five characters.
    SqlState(String),
}

impl ServerCode {
    /// Whether it says that a table, or a column of it, is not what it was when the run began.
    fn is_table_changed(&self) -> bool {
        match self {
            // ER_BAD_FIELD_ERROR, ER_WRONG_VALUE_COUNT_ON_ROW, ER_NO_SUCH_TABLE, ER_NO_DEFAULT_FOR_FIELD
            Self::Mysql(code) => matches!(code, 1054 | 1136 | 1146 | 1364),
            // undefined_table, undefined_column
            Self::SqlState(state) => matches!(state.as_str(), "42P01" | "42703"),
        }
    }
}

/// What ends a run other than success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line, a setting or the clauses make no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The checks before the start found reasons not to begin.
    #[error("refused before the start; nothing was changed:{}", list(.0))]
    Refused(Vec<Finding>),
    /// Stopped in a state from which the same command resumes.
    #[error("stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
        /// What to do next.
        help: String,
    },
    /// The two tables differ; nothing was swapped.
    #[error(
        "verification failed: {} differing {}; not swapped. Keys: {}",
        .count, if *.count == 1 { "row" } else { "rows" }, .keys.join(", ")
    )]
    Verification {
        /// How many rows differ (at least).
        count: u64,
        /// The first few, for a human.
        keys: Vec<String>,
    },
    /// Rows that an undo cannot put back; nothing was swapped.
    #[error(
        "{count} {} cannot go back; not swapped:{}",
        if *.count == 1 { "row" } else { "rows" },
        .rows.iter().map(|r| format!("\n  - {r}")).collect::<String>()
    )]
    Misfits {
        /// How many (at least).
        count: u64,
        /// The first thousand, for a human: the key, and why.
        rows: Vec<String>,
        /// Whether they can be left behind. Rows without a parent cannot: they are there, and the foreign key
        /// would not hold.
        may_stay: bool,
    },
    /// A watch after a change had its time; nothing was undone, and nobody resumes it.
    #[error("the watch is over; nothing was undone")]
    WatchOver,
    /// A watch after a change undid it: its health check had failed.
    #[error("the change was undone: {reason}")]
    Reverted {
        /// What the check found.
        reason: String,
    },
    /// The data cannot become what the clauses ask for: duplicates, values that do not fit.
    #[error("existing rows do not fit: {reason}{}", .rows.iter().map(|r| format!("\n  - {r}")).collect::<String>())]
    Data {
        /// What does not fit.
        reason: String,
        /// The offending rows, for a human.
        rows: Vec<String>,
    },
    /// Another session changed a table during the run (DDL, TRUNCATE), so its result would be wrong.
    #[error("ended, osc left the original table unchanged: {0}")]
    Foreign(String),
    /// The stream cannot resume from where it must.
    #[error("the change stream has a gap after {position}: {reason}")]
    StreamGap {
        /// From where it should have resumed.
        position: Position,
        /// What the server says.
        reason: String,
    },
    /// A statement failed for good.
    #[error("{action} failed: {message}")]
    Server {
        /// What osc was doing.
        action: String,
        /// The server's words.
        message: String,
        /// The server's code, where it gave one.
        code: Option<ServerCode>,
        /// The driver's own error.
        #[source]
        cause: Option<Cause>,
    },
    /// The server has no room left; what is there stays, and the step can be tried again.
    #[error("no space left on the server while {action}: {message}")]
    Full {
        /// What osc was doing.
        action: String,
        /// The server's words.
        message: String,
    },
    /// The command's first connection could not be made: nothing was begun.
    #[error("cannot connect to {address}: {message}")]
    Unreachable {
        /// Host and port, or socket.
        address: String,
        /// Why not.
        message: String,
        /// What to do.
        help: String,
        /// The driver's own error.
        #[source]
        cause: Option<Cause>,
    },
    /// The connection broke or could not be made.
    #[error("connection lost while {action}: {message}")]
    Connection {
        /// What osc was doing.
        action: String,
        /// Why.
        message: String,
        /// The driver's own error.
        #[source]
        cause: Option<Cause>,
    },
    /// An order had no effect, or none that is known.
    #[error("{} [{}]", .0.problem, .0.check)]
    Order(Finding),
    /// A command's answer cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(String),
    /// Something in osc contradicts itself: a defect.
    #[error("internal error: {0}; please report this")]
    Internal(String),
}

impl Error {
    /// A statement that failed for good, without a code of the server. `action` completes "… failed".
    pub(crate) fn server(action: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Server { action: action.into(), message: message.into(), code: None, cause: None }
    }

    /// A connection that is of no use. `action` completes "connection lost while …".
    pub(crate) fn connection(action: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Connection { action: action.into(), message: message.into(), cause: None }
    }

    /// A run that the same command resumes.
    pub(crate) fn stopped(reason: impl Into<String>) -> Self {
        Self::Stopped { reason: reason.into(), help: AGAIN.into() }
    }

    /// A connection on which the server was silent for `limit`.
    pub(crate) fn silence(action: &str, limit: Duration) -> Self {
        Self::connection(action, format!("no answer within {} s", limit.as_secs()))
    }

    /// A connection that broke by `cause`.
    pub(crate) fn broken(action: &str, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        let message = cause.to_string();
        Self::Connection { action: action.into(), message, cause: Some(cause) }
    }

    /// Whether the same command resumes a run that ended so.
    pub fn is_resumable(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Connection { .. } | Self::Full { .. })
    }

    /// A stable short name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Refused(_) => "refused",
            Self::Stopped { .. } => "stopped",
            Self::Verification { .. } => "verification",
            Self::Misfits { .. } => "misfits",
            Self::WatchOver => "watch-over",
            Self::Reverted { .. } => "reverted",
            Self::Data { .. } => "data",
            Self::Foreign(_) => "foreign-change",
            Self::StreamGap { .. } => "stream-gap",
            Self::Server { .. } => "server",
            Self::Full { .. } => "full",
            Self::Unreachable { .. } => "unreachable",
            Self::Connection { .. } => "connection",
            Self::Order(finding) => finding.check,
            Self::Output(_) => "output",
            Self::Internal(_) => "internal",
        }
    }

    /// What the operator can do, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Order(finding) if !finding.help.is_empty() => Some(finding.help.clone()),
            Self::Usage { help, .. }
            | Self::Stopped { help, .. }
            | Self::Unreachable { help, .. }
                if !help.is_empty() =>
            {
                Some(help.clone())
            }
            Self::Connection { .. } => Some(AGAIN.into()),
            Self::Full { .. } => {
                Some(format!("free space on the server, then {AGAIN}: what was copied is kept"))
            }
            Self::Data { .. } => Some(
                "the original is untouched; fix the rows or change the clauses".into(),
            ),
            Self::Misfits { may_stay: true, .. } => Some(
                "the live table is untouched; change these rows, or leave them behind: --on-misfit leave".into(),
            ),
            Self::Reverted { .. } => Some(
                "the table is as it was, with what was written since; osc revert makes the change again".into(),
            ),
            Self::Misfits { .. } => {
                Some("the live table is untouched; add the parents of these rows, or change the rows".into())
            }
            Self::Foreign(_) | Self::StreamGap { .. } => Some(
                "the original is untouched; `osc cleanup TABLE` drops what this run left, then start again".into(),
            ),
            Self::Verification { .. } => Some(
                "the original is untouched; look at the rows named, then `osc cleanup TABLE` and start again".into(),
            ),
            _ => None,
        }
    }

    /// The same, where there is a copy to keep: what the server or the account would not do once can be tried
    /// again. Only what is wrong with the rows, the tables or the stream ends such a run for good.
    #[must_use]
    pub fn keeping_the_copy(self) -> Self {
        let gone = match &self {
            Self::Server { code: Some(code), .. } => code.is_table_changed(),
            _ => false,
        };
        if gone || !matches!(self, Self::Server { .. } | Self::Usage { .. } | Self::Refused(_)) {
            return self;
        }
        Self::Stopped {
            reason: self.problem(),
            help: format!(
                "the copy is kept: put right what is named, then {AGAIN}; osc cleanup TABLE discards it"
            ),
        }
    }

    /// What is wrong, without what to do.
    pub fn problem(&self) -> String {
        match self {
            Self::Refused(findings) => {
                let problems: Vec<&str> =
                    findings.iter().map(|finding| finding.problem.as_str()).collect();
                problems.join("; ")
            }
            Self::Foreign(problem) | Self::Internal(problem) => problem.clone(),
            error => error.to_string(),
        }
    }

    /// The error number that MySQL or MariaDB gave.
    pub fn mysql_code(&self) -> Option<u16> {
        match self {
            Self::Server { code: Some(ServerCode::Mysql(code)), .. } => Some(*code),
            _ => None,
        }
    }

    /// The SQLSTATE that PostgreSQL gave.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { code: Some(ServerCode::SqlState(state)), .. } => Some(state),
            _ => None,
        }
    }

    /// Whether the server has no room left.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// What this error of a command's first connection to `address` is: there is nothing to resume and
    /// no reason to try for ever. `server` is what should answer there.
    #[must_use]
    pub fn at_first(self, address: impl fmt::Display, server: &str) -> Self {
        let unreachable = |message: String, help: String, cause: Option<Cause>| Self::Unreachable {
            address: address.to_string(),
            message,
            help,
            cause,
        };
        match self {
            Self::Connection { message, cause, .. } => unreachable(
                without_wrapping(&message),
                format!(
                    "check that {server} listens there, and that nothing on the way refuses it"
                ),
                cause,
            ),
            // What answered is no such server, or broke off in the middle of a word.
            Self::Internal(message) => unreachable(
                format!("what answers is not {server}: {message}"),
                "check host and port".into(),
                None,
            ),
            Self::Refused(findings) if findings.iter().all(|finding| finding.check == "tls") => {
                let finding = findings.into_iter().next();
                finding.map_or_else(
                    || unreachable("no trusted TLS connection".into(), String::new(), None),
                    |finding| unreachable(finding.problem, finding.help, None),
                )
            }
            other => other,
        }
    }

    /// Whether the same step may succeed when it is tried again on a new connection.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }
}

/// The line of `text` in which the bytes `span` begin, and marks under them. Its place counts from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    /// The line's number.
    pub line: usize,
    /// The character in it.
    pub column: usize,
    /// Line and marks, each after a line's end and indented.
    pub shown: String,
}

/// Marks a mistake in what was typed: `docs/decisions/0023-mistakes.md`.
pub(crate) fn marked(text: &str, span: Range<usize>) -> Marked {
    let start = text.floor_char_boundary(span.start);
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let head = before.rsplit('\n').next().unwrap_or_default();
    let tail = after.split('\n').next().unwrap_or_default();
    let width = span.end.saturating_sub(start).min(tail.len());
    let marks = tail.get(..width).map_or(1, |part| part.chars().count()).max(1);
    let indent = head.chars().count();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = head.chars().chain(tail.chars()).map(plain).collect();
    Marked {
        line: before.matches('\n').count() + 1,
        column: indent + 1,
        shown: format!("\n  {}\n  {}{}", line.trim_end(), " ".repeat(indent), "^".repeat(marks)),
    }
}

/// The cause alone, as a system names it: without what the drivers wrap around it.
fn without_wrapping(message: &str) -> String {
    let mut rest = message;
    for wrapping in [
        "Input/output error: ",
        "error connecting to server: ",
        "error communicating with the server: ",
    ] {
        rest = rest.strip_prefix(wrapping).unwrap_or(rest);
    }
    let rest = match rest.rfind(" (os error ") {
        Some(at) => rest.get(..at).unwrap_or(rest),
        None => rest,
    };
    let mut chars = rest.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_marked_on_its_line() {
        let one = marked("ADD a INT,\nDROP \u{e9} x", 19..20);
        assert_eq!((one.line, one.column, &*one.shown), (2, 8, "\n  DROP \u{e9} x\n         ^"));
        assert_eq!(marked("DROP ab", 5..7).shown, "\n  DROP ab\n       ^^");
    }

    #[test]
    fn a_place_past_the_end_or_inside_a_letter_is_marked() {
        assert_eq!(marked("ab", 2..2).shown, "\n  ab\n    ^");
        assert_eq!(marked("\u{e9}", 9..12).shown, "\n  \u{e9}\n   ^");
        assert_eq!(marked("\u{e9}", 1..1).shown, "\n  \u{e9}\n  ^");
    }

    #[test]
    fn a_first_connection_that_fails_names_where_and_why_and_is_not_resumable() {
        let lost = |message: &str| Error::connection("connecting", message);
        let error = lost("Connection refused (os error 111)").at_first("db1:3306", "MySQL");
        assert_eq!(error.to_string(), "cannot connect to db1:3306: connection refused");
        assert!(!error.is_resumable());
        let error = lost("error connecting to server: Connection refused (os error 111)");
        let error = error.at_first("db1:5432", "PostgreSQL");
        assert_eq!(error.to_string(), "cannot connect to db1:5432: connection refused");
        let tls = Error::Refused(vec![Finding::new("tls", "no TLS", "switch it on")]);
        assert_eq!(tls.at_first("h:1", "MySQL").code(), "unreachable");
        let rights = Error::Refused(vec![Finding::new("login", "denied", "")]);
        assert_eq!(rights.at_first("h:1", "MySQL").code(), "refused");
    }
}
