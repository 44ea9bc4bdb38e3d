//! The words for events and numbers.

use std::time::Duration;

use indicatif::HumanCount;

use crate::engine::event::Event;
use crate::engine::pace::View;
use crate::engine::progress::{Phase, Snapshot};

/// Where nothing is known.
pub(crate) const UNKNOWN: &str = "–";

/// A line for an event; `None`: the summary, which has more than one, and what other events say.
pub(crate) fn event(event: &Event) -> Option<String> {
    let text = match event {
        Event::Method { method, reason } => format!("method: {method} ({reason})"),
        Event::Phase { phase } => doing(*phase).to_owned(),
        Event::Resumed { rows } => {
            format!("resuming from the checkpoint: {} rows are copied", HumanCount(*rows))
        }
        Event::Throttled { reason: Some(reason) } => format!("paused: {reason}"),
        Event::Throttled { reason: None } => "no longer paused".to_owned(),
        Event::GivesWay { reason: Some(reason) } => format!("slowed: {reason}"),
        Event::GivesWay { reason: None } => "at full speed again".to_owned(),
        Event::ConnectionLost { reason } => format!("lost the connection: {reason}; reconnecting"),
        Event::Reconnected { seconds } => {
            let away = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
            format!("connected again after {}", length(away))
        }
        Event::CutOverRetry { attempt, attempts, retry_seconds, reason } => {
            let when = retry_seconds.map(|seconds| format!(" in {seconds:.1} s"));
            let when = when.unwrap_or_default();
            format!("attempt {attempt} of {attempts}: {reason}; retrying{when}")
        }
        Event::Order { order, verb, arguments, who, why, outcome, answer, .. } => {
            let what = [verb.as_str(), arguments].join(" ");
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            format!("order {order} of {who}{why}: {}: {outcome}: {answer}", what.trim())
        }
        Event::Note { text } => text.clone(),
        Event::Warning { text } => format!("warning: {text}"),
        Event::Started(_) | Event::Summary(_) => return None,
    };
    Some(text)
}

/// What is being done in a phase.
pub(crate) fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "preparing",
        Phase::Copy => "copying rows",
        Phase::Index => "building indexes",
        Phase::Verify => "comparing both tables",
        Phase::PutBack => "comparing, and putting back",
        Phase::Watch => "watching: an undo is ready",
        Phase::Hold => "ready to cut over; on hold",
        Phase::CutOver => "cutting over",
        Phase::Finish => "settling foreign keys, triggers and names",
        Phase::Done => "done",
    }
}

/// How far a phase is, and when it will be through; or what is being done in it.
pub(crate) fn extent(now: &Snapshot, view: Option<&View>) -> String {
    let Some(view) = view else { return doing(now.phase).to_owned() };
    let done = format!("{} / {} rows", HumanCount(view.done), HumanCount(view.total));
    if now.connection_lost_seconds.is_some() {
        return done;
    }
    let eta = view.eta.map_or_else(|| UNKNOWN.to_owned(), length);
    format!("{done} · ETA {eta}")
}

/// What keeps the run from going at full speed, if anything does.
pub(crate) fn hindrance(now: &Snapshot) -> Option<String> {
    if let Some(seconds) = now.connection_lost_seconds {
        let server = now.about.server.as_deref().unwrap_or("the server");
        let ago = length(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        return Some(format!("lost the connection to {server} {ago} ago; reconnecting"));
    }
    let mut parts = Vec::new();
    if let Some(reason) = &now.throttled {
        parts.push(format!("paused: {reason}"));
    } else if let Some((reason, width)) = now.gives_way.as_ref().zip(now.width)
        && matches!(now.phase, Phase::Copy | Phase::Verify | Phase::PutBack)
    {
        parts.push(format!("slowed to {}: {reason}", chunks(width)));
    }
    if let Some(what) = &now.waiting {
        parts.push(format!("waiting for {what}"));
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}

/// How fast it is, and how much the stream has left to do; nothing that is not known.
pub(crate) fn numbers(now: &Snapshot, view: Option<&View>) -> String {
    let mut parts = Vec::new();
    if now.connection_lost_seconds.is_none() {
        parts.extend(view.map(|view| format!("{} rows/s", rate(view.rate))));
    }
    if now.phase != Phase::Prepare && now.phase < Phase::Finish {
        parts.push(format!("{} dirty keys", HumanCount(now.dirty_keys)));
        let lag = |name: &str, millis: Option<u64>| {
            millis.map(|millis| format!("{name} lag {}", length(Duration::from_millis(millis))))
        };
        parts.extend(lag("stream", now.stream_lag_ms));
        parts.extend(lag("replica", now.replica_lag_ms));
    }
    parts.join(" · ")
}

/// All of it in one line.
pub(crate) fn state(now: &Snapshot, view: Option<&View>) -> String {
    let parts = hindrance(now).into_iter().chain([numbers(now, view)]);
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// A width in words.
fn chunks(width: f64) -> String {
    match width {
        2.0.. => format!("{} parallel chunks", width.floor()),
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
pub(crate) fn length(length: Duration) -> String {
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
        now.stream_lag_ms = Some(20);
        now.throttled = Some("Threads_running is 60".into());
        let view = View { done: 1500, total: 20_000, fraction: 0.075, rate: None, eta: None };
        assert_eq!(extent(&now, Some(&view)), "1,500 / 20,000 rows · ETA –");
        assert_eq!(
            state(&now, Some(&view)),
            "paused: Threads_running is 60 · – rows/s · 12 dirty keys · stream lag 20ms"
        );
        now.throttled = None;
        now.width = Some(2.5);
        now.gives_way = Some("commits take 12 ms (idle: 2.0 ms)".into());
        now.replica_lag_ms = Some(1200);
        assert_eq!(
            state(&now, None),
            "slowed to 2 parallel chunks: commits take 12 ms (idle: 2.0 ms) · 12 dirty keys · \
             stream lag 20ms · replica lag 1.2s"
        );
        assert_eq!(chunks(1.9), "one chunk at a time");
        assert_eq!(chunks(0.25), "one chunk in 25% of the time");
        now.connection_lost_seconds = Some(40.0);
        now.stream_lag_ms = None;
        now.replica_lag_ms = None;
        now.about.server = Some("db1:3306".into());
        assert_eq!(extent(&now, Some(&view)), "1,500 / 20,000 rows");
        assert_eq!(
            state(&now, Some(&view)),
            "lost the connection to db1:3306 40s ago; reconnecting · 12 dirty keys"
        );
        now.connection_lost_seconds = None;
        now.gives_way = None;
        now.phase = Phase::Prepare;
        assert_eq!((extent(&now, None).as_str(), state(&now, None).as_str()), ("preparing", ""));
    }
}
