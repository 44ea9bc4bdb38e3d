//! The operator's directives from all sides: the control file and the process's signals.

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Directives, file};

/// The exit code of a run that can be resumed.
const RESUMABLE: i32 = 3;

/// Follows the control file, if there is one, and the signals that ask a program to end: the
/// first sets [`Directives::abort`], which stays; the second ends the program on the spot, which
/// a run survives as it survives a crash. `base` is what holds without a control file. Ends when
/// the handle is dropped.
///
/// # Errors
/// When the process cannot listen to signals.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn steer(
    control_file: Option<PathBuf>,
    base: Directives,
) -> io::Result<(watch::Receiver<Directives>, AbortOnDropHandle<()>)> {
    let mut ends = Ends::listen()?;
    let (sender, receiver);
    let mut followed = None;
    match control_file {
        Some(path) => {
            let (file, task) = file::watch(path, base);
            (sender, receiver) = watch::channel(file.borrow().clone());
            followed = Some((file, task));
        }
        None => (sender, receiver) = watch::channel(base),
    }
    let task = tokio::spawn(async move {
        let mut asked_to_end = false;
        loop {
            let changed = async {
                if let Some((file, _)) = &mut followed
                    && file.changed().await.is_ok()
                {
                    return file.borrow().clone();
                }
                std::future::pending().await
            };
            tokio::select! {
                mut directives = changed => {
                    directives.abort |= asked_to_end;
                    sender.send_replace(directives);
                }
                () = ends.next() => {
                    if asked_to_end {
                        std::process::exit(RESUMABLE);
                    }
                    asked_to_end = true;
                    sender.send_modify(|directives| directives.abort = true);
                }
            }
        }
    });
    Ok((receiver, AbortOnDropHandle::new(task)))
}

/// The signals that ask a program to end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal has gone. `None` where it is ignored: listening would undo `nohup`.
    hangup: Option<Signal>,
}

impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does. Where the system does not
/// say so, it is taken to be: a run that is killed can be resumed as well.
fn ignores_hangup() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_asks_for_the_end_and_the_file_does_not_take_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("F");
        let (mut directives, _task) = steer(Some(path.clone()), Directives::default()).unwrap();
        assert!(!directives.borrow_and_update().abort);

        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        directives.wait_for(|now| now.abort).await.unwrap();

        std::fs::write(&path, "pause = true\nabort = false").unwrap();
        let now = directives.wait_for(|now| now.pause.is_some()).await.unwrap();
        assert!(now.abort);
    }
}
