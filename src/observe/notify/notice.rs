//! A message: its facts in JSON, made once, and the forms that follow from them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::body::{Body, Kind};
use super::words;
use crate::config::notify::Topic;
use crate::engine::progress::{About, Snapshot};
use crate::output::json::timestamp;
use crate::output::numbers::{Counter, Numbers};

/// The version of the facts: a new field does not change it.
const VERSION: u8 = 1;

/// A variable of a hook is cut off after so many bytes: the system bounds what a program can be given. The
/// JSON has all of it.
const LONGEST_VARIABLE: usize = 16 * 1024;

/// A message, in all its forms.
#[derive(Debug)]
pub(super) struct Notice {
    /// Its number in this process, from 1.
    pub seq: u64,
    /// No other message of any run has it.
    pub id: String,
    /// Eight digits that tell apart the processes of one second.
    pub tag: String,
    /// `done`; of a question to a hook its name.
    pub event: &'static str,
    /// `None`: a question to a hook.
    pub topic: Option<Topic>,
    /// The facts as one line of JSON.
    pub json: String,
    /// For a chat.
    pub text: String,
    /// For the outbox: its first line, and the list below it.
    pub letter: String,
    facts: Map<String, Value>,
}

/// What all messages of a process say.
#[derive(Debug)]
pub(super) struct Sender {
    kind: Kind,
    /// As it was given, until the run says it.
    clauses: String,
    host: String,
    user: Option<String>,
    /// Eight random digits.
    tag: String,
    /// Of the ids.
    prefix: String,
    seq: u64,
    counter: Counter,
}

#[derive(Serialize)]
struct Common<'a> {
    v: u8,
    seq: u64,
    event: &'static str,
    time: String,
    kind: Kind,
    clauses: &'a str,
    host: &'a str,
    user: Option<&'a str>,
    pid: u32,
    #[serde(flatten)]
    about: &'a About,
    #[serde(flatten)]
    numbers: Option<Numbers<'a>>,
}

impl Sender {
    /// Of a command that was given these clauses.
    pub(super) fn new(kind: Kind, clauses: String) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        let prefix = format!("msg_{:032x}", rand::random::<u128>());
        let tag = format!("{:08x}", rand::random::<u32>());
        Self { kind, clauses, host, user, tag, prefix, seq: 0, counter: Counter::default() }
    }

    /// The numbers as they are now, so that a rate is known when a message needs it.
    pub(super) fn look(&mut self, now: &Snapshot) {
        self.counter.look(now);
    }

    /// What was done until now was not done at this pace.
    pub(super) fn reset(&mut self) {
        self.counter.reset();
    }

    /// The next message. `now` is `None` for a command that has no numbers.
    pub(super) fn notice(&mut self, body: &Body, about: &About, now: Option<&Snapshot>) -> Notice {
        let topic = body.topic();
        let event = match (topic, self.kind) {
            (Some(topic), _) => topic.word(),
            (None, Kind::Revert) => super::gate::BEFORE_REVERT,
            (None, _) => super::gate::BEFORE_CUT_OVER,
        };
        match body {
            Body::Started { start, .. } => self.clauses.clone_from(&start.clauses),
            Body::Ended { summary, .. } => self.clauses.clone_from(&summary.clauses),
            _ => {}
        }
        // A question to a hook is no message: who counts messages misses none.
        self.seq += u64::from(topic.is_some());
        let common = Common {
            v: VERSION,
            seq: self.seq,
            event,
            time: timestamp(),
            kind: self.kind,
            clauses: &self.clauses,
            host: &self.host,
            user: self.user.as_deref(),
            pid: std::process::id(),
            about,
            numbers: now.map(|now| self.counter.look(now)),
        };
        // What the body says of its own wins: it is the later word.
        let mut facts = map(common);
        facts.extend(map(body));
        let subject = words::Subject::new(self.kind, about, &self.clauses);
        Notice {
            seq: self.seq,
            id: format!("{}_{}", self.prefix, self.seq),
            tag: self.tag.clone(),
            event,
            topic,
            json: Value::Object(facts.clone()).to_string(),
            text: words::text(&subject, body),
            letter: words::letter(&subject, body),
            facts,
        }
    }
}

