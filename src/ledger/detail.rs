//! What the ledger keeps of an error: the ledger is read by more people than the table is, so it has
//! keys of rows and no other values.

use crate::error::Error;

/// What stands for a value.
const LEFT_OUT: char = '…';

/// How servers begin to show a value, and the sign that ends it.
const BEGINNINGS: [(&str, char); 9] = [
    ("entry '", '\''),
    ("value: '", '\''),
    ("string: '", '\''),
    ("string '", '\''),
    (": \"", '"'),
    ("value \"", '"'),
    (")=(", ')'),
    (") = (", ')'),
    ("contains (", ')'),
];

/// What follows a value in a server's words, or nothing does.
const CONTINUATIONS: [&str; 9] = [
    " for key",
    " for column",
    " from ",
    " at row",
    " is ",
    " already ",
    " conflicts ",
    " still ",
    " does not ",
];

/// An error for the ledger.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::Data { reason, rows } => {
            let shown = match rows.len() {
                0 => String::new(),
                1 => " (the run printed the row)".to_owned(),
                rows => format!(" (the run printed {rows} rows)"),
            };
            format!("existing rows do not fit: {}{shown}", without_values(reason))
        }
        Error::Misfits { count, .. } => {
            format!("{count} rows cannot go back (the run printed them)")
        }
        // Its keys are keys of the copy.
        Error::Verification { .. } => error.to_string(),
        _ => without_values(&error.to_string()),
    }
}

/// A server's message without the values that it shows.
fn without_values(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((begins, ends)) = next_value(rest) {
        kept.push_str(rest.get(..begins).unwrap_or_default());
        kept.push(LEFT_OUT);
        rest = rest.get(ends..).unwrap_or_default();
    }
    kept + rest
}

/// Where the first value begins and ends; a value whose end is not known ends with the text.
fn next_value(text: &str) -> Option<(usize, usize)> {
    let found = BEGINNINGS
        .iter()
        .filter_map(|(begins, sign)| text.find(begins).map(|at| (at + begins.len(), *sign)));
    let (begins, sign) = found.min()?;
    let value = text.get(begins..)?;
    // The last of the signs that can end it, since a value may have such signs in it: one that the
    // server's words follow, or else the one at the end.
    let after = |at: usize| value.get(at + sign.len_utf8()..).unwrap_or_default();
    let signs = || value.rmatch_indices(sign).map(|(at, _)| at);
    let followed = |at: &usize| CONTINUATIONS.iter().any(|word| after(*at).starts_with(word));
    let ended = |at: &usize| after(*at).trim_end_matches(['.', ')', '\n', ' ', ';']).is_empty();
    let ends = signs().find(followed).or_else(|| signs().find(ended));
    Some((begins, begins + ends.unwrap_or(value.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_left_out_of_both_servers_words() {
        for (message, kept) in [
            ("Duplicate entry 'bob@x' for key 't.mail'", "Duplicate entry '…' for key 't.mail'"),
            ("Duplicate entry 'o'hare' for key 't.n'", "Duplicate entry '…' for key 't.n'"),
            (
                "Incorrect integer value: 'secret' for column `d`.`t`.`n` at row 3",
                "Incorrect integer value: '…' for column `d`.`t`.`n` at row 3",
            ),
            ("Truncated incorrect DOUBLE value: 'secret'", "Truncated incorrect DOUBLE value: '…'"),
            ("Data too long for column 'c' at row 12", "Data too long for column 'c' at row 12"),
            (
                "invalid input syntax for type integer: \"secret\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            ("u: Key (mail)=(bob@x (home)) already exists.", "u: Key (mail)=(…) already exists."),
            ("Failing row contains (1, bob, 2).", "Failing row contains (…)."),
            (
                "value \"123456\" is out of range for type integer",
                "value \"…\" is out of range for type integer",
            ),
            ("value: 'cut off in the mid", "value: '…"),
        ] {
            assert_eq!(without_values(message), kept);
        }
    }

    #[test]
    fn rows_are_counted_and_not_kept() {
        let rows = vec!["bob@x: id = 1 and id = 2".to_owned()];
        let detail = of(&Error::Data { reason: "rows have the same value".into(), rows });
        assert!(!detail.contains("bob"), "{detail}");
        assert!(detail.contains("the same value (the run printed the row)"), "{detail}");
    }
}
