//! Messages in words: a text for a chat, and the letter of the outbox.
//!
//! Names, clauses and reasons are others' texts: each becomes one line here, so that none of them passes for a
//! line of osc's own.

use std::time::Duration;

use indicatif::HumanCount;

use super::body::{Body, Kind, Validation};
use crate::engine::backend::REVERT;
use crate::engine::event::{Start, Summary};
use crate::engine::progress::About;
use crate::output::screen::one_line;

/// Clauses and reasons are cut off after so many characters.
const MOST: usize = 300;

/// What a message is about, in one line each.
pub(super) struct Subject {
    kind: Kind,
    table: String,
    /// Table and server.
    place: String,
    clauses: String,
}

impl Subject {
    pub(super) fn new(kind: Kind, about: &About, clauses: &str) -> Self {
        let table = short(about.table.as_deref().unwrap_or("the table"));
        let place = match &about.server {
            Some(server) => format!("{table} on {}", short(server)),
            None => table.clone(),
        };
        Self { kind, table, place, clauses: short(clauses) }
    }

    /// The table and what becomes of it.
    fn name(&self) -> String {
        format!("{} {}", self.table, self.clauses).trim_end().to_owned()
    }

    /// What is done to the table.
    fn doing(&self) -> &'static str {
        match self.kind {
            Kind::Alter => "the change of",
            Kind::Revert => "the undo of",
            Kind::Cleanup => "the cleanup of",
        }
    }
}

/// One line of at most [`MOST`] characters.
fn short(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}…", line.get(..cut).unwrap_or_default()),
        None => line,
    }
}

