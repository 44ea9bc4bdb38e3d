//! The control file: a text file with which a run is steered while it is under way.
//!
//! Absent: run. Empty: paused. Else TOML. It is read again every 200 ms, by
//! content: editors replace files, and network file systems tell nobody of changes. A mistake
//! pauses the copy, says where it is, and leaves the other wishes as they were.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{CutOver, Directives};
use crate::config::line_of;
use crate::config::period::Period;

/// How often the file is read.
const INTERVAL: Duration = Duration::from_millis(200);

/// A larger file is not one that somebody wrote to steer a run.
const MAX_BYTES: u64 = 64 * 1024;

/// What the file may say. What it does not say is as the command line has it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    pause: bool,
    cut_over: Option<CutOverWord>,
    max_rows_per_second: Option<NonZeroU32>,
    threads: Option<NonZeroUsize>,
    chunk_time: Option<Period>,
    max_lag: Option<Period>,
    abort: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CutOverWord {
    Auto,
    Hold,
    Now,
}

impl From<CutOverWord> for CutOver {
    fn from(word: CutOverWord) -> Self {
        match word {
            CutOverWord::Auto => Self::Auto,
            CutOverWord::Hold => Self::Hold,
            CutOverWord::Now => Self::Now,
        }
    }
}

/// What is wrong with the file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mistake {
    line: Option<usize>,
    message: String,
}

/// The file at one moment; `None`: absent.
type Reading = Result<Option<Vec<u8>>, Mistake>;

/// Follows the control file at `path`. `base` is what holds without one, and for whatever it does
/// not say. The first reading is done before this returns, so a run never starts in spite of a
/// file that pauses it. The file is followed until the handle is dropped.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch(
    path: PathBuf,
    base: Directives,
) -> (watch::Receiver<Directives>, AbortOnDropHandle<()>) {
    let mut last = read(&path);
    let first = directives(&path, &last, &base, &base);
    let (sender, receiver) = watch::channel(first);
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let again = path.clone();
            // A hung network file system must hang this task only.
            let Ok(reading) = tokio::task::spawn_blocking(move || read(&again)).await else {
                continue;
            };
            if reading != last {
                last = reading;
                let before = sender.borrow().clone();
                sender.send_replace(directives(&path, &last, &base, &before));
            }
        }
    });
    (receiver, AbortOnDropHandle::new(task))
}

fn read(path: &Path) -> Reading {
    let failed = |error: std::io::Error| Mistake { line: None, message: error.to_string() };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(Mistake { line: None, message: "it is not a file".into() });
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            Err(Mistake { line: None, message: format!("it is larger than {MAX_BYTES} bytes") })
        }
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What a reading asks for. `before` is what held until now.
fn directives(
    path: &Path,
    reading: &Reading,
    base: &Directives,
    before: &Directives,
) -> Directives {
    let file = path.display();
    let content = match reading {
        Ok(None) => return base.clone(),
        Ok(Some(bytes)) => match parse(bytes) {
            Ok(Some(content)) => Ok(content),
            Ok(None) => {
                return Directives {
                    pause: Some(format!("control file {file} is empty")),
                    ..base.clone()
                };
            }
            Err(mistake) => Err(mistake),
        },
        Err(mistake) => Err(mistake.clone()),
    };
    match content {
        Ok(content) => Directives {
            pause: if content.pause {
                Some(format!("control file {file} says pause"))
            } else {
                base.pause.clone()
            },
            cut_over: content.cut_over.map_or(base.cut_over, Into::into),
            max_rows_per_second: content.max_rows_per_second.or(base.max_rows_per_second),
            threads: content.threads.or(base.threads),
            chunk_time: content.chunk_time.map(Period::get).or(base.chunk_time),
            max_lag: content.max_lag.map(Period::get).or(base.max_lag),
            abort: content.abort || base.abort,
        },
        Err(Mistake { line, message }) => {
            let place = line.map_or(String::new(), |line| format!(" line {line}"));
            Directives {
                pause: Some(format!("control file {file}{place}: {message}")),
                ..before.clone()
            }
        }
    }
}

/// What a file of these bytes asks for: a door for `fuzz/`.
#[cfg(feature = "fuzzing")]
pub fn of_bytes(bytes: &[u8]) -> Directives {
    let base = Directives::default();
    directives(Path::new("F"), &Ok(Some(bytes.to_owned())), &base, &base)
}

