//! Hours of the day in which the copy may run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::error::Error;

/// Times at which the copy may run: `22:00-05:00`, `Mon-Fri 22:00-05:00 Europe/Rome`, or several,
/// separated by commas.
///
/// The end is excluded, and may be `24:00`. A window that ends at or before its start ends on the
/// next day; days are those on which it opens. A time zone holds for its window and for those
/// before it that name none; the default is the system's. Where clocks change, a time that does
/// not exist is as much later as the clock jumps, and of a time that comes twice the first is
/// meant.
#[derive(Debug, Clone)]
pub struct Window {
    text: String,
    spans: Vec<Span>,
}

#[derive(Debug, Clone)]
struct Span {
    /// First and last, maybe over the end of the week.
    days: Option<(Weekday, Weekday)>,
    start: Time,
    /// `None`: 24:00.
    end: Option<Time>,
    zone: TimeZone,
}

impl Window {
    /// Whether the window is open at this moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.opens_in(at) == Some(Duration::ZERO)
    }

    /// How long from this moment until it opens; zero: it is open. `None`: not before the end of
    /// time.
    pub fn opens_in(&self, at: Timestamp) -> Option<Duration> {
        self.spans.iter().filter_map(|span| span.opens_in(at)).min()
    }
}

impl Span {
    fn opens_in(&self, at: Timestamp) -> Option<Duration> {
        let today = at.to_zoned(self.zone.clone()).date();
        // From yesterday, whose window may last until today, to the same day of next week, whose
        // window follows when today's is over. A jump of the clock may cost one day.
        let days = (-1..=8).filter_map(|day| today.checked_add(day.days()).ok());
        days.filter(|day| self.on(day.weekday()))
            .filter_map(|day| self.times(day))
            .find(|(_, end)| at < *end)
            .map(|(start, _)| at.duration_until(start).try_into().unwrap_or(Duration::ZERO))
    }

    fn on(&self, day: Weekday) -> bool {
        self.days.is_none_or(|(first, last)| first.until(day) <= first.until(last))
    }

    /// When the window of this day opens and closes.
    fn times(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let (end_day, end) = match self.end {
            Some(end) if end > self.start => (day, end),
            end => (day.tomorrow().ok()?, end.unwrap_or(Time::midnight())),
        };
        let moment = |day: Date, time: Time| {
            Some(self.zone.to_ambiguous_zoned(day.to_datetime(time)).compatible().ok()?.timestamp())
        };
        let (start, end) = (moment(day, self.start)?, moment(end_day, end)?);
        (start < end).then_some((start, end))
    }
}

/// What was written is what is meant.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |part: &str, problem: &str| Error::Usage {
            message: format!(
                "{:?} is no window: {problem}; write 22:00-05:00, or Mon-Fri 22:00-05:00 \
                 Europe/Rome, several with commas between them",
                part.trim()
            ),
            help: String::new(),
        };
        let mut spans = Vec::new();
        let mut zone = None;
        for part in text.split(',').rev() {
            let mut words = part.split_whitespace().peekable();
            let days = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
            let days = days
                .map(|word| days_of(word).ok_or_else(|| wrong(part, "it names no days")))
                .transpose()?;
            let (start, end) = words
                .next()
                .and_then(hours_of)
                .ok_or_else(|| wrong(part, "it needs two times, HH:MM-HH:MM"))?;
            if let Some(name) = words.next() {
                let found = TimeZone::get(name)
                    .map_err(|_| wrong(part, &format!("there is no time zone {name}")))?;
                zone = Some(found);
            }
            if let Some(rest) = words.next() {
                return Err(wrong(part, &format!("{rest} is too much")));
            }
            if end == Some(start) {
                return Err(wrong(part, "it is empty; a whole day is 00:00-24:00"));
            }
            let zone = zone.get_or_insert_with(TimeZone::system).clone();
            spans.push(Span { days, start, end, zone });
        }
        Ok(Self { text: text.trim().to_owned(), spans })
    }
}

fn days_of(word: &str) -> Option<(Weekday, Weekday)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((day_of(first)?, day_of(last)?))
}

fn day_of(word: &str) -> Option<Weekday> {
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let word = word.to_ascii_lowercase();
    let index = names.iter().position(|name| word.len() >= 3 && name.starts_with(&word))?;
    Weekday::from_monday_zero_offset(i8::try_from(index).ok()?).ok()
}

/// `None` within is 24:00.
fn hours_of(word: &str) -> Option<(Time, Option<Time>)> {
    let (start, end) = word.split_once('-')?;
    let end = if end == "24:00" { None } else { Some(time_of(end)?) };
    Some((time_of(start)?, end))
}

