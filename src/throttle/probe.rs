//! What the sources ask of a server; implemented by the server's module.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, Result};

/// Numbers that a server shows.
pub trait StatusProbe: Send + 'static {
    /// The values of these status variables, in their order. A variable that the server does not
    /// have, or that is no number, is an error.
    fn status(&mut self, names: &[&str]) -> impl Future<Output = Result<Vec<f64>>> + Send;

    /// The first column of the query's first row; `None`: there is no row, or NULL in it.
    fn number(&mut self, sql: &str) -> impl Future<Output = Result<Option<f64>>> + Send;

    /// The same of a text that did not run before. What is not one statement, or would do more than
    /// read, is an error.
    fn first_number(&mut self, sql: &str) -> impl Future<Output = Result<Option<f64>>> + Send {
        self.number(sql)
    }

    /// Whether this error may be gone at the next look.
    fn passes(&self, _: &Error) -> bool {
        false
    }

    /// Where the names of status variables are to be found.
    const NAMES: &str = "";
}

/// How far replicas are behind.
pub trait Replicas: Send + 'static {
    /// Each replica's name and its lag, or why that cannot be seen. An error when none can be.
    fn lags(&mut self) -> impl Future<Output = Result<Vec<(String, Result<Duration>)>>> + Send;
}

/// An error in one line, as part of a reason.
pub(crate) fn brief(error: &Error) -> String {
    match error {
        Error::Refused(findings) => {
            let problems: Vec<&str> = findings.iter().map(|f| f.problem.as_str()).collect();
            problems.join(", ")
        }
        error => error.to_string().replace('\n', " "),
    }
}
