//! A private PostgreSQL server on a socket in its own directory.
#![allow(unreachable_pub, reason = "a module of a test program")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

pub struct Server {
    directory: tempfile::TempDir,
    bin: PathBuf,
    child: Child,
}

fn as_postgres(program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "KILL"]);
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    fn start() -> Self {
        let home = std::env::var("OSC_TEST_POSTGRES").unwrap_or("/usr/lib/postgresql/15".into());
        let bin = Path::new(&home).join("bin");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        Command::new("chown").arg("postgres").arg(path).status().unwrap();
        let data = path.join("data");
        let made = as_postgres(bin.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .current_dir("/")
            .status()
            .unwrap();
        assert!(made.success());
        let child = as_postgres(bin.join("postgres"))
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "wal_level=logical", "-k"])
            .arg(path)
            .arg("-D")
            .arg(&data)
            .current_dir("/")
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self { directory, bin, child };
        let begun = Instant::now();
        while !server.ready() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    fn ready(&self) -> bool {
        let pid = self.path().join("data/postmaster.pid");
        std::fs::read_to_string(pid)
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"))
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub async fn connect(&self, user: &str, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.path()).user(user).dbname(database);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub async fn database(&self, owner: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let client = self.connect("postgres", "postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name} OWNER {owner}")).await.unwrap();
        name
    }

    /// The schema as `pg_dump` writes it; `None` where that program is missing.
    pub fn dump(&self, database: &str) -> Option<String> {
        let program = self.bin.join("pg_dump");
        if !program.exists() {
            return None;
        }
        let output = Command::new(program)
            .args(["--schema-only", "-U", "postgres", "-h"])
            .arg(self.path())
            .arg(database)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
