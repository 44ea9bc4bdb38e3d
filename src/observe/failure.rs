//! Why a command failed, for those who are to know it and are to see no row.

use crate::error::Error;
use crate::output::json::Failure;

/// Without the keys of rows: a log has them, and whoever may read that.
pub(crate) fn failure(error: &Error) -> Failure {
    let rows = |count: u64| if count == 1 { "row" } else { "rows" };
    let mut failure = Failure::from(error);
    match error {
        Error::Misfits { count, .. } => {
            failure.message = format!("{count} {} cannot go back; not swapped", rows(*count));
        }
        Error::Verification { count, .. } => {
            failure.message =
                format!("verification failed: {count} differing {}; not swapped", rows(*count));
        }
        Error::Data { reason, .. } => {
            failure.message = format!("existing rows do not fit: {reason}");
        }
        _ => {}
    }
    failure
}
