//! How a command that failed says so.

use std::error::Error as _;
use std::iter::successors;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};

use crate::engine::progress::About;
use crate::error::Error;
use crate::output::screen::{Screen, colours, printable, stdout_line};

/// Says on stderr what went wrong and what helps, with `-vv` also what it came of; with `json`, on stdout
/// too.
pub fn show(error: &Error, json: bool, about: About, screen: &Screen) {
    if json {
        stdout_line(&crate::output::json::error(error, about));
    }
    for cause in successors(error.source(), |cause| (*cause).source()) {
        tracing::debug!("caused by: {}", printable(&cause.to_string()));
    }
    screen.styled(&text(&error.to_string(), error.help().as_deref(), colours()));
}

/// As clap shows a mistake in the flags.
fn text(message: &str, help: Option<&str>, coloured: bool) -> String {
    let style = |colour: AnsiColor| match coloured {
        true => colour.on_default().bold(),
        false => Style::new(),
    };
    let (red, cyan) = (style(AnsiColor::Red), style(AnsiColor::Cyan));
    let help = help.map(|help| format!("\n  {cyan}help:{cyan:#} {}", printable(help)));
    format!("{red}error:{red:#} {}{}", printable(message), help.unwrap_or_default())
}

/// Says what is wrong with the command line, or prints its help, and ends.
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
        assert_eq!(text("a\n  - b", Some("c"), false), "error: a\n  - b\n  help: c");
    }

    #[test]
    fn a_terminal_gets_colours() {
        let shown = text("a", None, true);
        assert_eq!(shown, "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m a");
    }
}
