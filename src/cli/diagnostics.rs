//! How a command that failed says so.

use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use miette::{Diagnostic, MietteHandlerOpts, ReportHandler};

use crate::engine::progress::About;
use crate::error::Error;
use crate::output::screen::{Screen, printable, stdout_line};

#[derive(Debug)]
struct Failure {
    message: String,
    help: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

/// Says on stderr what went wrong and what helps; with `json`, on stdout too.
pub fn show(error: &Error, json: bool, about: About, screen: &Screen) {
    if json {
        stdout_line(&crate::output::json::error(error, about));
    }
    let failure = Failure {
        message: printable(&error.to_string()),
        help: error.help().map(|help| printable(&help)),
    };
    screen.styled(&if std::io::stderr().is_terminal() {
        Pretty(&failure).to_string().trim_end().to_owned()
    } else {
        plain(&failure)
    });
}

/// For a log: no colours, and lines as they are.
fn plain(failure: &Failure) -> String {
    let help = failure.help.as_ref().map(|help| format!("\n  help: {help}"));
    format!("error: {}{}", failure.message, help.unwrap_or_default())
}

/// For a terminal: coloured, and wrapped to its width.
struct Pretty<'a>(&'a Failure);

impl fmt::Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MietteHandlerOpts::new().build().debug(self.0, f)
    }
}

/// Says what is wrong with the command line, or what was asked of it (`--help`), and ends.
pub fn of_command_line(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let hidden = without_passwords(&text);
    if hidden == text || !error.use_stderr() {
        // Whoever reads it may have gone.
        let _ = error.print();
    } else {
        Screen::default().line(hidden.trim_end());
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// clap repeats what was typed, and a URL may have been typed in the wrong place.
fn without_passwords(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    for (number, part) in text.split("://").enumerate() {
        if number > 0 {
            hidden.push_str("://");
        }
        match part.rsplit_once('@') {
            Some((_, rest)) if number > 0 => {
                hidden.push_str("…@");
                hidden.push_str(rest);
            }
            _ => hidden.push_str(part),
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_the_wrong_place_does_not_show_its_password() {
        assert_eq!(
            without_passwords("found 'mysql://u:p@q@h/db' and 'postgres://u:p@h'"),
            "found 'mysql://…@h/db' and 'postgres://…@h'"
        );
        assert_eq!(without_passwords("see https://host/a, me@host"), "see https://…@host");
        assert_eq!(without_passwords("nothing here"), "nothing here");
    }

    #[test]
    fn a_log_gets_lines_as_they_are() {
        let failure = Failure { message: "a\n  - b".into(), help: Some("c".into()) };
        assert_eq!(plain(&failure), "error: a\n  - b\n  help: c");
    }
}
