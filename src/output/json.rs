//! One JSON object a line on stdout: the events, and `progress` each second.

use std::time::Duration;

use serde::Serialize;

use super::numbers::{Counter, Numbers};
use super::{Renderer, screen};
use crate::engine::event::Event;
use crate::engine::progress::{About, Snapshot};
use crate::error::Error;
use crate::error::Finding;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Json {
    counter: Counter,
}

#[derive(Serialize)]
struct Line<T> {
    /// RFC 3339, UTC.
    time: String,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct EventLine<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(flatten)]
    about: &'a About,
}

#[derive(Serialize)]
struct ProgressBody<'a> {
    event: &'static str,
    #[serde(flatten)]
    numbers: Numbers<'a>,
}

#[derive(Serialize)]
struct ErrorBody {
    event: &'static str,
    #[serde(flatten)]
    about: About,
    #[serde(flatten)]
    failure: Failure,
}

/// Why a command failed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    code: &'static str,
    /// In words.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    exit_code: u8,
    /// What the checks found, one by one.
    refusals: Vec<Finding>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
            help: error.help(),
            exit_code: super::exit_code::of(error),
            refusals: match error {
                Error::Refused(findings) => findings.clone(),
                _ => Vec::new(),
            },
        }
    }
}

impl Json {
    fn progress(&mut self, now: &Snapshot) -> String {
        progress(self.counter.look(now))
    }
}

impl Renderer for Json {
    fn interval(&self) -> Option<Duration> {
        Some(PROGRESS_EVERY)
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        if matches!(event, Event::Resumed { .. }) {
            self.counter.reset();
        }
        self.counter.look(now);
        screen::stdout_line(&event_line(event, &now.about));
    }

    fn tick(&mut self, now: &Snapshot) {
        screen::stdout_line(&self.progress(now));
    }
}

/// The line with which a command that failed ends.
pub(crate) fn error(error: &Error, about: About) -> String {
    failed(Failure::from(error), about)
}

/// The same with less in it.
pub(crate) fn failed(failure: Failure, about: About) -> String {
    line(ErrorBody { event: "error", about, failure })
}

/// The line of a run's numbers.
pub(crate) fn progress(numbers: Numbers<'_>) -> String {
    line(ProgressBody { event: "progress", numbers })
}

/// Now, as every line has it: jiff's own precision would differ from line to line.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%FT%T.%3fZ").to_string()
}

/// The line of an event.
pub(crate) fn event_line(event: &Event, about: &About) -> String {
    line(EventLine { event, about })
}

fn line(body: impl Serialize) -> String {
    let time = timestamp();
    // The bodies have text keys and plain values, which always are valid JSON.
    serde_json::to_string(&Line { time, body }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::engine::event::Summary;
    use crate::engine::progress::{Phase, Progress};

    fn read(line: &str) -> Value {
        assert!(!line.contains('\n'));
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn events_carry_their_name_and_a_time_and_what_they_are_about() {
        let about = About {
            server: Some("db1:3306".into()),
            table: Some("shop.users".into()),
            run: Some(7),
        };
        let value = read(&event_line(
            &Event::CutOverRetry {
                attempt: 2,
                attempts: 60,
                retry_seconds: None,
                reason: "a\nb".into(),
            },
            &about,
        ));
        assert_eq!(value["event"], "cut-over-retry");
        assert_eq!((&value["attempt"], &value["run"]), (&2.into(), &7.into()));
        assert_eq!((&value["server"], &value["table"]), (&"db1:3306".into(), &"shop.users".into()));
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let summary = Summary { table: "shop.users".into(), rows: 7, ..Default::default() };
        let value = read(&event_line(&Event::Summary(Box::new(summary)), &about));
        assert_eq!((&value["event"], &value["rows"]), (&"summary".into(), &7.into()));
        assert_eq!(
            read(&event_line(&Event::Phase { phase: Phase::CutOver }, &about))["phase"],
            "cut-over"
        );
    }

    #[test]
    fn progress_says_null_where_nothing_is_known() {
        let mut now = Progress::default().snapshot();
        now.phase = Phase::Copy;
        now.rows_copied = 50;
        now.rows_estimate = 200;
        let value = read(&Json::default().progress(&now));
        assert_eq!(value["event"], "progress");
        assert_eq!(value["percent"], 25.0);
        assert_eq!(value["rows_copied"], 50);
        assert_eq!((&value["eta_seconds"], &value["throttled"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn an_error_is_an_event_too() {
        let failure = Error::Usage { message: "m".into(), help: "h".into() };
        let value = read(&error(&failure, About::default()));
        assert_eq!(value["event"], "error");
        assert_eq!((&value["help"], &value["exit_code"]), (&"h".into(), &2.into()));
        assert_eq!((&value["code"], &value["run"]), (&"usage".into(), &Value::Null));
        let refused = Error::Refused(vec![Finding::new("binlog-format", "it is MIXED", "set ROW")]);
        let value = read(&error(&refused, About::default()));
        let refusal = &value["refusals"][0];
        assert_eq!(
            (&refusal["code"], &refusal["message"]),
            (&"binlog-format".into(), &"it is MIXED".into())
        );
    }
}
