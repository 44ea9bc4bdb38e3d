//! One JSON object a line on stdout: the events, and `progress` each second.

use std::time::Duration;

use serde::Serialize;

use super::pace::Pace;
use super::{Face, screen};
use crate::engine::Error;
use crate::engine::progress::{Event, Snapshot};

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Json {
    pace: Pace,
}

#[derive(Serialize)]
struct Line<T> {
    /// RFC 3339, UTC.
    time: String,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct ProgressBody<'a> {
    event: &'static str,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    percent: Option<f64>,
    rows_per_second: Option<f64>,
    eta_seconds: Option<u64>,
}

#[derive(Serialize)]
struct ErrorBody {
    event: &'static str,
    message: String,
    help: Option<String>,
    exit_code: u8,
}

impl Json {
    fn progress(&mut self, now: &Snapshot) -> String {
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let view = self.pace.look(now);
        line(ProgressBody {
            event: "progress",
            snapshot: now,
            percent: view.map(|view| tenths(view.fraction * 100.0)),
            rows_per_second: view.and_then(|view| view.rate).map(tenths),
            eta_seconds: view.and_then(|view| view.eta).map(|eta| eta.as_secs()),
        })
    }
}

impl Face for Json {
    fn interval(&self) -> Option<Duration> {
        Some(PROGRESS_EVERY)
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        if matches!(event, Event::Resumed { .. }) {
            self.pace.reset();
        }
        self.pace.look(now);
        screen::stdout_line(&line(event));
    }

    fn tick(&mut self, now: &Snapshot) {
        screen::stdout_line(&self.progress(now));
    }
}

/// The line with which a run that failed ends.
pub fn error(error: &Error) -> String {
    line(ErrorBody {
        event: "error",
        message: error.to_string(),
        help: error.help(),
        exit_code: error.exit_code(),
    })
}

fn line(body: impl Serialize) -> String {
    // Jiff's second precision and more would differ from line to line.
    let time = jiff::Timestamp::now().strftime("%FT%T.%3fZ").to_string();
    // The bodies have text keys and plain values, which always are valid JSON.
    serde_json::to_string(&Line { time, body }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::engine::progress::{Phase, Progress, Summary};

    fn read(line: &str) -> Value {
        assert!(!line.contains('\n'));
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn events_carry_their_name_and_a_time() {
        let value = read(&line(Event::CutOverRetry { attempt: 2, reason: "a\nb".into() }));
        assert_eq!(value["event"], "cut-over-retry");
        assert_eq!(value["attempt"], 2);
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let summary = Summary { table: "shop.users".into(), rows: 7, ..Default::default() };
        let value = read(&line(Event::Summary(Box::new(summary))));
        assert_eq!((&value["event"], &value["rows"]), (&"summary".into(), &7.into()));
        assert_eq!(read(&line(Event::Phase { phase: Phase::CutOver }))["phase"], "cut-over");
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
        let value = read(&error(&failure));
        assert_eq!(value["event"], "error");
        assert_eq!((&value["help"], &value["exit_code"]), (&"h".into(), &2.into()));
    }
}
