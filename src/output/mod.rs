//! What a run shows: a progress bar, plain lines, JSON events or nothing, and a summary.
//!
//! The engine's events go through a channel to a thread of their own, which also looks at the
//! counters now and then. So a terminal that is stopped, or a pipe that is not read, never makes
//! the engine wait, least of all while it holds a lock.

pub mod exit_code;
pub mod screen;

mod bar;
pub(crate) mod json;
pub(crate) mod numbers;
mod plain;
mod quiet;
mod summary;
pub(crate) mod text;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::event::{Event, Sink};
use crate::engine::progress::{Progress, Snapshot};
use screen::Screen;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A progress bar, on a terminal.
    Bar,
    /// A line now and then.
    Plain,
    /// One JSON object a line, on stdout.
    Json,
    /// Warnings only.
    Quiet,
}

impl Mode {
    /// What the flags ask for; without any, what suits where stderr goes.
    pub fn choose(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Quiet,
            (false, false) if std::io::stderr().is_terminal() => Self::Bar,
            (false, false) => Self::Plain,
        }
    }
}

/// One way of showing a run.
trait Renderer: Send {
    /// How often [`Renderer::tick`] is called; `None`: never.
    fn interval(&self) -> Option<Duration>;
    /// Shows an event.
    fn event(&mut self, event: &Event, now: &Snapshot);
    /// Shows the numbers.
    fn tick(&mut self, now: &Snapshot);
    /// The run is over: nothing follows.
    fn close(&mut self) {}
}

enum Message {
    Event(Event),
    Close,
}

/// Hands events to the thread that shows them. Never waits.
#[derive(Debug, Clone)]
struct EventSender(Sender<Message>);

impl Sink for EventSender {
    fn event(&self, event: Event) {
        // After the reporter's end there is no reporter left.
        let _ = self.0.send(Message::Event(event));
    }
}

/// Shows one run, until it is finished or dropped.
#[derive(Debug)]
pub struct Reporter {
    events: EventSender,
    thread: Option<JoinHandle<()>>,
}

/// Shows a run whose counters are `progress`.
///
/// # Errors
/// When no thread can be started.
pub fn reporter(mode: Mode, progress: Arc<Progress>, screen: &Screen) -> std::io::Result<Reporter> {
    let mut renderer: Box<dyn Renderer> = match mode {
        Mode::Bar => Box::new(bar::Bar::new(screen.clone())),
        Mode::Plain => Box::new(plain::Plain::new(screen.clone())),
        Mode::Json => Box::new(json::Json::default()),
        Mode::Quiet => Box::new(quiet::Quiet::new(screen.clone())),
    };
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name("osc-report".into()).spawn(move || {
        show(renderer.as_mut(), &progress, &receiver);
        renderer.close();
    })?;
    Ok(Reporter { events: EventSender(sender), thread: Some(thread) })
}

fn show(renderer: &mut dyn Renderer, progress: &Progress, messages: &Receiver<Message>) {
    let mut next = renderer.interval().map(|interval| Instant::now() + interval);
    loop {
        let message = match next {
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Event(event)) => renderer.event(&event, &progress.snapshot()),
            Err(RecvTimeoutError::Timeout) => {
                renderer.tick(&progress.snapshot());
                next = renderer.interval().map(|interval| Instant::now() + interval);
            }
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Reporter {
    /// Where the engine sends its events.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(self.events.clone())
    }

    /// Shows what was sent and ends: the bar is gone afterwards, the summary is printed.
    pub async fn finish(mut self) {
        if let Some(thread) = self.close() {
            // The join waits for whoever reads our output, so not on the runtime's threads.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn close(&mut self) -> Option<JoinHandle<()>> {
        let _ = self.events.0.send(Message::Close);
        self.thread.take()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_the_mode() {
        assert_eq!(Mode::choose(true, true), Mode::Json);
        assert_eq!(Mode::choose(false, true), Mode::Quiet);
    }

    #[tokio::test]
    async fn a_finished_reporter_takes_late_events_without_harm() {
        let progress = Arc::new(Progress::default());
        let reporter = reporter(Mode::Quiet, progress, &Screen::default()).unwrap();
        let sink = reporter.sink();
        sink.event(Event::Note { text: "before".into() });
        reporter.finish().await;
        sink.event(Event::Note { text: "after".into() });
    }
}
