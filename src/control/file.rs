//! The control file: a text file with which a run is steered while it is under way.
//!
//! Absent: run. Empty: paused. Else TOML. It is read again every 200 ms, by
//! content: editors replace files, and network file systems report no changes. A mistake
//! pauses the copy, says where it is, and leaves the other directives as they were.

use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::wishes::Side;
use super::{CutOver, Holder, Origin, Wishes};
use crate::config::period::Period;
use crate::config::settings::Threads;
use crate::config::{found, line_of};
use crate::testing::mutation::{self, Rule};

/// How often the file is read.
const INTERVAL: Duration = Duration::from_millis(200);

/// A larger file is not one that was written to steer a run.
const MAX_BYTES: u64 = 64 * 1024;

/// What the file says at one moment. A file that is written again says all of it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    file: String,
    /// Why the copy is paused, and what ends that.
    pub pause: Option<Holder>,
    /// The settings.
    pub wishes: Wishes,
    fresh: bool,
    /// End the run.
    pub abort: bool,
    since: Instant,
}

impl Said {
    /// A file that is not there.
    fn nothing(path: &Path) -> Self {
        Self {
            file: path.display().to_string(),
            pause: None,
            wishes: Wishes::default(),
            fresh: false,
            abort: false,
            since: Instant::now(),
        }
    }

    pub(super) fn side(&self) -> Side<'_> {
        Side {
            wishes: &self.wishes,
            origin: Origin::ControlFile { file: self.file.clone() },
            since: self.since,
            fresh: self.fresh,
        }
    }
}

/// What the file may say. What it does not say is as the command line has it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    pause: bool,
    cut_over: Option<CutOverWord>,
    max_rows_per_second: Option<NonZeroU32>,
    threads: Option<Threads>,
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

impl Content {
    fn wishes(&self) -> Wishes {
        Wishes {
            cut_over: self.cut_over.map(CutOver::from),
            max_rows_per_second: self.max_rows_per_second,
            threads: self.threads.map(Threads::get),
            chunk_time: self.chunk_time.map(Period::get),
            max_lag: self.max_lag.map(Period::get),
        }
    }
}

/// One setting in the words of the file, for orders: the same values are taken.
///
/// # Errors
/// Why it is none, in words.
pub(super) fn setting(key: &str, value: toml::Value) -> Result<Wishes, String> {
    let table = toml::Table::from_iter([(key.to_owned(), value)]);
    let content: Content = table.try_into().map_err(|error: toml::de::Error| {
        error.message().lines().next().unwrap_or_default().to_owned()
    })?;
    Ok(content.wishes())
}

#[cfg(any(test, feature = "fuzzing"))]
impl Version {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_owned(), inode: 1, modified: (0, 0) }
    }
}

/// What is wrong with the file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mistake {
    line: Option<usize>,
    message: String,
}

/// The file at one moment; `None`: absent.
type Reading = Result<Option<Version>, Mistake>;

/// What the file says, and which writing of it that is: the same words written again are new.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    bytes: Vec<u8>,
    inode: u64,
    modified: (i64, i64),
}

/// What the file was when the run began: what it says since before then permits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Before {
    /// It could not be read yet.
    Unknown,
    /// This, or nothing.
    Known(Option<Version>),
}

impl Before {
    fn of(reading: &Reading) -> Self {
        reading.as_ref().map_or(Self::Unknown, |version| Self::Known(version.clone()))
    }
}

/// Follows the control file at `path`. `hold`: without it the run waits for permission. The first reading is done
/// before this returns, so a run never starts in spite of a file that pauses it. The file is followed until the
/// handle is dropped.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch(path: PathBuf, hold: bool) -> (watch::Receiver<Said>, AbortOnDropHandle<()>) {
    let mut last = read(&path);
    let mut before = Before::of(&last);
    let first = said(&path, &last, &before, hold, &Said::nothing(&path));
    if first.wishes.cut_over == Some(CutOver::Hold) && says_more_than_hold(&last) {
        tracing::warn!(
            "{} permitted the cut-over before this run began, which does not count: write \
             cut_over = \"now\" again when you want it",
            path.display()
        );
    }
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
                if before == Before::Unknown {
                    before = Before::of(&last);
                }
                let now = said(&path, &last, &before, hold, &sender.borrow().clone());
                sender.send_replace(now);
            }
        }
    });
    (receiver, AbortOnDropHandle::new(task))
}

