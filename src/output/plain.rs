//! A line for each event and every ten seconds, where there is no terminal.

use std::time::Duration;

use super::screen::Screen;
use super::{Renderer, summary, text};
use crate::engine::event::Event;
use crate::engine::pace::Pace;
use crate::engine::progress::Snapshot;

const LINE_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Plain {
    screen: Screen,
    pace: Pace,
}

impl Plain {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, pace: Pace::default() }
    }

    fn line(&self, text: &str) {
        self.screen.line(&format!("{} {text}", jiff::Zoned::now().strftime("%F %T")));
    }
}

impl Renderer for Plain {
    fn interval(&self) -> Option<Duration> {
        Some(LINE_EVERY)
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        if let Event::Summary(summary) = event {
            self.screen.remark(&summary::text(summary));
            return;
        }
        if matches!(event, Event::Resumed { .. }) {
            self.pace.reset();
        }
        // The start of a phase is where its pace is counted from.
        self.pace.look(now);
        if let Some(line) = text::event(event) {
            self.line(&line);
        }
    }

    fn tick(&mut self, now: &Snapshot) {
        let view = self.pace.look(now);
        let percent = view.map_or(String::new(), |view| format!("{:.0}% ", view.fraction * 100.0));
        let parts = [text::extent(now, view.as_ref()), text::state(now, view.as_ref())];
        let numbers = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        self.line(&format!("{}: {percent}{}", now.phase.word(), numbers.join(" · ")));
    }
}
