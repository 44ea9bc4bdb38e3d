//! The terminal, shared by the progress bar, the lines above it and the log.

use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result};

/// Where a human reads. Lines go to stderr, above the bar if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Screen(MultiProgress);

impl Screen {
    /// Puts `bar` at the bottom.
    pub(crate) fn show(&self, bar: ProgressBar) -> ProgressBar {
        self.0.add(bar)
    }

    /// Writes text and a line's end to stderr.
    pub fn line(&self, text: &str) {
        self.styled(&printable(text));
    }

    /// Like [`Screen::line`], for text with colours, whose foreign parts are [`printable`].
    pub(crate) fn styled(&self, text: &str) {
        // A stderr that is closed, or whose disk is full, must not end a run.
        self.beside_the_bar(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Writes text and a line's end to stdout, as far as that can be done: a run goes on without.
    pub fn remark(&self, text: &str) {
        let text = printable(text);
        self.beside_the_bar(|| stdout_line(&text));
    }

    /// Does `work` while no bar is drawn.
    pub(crate) fn suspended<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.suspend(work)
    }

    /// Writes text and a line's end to stdout: a command's answer.
    ///
    /// # Errors
    /// When it cannot be written. A reader that has gone has what it wanted.
    pub fn answer(&self, text: &str) -> Result<()> {
        self.page(&printable(text))
    }

    /// The same for a page of blocks, whose foreign parts are `one_line`.
    ///
    /// # Errors
    /// Those of [`Screen::answer`].
    pub fn page(&self, text: &str) -> Result<()> {
        let mut outcome = Ok(());
        self.beside_the_bar(|| outcome = write_line(text));
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::Output(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The same for what a program reads: one line of JSON.
    ///
    /// # Errors
    /// Those of [`Screen::answer`].
    pub(crate) fn json(&self, answer: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string(answer)
            .map_err(|error| Error::Internal(format!("the answer cannot be written: {error}")))?;
        self.page(&text)
    }

    /// Takes the bar away meanwhile. Its crate panics where the terminal has gone, and is not
    /// used again then.
    fn beside_the_bar(&self, write: impl FnOnce()) {
        let mut write = Some(write);
        let moved = catch_unwind(AssertUnwindSafe(|| {
            self.0.suspend(|| write.take().into_iter().for_each(|write| write()));
        }));
        if moved.is_err() {
            self.0.set_draw_target(ProgressDrawTarget::hidden());
            write.take().into_iter().for_each(|write| write());
        }
    }
}

/// Whether stderr shows colours.
pub fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes a line to stdout. Whoever reads it may have gone: that must not end a run.
pub fn stdout_line(text: &str) {
    let _ = write_line(text);
}

fn write_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

/// Names, clauses and servers' messages may hold anything, a terminal's commands included. Lines
/// after the first are indented: none of them passes for a line of osc's own.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
            if !line.is_empty() && !line.starts_with("  ") {
                shown.push_str("  ");
            }
        }
        shown.extend(line.chars().map(visible));
    }
    shown
}

/// The same for what is one line: a name, a reason, a field of a table.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { visible(c) }).collect()
}

/// Not a control character, nor one that changes the direction or the line of what follows.
fn visible(c: char) -> char {
    let turns =
        matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if turns || c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

/// A writer for the log that moves the bar out of its way.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.clone())
    }
}

/// Writes one piece of the log to stderr.
#[derive(Debug)]
pub struct LogWriter(Screen);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A log that cannot be written is lost; the run continues.
        self.0.beside_the_bar(|| {
            let _ = io::stderr().lock().write_all(bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminals_commands_are_not_passed_on() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\r\n  d"), "a\u{fffd}[2Jb\tc\u{fffd}\n  d");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }

    #[test]
    fn no_text_of_others_passes_for_a_line_of_osc() {
        assert_eq!(printable("x\ndone: all is well\n\n  y"), "x\n  done: all is well\n\n  y");
        assert_eq!(one_line("x\ndone\r"), "x done\u{fffd}");
    }
}
