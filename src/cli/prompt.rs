//! Permission for what cannot be undone.

use std::io::{self, IsTerminal, Write};

use crate::error::{Error, Result};
use crate::output::screen::printable;

/// Asks on the terminal, unless `yes` was given already. `Ok(false)`: no. `help` says what to do
/// where there is no terminal.
///
/// # Errors
/// `Usage` where there is no terminal.
pub(super) fn confirm(question: &str, yes: bool, help: &str) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Error::Usage {
            message: format!("{question} This is not a terminal, so osc cannot ask"),
            help: help.into(),
        });
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{} [y/N] ", printable(question)).and_then(|()| stderr.flush());
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
