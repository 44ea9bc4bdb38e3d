//! A server's process: started so that it dies with us, watched through its log.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::datadir::{Datadir, SCRIPT};
use super::kept::Kept;

/// Lines of a server's log that are kept to be shown when it fails.
const LOG_LINES: usize = 60;

/// How long a server may take to start, crash recovery on a busy machine included.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server may take to end in order.
const END_TIMEOUT: Duration = Duration::from_secs(30);

type Request = (Command, Sender<io::Result<Child>>);

/// The thread that starts all servers. The kernel kills a server when the *thread* that started it
/// ends, and a test's thread ends long before a shared server may.
static SPAWNER: LazyLock<Sender<Request>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    thread::spawn(move || {
        for (mut command, answer) in requests {
            let _ = answer.send(command.spawn());
        }
    });
    sender
});

/// A running server: of one test, or of one after the other.
pub enum Running {
    /// Ended and removed on drop.
    Own {
        /// Before the data directory, so that the process is gone when that is removed.
        process: Process,
        /// Its data.
        datadir: Datadir,
    },
    /// Lives on.
    Kept(Kept),
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        match self {
            Self::Own { process, .. } => process.id(),
            Self::Kept(kept) => kept.pid,
        }
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        match self {
            Self::Own { process, .. } => process.log(),
            Self::Kept(kept) => {
                let text = fs::read_to_string(&kept.log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
            }
        }
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        match self {
            Self::Own { datadir, .. } => datadir.path(),
            Self::Kept(kept) => &kept.data,
        }
    }

    /// To end it and to start it again, which only the one that has it for itself may.
    pub fn own(&mut self) -> (&mut Process, &Datadir) {
        match self {
            Self::Own { process, datadir } => (process, datadir),
            Self::Kept(kept) => panic!("the server on port {} is not this test's own", kept.port),
        }
    }
}

/// Starts a server that lives on, with its log in a file, and waits until that says `ready`. An error is
/// the log.
pub fn start_kept(arguments: &[String], log: &Path, ready: &str) -> Result<u32, String> {
    let file = File::create(log).expect("create a log");
    let mut command = Command::new(SCRIPT);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    // Whoever interrupts the tests must not interrupt it in the midst.
    let mut child = command.process_group(0).spawn().expect("run the servers' script");
    let begun = Instant::now();
    loop {
        let printed = fs::read_to_string(log).unwrap_or_default();
        if printed.contains(ready) {
            break;
        }
        let ended = child.try_wait().expect("a child can be waited for").is_some();
        if ended || begun.elapsed() > START_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(printed);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child.id())
}

/// A running process, killed on drop.
pub struct Process {
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts a server and waits until its log says `ready`. It will be killed when this process ends,
    /// however that comes about. An error is the end of its log.
    pub fn start(program: &str, arguments: &[String], ready: &'static str) -> Result<Self, String> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let (sender, answer) = mpsc::channel();
        SPAWNER.send((command, sender)).expect("the spawner lives as long as the process");
        let mut child = answer
            .recv()
            .expect("the spawner answers")
            .unwrap_or_else(|error| panic!("cannot run setpriv (of util-linux): {error}"));

        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (announce, announced) = mpsc::channel();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains(ready) {
                    let _ = announce.send(());
                }
                let mut log = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if log.len() == LOG_LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        let process = Self { child, log };
        match announced.recv_timeout(START_TIMEOUT) {
            Ok(()) => Ok(process),
            Err(RecvTimeoutError::Disconnected) => Err(process.log()),
            Err(RecvTimeoutError::Timeout) => Err(format!("not ready in time\n{}", process.log())),
        }
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) {
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends it a signal and waits for its end; false if that took too long.
    pub fn end(&mut self, with: Signal) -> bool {
        signal(&self.child, with);
        let begun = Instant::now();
        while begun.elapsed() < END_TIMEOUT {
            if self.child.try_wait().expect("a child can be waited for").is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child that was not waited for yet.
pub fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_child(child);
    rustix::process::kill_process(id, signal).expect("a child can be sent a signal");
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