/// For a chat.
pub(super) fn text(subject: &Subject, body: &Body) -> String {
    let (doing, place) = (subject.doing(), &subject.place);
    let mut lines = match body {
        Body::Started { start, .. } => {
            vec![format!("{doing} {place} has started, by {}", short(&start.method))]
        }
        Body::Resumed { rows } => {
            vec![format!("{doing} {place} resumes; {} rows are copied", HumanCount(*rows))]
        }
        Body::Hold { .. } => vec![format!("{doing} {place} is ready and waits for permission")],
        Body::ThrottledLong { seconds, .. } => {
            vec![format!("{doing} {place} has been paused for {}", length(*seconds))]
        }
        Body::ThrottleCleared { seconds } => {
            vec![format!("{doing} {place} continues after a pause of {}", length(*seconds))]
        }
        Body::CutOverBlocked { attempt, attempts, .. } => {
            vec![format!("{doing} {place} cannot lock the table: attempt {attempt} of {attempts}")]
        }
        Body::Ended { .. } => vec![format!("{doing} {place} is done")],
        Body::Failed { resumable: true, .. } => vec![format!("{doing} {place} was stopped")],
        Body::Failed { resumable: false, .. } => vec![format!("{doing} {place} has failed")],
        Body::Cleaned { dropped, .. } => {
            vec![format!("{doing} {place} dropped {}", tables(dropped.len()))]
        }
        Body::Asked {} => vec![format!("{doing} {place} is about to cut over")],
    };
    if !subject.clauses.is_empty() {
        lines.push(subject.clauses.clone());
    }
    lines.extend(details(body).into_iter().map(|(name, value)| format!("{name}: {value}")));
    let text = lines.join("\n");
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// For the outbox.
pub(super) fn letter(subject: &Subject, body: &Body) -> String {
    let name = subject.name();
    let head = match body {
        Body::Started { .. } => format!("MIGRATION: Starting {name}"),
        Body::Resumed { .. } => format!("MIGRATION: Resuming {name}"),
        Body::Hold { .. } => format!("HOLD: {name} is ready and waits for permission"),
        Body::ThrottledLong { .. } => format!("WAITING: {name} is paused"),
        Body::ThrottleCleared { .. } => format!("MIGRATION: Continuing {name}"),
        Body::CutOverBlocked { .. } => format!("WAITING: {name} cannot lock the table"),
        Body::Ended { undo: false, .. } => format!("DONE: {name} completed"),
        Body::Ended { undo: true, .. } => format!("REVERTED: {name} completed"),
        Body::Failed { resumable: true, .. } => format!("STOPPED: {name} was stopped"),
        Body::Failed { resumable: false, .. } => format!("FAILED: {name} failed"),
        Body::Cleaned { .. } => format!("CLEANED: {name}"),
        Body::Asked {} => format!("CUT-OVER: {name} is about to cut over"),
    };
    let lines = details(body).into_iter().map(|(name, value)| format!("\n- {name}: {value}"));
    head + &lines.collect::<String>()
}

/// What a message lists, by names.
fn details(body: &Body) -> Vec<(&'static str, String)> {
    match body {
        Body::Started { start, backup } => vec![
            ("Records affected", format!("~{}", about(start.rows_estimate))),
            (
                "Estimated duration",
                start.estimated_seconds.map_or_else(|| "unknown".into(), length),
            ),
            ("Rollback", way_back(start)),
            ("Backup", backup.as_deref().map_or_else(|| "Not stated".into(), short)),
        ],
        Body::Resumed { rows } => vec![("Records copied", HumanCount(*rows).to_string())],
        Body::Hold { reason } => reason.iter().map(|reason| ("Reason", short(reason))).collect(),
        Body::ThrottledLong { reason, seconds } => {
            vec![("Reason", short(reason)), ("Paused for", length(*seconds))]
        }
        Body::ThrottleCleared { seconds } => vec![("Paused for", length(*seconds))],
        Body::CutOverBlocked { attempt, attempts, reason, .. } => {
            vec![("Reason", short(reason)), ("Attempt", format!("{attempt} of {attempts}"))]
        }
        Body::Ended { summary, validation, .. } => ended(summary, *validation),
        Body::Failed { failure, .. } => {
            let help = failure.help.iter().map(|help| ("Next", short(help)));
            std::iter::once(("Reason", short(&failure.message))).chain(help).collect()
        }
        Body::Cleaned { dropped, bytes } => {
            let mut lines = vec![("Freed", bytesize::ByteSize(*bytes).to_string())];
            lines.extend(dropped.iter().map(|it| ("Dropped", short(&it.table))));
            lines
        }
        Body::Asked {} => Vec::new(),
    }
}

fn ended(summary: &Summary, validation: Validation) -> Vec<(&'static str, String)> {
    let seconds = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default().as_secs();
    let (rows, count) = match (validation, summary.method.as_str()) {
        (Validation::ByTheServer, method) => {
            ("Records migrated", format!("by the server ({})", short(method)))
        }
        (_, REVERT) => ("Records put back", HumanCount(summary.refreshed).to_string()),
        (_, _) => ("Records migrated", HumanCount(summary.rows).to_string()),
    };
    let validation = match validation {
        Validation::Passed => "PASSED",
        Validation::Off => "switched off",
        Validation::ByTheServer => "not needed",
    };
    let window = match (summary.undo_until.as_deref().and_then(from_now), summary) {
        (Some(window), _) => window,
        (None, Summary { retired: Some(_), .. }) => "until osc cleanup".to_owned(),
        (None, Summary { undo: Some(undo), .. }) => short(undo),
        (None, _) => "none".to_owned(),
    };
    let mut lines = vec![
        ("Duration", length(seconds)),
        (rows, count),
        ("Validation", validation.to_owned()),
        ("Rollback window", window),
    ];
    lines.extend(summary.warnings.iter().map(|warning| ("Warning", short(warning))));
    lines
}

/// Whether the change can be undone, as it is known when it begins.
fn way_back(start: &Start) -> String {
    let undo = start.undo.as_deref().map(short).unwrap_or_default();
    match (start.undo_outcome, start.method.as_str()) {
        (Some("possible"), _) => "Ready".into(),
        (Some("impossible"), _) => format!("Not possible ({undo})"),
        (Some(_), _) => format!("Ready, with conditions ({undo})"),
        (None, "copy") => "The retired table is kept".into(),
        (None, _) => "Unknown".into(),
    }
}

/// How long it is until this time, UTC, in whole hours or minutes.
fn from_now(until: &str) -> Option<String> {
    let until = until.parse::<jiff::civil::DateTime>().ok()?;
    let until = until.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    let seconds = until.duration_since(jiff::Timestamp::now()).as_secs();
    Some(match (seconds + 30) / 60 {
        ..=0 => "over".into(),
        minutes if minutes % 60 == 0 => format!("{}h", minutes / 60),
        minutes if minutes < 60 => format!("{minutes}min"),
        minutes => format!("{}h {:02}min", minutes / 60, minutes % 60),
    })
}

fn tables(count: usize) -> String {
    format!("{count} {}", if count == 1 { "table" } else { "tables" })
}

/// A count in three digits: `812`, `6k`, `2.4M`.
#[allow(clippy::cast_precision_loss, reason = "it is rounded")]
fn about(count: u64) -> String {
    let (unit, name) = match count {
        0..1_000 => return count.to_string(),
        1_000..999_500 => (1e3, "k"),
        999_500..999_500_000 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    let number = count as f64 / unit;
    let digits = usize::from(number < 9.95);
    let number = format!("{number:.digits$}");
    format!("{}{name}", number.strip_suffix(".0").unwrap_or(&number))
}

/// A length of time as a message has it: `42 s`, `12 min`, `3 h 05 min`, `2 d 04 h`.
fn length(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Escaped for Slack and its like: nothing of it is a mention, a link or a command.
pub(super) fn for_chat(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json::Failure;

    fn subject() -> Subject {
        let about = About {
            server: Some("db1:3306".into()),
            table: Some("shop.users".into()),
            run: Some(5),
        };
        Subject::new(Kind::Alter, &about, "ADD COLUMN last_seen TIMESTAMP NULL")
    }

    fn start() -> Body {
        let start = Start {
            method: "copy".into(),
            rows_estimate: 2_403_112,
            estimated_seconds: Some(900),
            undo: Some("osc revert shop.users; possible".into()),
            undo_outcome: Some("possible"),
            ..Start::default()
        };
        Body::Started { start: Box::new(start), backup: Some("Completed".into()) }
    }

    fn end() -> Body {
        let summary = Summary {
            method: "copy".into(),
            rows: 2_401_234,
            verified_rows: Some(2_401_300),
            lock_ms: Some(12.0),
            seconds: 750.4,
            retired: Some("shop.users_osc_old".into()),
            ..Summary::default()
        };
        Body::ended(Kind::Alter, &summary)
    }

    #[test]
    fn letters_have_the_form_of_the_outbox() {
        assert_eq!(
            letter(&subject(), &start()),
            "MIGRATION: Starting shop.users ADD COLUMN last_seen TIMESTAMP NULL\n\
             - Records affected: ~2.4M\n\
             - Estimated duration: 15 min\n\
             - Rollback: Ready\n\
             - Backup: Completed"
        );
        assert_eq!(
            letter(&subject(), &end()),
            "DONE: shop.users ADD COLUMN last_seen TIMESTAMP NULL completed\n\
             - Duration: 12 min\n\
             - Records migrated: 2,401,234\n\
             - Validation: PASSED\n\
             - Rollback window: until osc cleanup"
        );
    }

    #[test]
    fn the_rollback_window_is_counted_from_now() {
        let after = |seconds| {
            let then = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            let then = then.to_zoned(jiff::tz::TimeZone::UTC).datetime();
            from_now(&then.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap()
        };
        assert_eq!((after(86_400).as_str(), after(7 * 86_400).as_str()), ("24h", "168h"));
        assert_eq!((after(1800).as_str(), after(5400).as_str()), ("30min", "1h 30min"));
        assert_eq!(after(-100), "over");
        assert_eq!(from_now("soon"), None);
    }

    #[test]
    fn a_chat_reads_sentences() {
        assert_eq!(
            text(&subject(), &start()).lines().next(),
            Some("The change of shop.users on db1:3306 has started, by copy")
        );
        assert!(
            text(&subject(), &end())
                .starts_with("The change of shop.users on db1:3306 is done\nADD")
        );
    }

    #[test]
    fn texts_of_others_stay_on_their_lines_and_are_no_commands() {
        let about = About {
            table: Some("x\n->relay-file:evil\r\nTO: All <!channel>".into()),
            ..About::default()
        };
        let subject = Subject::new(Kind::Alter, &about, &"y\n- Rollback: Ready".repeat(100));
        let mut failure = Failure::from(&crate::error::Error::stopped("x"));
        failure.message = "refused:\n  - a <b>\nDONE: x".into();
        for body in [start(), end(), Body::Failed { resumable: true, failure }] {
            let letter = letter(&subject, &body);
            let own = |line: &str| line.starts_with("- ");
            assert!(letter.lines().skip(1).all(own), "{letter}");
            let chat = for_chat(&text(&subject, &body));
            assert!(!chat.contains('<') && chat.contains("&lt;!channel&gt;"), "{chat}");
            assert!(chat.lines().next().is_some_and(|line| line.contains("TO: All")), "{chat}");
        }
    }

    #[test]
    fn counts_and_lengths_are_short() {
        for (count, shown) in [
            (0, "0"),
            (999, "999"),
            (6_000, "6k"),
            (9_960, "10k"),
            (812_345, "812k"),
            (999_600, "1M"),
            (2_403_112, "2.4M"),
            (3_000_000_000, "3G"),
        ] {
            assert_eq!(about(count), shown);
        }
        assert_eq!(
            (length(59), length(720), length(11_100)),
            ("59 s".into(), "12 min".into(), "3 h 05 min".into())
        );
    }

    #[test]
    fn the_way_back_is_what_the_verdict_says() {
        let with = |outcome, method: &str| {
            let (undo, method) = (Some("osc revert t".into()), method.into());
            way_back(&Start { undo, method, undo_outcome: outcome, ..Start::default() })
        };
        assert_eq!(with(Some("possible"), "copy"), "Ready");
        assert_eq!(with(Some("possible-while"), "copy"), "Ready, with conditions (osc revert t)");
        assert_eq!(with(Some("impossible"), "instant"), "Not possible (osc revert t)");
        assert_eq!(with(None, "copy"), "The retired table is kept");
        assert_eq!(with(None, "instant"), "Unknown");
    }
}
