//! What is wrong with the text, and where.

use crate::error::{Error, Marked, marked};

/// A mistake in the clauses, without a place.
pub(super) fn usage(message: impl Into<String>) -> Error {
    Error::Usage {
        message: message.into(),
        help: "like: osc alter users \"ADD COLUMN age int, DROP COLUMN note\"".into(),
    }
}

/// A mistake at the byte `at` of `text`: line, column, and a mark under the place. `shift`: how many
/// bytes of `text` the user did not write.
pub(super) fn mistake(text: &str, at: usize, shift: usize, message: &str) -> Error {
    let own = text.get(shift..).unwrap_or_default();
    let at = at.saturating_sub(shift);
    let Marked { line, column, shown } = marked(own, at..at);
    usage(format!("the clauses cannot be read: {message}, in line {line}, column {column}:{shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_marked_on_its_line() {
        let error = mistake("ALTER TABLE t ADD a int,\nDROP \u{e9} x", 33, 14, "no");
        let expected =
            "the clauses cannot be read: no, in line 2, column 8:\n  DROP \u{e9} x\n         ^";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_place_past_the_end_or_inside_a_letter_is_marked() {
        assert!(mistake("ab", 9, 0, "no").to_string().ends_with("  ab\n    ^"));
        assert!(mistake("\u{e9}", 1, 0, "no").to_string().ends_with("  \u{e9}\n  ^"));
    }
}