fn time_of(word: &str) -> Option<Time> {
    let (hour, minute) = word.split_once(':')?;
    let number = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i8>().ok()).flatten()
    };
    if minute.len() != 2 {
        return None;
    }
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    /// Minutes until the window opens; 0: it is open.
    fn minutes(text: &str, at: &str) -> u64 {
        window(text).opens_in(at.parse().unwrap()).unwrap().as_secs() / 60
    }

    #[test]
    fn a_window_includes_its_start_and_excludes_its_end() {
        let text = "09:00-17:30 UTC";
        assert_eq!(minutes(text, "2026-03-10T08:59:00Z"), 1);
        assert_eq!(minutes(text, "2026-03-10T09:00:00Z"), 0);
        assert_eq!(minutes(text, "2026-03-10T17:29:59Z"), 0);
        assert_eq!(minutes(text, "2026-03-10T17:30:00Z"), 15 * 60 + 30);
        assert!(window(text).is_open("2026-03-10T12:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_window_may_last_over_midnight() {
        let text = "22:00-05:00 UTC";
        assert_eq!(minutes(text, "2026-03-10T23:00:00Z"), 0);
        assert_eq!(minutes(text, "2026-03-11T04:59:00Z"), 0);
        assert_eq!(minutes(text, "2026-03-11T05:00:00Z"), 17 * 60);
        assert_eq!(minutes("20:00-24:00 UTC", "2026-03-11T23:59:59Z"), 0);
        assert_eq!(minutes("20:00-24:00 UTC", "2026-03-11T00:00:00Z"), 20 * 60);
        assert_eq!(minutes("00:00-24:00 UTC", "2026-03-11T00:00:00Z"), 0);
    }

    #[test]
    fn days_are_those_on_which_the_window_opens() {
        let text = "Mon-Fri 22:00-05:00 UTC";
        // 2026-03-13 is a Friday.
        assert_eq!(minutes(text, "2026-03-14T04:00:00Z"), 0);
        assert_eq!(minutes(text, "2026-03-14T22:30:00Z"), 47 * 60 + 30);
        assert_eq!(minutes(text, "2026-03-16T04:00:00Z"), 18 * 60);
        assert_eq!(minutes("Sat-Mon 10:00-11:00 UTC", "2026-03-15T10:30:00Z"), 0);
        assert_eq!(minutes("sunday 10:00-11:00 UTC", "2026-03-15T11:00:00Z"), 7 * 1440 - 60);
    }

    #[test]
    fn the_first_of_several_windows_to_open_counts() {
        let text = "01:00-02:00, 12:00-13:00 Europe/Rome";
        assert_eq!(minutes(text, "2026-01-10T00:30:00Z"), 0);
        assert_eq!(minutes(text, "2026-01-10T01:30:00Z"), 9 * 60 + 30);
        assert_eq!(minutes("01:00-02:00 UTC, 12:00-13:00 Asia/Tokyo", "2026-01-10T03:30:00Z"), 0);
    }

    #[test]
    fn hours_follow_the_zones_clock_when_it_changes() {
        // Clocks in Rome jump from 02:00 to 03:00 on 2026-03-29, and back from 03:00 on 10-25.
        let night = "22:00-04:00 Europe/Rome";
        assert_eq!(minutes(night, "2026-03-29T01:59:00Z"), 0);
        assert_eq!(minutes(night, "2026-03-29T02:00:00Z"), 18 * 60);
        assert_eq!(minutes(night, "2026-10-25T02:59:00Z"), 0);
        assert_eq!(minutes(night, "2026-10-25T03:00:00Z"), 18 * 60);
        let hidden = "02:15-02:45 Europe/Rome";
        assert_eq!(minutes(hidden, "2026-03-29T01:15:00Z"), 0);
        assert_eq!(minutes(hidden, "2026-03-29T01:45:00Z"), 22 * 60 + 30);
        let twice = "01:30-02:30 Europe/Rome";
        assert_eq!(minutes(twice, "2026-10-25T00:29:00Z"), 0);
        assert_eq!(minutes(twice, "2026-10-25T00:30:00Z"), 24 * 60);
    }

    #[test]
    fn mistakes_are_reported_with_the_part_that_holds_them() {
        for wrong in [
            "",
            "22:00",
            "22:00-",
            "25:00-01:00",
            "22:60-23:00",
            "2200-2300",
            "10:00-10:00",
            "24:00-01:00",
            "Mox 10:00-11:00",
            "Mon 10:00-11:00 Nowhere/Land",
            "10:00-11:00 UTC x",
            "10:00-11:00,",
            "1:0-2:0",
            "+1:00-02:00",
            "10:00–11:00",
        ] {
            assert!(matches!(wrong.parse::<Window>(), Err(Error::Usage { .. })), "{wrong}");
        }
        let error = "10:00-11:00, 12:00-noon".parse::<Window>().unwrap_err();
        assert!(error.to_string().starts_with("\"12:00-noon\""), "{error}");
    }

    proptest! {
        #[test]
        fn reading_a_window_never_panics(text in "[A-Za-z0-9:, /-]{0,40}|.*") {
            let _ = text.parse::<Window>();
        }

        #[test]
        fn a_closed_window_opens_when_it_says(
            start in 0..24i64, end in 0..24i64, at in 1_700_000_000..1_800_000_000i64,
        ) {
            prop_assume!(start != end);
            let window = window(&format!("Tue-Sat {start}:00-{end}:00 America/New_York"));
            let at = Timestamp::from_second(at).unwrap();
            let wait = window.opens_in(at).unwrap();
            prop_assert!(window.is_open(at + wait));
            prop_assert!(wait.is_zero() || !window.is_open(at + wait - Duration::from_secs(1)));
        }
    }
}
