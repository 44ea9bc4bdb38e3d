//! The outbox: a file for each message, for a program that carries them on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::notice::Notice;
use crate::error::{Error, Result};
use crate::output::screen::one_line;

/// Whom messages are for, unless another is named.
const TO: &str = "Lead";

/// What is printed when a message is there, unless another text is given.
const ANNOUNCE: &str = "->relay-file:{file}";

/// Prints a line for whoever reads osc's output.
pub(crate) type Announce = Arc<dyn Fn(&str) + Send + Sync>;

/// A directory that messages are put into.
#[derive(Clone)]
pub(super) struct Outbox {
    folder: PathBuf,
    to: String,
    line: String,
    announce: Announce,
}

impl Outbox {
    /// The outbox in `folder`.
    ///
    /// # Errors
    /// `Usage`, where it is no directory.
    pub(super) fn open(
        folder: &Path,
        to: Option<&str>,
        line: Option<&str>,
        announce: Announce,
    ) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::Usage {
                message: format!("the outbox {} is no directory", folder.display()),
                help: "make it, or name another".into(),
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            to: one_line(to.unwrap_or(TO)),
            line: one_line(line.unwrap_or(ANNOUNCE)),
            announce,
        })
    }

    /// Puts a message there and announces it. Blocks.
    pub(super) fn put(&self, notice: &Notice) {
        match self.write(notice) {
            Ok(name) if !self.line.is_empty() => {
                (self.announce)(&self.line.replace("{file}", &name));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("no message in the outbox {}: {error}", self.folder.display());
            }
        }
    }

    /// Writes it under a name that is no message's yet, then renames it: no reader sees half of it.
    fn write(&self, notice: &Notice) -> io::Result<String> {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("osc-{time}-{}-{:03}-{}", notice.tag, notice.seq, notice.event);
        let draft = self.folder.join(format!(".{name}.tmp"));
        let text = format!("TO: {}\n\n{}\n", self.to, notice.letter);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&draft, self.folder.join(&name)));
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        written?;
        // The name itself lasts; where a directory cannot be synchronised, it most probably does.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn outbox(folder: &Path, line: Option<&str>) -> (Outbox, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = Arc::clone(&lines);
        let announce: Announce =
            Arc::new(move |line| printed.lock().unwrap().push(line.to_owned()));
        (Outbox::open(folder, None, line, announce).unwrap(), lines)
    }

    #[test]
    fn a_message_is_a_whole_file_and_is_announced() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, lines) = outbox(folder.path(), None);
        outbox.put(&Notice::example(1));
        outbox.put(&Notice::example(2));
        let mut names: Vec<String> = folder
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(
            names.iter().all(|name| name.starts_with("osc-") && name.ends_with("-hold")),
            "{names:?}"
        );
        let mut announced: Vec<String> =
            names.iter().map(|name| format!("->relay-file:{name}")).collect();
        announced.sort();
        let mut printed = lines.lock().unwrap().clone();
        printed.sort();
        assert_eq!(printed, announced);
        let text = std::fs::read_to_string(folder.path().join(&names[0])).unwrap();
        assert_eq!(
            text,
            "TO: Lead\n\nHOLD: shop.a'b <b>c ADD COLUMN a INT is ready and waits for permission\n\
             - Reason: a\u{fffd}b\n"
        );
    }

    #[test]
    fn the_line_is_another_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (other, lines) = outbox(folder.path(), Some("read {file}\nnow"));
        other.put(&Notice::example(1));
        assert!(lines.lock().unwrap()[0].ends_with("-hold now"));
        let (silent, lines) = outbox(folder.path(), Some(""));
        silent.put(&Notice::example(2));
        assert!(lines.lock().unwrap().is_empty());
    }

    #[test]
    fn an_outbox_that_has_gone_is_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, lines) = outbox(folder.path(), None);
        drop(folder);
        outbox.put(&Notice::example(1));
        assert!(lines.lock().unwrap().is_empty());
        assert!(Outbox::open(Path::new("/nowhere"), None, None, Arc::new(|_| {})).is_err());
    }
}
