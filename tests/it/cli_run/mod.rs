//! The built program at work on a table, followed by its events.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses a part")]

pub mod point;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::postgres::Postgres;
use crate::support::process::signal;
use crate::support::{self, server::Server};
use point::{Point, Waiting};

/// `osc alter --strategy copy` under way.
pub struct Run {
    child: Child,
    events: UnboundedReceiver<Value>,
    seen: Vec<Value>,
    complaints: JoinHandle<String>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub complaints: String,
}

impl Run {
    pub fn start(server: &Server, database: &str, arguments: &[&str]) -> Self {
        Self::at(&server.url(database), arguments)
    }

    pub fn at(url: &str, arguments: &[&str]) -> Self {
        Self::plainly(url, &[arguments, &["--strategy", "copy", "--yes"]].concat())
    }

    /// `osc alter` by whatever method.
    pub fn plainly(url: &str, arguments: &[&str]) -> Self {
        Self::spawn(support::osc(), url, arguments)
    }

    /// With a failpoint (`OSC_FAULT`) set off.
    pub fn faulty(url: &str, arguments: &[&str], fault: &str) -> Self {
        let mut command = support::osc();
        command.env("OSC_FAULT", fault);
        Self::spawn(command, url, &[arguments, &["--strategy", "copy", "--yes"]].concat())
    }

    /// Starts one, which waits at a failpoint by the time this returns: `chunk.copied@3`.
    pub async fn until(url: &str, arguments: &[&str], place: &str) -> (Self, Waiting) {
        let point = Point::new(place).await;
        let mut run = Self::faulty(url, arguments, point.fault());
        let waiting = run.reaches(point).await;
        (run, waiting)
    }

    /// Waits until it waits at a point.
    pub async fn reaches(&mut self, point: Point) -> Waiting {
        tokio::select! {
            waiting = point.reached() => waiting,
            _ = self.event(|_| false) => unreachable!(),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, sent: Signal) {
        signal(&self.child, sent);
    }

    pub fn spawn(command: Command, url: &str, arguments: &[&str]) -> Self {
        Self::command(command, "alter", url, arguments)
    }

    /// Another command that changes a table.
    pub fn command(mut command: Command, name: &str, url: &str, arguments: &[&str]) -> Self {
        let mut child = command
            .arg(name)
            .args(arguments)
            .args(["--url", url, "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, events) = unbounded_channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(support::schema::read("alter", &line));
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { child, events, seen: Vec::new(), complaints }
    }

    /// Waits for an event.
    pub async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        while let Some(event) = self.events.recv().await {
            self.seen.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
        panic!("it ended before: {:#?}", self.seen);
    }

    /// Waits for the beginning of a phase.
    pub async fn phase(&mut self, phase: &str) {
        self.event(|event| event["event"] == "phase" && event["phase"] == phase).await;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it and reaps it; false if it had ended before.
    pub fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        self.child.wait().unwrap().signal().is_some()
    }

    /// Waits for its end.
    pub async fn end(mut self) -> Ended {
        while let Some(event) = self.events.recv().await {
            self.seen.push(event);
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, events: self.seen, complaints: self.complaints.join().unwrap() }
    }

    /// Waits for its end, which must be success; returns the summary. Nobody else has written the shadow.
    pub async fn done(self) -> Value {
        let summary = self.done_disturbed().await;
        let warnings = summary["warnings"].to_string();
        assert!(!warnings.contains("other sessions wrote the shadow"), "{summary:#}");
        summary
    }

    /// The same where others may have written the shadow.
    pub async fn done_disturbed(self) -> Value {
        let ended = self.end().await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.events.last().unwrap().clone()
    }
}

impl Ended {
    /// The message that it ended with.
    pub fn error(&self) -> &str {
        let last = self.events.last().and_then(|event| event["message"].as_str());
        last.unwrap_or(&self.complaints)
    }

    /// Whether an event of this name contains the text.
    pub fn tells(&self, event: &str, text: &str) -> bool {
        self.events
            .iter()
            .any(|reported| reported["event"] == event && reported.to_string().contains(text))
    }
}

/// Runs any command of the program on PostgreSQL to its end.
pub fn osc(server: &Postgres, database: &str, arguments: &[&str]) -> Output {
    support::osc().args(arguments).args(["--url", &server.url(database)]).output().unwrap()
}

/// How such a command ended, and all that it printed.
pub fn printed(output: &Output) -> String {
    format!("{:?}\n{}", output.status.code(), streams(output))
}

/// All that a command printed.
pub fn streams(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