fn says_more_than_hold(reading: &Reading) -> bool {
    let Ok(Some(version)) = reading else { return false };
    let content = parse(&version.bytes).ok().flatten();
    content.is_some_and(|content| !matches!(content.cut_over, None | Some(CutOverWord::Hold)))
}

fn read(path: &Path) -> Reading {
    let found = found::bytes(path, MAX_BYTES)
        .map_err(|error| Mistake { line: None, message: error.to_string() })?;
    Ok(found.map(|(bytes, metadata)| Version {
        bytes,
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }))
}

/// What a reading asks for. `first` is the file as it was when the run began, `before` what it said until
/// now.
fn said(path: &Path, reading: &Reading, first: &Before, hold: bool, before: &Said) -> Said {
    let is_old = *first == Before::of(reading) && !mutation::active(Rule::PermissionIsNewer);
    let file = path.display();
    let nothing = Said::nothing(path);
    let shell = crate::shell::word(&file.to_string());
    let content = match reading {
        Ok(None) => return nothing,
        Ok(Some(version)) => match parse(&version.bytes) {
            Ok(Some(content)) => Ok(content),
            Ok(None) => {
                let what = format!("control file {file} is empty");
                let lift = format!("rm {shell}");
                return Said { pause: Some(Holder { what, lift }), ..nothing };
            }
            Err(mistake) => Err(mistake),
        },
        Err(mistake) => Err(mistake.clone()),
    };
    match content {
        Ok(content) => {
            let mut wishes = content.wishes();
            if is_old && hold && wishes.cut_over.is_some() {
                wishes.cut_over = Some(CutOver::Hold);
            }
            let pause = content.pause.then(|| Holder {
                what: format!("control file {file} says pause"),
                lift: format!("take `pause` out of {shell}"),
            });
            let fresh = wishes.cut_over.is_some() && !is_old;
            Said { pause, wishes, fresh, abort: content.abort, ..nothing }
        }
        Err(Mistake { line, message }) => {
            let place = line.map_or(String::new(), |line| format!(" line {line}"));
            let what = format!("control file {file}{place}: {message}");
            let lift = format!("correct {shell}");
            Said { pause: Some(Holder { what, lift }), ..before.clone() }
        }
    }
}

