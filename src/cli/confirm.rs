//! Leave for what cannot be taken back.

use std::io::{self, IsTerminal, Write};

use crate::engine::{Error, Result};

/// Asks on the terminal, unless `yes` was given already. `Ok(false)`: no.
///
/// # Errors
/// `Usage` when there is nobody to ask.
pub fn confirm(question: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Error::Usage {
            message: format!("{question} There is nobody to ask"),
            help: "give leave with --yes".into(),
        });
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