/// `None`: empty.
fn parse(bytes: &[u8]) -> Result<Option<Content>, Mistake> {
    let text = std::str::from_utf8(bytes).map_err(|error| Mistake {
        line: Some(line_of(bytes, error.valid_up_to())),
        message: "it is not UTF-8".into(),
    })?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    toml::from_str(text).map(Some).map_err(|error| Mistake {
        line: error.span().map(|span| line_of(bytes, span.start)),
        message: error.message().replace('\n', ", "),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Directives {
        Directives { threads: NonZeroUsize::new(4), cut_over: CutOver::Hold, ..Default::default() }
    }

    fn after(text: &str, before: &Directives) -> Directives {
        directives(Path::new("F"), &Ok(Some(text.into())), &base(), before)
    }

    fn mistake(text: &[u8]) -> (Option<usize>, String) {
        let Err(Mistake { line, message }) = parse(text) else {
            panic!("{:?} is no mistake", String::from_utf8_lossy(text));
        };
        (line, message)
    }

    #[test]
    fn an_absent_file_runs_and_an_empty_one_pauses() {
        assert_eq!(directives(Path::new("F"), &Ok(None), &base(), &base()), base());
        for text in ["", " ", "\n\r\n\t"] {
            assert_eq!(after(text, &base()).pause.as_deref(), Some("control file F is empty"));
        }
    }

    #[test]
    fn a_file_of_comments_alone_runs() {
        assert_eq!(after("# nothing to say\n", &base()), base());
    }

    #[test]
    fn every_key_of_the_design_is_taken() {
        let all = "pause = false\ncut_over = \"now\"\nmax_rows_per_second = 20000\nthreads = 2\n\
                   chunk_time = \"500ms\"\nmax_lag = \"2s\"\nabort = true\n";
        let expected = Directives {
            pause: None,
            cut_over: CutOver::Now,
            max_rows_per_second: NonZeroU32::new(20_000),
            threads: NonZeroUsize::new(2),
            chunk_time: Some(Duration::from_millis(500)),
            max_lag: Some(Duration::from_secs(2)),
            abort: true,
        };
        assert_eq!(after(all, &base()), expected);
        assert_eq!(after(&all.replace('\n', "\r\n"), &base()), expected);
    }

    #[test]
    fn what_the_file_does_not_say_is_as_the_command_line_has_it() {
        let said = after("threads = 2", &base());
        assert_eq!(said.cut_over, CutOver::Hold);
        assert_eq!(after("pause = true", &said).threads, base().threads);
    }

    #[test]
    fn a_mistake_pauses_with_its_line_and_keeps_the_rest() {
        let before = after("threads = 2\ncut_over = 'now'", &base());
        let now = after("threads = 2\n\nthrads = 3\n", &before);
        let reason = now.pause.clone().unwrap();
        assert!(reason.starts_with("control file F line 3: unknown field `thrads`"), "{reason}");
        assert_eq!(Directives { pause: None, ..now.clone() }, before);
        assert_eq!(after("threads = 3", &now).pause, None);
    }

    #[test]
    fn every_kind_of_mistake_has_its_line() {
        for bad in [
            "threads = ",
            "threads",
            "threads = 0",
            "threads = -1",
            "threads = 1.5",
            "threads = 'two'",
            "max_rows_per_second = 0",
            "max_rows_per_second = -5",
            "max_rows_per_second = 99999999999",
            "max_rows_per_second = 99999999999999999999999",
            "chunk_time = 500",
            "chunk_time = '500'",
            "chunk_time = '0s'",
            "chunk_time = '-1s'",
            "max_lag = '0s'",
            "cut_over = 'later'",
            "cut_over = true",
            "pause = 'yes'",
            "pause = 1",
            "abort = 'no'",
            "unknown = 1",
            "[pause]",
            "[table]\nx = 1",
            "threads = 'open",
            "= 1",
            "]",
            "abort = false",
        ] {
            let text = format!("# note\nabort = false\n\n{bad}\n# end\n");
            let (line, message) = mistake(text.as_bytes());
            assert_eq!(line, Some(4), "{bad}: {message}");
            assert!(!message.is_empty() && !message.contains('\n'), "{bad}: {message}");
        }
        assert_eq!(mistake(b"pause = true\n# \xff\n").0, Some(2));
    }

    #[test]
    fn what_is_not_a_readable_file_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        assert_eq!(read(&folder.path().join("gone/F")), Ok(None));
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b'#'; 65 * 1024]).unwrap();
        assert!(read(&large).is_err());
    }

    #[tokio::test]
    async fn changes_are_seen_while_running() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("F");
        std::fs::write(&path, "").unwrap();
        let (mut seen, _handle) = watch(path.clone(), base());
        assert!(seen.borrow_and_update().pause.is_some());

        let replacement = inner.join("F.new");
        std::fs::write(&replacement, "threads = 9").unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        let changed = seen.wait_for(|now| now.threads == NonZeroUsize::new(9)).await.unwrap();
        assert!(changed.pause.is_none());
        drop(changed);

        std::fs::write(&path, "threads = many").unwrap();
        let changed = seen.wait_for(|now| now.pause.is_some()).await.unwrap();
        assert_eq!(changed.threads, NonZeroUsize::new(9));
        drop(changed);

        std::fs::remove_dir_all(&inner).unwrap();
        seen.wait_for(|now| *now == base()).await.unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = directives(Path::new("F"), &Ok(Some(bytes)), &base(), &base());
        }

        #[test]
        fn no_toml_makes_it_panic(
            text in "((pause|threads|chunk_time|max_lag|abort|x) ?[=.] ?[-'\"\\[{0-9a-z]{0,6}\n?){0,4}",
        ) {
            let _ = directives(Path::new("F"), &Ok(Some(text.into())), &base(), &base());
        }
    }
}
