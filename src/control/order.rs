//! An order: what an operator asks of a run from anywhere, by a row in the ledger. A row is data, which may be
//! anything; here it is parsed, or refused with the reason.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Author, CutOver, Key, Wishes, file};

/// The longest arguments, in characters; the longest other text that is kept of an order.
pub const MOST_ARGUMENTS: usize = 2_000;
pub(super) const MOST_TEXT: usize = 200;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Pause the copy and do not cut over.
    Pause,
    /// Lift what orders have paused.
    Resume,
    /// Change settings.
    Set,
    /// Permit the cut-over.
    CutOver,
    /// End the run, resumably.
    Abort,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Set, Self::CutOver, Self::Abort];

    /// Its word in the ledger and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Set => "set",
            Self::CutOver => "cut-over",
            Self::Abort => "abort",
        }
    }

    /// Whether it lasts, so that it can expire.
    pub fn lasts(self) -> bool {
        matches!(self, Self::Pause | Self::Set | Self::CutOver)
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }
}

/// An order as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Whose it is.
    pub author: Author,
    /// What it asks for.
    pub verb: String,
    /// With what.
    pub arguments: String,
    /// Why.
    pub why: String,
    /// How long it lasts from now on, by the server's clock; zero: it is over; `None`: for good.
    pub lasts: Option<Duration>,
    /// It was made before this attempt began.
    pub early: bool,
}

/// What becomes of an order. `Display` is what the ledger keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took effect; what that means.
    Accepted(String),
    /// It did not; why not.
    Refused(String),
    /// It came too late; why.
    Expired(String),
}

impl Answer {
    /// Its word, with which the text in the ledger begins.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused(_) => "refused",
            Self::Expired(_) => "expired",
        }
    }

    /// The rest of the text.
    pub fn text(&self) -> &str {
        match self {
            Self::Accepted(text) | Self::Refused(text) | Self::Expired(text) => text,
        }
    }

    /// Reads what [`fmt::Display`] wrote; other text is no acceptance.
    pub fn of(text: &str) -> Self {
        match text.split_once(": ") {
            Some(("accepted", rest)) => Self::Accepted(rest.to_owned()),
            Some(("refused", rest)) => Self::Refused(rest.to_owned()),
            Some(("expired", rest)) => Self::Expired(rest.to_owned()),
            _ => Self::Refused(text.to_owned()),
        }
    }

    /// An order that was made for an attempt that is over.
    pub fn early() -> Self {
        Self::Expired("made before this attempt began".into())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word(), self.text())
    }
}

/// What an order changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Pause,
    Resume,
    /// Each setting alone.
    Set(Vec<(Key, Change)>),
    Abort,
}

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    To(Wishes),
    /// What orders made of it is taken back.
    Default,
}

impl Effect {
    /// The verb that it is the effect of.
    pub(super) fn verb(&self, word: &str) -> Verb {
        match self {
            Self::Pause => Verb::Pause,
            Self::Resume => Verb::Resume,
            Self::Abort => Verb::Abort,
            Self::Set(_) => Verb::of(word.trim()).unwrap_or(Verb::Set),
        }
    }

    /// The settings that it changes.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let changes = match self {
            Self::Set(changes) => changes.as_slice(),
            _ => &[],
        };
        changes.iter().map(|(key, _)| *key)
    }
}

/// What an order changes, or why it does not.
pub(super) fn parse(order: &Written) -> Result<Effect, Answer> {
    if order.early {
        return Err(Answer::early());
    }
    if order.lasts.is_some_and(|lasts| lasts.is_zero()) {
        return Err(Answer::Expired("its time was over before the run read it".into()));
    }
    let refused = |why: String| Err(Answer::Refused(why));
    let Some(verb) = Verb::of(order.verb.trim()) else {
        let known: Vec<&str> = Verb::ALL.iter().map(|verb| verb.word()).collect();
        let said = shortened(&order.verb, 32);
        return refused(format!("there is no order {said:?}; the orders are {}", known.join(", ")));
    };
    if order.lasts.is_some() && !verb.lasts() {
        return refused(format!("{} does not last, so it cannot expire", verb.word()));
    }
    let arguments = order.arguments.trim();
    if arguments.chars().nth(MOST_ARGUMENTS).is_some() {
        return refused(format!("its arguments are longer than {MOST_ARGUMENTS} characters"));
    }
    if verb != Verb::Set && !arguments.is_empty() {
        return refused(format!("{} takes no arguments", verb.word()));
    }
    Ok(match verb {
        Verb::Pause => Effect::Pause,
        Verb::Resume => Effect::Resume,
        Verb::Abort => Effect::Abort,
        Verb::CutOver => {
            let wishes = Wishes { cut_over: Some(CutOver::Now), ..Wishes::default() };
            Effect::Set(vec![(Key::CutOver, Change::To(wishes))])
        }
        Verb::Set => Effect::Set(settings(arguments).map_err(Answer::Refused)?),
    })
}

