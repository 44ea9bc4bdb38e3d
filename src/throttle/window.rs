//! The hours of `--window`.

use std::time::Duration;

use jiff::Timestamp;

use super::{Source, Verdict};
use crate::config::window::Window;
use crate::control::Directives;

/// Pauses the copy outside the window.
impl Source for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        match self.opens_in(Timestamp::now()) {
            Some(Duration::ZERO) => Verdict::Run,
            Some(wait) => {
                let wait = in_minutes(wait);
                Verdict::Pause(format!("outside the window {self}, opens in {wait}"))
            }
            None => Verdict::Pause(format!("outside the window {self}")),
        }
    }
}

/// `3h12m`, to the next full minute.
fn in_minutes(duration: Duration) -> String {
    let minutes = duration.as_secs().div_ceil(60).max(1);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_shown_in_minutes() {
        let minutes = |seconds| in_minutes(Duration::from_secs(seconds));
        assert_eq!(
            (minutes(1), minutes(61), minutes(3 * 3600 + 11 * 60 + 5)),
            ("1m".into(), "2m".into(), "3h12m".into())
        );
        assert_eq!((minutes(3600), minutes(50 * 3600)), ("1h00m".into(), "2d2h".into()));
    }
}
