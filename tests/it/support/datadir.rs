//! Data directories: copies of a template that is initialised once.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The script that knows how the servers are run.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/server");

/// A server's data directory, removed on drop.
pub struct Datadir {
    path: PathBuf,
    /// Held locked while the directory is in use: a directory whose lock is free was left by a
    /// process that died.
    _lock: File,
}

impl Datadir {
    /// A fresh data directory of this kind of server, as the script names it.
    pub fn new(kind: &str) -> Self {
        let (datadir, template) = Self::reserve(kind);
        run(Command::new("cp").arg("-a").arg(&template).arg(&datadir.path));
        // The server's identity; it makes itself a new one.
        let _ = fs::remove_file(datadir.path.join("auto.cnf"));
        datadir
    }

    /// A fresh data directory at this place, which the caller removes.
    pub fn at(kind: &str, place: &Path) {
        let fresh = Self::new(kind);
        fs::rename(&fresh.path, place).expect("move a data directory");
    }

    /// A copy of the data directory of a running server, which must be in backup mode.
    pub fn copy_of(kind: &str, source: &Path) -> Self {
        let (datadir, _) = Self::reserve(kind);
        let mut copy = Command::new("cp");
        let output = copy.arg("-a").arg(source).arg(&datadir.path).output().expect("run cp");
        // The server may remove files meanwhile; it restores them from its log.
        let errors = String::from_utf8_lossy(&output.stderr);
        let harmless = |line: &str| line.contains("No such file or directory");
        assert!(errors.lines().all(harmless), "cp -a {}: {errors}", source.display());
        datadir
    }

    /// A place for a data directory, and the template to copy.
    fn reserve(kind: &str) -> (Self, PathBuf) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let home = home();
        fs::create_dir_all(&home).expect("create the servers' folder");
        // Test processes run side by side: one at a time looks after the folder.
        let guard = open(&home.join("lock"));
        guard.lock().expect("lock the servers' folder");
        sweep(&home);
        let template = template(kind, &home);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = home.join(format!("{kind}-{}-{number}", std::process::id()));
        let lock = open(&path.with_extension("lock"));
        lock.lock().expect("lock a data directory");
        (Self { path, _lock: lock }, template)
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

/// The folder of the servers' data. PostgreSQL's user must be able to reach it, and its socket's path must
/// be short: neither is sure in the build's folder.
fn home() -> PathBuf {
    // Those that are kept are in a folder of it, and take their data from here.
    if let Some(kept) = std::env::var_os("OSC_TEST_SERVERS") {
        return Path::new(&kept).parent().expect("a folder in the servers' folder").to_owned();
    }
    let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let user = fs::metadata(build).expect("the build's folder is there").uid();
    std::env::temp_dir().join(format!("osc-servers-{user}"))
}

/// A file to lock.
pub fn open(path: &Path) -> File {
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
fn template(kind: &str, home: &Path) -> PathBuf {
    let version = run(Command::new(SCRIPT).args(["version", kind]));
    let numeric = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let version = version.split_whitespace().find(numeric).expect("a server has a version");
    // Another script may initialise another way.
    let mut script = DefaultHasher::new();
    fs::read(SCRIPT).expect("read the servers' script").hash(&mut script);
    let template = home.join(format!("template-{kind}-{version}-{:x}", script.finish()));
    if !template.exists() {
        let partial = home.join(format!("template-{kind}.partial"));
        let _ = fs::remove_dir_all(&partial);
        run(Command::new(SCRIPT).args(["init", kind]).arg(&partial));
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