/// Reads `threads=2 max_lag=3s`, with the values that the control file takes.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn settings(text: &str) -> Result<Vec<(Key, Change)>, String> {
    let known = || Key::ALL.map(Key::name).join(", ");
    let mut changes: Vec<(Key, Change)> = Vec::new();
    for pair in text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
    {
        let Some((name, value)) = pair.split_once('=') else {
            let said = shortened(pair, 40);
            return Err(format!("{said:?} is no KEY=VALUE; write it without spaces: threads=2"));
        };
        let Some(key) = Key::ALL.into_iter().find(|key| key.name() == name) else {
            let said = shortened(name, 40);
            return Err(format!("there is no setting {said:?}; the settings are {}", known()));
        };
        if changes.iter().any(|(earlier, _)| *earlier == key) {
            return Err(format!("{name} is given twice"));
        }
        let value = unquoted(value);
        let change = if value == "default" {
            Change::Default
        } else {
            let value = value
                .parse()
                .map_or_else(|_| toml::Value::String(value.to_owned()), toml::Value::Integer);
            let wishes = file::setting(name, value);
            Change::To(wishes.map_err(|why| format!("{name}: {}", shortened(&why, MOST_TEXT)))?)
        };
        changes.push((key, change));
    }
    if changes.is_empty() {
        return Err(format!("it names no setting; the settings are {}", known()));
    }
    Ok(changes)
}

fn unquoted(value: &str) -> &str {
    let quoted = |sign: char| value.strip_prefix(sign).and_then(|rest| rest.strip_suffix(sign));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

/// At most so many characters of a text, on one line.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let mut short: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

impl Change {
    /// Whether an earlier order of the same setting, which holds until `old`, is of use behind this one.
    pub(super) fn leaves(&self, old: Option<Instant>, new: Option<Instant>) -> bool {
        let outlives = match (old, new) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => old > new,
        };
        outlives && *self != Self::Default
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(verb: &str, arguments: &str) -> Written {
        Written { verb: verb.into(), arguments: arguments.into(), ..Written::default() }
    }

    fn answer(order: &Written) -> String {
        match parse(order) {
            Ok(_) => "accepted".into(),
            Err(answer) => answer.to_string(),
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (verb, arguments, reason) in [
            ("explode", "", "refused: there is no order \"explode\"; the orders are pause, resume"),
            ("<b>pause</b>", "", "refused: there is no order \"<b>pause</b>\""),
            ("pause", "now", "refused: pause takes no arguments"),
            ("set", "", "refused: it names no setting"),
            (
                "set",
                "thrads=2",
                "refused: there is no setting \"thrads\"; the settings are cut_over",
            ),
            ("set", "pause=true", "refused: there is no setting \"pause\""),
            ("set", "threads", "refused: \"threads\" is no KEY=VALUE"),
            ("set", "threads = 2", "refused: \"threads\" is no KEY=VALUE"),
            ("set", "threads=0", "refused: threads: threads must be a whole number, 1 to 32"),
            ("set", "threads='; DROP TABLE x", "refused: threads: invalid type"),
            ("set", "max_rows_per_second=0", "refused: max_rows_per_second: invalid value"),
            ("set", "chunk_time=500", "refused: chunk_time: "),
            ("set", "max_lag=0s", "refused: max_lag: a duration must be longer than zero"),
            ("set", "cut_over=later", "refused: cut_over: unknown variant `later`"),
            ("set", "threads=2,threads=3", "refused: threads is given twice"),
        ] {
            let answer = answer(&written(verb, arguments));
            assert!(answer.starts_with(reason), "{verb} {arguments}: {answer}");
        }
        let long = answer(&written("set", &"x".repeat(100_000)));
        assert_eq!(long, "refused: its arguments are longer than 2000 characters");
        let long = answer(&written(&"x".repeat(100_000), ""));
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn what_is_over_or_was_made_for_an_earlier_attempt_does_nothing() {
        let over = Written { lasts: Some(Duration::ZERO), ..written("pause", "") };
        assert!(answer(&over).starts_with("expired: "));
        let early = Written { early: true, ..written("abort", "") };
        assert_eq!(answer(&early), "expired: made before this attempt began");
        let lasting = Written { lasts: Some(Duration::from_secs(9)), ..written("abort", "") };
        assert!(answer(&lasting).starts_with("refused: abort does not last"));
    }

    #[test]
    fn settings_are_read_as_the_control_file_reads_them() {
        for text in
            ["threads=2 max_lag=3s", "threads=2,max_lag=\"3s\"", " threads='2'\nmax_lag='3s' "]
        {
            let changes = settings(text).unwrap();
            let wishes = |of| {
                let change = changes.iter().find(|(key, _)| *key == of).map(|(_, change)| change);
                match change {
                    Some(Change::To(wishes)) => wishes.clone(),
                    _ => panic!("{changes:?}"),
                }
            };
            assert_eq!(wishes(Key::Threads).threads.map(Into::into), Some(2_usize));
            assert_eq!(wishes(Key::MaxLag).max_lag, Some(Duration::from_secs(3)));
        }
        let now = settings("cut_over=hold").unwrap();
        assert_eq!(now.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(verb in ".{0,9}|set", arguments in ".{0,40}|[a-z_]{1,9}=[-'\"0-9a-z]{0,6}") {
            let _ = answer(&written(&verb, &arguments));
        }

        #[test]
        fn an_answer_is_read_as_it_was_written(text in ".*") {
            for answer in [
                Answer::Accepted(text.clone()),
                Answer::Refused(text.clone()),
                Answer::Expired(text.clone()),
            ] {
                prop_assert_eq!(Answer::of(&answer.to_string()), answer);
            }
        }
    }
}
