//! Data directories: copies of a template that is initialised once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::server::{Kind, SCRIPT};

/// A server's data directory, removed on drop.
pub struct Datadir {
    path: PathBuf,
    /// Held locked while the directory is in use: a directory whose lock is free was left by a
    /// process that died.
    _lock: File,
}

impl Datadir {
    /// A fresh data directory.
    pub fn new(kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
        fs::create_dir_all(&home).expect("create the servers' folder");
        // Test processes run side by side: one at a time looks after the folder.
        let guard = open(&home.join("lock"));
        guard.lock().expect("lock the servers' folder");
        sweep(&home);
        let template = template(kind, &home);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = home.join(format!("{}-{}-{number}", kind.name(), std::process::id()));
        let lock = open(&path.with_extension("lock"));
        lock.lock().expect("lock a data directory");
        drop(guard);
        run(Command::new("cp").arg("-a").arg(&template).arg(&path));
        // The server's identity; it makes itself a new one.
        let _ = fs::remove_file(path.join("auto.cnf"));
        Self { path, _lock: lock }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Datadir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(self.path.with_extension("lock"));
    }
}

fn open(path: &Path) -> File {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
}

/// Removes what processes that were killed have left.
fn sweep(home: &Path) {
    for entry in fs::read_dir(home).expect("read the servers' folder").flatten() {
        let lock = entry.path();
        if lock.extension().is_some_and(|extension| extension == "lock")
            && open(&lock).try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(lock.with_extension(""));
            let _ = fs::remove_file(&lock);
        }
    }
}

/// The initialised directory of this version of the server, made when it is not there.
fn template(kind: Kind, home: &Path) -> PathBuf {
    let version = run(Command::new(SCRIPT).args(["version", kind.name()]));
    let version: String = version
        .rsplit_once("Ver ")
        .map_or(version.as_str(), |(_, version)| version)
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
        .collect();
    let template = home.join(format!("template-{}-{version}", kind.name()));
    if !template.exists() {
        let partial = home.join(format!("template-{}.partial", kind.name()));
        let _ = fs::remove_dir_all(&partial);
        run(Command::new(SCRIPT).args(["init", kind.name()]).arg(&partial));
        fs::rename(&partial, &template).expect("rename the template");
    }
    template
}

/// Runs a command to its end and returns its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
