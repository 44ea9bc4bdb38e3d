//! Warnings only.

use std::time::Duration;

use super::screen::Screen;
use super::{Renderer, text};
use crate::engine::event::Event;
use crate::engine::progress::Snapshot;

pub(crate) struct Quiet {
    screen: Screen,
}

impl Quiet {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen }
    }
}

impl Renderer for Quiet {
    fn interval(&self) -> Option<Duration> {
        None
    }

    fn event(&mut self, event: &Event, _now: &Snapshot) {
        match event {
            Event::Warning { .. } => {
                if let Some(line) = text::event(event) {
                    self.screen.line(&line);
                }
            }
            Event::Summary(summary) => {
                for warning in &summary.warnings {
                    self.screen.line(&format!("warning: {warning}"));
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, _now: &Snapshot) {}
}