/// The fields of what is an object in JSON, with text keys and plain values.
fn map(value: impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

impl Notice {
    /// The facts as `OSC_…` variables; what is not known, a list or an object is left out.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let plain = |(name, value): (&String, &Value)| {
            let text = match value {
                Value::String(text) => text.replace('\0', "\u{fffd}"),
                Value::Number(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            let cut = text.floor_char_boundary(LONGEST_VARIABLE);
            let text = text.get(..cut).unwrap_or_default().to_owned();
            Some((format!("OSC_{}", name.to_uppercase()), text))
        };
        self.facts.iter().filter_map(plain).collect()
    }
}

#[cfg(test)]
impl Notice {
    /// A message about a hold, the `seq`th of its sender.
    pub(super) fn example(seq: u64) -> Self {
        let mut sender = Sender::new(Kind::Alter, "ADD COLUMN a INT".into());
        sender.seq = seq - 1;
        let about = About {
            server: Some("db1:3306".into()),
            table: Some("shop.a'b\n<b>c".into()),
            run: Some(7),
        };
        sender.notice(&Body::Hold { reason: Some("a\0b".into()) }, &about, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Start, Summary};
    use crate::engine::progress::Progress;

    #[test]
    fn a_message_is_one_line_with_all_facts() {
        let notice = Notice::example(3);
        assert!(!notice.json.contains('\n'));
        let value: Value = serde_json::from_str(&notice.json).unwrap();
        assert_eq!((&value["event"], &value["seq"]), (&"hold".into(), &3.into()));
        assert_eq!((&value["v"], &value["kind"]), (&1.into(), &"alter".into()));
        assert_eq!(value["table"], "shop.a'b\n<b>c");
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(notice.id.starts_with("msg_") && notice.id.ends_with("_3"), "{}", notice.id);
    }

    #[test]
    fn a_message_names_no_row() {
        let left_behind = vec!["mail = 'bob@x': too long".into()];
        let summary = Summary { left_behind, ..Summary::default() };
        let body = Body::ended(Kind::Revert, &summary);
        assert!(!serde_json::to_string(&body).unwrap().contains("bob"));
    }

    #[test]
    fn variables_can_be_given_to_a_program() {
        let all = Notice::example(1).variables();
        let find = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
        assert_eq!(find("OSC_EVENT"), Some("hold"));
        assert_eq!(find("OSC_RUN"), Some("7"));
        assert_eq!(find("OSC_REASON"), Some("a\u{fffd}b"));
        assert_eq!(find("OSC_TABLE"), Some("shop.a'b\n<b>c"));
        let mut sender = Sender::new(Kind::Alter, "é".repeat(100_000));
        let notice = sender.notice(&Body::Asked {}, &About::default(), None);
        let clauses = notice.variables().into_iter().find(|(name, _)| name == "OSC_CLAUSES");
        assert!(clauses.unwrap().1.len() <= LONGEST_VARIABLE);
        assert!(notice.json.len() > 200_000 && notice.event == "before-cut-over");
    }

    #[test]
    fn the_run_says_its_clauses_and_numbers() {
        let mut sender = Sender::new(Kind::Revert, String::new());
        let progress = Progress::default();
        let start = Start { clauses: "undo of run 5".into(), ..Start::default() };
        let body = Body::Started { start: Box::new(start), backup: None };
        let started = sender.notice(&body, &About::default(), Some(&progress.snapshot()));
        assert_eq!(started.facts["clauses"], "undo of run 5");
        assert_eq!(
            (&started.facts["phase"], &started.facts["backup"]),
            (&"prepare".into(), &Value::Null)
        );
        let body = Body::Resumed { rows: 1 };
        assert_eq!(sender.notice(&body, &About::default(), None).facts["clauses"], "undo of run 5");
        let body = Body::ended(Kind::Revert, &Summary::default());
        let ended = sender.notice(&body, &About::default(), None);
        assert_eq!((ended.event, ended.seq), ("reverted", 3));
        assert_eq!(ended.facts["validation"], "by-the-server");
    }
}
