//! Hooks: executables in a directory, by the names of the events.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::gate::{BEFORE_CUT_OVER, BEFORE_REVERT};
use super::notice::Notice;
use crate::config::notify::Topic;
use crate::error::{Error, Result};
use crate::output::screen::one_line;

/// How long a hook may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// How long its output is waited for after its end, where a child of it still holds it.
const OUTPUT_AFTER_END: Duration = Duration::from_millis(500);

/// Of each of its outputs, in bytes; the rest is read and thrown away.
const MOST_OUTPUT: usize = 16 * 1024;

/// Lines of it that go to the log.
const MOST_LINES: usize = 100;

/// A line of it in a message, in characters.
const LONGEST_LINE: usize = 200;

/// All that a hook keeps of osc's environment: what is needed to find and run programs. A password or a URL
/// may be in any other variable.
const KEPT: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"];

/// A directory of hooks.
#[derive(Debug, Clone)]
pub(super) struct Hooks {
    folder: PathBuf,
    limit: Duration,
}

/// How a hook ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its status; `None`: it was ended after the limit.
    pub status: Option<ExitStatus>,
    /// What it printed first, as one line.
    pub says: Option<String>,
}

impl Ended {
    /// How, for a human.
    pub(super) fn words(&self, limit: Duration) -> String {
        let how = match self.status {
            None => format!("ended after {} s", limit.as_secs()),
            Some(status) => status.to_string(),
        };
        match &self.says {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }
    }
}

/// The names that hooks have.
fn names() -> impl Iterator<Item = String> {
    let events = Topic::WORDS.iter().map(|word| format!("on-{word}"));
    events.chain([BEFORE_CUT_OVER, BEFORE_REVERT].map(str::to_owned))
}

impl Hooks {
    /// The hooks in `folder`.
    ///
    /// # Errors
    /// `Usage`, where it is no directory, others may write to it, or a hook in it would never be run.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let wrong = |path: &Path, what: &str, help: &str| Error::Usage {
            message: format!("hooks: {} {what}", path.display()),
            help: help.into(),
        };
        let unreadable =
            |path: &Path, error: &io::Error| wrong(path, &format!("cannot be read: {error}"), "");
        let folder = std::path::absolute(folder).map_err(|error| unreadable(folder, &error))?;
        let safe = |path: &Path, metadata: &Metadata| {
            let writable = metadata.permissions().mode() & 0o002 != 0;
            let problem = || wrong(path, "may be written to by everybody", "chmod o-w it");
            if writable { Err(problem()) } else { Ok(()) }
        };
        let metadata = folder.metadata().map_err(|error| unreadable(&folder, &error))?;
        if !metadata.is_dir() {
            return Err(wrong(&folder, "is no directory", "name the directory of the hooks"));
        }
        safe(&folder, &metadata)?;
        let entries = folder.read_dir().map_err(|error| unreadable(&folder, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !name.starts_with("on-") && !name.starts_with("before-") {
                continue;
            }
            let metadata = path.metadata().map_err(|error| unreadable(&path, &error))?;
            let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
            if !names().any(|known| known == name) {
                if executable {
                    return Err(wrong(&path, "is no event's hook", &nearest(name)));
                }
            } else if !executable {
                return Err(wrong(&path, "cannot be run", "make it an executable file: chmod +x"));
            } else {
                safe(&path, &metadata)?;
            }
        }
        Ok(Self { folder, limit: LIMIT })
    }

    /// With another limit.
    #[cfg(test)]
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// How long one may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs the hook `name`; `None`: there is none. Dropping the call ends it, with its children.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) async fn run(&self, name: &str, notice: &Notice) -> io::Result<Option<Ended>> {
        let path = self.folder.join(name);
        if !tokio::fs::try_exists(&path).await? {
            return Ok(None);
        }
        let mut command = Command::new(&path);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let kept = |name: &str| KEPT.contains(&name) || name.starts_with("LC_");
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept)));
        // A group of its own: it ends as a whole, and a terminal's Ctrl-C is osc's.
        let mut child = command.envs(notice.variables()).process_group(0).spawn()?;
        let _group = Group(child.id());
        let output = Output::default();
        let readers = [
            child.stdout.take().map(|stream| output.reader(stream)),
            child.stderr.take().map(|stream| output.reader(stream)),
        ];
        let facts = format!("{}\n", notice.json);
        let writer = child.stdin.take().map(|mut stdin| {
            AbortOnDropHandle::new(tokio::spawn(async move {
                // It need not read it.
                let _ = stdin.write_all(facts.as_bytes()).await;
            }))
        });
        let status = timeout(self.limit, child.wait()).await.ok().transpose()?;
        let rest = async {
            for reader in readers.into_iter().flatten() {
                let _ = reader.await;
            }
        };
        if status.is_some() {
            let _ = timeout(OUTPUT_AFTER_END, rest).await;
        }
        drop(writer);
        Ok(Some(Ended { status, says: output.log(name) }))
    }

    /// Runs the hook of an event, and logs how it ended.
    pub(super) async fn on(&self, notice: &Notice) {
        let name = format!("on-{}", notice.event);
        match self.run(&name, notice).await {
            Ok(None) => {}
            Ok(Some(ended)) if ended.status.is_some_and(|status| status.success()) => {}
            Ok(Some(ended)) => tracing::warn!("hook {name}: {}", ended.words(self.limit)),
            Err(error) => tracing::warn!("hook {name} cannot be run: {error}"),
        }
    }
}

/// The name that was probably meant.
fn nearest(name: &str) -> String {
    let distance = |known: &String| strsim::damerau_levenshtein(known, name);
    let known = names().min_by_key(distance).unwrap_or_default();
    format!("perhaps {known} is meant? Hooks are {}", names().collect::<Vec<_>>().join(", "))
}

/// What a hook prints, as far as it is kept.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    fn reader(&self, mut stream: impl AsyncRead + Unpin + Send + 'static) -> AbortOnDropHandle<()> {
        let kept = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_OUTPUT.saturating_sub(kept.len()).min(length);
                kept.extend(buffer.iter().take(room));
            }
        }))
    }

    /// Writes it to the log; returns its first line.
    fn log(&self, name: &str) -> Option<String> {
        let bytes: Vec<u8> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(|line| one_line(line.trim_end()));
        let lines: Vec<String> = lines.filter(|line| !line.is_empty()).take(MOST_LINES).collect();
        for line in &lines {
            tracing::info!("hook {name}: {line}");
        }
        lines.first().map(|line| line.chars().take(LONGEST_LINE).collect())
    }
}

/// A group of processes, which ends when this is dropped. Its number is not given to another while one of
/// them lives.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // Most often none is left.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
pub(super) mod tests;
