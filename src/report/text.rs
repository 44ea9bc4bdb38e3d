//! The words for events and numbers.

use std::time::Duration;

use indicatif::HumanCount;

use super::pace::View;
use crate::engine::progress::{Event, Phase, Snapshot};

/// Where nothing can be said.
pub const UNKNOWN: &str = "–";

/// A line for an event; `None`: the summary, which has more than one.
pub fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Road { road, reason } => format!("road: {road} ({reason})"),
        Event::Phase { phase } => doing(*phase).to_owned(),
        Event::Resumed { rows } => {
            format!("going on from the checkpoint: {} rows are copied already", HumanCount(*rows))
        }
        Event::Throttled { reason: Some(reason) } => format!("paused: {reason}"),
        Event::Throttled { reason: None } => "no longer paused".to_owned(),
        Event::GivesWay { reason: Some(reason) } => format!("gives way: {reason}"),
        Event::GivesWay { reason: None } => "at full width again".to_owned(),
        Event::CutOverRetry { attempt, reason } => {
            format!("cut-over attempt {attempt} did not come through, trying again: {reason}")
        }
        Event::Note { text } => text.clone(),
        Event::Warning { text } => format!("warning: {text}"),
        Event::Summary(_) => return None,
    })
}

/// What is being done in a phase.
pub fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "preparing",
        Phase::Copy => "copying rows",
        Phase::Index => "building indexes",
        Phase::Verify => "comparing both tables",
        Phase::Hold => "ready, waiting for leave to cut over",
        Phase::CutOver => "cutting over",
        Phase::Finish => "settling foreign keys, triggers and names",
        Phase::Done => "done",
    }
}

/// How far a phase is, and when it will be through; or what is being done in it.
pub fn extent(now: &Snapshot, view: Option<&View>) -> String {
    let Some(view) = view else { return doing(now.phase).to_owned() };
    let eta = view.eta.map_or_else(|| UNKNOWN.to_owned(), length);
    format!("{} / {} rows · ETA {eta}", HumanCount(view.done), HumanCount(view.total))
}

/// Why it is paused, how fast it is, and how much the stream has left to do.
pub fn state(now: &Snapshot, view: Option<&View>) -> String {
    let mut parts = Vec::new();
    if let Some(reason) = &now.throttled {
        parts.push(format!("paused: {reason}"));
    }
    if let Some((reason, width)) = now.gives_way.as_ref().zip(now.width)
        && now.throttled.is_none()
        && matches!(now.phase, Phase::Copy | Phase::Verify)
    {
        parts.push(format!("gives way ({}): {reason}", chunks(width)));
    }
    if let Some(what) = &now.waiting {
        parts.push(format!("waiting for {what}"));
    }
    parts.extend(view.map(|view| format!("{} rows/s", rate(view.rate))));
    if now.phase != Phase::Prepare && now.phase < Phase::Finish {
        parts.push(format!("{} dirty", HumanCount(now.dirty_keys)));
        parts.push(format!("lag {}", length(Duration::from_millis(now.stream_lag_ms))));
    }
    parts.join(" · ")
}

/// A width in words.
fn chunks(width: f64) -> String {
    match width {
        2.0.. => format!("{} chunks at a time", width.floor()),
        1.0.. => "one chunk at a time".into(),
        _ => format!("one chunk in {:.0}% of the time", width * 100.0),
    }
}

/// Rows a second, without a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| UNKNOWN.to_owned(), |rate| HumanCount(rate.round() as u64).to_string())
}

/// A length of time in two units at most: `340ms`, `7.2s`, `1m 12s`, `3h 05m`, `2d 04h`.
pub fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{}ms", length.as_millis()),
        1..10 => format!("{seconds}.{}s", length.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::progress::Progress;

    #[test]
    fn lengths_have_two_units_at_most() {
        let text = |millis| length(Duration::from_millis(millis));
        assert_eq!(text(0), "0ms");
        assert_eq!(text(340), "340ms");
        assert_eq!(text(7_290), "7.2s");
        assert_eq!(text(59_999), "59s");
        assert_eq!(text(72_000), "1m 12s");
        assert_eq!(text(11_100_000), "3h 05m");
        assert_eq!(text(187_200_000), "2d 04h");
    }

    #[test]
    fn numbers_say_what_is_known_and_why_it_is_paused() {
        let mut now = Progress::default().snapshot();
        now.phase = Phase::Copy;
        now.dirty_keys = 12;
        now.stream_lag_ms = 20;
        now.throttled = Some("Threads_running is 60".into());
        let view = View { done: 1500, total: 20_000, fraction: 0.075, rate: None, eta: None };
        assert_eq!(extent(&now, Some(&view)), "1,500 / 20,000 rows · ETA –");
        assert_eq!(
            state(&now, Some(&view)),
            "paused: Threads_running is 60 · – rows/s · 12 dirty · lag 20ms"
        );
        now.throttled = None;
        now.width = Some(2.5);
        now.gives_way = Some("commits take 12 ms, 2.0 ms when it is quiet".into());
        assert_eq!(
            state(&now, None),
            "gives way (2 chunks at a time): commits take 12 ms, 2.0 ms when it is quiet · \
             12 dirty · lag 20ms"
        );
        assert_eq!(chunks(1.9), "one chunk at a time");
        assert_eq!(chunks(0.25), "one chunk in 25% of the time");
        now.phase = Phase::Prepare;
        assert_eq!((extent(&now, None).as_str(), state(&now, None).as_str()), ("preparing", ""));
    }
}
