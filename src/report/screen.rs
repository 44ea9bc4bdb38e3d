//! The terminal, shared by the progress bar, the lines above it and the log.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar};
use tracing_subscriber::fmt::MakeWriter;

/// Where a human reads. Lines go to stderr, above the bar if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Screen(MultiProgress);

impl Screen {
    /// Puts `bar` at the bottom.
    pub(super) fn show(&self, bar: ProgressBar) -> ProgressBar {
        self.0.add(bar)
    }

    /// Writes text and a line's end to stderr.
    pub fn line(&self, text: &str) {
        self.styled(&printable(text));
    }

    /// Like [`Screen::line`], for text with colours, whose foreign parts are [`printable`].
    pub(crate) fn styled(&self, text: &str) {
        // A closed stderr must not end a run.
        let _ = self.0.suspend(|| writeln!(io::stderr().lock(), "{text}"));
    }

    /// Writes text and a line's end to stdout: what a command was asked for.
    pub fn answer(&self, text: &str) {
        let text = printable(text);
        self.0.suspend(|| stdout_line(&text));
    }
}

/// Writes a line to stdout. Whoever reads it may have gone: that must not end a run.
pub fn stdout_line(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Names, clauses and servers' messages may hold anything, a terminal's commands included.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
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
        self.0.0.suspend(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminals_commands_are_not_passed_on() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\r\nd"), "a\u{fffd}[2Jb\tc\u{fffd}\nd");
    }
}