/// What a file of these bytes asks for: a door for `fuzz/`.
#[cfg(feature = "fuzzing")]
pub fn of_bytes(bytes: &[u8]) -> Said {
    let path = Path::new("F");
    let reading = Ok(Some(Version::of(bytes)));
    said(path, &reading, &Before::Known(None), false, &Said::nothing(path))
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
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;

    fn nothing() -> Said {
        Said::nothing(Path::new("F"))
    }

    const ABSENT: Before = Before::Known(None);

    fn after(text: &str, before: &Said) -> Said {
        let reading = Ok(Some(Version::of(text.as_bytes())));
        said(Path::new("F"), &reading, &ABSENT, true, before)
    }

    fn reason(now: &Said) -> Option<&str> {
        now.pause.as_ref().map(|holder| holder.what.as_str())
    }

    fn mistake(text: &[u8]) -> (Option<usize>, String) {
        let Err(Mistake { line, message }) = parse(text) else {
            panic!("{:?} is no mistake", String::from_utf8_lossy(text));
        };
        (line, message)
    }

    #[test]
    fn an_absent_file_runs_and_an_empty_one_pauses() {
        let absent = said(Path::new("F"), &Ok(None), &ABSENT, true, &nothing());
        assert!(absent.pause.is_none() && absent.wishes == Wishes::default());
        for text in ["", " ", "\n\r\n\t"] {
            assert_eq!(reason(&after(text, &nothing())), Some("control file F is empty"));
        }
    }

    #[test]
    fn a_file_of_comments_alone_runs() {
        let now = after("# nothing to say\n", &nothing());
        assert!(now.pause.is_none() && now.wishes == Wishes::default());
    }

    #[test]
    fn every_key_of_the_design_is_taken() {
        let all = "pause = false\ncut_over = \"now\"\nmax_rows_per_second = 20000\nthreads = 2\n\
                   chunk_time = \"500ms\"\nmax_lag = \"2s\"\nabort = true\n";
        let expected = Wishes {
            cut_over: Some(CutOver::Now),
            max_rows_per_second: NonZeroU32::new(20_000),
            threads: NonZeroUsize::new(2),
            chunk_time: Some(Duration::from_millis(500)),
            max_lag: Some(Duration::from_secs(2)),
        };
        for text in [all.to_owned(), all.replace('\n', "\r\n")] {
            let now = after(&text, &nothing());
            assert!(now.pause.is_none() && now.fresh && now.abort, "{now:?}");
            assert_eq!(now.wishes, expected);
        }
    }

    #[test]
    fn what_the_file_does_not_say_is_not_its_affair_any_more() {
        let now = after("threads = 2", &nothing());
        assert_eq!(now.wishes.cut_over, None);
        assert_eq!(after("pause = true", &now).wishes, Wishes::default());
    }

    #[test]
    fn a_mistake_pauses_with_its_line_and_keeps_the_rest() {
        let before = after("threads = 2\ncut_over = 'now'", &nothing());
        let now = after("threads = 2\n\nthrads = 3\n", &before);
        let why = reason(&now).unwrap();
        assert!(why.starts_with("control file F line 3: unknown field `thrads`"), "{why}");
        assert_eq!(Said { pause: None, ..now.clone() }, before);
        assert_eq!(after("threads = 3", &now).pause, None);
    }

    #[test]
    fn what_was_permitted_before_the_run_began_is_not_permitted() {
        let old = Version::of(b"cut_over = 'now'");
        let first = Before::Known(Some(old.clone()));
        let seen = |version: &Version, hold| {
            said(Path::new("F"), &Ok(Some(version.clone())), &first, hold, &nothing())
        };
        assert_eq!(seen(&old, true).wishes.cut_over, Some(CutOver::Hold));
        assert!(!seen(&old, true).fresh);
        assert_eq!(seen(&old, false).wishes.cut_over, Some(CutOver::Now));
        for new in [
            Version { modified: (0, 1), ..old.clone() },
            Version { inode: 2, ..old.clone() },
            Version { bytes: b"cut_over = 'auto'".to_vec(), ..old.clone() },
        ] {
            let now = seen(&new, true);
            assert!(now.fresh && now.wishes.cut_over != Some(CutOver::Hold), "{new:?}");
        }
        // To wait needs no permission.
        let hold = Version::of(b"cut_over = 'hold'");
        let (reading, first) = (Ok(Some(hold.clone())), Before::Known(Some(hold)));
        let held = said(Path::new("F"), &reading, &first, false, &nothing());
        assert_eq!(held.wishes.cut_over, Some(CutOver::Hold));
    }

    #[test]
    fn every_kind_of_mistake_has_its_line() {
        for bad in [
            "threads = ",
            "threads",
            "threads = 0",
            "threads = -1",
            "threads = 999999999999",
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
        let (mut seen, _handle) = watch(path.clone(), true);
        assert!(seen.borrow_and_update().pause.is_some());

        let replacement = inner.join("F.new");
        std::fs::write(&replacement, "threads = 9").unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        let changed =
            seen.wait_for(|now| now.wishes.threads == NonZeroUsize::new(9)).await.unwrap();
        assert!(changed.pause.is_none());
        drop(changed);

        std::fs::write(&path, "threads = many").unwrap();
        let changed = seen.wait_for(|now| now.pause.is_some()).await.unwrap();
        assert_eq!(changed.wishes.threads, NonZeroUsize::new(9));
        drop(changed);

        std::fs::remove_dir_all(&inner).unwrap();
        let gone = |now: &Said| now.pause.is_none() && now.wishes == Wishes::default();
        seen.wait_for(gone).await.unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = said(Path::new("F"), &Ok(Some(Version::of(&bytes))), &ABSENT, true, &nothing());
        }

        #[test]
        fn no_toml_makes_it_panic(
            text in "((pause|threads|chunk_time|max_lag|abort|x) ?[=.] ?[-'\"\\[{0-9a-z]{0,6}\n?){0,4}",
        ) {
            let _ = after(&text, &nothing());
        }
    }
}
