//! A progress bar in the terminal's last lines, and events above it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::screen::Screen;
use super::{Renderer, screen, summary, text};
use crate::engine::event::Event;
use crate::engine::pace::{Pace, View};
use crate::engine::progress::Snapshot;

const INTERVAL: Duration = Duration::from_millis(150);

/// The bar's length in steps: it is set by fraction, since totals are estimates.
const STEPS: u64 = 1000;

pub(crate) struct Bar {
    screen: Screen,
    bar: ProgressBar,
    detail: ProgressBar,
    counted: bool,
    pace: Pace,
}

impl Bar {
    pub(crate) fn new(screen: Screen) -> Self {
        let bar = screen.show(ProgressBar::new(STEPS));
        bar.set_style(style(false));
        let detail = screen.show(ProgressBar::new_spinner());
        detail.set_style(styled(DETAIL));
        Self { screen, bar, detail, counted: false, pace: Pace::default() }
    }

    fn draw(&mut self, now: &Snapshot, view: Option<&View>) {
        if self.counted != view.is_some() {
            self.counted = view.is_some();
            self.bar.set_style(style(self.counted));
        }
        self.bar.set_prefix(now.phase.word());
        if let Some(view) = view {
            self.bar.set_position(steps(view.fraction));
        }
        self.bar.set_message(text::extent(now, view));
        self.bar.tick();
        // What hinders the run has a line of its own, which the terminal wraps: it is never cut off.
        let lines = text::hindrance(now).into_iter().chain([text::numbers(now, view)]);
        let lines = lines.filter(|line| !line.is_empty()).map(|line| screen::one_line(&line));
        self.detail.set_message(lines.collect::<Vec<_>>().join("\n         "));
        self.detail.tick();
    }
}

const COUNTED: &str = "{prefix:8} {bar:24.cyan/dim} {percent:>3}% {wide_msg}";
const UNCOUNTED: &str = "{prefix:8} {spinner:.cyan} {wide_msg}";
const DETAIL: &str = "         {msg:.dim}";

/// With a bar, or with a spinner where nothing can be counted.
fn style(counted: bool) -> ProgressStyle {
    styled(if counted { COUNTED } else { UNCOUNTED })
}

fn styled(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn steps(fraction: f64) -> u64 {
    (fraction * 1000.0) as u64
}

impl Renderer for Bar {
    fn interval(&self) -> Option<Duration> {
        Some(INTERVAL)
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        match event {
            // A change that is watched is reported before the watch begins.
            Event::Summary(summary) => self.screen.remark(&summary::text(summary)),
            // The bar itself says these.
            Event::Phase { .. }
            | Event::Throttled { .. }
            | Event::GivesWay { .. }
            | Event::ConnectionLost { .. } => {
                self.tick(now);
            }
            other => {
                if matches!(other, Event::Resumed { .. }) {
                    self.pace.reset();
                }
                if let Some(line) = text::event(other) {
                    self.screen.line(&line);
                }
            }
        }
    }

    fn tick(&mut self, now: &Snapshot) {
        let view = self.pace.look(now);
        self.draw(now, view.as_ref());
    }

    fn close(&mut self) {
        self.detail.finish_and_clear();
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;
    use crate::engine::progress::{Phase, Progress};

    #[test]
    fn the_templates_are_valid() {
        for template in [COUNTED, UNCOUNTED, DETAIL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn the_bar_follows_the_phase_and_stays_within_its_length() {
        let mut bar = Bar::new(Screen::default());
        bar.bar.set_draw_target(ProgressDrawTarget::hidden());
        let mut now = Progress::default().snapshot();
        now.phase = Phase::Copy;
        now.rows_copied = 5000;
        now.rows_estimate = 100;
        bar.tick(&now);
        assert_eq!(bar.bar.position(), 990);
        assert_eq!(bar.bar.prefix(), "copy");
        now.throttled = Some("a very long reason ".repeat(30));
        bar.tick(&now);
        assert!(bar.detail.message().contains(now.throttled.as_deref().unwrap_or_default().trim()));
        assert!(bar.detail.message().contains('\n'), "the numbers stand on a line of their own");
        now.phase = Phase::Verify;
        bar.tick(&now);
        assert_eq!(bar.bar.position(), 0);
        now.phase = Phase::CutOver;
        bar.tick(&now);
        assert!(!bar.counted);
    }
}
