//! How the program ends: what a caller can see from its exit code alone.

use crate::error::Error;
use crate::ledger::orders::NO_ANSWER;

/// The exit code of a command that ends with this error; 0 is success.
pub fn of(error: &Error) -> u8 {
    match error {
        Error::Usage { .. } | Error::Unreachable { .. } => 2,
        error if error.is_resumable() => 3,
        Error::Order(finding) if finding.check == NO_ANSWER => 1,
        Error::Refused(_) | Error::Order(_) => 4,
        Error::Verification { .. } | Error::Misfits { .. } | Error::Reverted { .. } => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Finding;

    #[test]
    fn each_end_has_its_code() {
        let text = String::new;
        let ends = [
            (1, Error::Foreign(text())),
            (1, Error::Data { reason: text(), rows: Vec::new() }),
            (2, Error::Usage { message: text(), help: text() }),
            (2, Error::Unreachable { address: text(), message: text(), help: text(), cause: None }),
            (3, Error::Stopped { reason: text(), help: text() }),
            (3, Error::connection(text(), text())),
            (3, Error::Full { action: text(), message: text() }),
            (4, Error::Refused(Vec::new())),
            (4, Error::Order(Finding::new("no-attempt", text(), text()))),
            (1, Error::Order(Finding::new(NO_ANSWER, text(), text()))),
            (5, Error::Verification { count: 1, keys: Vec::new() }),
            (5, Error::Reverted { reason: text() }),
            (5, Error::Misfits { count: 1, rows: Vec::new(), may_stay: true }),
        ];
        for (code, error) in ends {
            assert_eq!(of(&error), code, "{error}");
        }
    }
}
