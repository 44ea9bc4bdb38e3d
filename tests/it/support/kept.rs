//! Servers that outlive a test. Each test has a process of its own, and most want one server of each
//! kind with nothing in it: starting those took a third of the processors' time. A server that is kept
//! belongs to one test process at a time, which empties it, and takes it only when all that can be asked
//! of it is as it was when it was new; otherwise it is ended, and a new one takes its place.
//!
//! `OSC_TEST_SERVERS` names the folder where they are; who set it ends them. Without it nothing is kept.

use std::env;
use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::datadir::open;

/// More than tests that run at once.
const MOST: usize = 100;

/// How long the sessions of an earlier test may take to end.
const END: Duration = Duration::from_secs(5);

/// A server that this process has to itself until it ends.
#[derive(Debug)]
pub struct Kept {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub pid: u32,
    /// Its log.
    pub log: PathBuf,
    /// Its data.
    pub data: PathBuf,
    _lock: File,
}

/// How a kind of server is started, looked at and emptied.
pub trait Keep {
    /// The name of the kind.
    fn name(&self) -> String;

    /// What ends one at once.
    fn signal(&self) -> Signal;

    /// Starts one with its data here, its log there, that lives on; its port and its process.
    fn start(&self, data: &Path, log: &Path) -> (u16, u32);

    /// Ends all sessions but its own; how many there still are.
    fn end_sessions(&self, port: u16) -> impl Future<Output = Result<usize, String>> + Send;

    /// Removes what tests leave usually; an error is what cannot be removed.
    fn clear(&self, port: u16) -> impl Future<Output = Result<(), String>> + Send;

    /// All that a test could have changed, as text.
    fn facts(&self, port: u16) -> impl Future<Output = Result<String, String>> + Send;
}

/// One that is as new; `None` where none is kept.
pub fn take(kind: &(impl Keep + Sync)) -> Option<Kept> {
    let home = PathBuf::from(env::var_os("OSC_TEST_SERVERS")?);
    let name = kind.name();
    for number in 0..MOST {
        let base = home.join(format!("{name}-{number}"));
        let lock = open(&base.with_extension("lock"));
        if lock.try_lock().is_err() {
            continue;
        }
        let [state, log, data] = ["state", "log", "data"].map(|end| base.with_extension(end));
        if let Some((pid, port, facts)) = read(&state) {
            let outcome = apart(async {
                alone(kind, port).await?;
                kind.clear(port).await?;
                let now = kind.facts(port).await?;
                difference(&facts, &now).map_or(Ok(()), Err)
            });
            match outcome {
                Ok(()) => return Some(Kept { port, pid, log, data, _lock: lock }),
                Err(why) => eprintln!("{} is not as it was: {why}", base.display()),
            }
            end(pid, &data, kind.signal());
            let _ = fs::remove_file(&state);
        }
        let _ = fs::remove_dir_all(&data);
        let (port, pid) = kind.start(&data, &log);
        // Written twice: who ends them must know of a server whose facts could not be read.
        fs::write(&state, format!("{pid}\n{port}\n")).expect("keep a server");
        let facts = apart(kind.facts(port)).expect("a new server shows its facts");
        fs::write(&state, format!("{pid}\n{port}\n{facts}")).expect("keep a server");
        return Some(Kept { port, pid, log, data, _lock: lock });
    }
    panic!("{MOST} servers are taken in {}", home.display());
}

/// Ends the sessions of an earlier test.
async fn alone(kind: &(impl Keep + Sync), port: u16) -> Result<(), String> {
    let begun = Instant::now();
    while kind.end_sessions(port).await? > 0 {
        if begun.elapsed() > END {
            return Err("sessions of an earlier test go on".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// What is not the same, a line of each.
fn difference(was: &str, is: &str) -> Option<String> {
    let (mut was, mut is) = (was.lines(), is.lines());
    loop {
        match (was.next(), is.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some(format!("{a:?} became {b:?}")),
        }
    }
}

fn read(state: &Path) -> Option<(u32, u16, String)> {
    let text = fs::read_to_string(state).ok()?;
    let mut parts = text.splitn(3, '\n');
    let (pid, port) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((pid, port, parts.next().unwrap_or_default().to_owned()))
}

/// Ends the server whose data is here, which no process waits for, and comes back when it is gone. What
/// has its number now may be another program.
fn end(pid: u32, data: &Path, with: Signal) {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a number of a process");
    let command = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    while command().contains(data.to_str().expect("a UTF-8 name")) {
        let _ = kill_process(number, with);
        thread::sleep(Duration::from_millis(5));
    }
}

/// On a thread with a runtime of its own, since tests call from within theirs.
fn apart<T: Send>(work: impl Future<Output = Result<T, String>> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work)
        });
        worker.join().unwrap_or_else(|_| Err("it failed".into()))
    })
}
