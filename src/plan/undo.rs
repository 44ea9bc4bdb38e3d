//! Whether a change can be undone, said before it is made: what each column and key of both tables means for
//! the way back. The servers' modules judge, by what an undo itself goes by; the words are here.

use std::fmt::Write as _;

use serde::Serialize;

use crate::engine::event::Start;
use crate::shell;

/// What an undo can do about one column or key, from the best to the worst; of a change, the worst of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It goes back, whatever is written.
    Possible,
    /// It goes back while a condition holds; a row that breaks it cannot go back.
    PossibleWhile,
    /// It goes back without something that is named.
    Loses,
    /// It does not go back.
    Impossible,
}

impl Outcome {
    /// Its word in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::PossibleWhile => "possible-while",
            Self::Loses => "loses",
            Self::Impossible => "impossible",
        }
    }
}

/// How a change is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// `osc revert`: the retired table goes back.
    Revert,
    /// The opposite change: there is no retired table.
    OppositeChange,
}

/// What one column or key means for an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    /// What an undo can do.
    pub outcome: Outcome,
    /// The column, key or clause, by its name.
    pub subject: String,
    /// Why; of a condition what must hold, to be read after "while"; of a loss what is lost, after "loses".
    #[serde(rename = "reason")]
    pub text: String,
}

/// Whether a change can be undone, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// The worst of the reasons.
    pub outcome: Outcome,
    /// How it is undone.
    pub by: Way,
    /// One for each column or key that matters.
    pub reasons: Vec<Reason>,
}

/// Conditions and losses that are named in one line.
const NAMED: usize = 3;

impl Reason {
    /// It goes back, with something to know.
    pub(crate) fn possible(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Outcome::Possible, subject, text)
    }

    /// It goes back while `condition` holds.
    pub(crate) fn possible_while(subject: impl Into<String>, condition: impl Into<String>) -> Self {
        Self::new(Outcome::PossibleWhile, subject, condition)
    }

    /// It goes back without `lost`.
    pub(crate) fn loses(subject: impl Into<String>, lost: impl Into<String>) -> Self {
        Self::new(Outcome::Loses, subject, lost)
    }

    /// It does not go back.
    pub(crate) fn impossible(subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Outcome::Impossible, subject, why)
    }

    /// A clause by which the server itself takes away what nothing keeps.
    pub(crate) fn for_good(clause: &str) -> Self {
        Self::impossible(clause, format!("{clause} keeps nothing of what was there"))
    }

    fn new(outcome: Outcome, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { outcome, subject: subject.into(), text: text.into() }
    }

    /// As a line of a list.
    fn line(&self) -> String {
        let Self { outcome, subject, text } = self;
        match outcome {
            Outcome::Possible => format!("{subject}: {text}"),
            Outcome::PossibleWhile => format!("{subject}: possible while {text}"),
            Outcome::Loses => format!("{subject}: loses {text}"),
            Outcome::Impossible => format!("{subject}: impossible: {text}"),
        }
    }
}

impl Verdict {
    /// The verdict that these reasons make.
    pub(crate) fn of(by: Way, reasons: Vec<Reason>) -> Self {
        let worst = reasons.iter().map(|reason| reason.outcome).max();
        Self { outcome: worst.unwrap_or(Outcome::Possible), by, reasons }
    }

    /// In one line: whether, on which conditions, what is lost.
    pub(crate) fn headline(&self) -> String {
        let impossible = self.texts(Outcome::Impossible, "; ");
        if !impossible.is_empty() {
            return format!("impossible: {impossible}");
        }
        let mut line = String::from("possible");
        // Writing to a string cannot fail.
        for (outcome, word, between) in [
            (Outcome::PossibleWhile, " while ", ", and while "),
            (Outcome::Loses, "; loses ", "; "),
        ] {
            let texts = self.texts(outcome, between);
            if !texts.is_empty() {
                let _ = write!(line, "{word}{texts}");
            }
        }
        line
    }

    fn texts(&self, outcome: Outcome, between: &str) -> String {
        let reasons = self.reasons.iter().filter(|reason| reason.outcome == outcome);
        let all: Vec<&str> = reasons.map(|reason| reason.text.as_str()).collect();
        let (named, more) = all.split_at(all.len().min(NAMED));
        let mut text = named.join(between);
        if !more.is_empty() {
            let _ = write!(text, " (and {} more)", more.len());
        }
        text
    }

    /// The headline after how the change of `table` is undone.
    pub(crate) fn summary(&self, table: &str) -> String {
        let headline = self.headline();
        match (self.by, self.outcome) {
            (_, Outcome::Impossible) => headline,
            (Way::Revert, _) => format!("osc revert {}; {headline}", shell::word(table)),
            (Way::OppositeChange, _) => format!("by the opposite change; {headline}"),
        }
    }

    /// What is reported of it when the change of `table` begins.
    pub(crate) fn tell(&self, table: &str, start: &mut Start) {
        start.undo = Some(self.summary(table));
        start.undo_outcome = Some(self.outcome.word());
    }

    /// What a run records of it: the summary, and below it a line for each reason.
    pub(crate) fn record(&self, table: &str) -> Vec<String> {
        std::iter::once(self.summary(table)).chain(self.lines()).collect()
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.reasons.iter().map(Reason::line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(all: &[(Outcome, &str)]) -> Vec<Reason> {
        all.iter().map(|(outcome, text)| Reason::new(*outcome, "c", *text)).collect()
    }

    #[test]
    fn the_worst_reason_is_the_verdict() {
        use Outcome::{Impossible, Loses, Possible, PossibleWhile};
        let verdict = |all: &[_]| Verdict::of(Way::Revert, reasons(all));
        assert_eq!(verdict(&[]).outcome, Possible);
        assert_eq!(verdict(&[]).summary("t"), "osc revert t; possible");
        let both = verdict(&[(Loses, "this"), (PossibleWhile, "A holds"), (Possible, "known")]);
        assert_eq!(both.outcome, Loses);
        assert_eq!(both.headline(), "possible while A holds; loses this");
        let never = verdict(&[(PossibleWhile, "A holds"), (Impossible, "no way")]);
        assert_eq!(never.summary("t"), "impossible: no way");
        assert_eq!(never.lines(), ["c: possible while A holds", "c: impossible: no way"]);
    }

    #[test]
    fn one_line_names_three_conditions() {
        let all: Vec<_> = (0..5).map(|_| (Outcome::PossibleWhile, "A holds")).collect();
        assert_eq!(
            Verdict::of(Way::OppositeChange, reasons(&all)).summary("t"),
            "by the opposite change; possible while A holds, and while A holds, and while A holds (and 2 more)"
        );
    }
}
