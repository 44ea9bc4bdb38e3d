//! A private PostgreSQL server.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use osc::config::target::{Address, Scheme, Target, Tls, TlsMode};
use osc::postgres::connect::{Options, connect};
use tokio_postgres::Client;

type Request = (Command, Sender<Child>);

/// Starts servers from a thread that lives as long as the process: the kernel kills them with it.
static SPAWNER: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, answer) in requests {
            let _ = answer.send(command.spawn().unwrap());
        }
    });
    Mutex::new(sender)
});

pub struct Server {
    child: Option<Child>,
    directory: PathBuf,
    settings: Vec<String>,
    port: u16,
}

fn program(name: &str) -> PathBuf {
    let mut versions: Vec<u32> = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    let version = versions.last().expect("PostgreSQL is installed");
    Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin").join(name)
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    command
}

fn postgres_ids() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).unwrap();
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

impl Server {
    /// Starts a server with these settings, such as `wal_level=replica`, over its own.
    pub async fn start(settings: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("osc-pg-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (uid, gid) = postgres_ids();
        chown(&directory, Some(uid), Some(gid)).unwrap();
        let made = as_postgres(&program("initdb"))
            .args(["-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"])
            .args(["--wal-segsize=1", "-D"])
            .arg(directory.join("data"))
            .status()
            .unwrap();
        assert!(made.success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { child: None, directory, settings, port };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let mut command = as_postgres(&program("postgres"));
        command.arg("-D").arg(self.directory.join("data"));
        let socket = format!("unix_socket_directories={}", self.directory.display());
        let port = format!("port={}", self.port);
        let usual = [
            "wal_level=logical",
            "fsync=off",
            "max_prepared_transactions=20",
            "listen_addresses=127.0.0.1",
            "max_connections=100",
            "max_wal_senders=20",
            "max_replication_slots=20",
            &socket,
            &port,
        ];
        for setting in usual.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        let (sender, answer) = mpsc::channel();
        SPAWNER.lock().unwrap().send((command, sender)).unwrap();
        self.child = Some(answer.recv().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while connect(&self.options("postgres"), "waiting").await.is_err() {
            assert!(Instant::now() < deadline, "the server did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the server and starts it again.
    pub async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }

    pub fn options(&self, database: &str) -> Options {
        self.options_as("postgres", database)
    }

    pub fn options_as(&self, user: &str, database: &str) -> Options {
        Options::of(&Target {
            scheme: Scheme::Postgres,
            address: Address::Tcp { host: "127.0.0.1".into(), port: self.port },
            user: user.into(),
            password: None,
            database: Some(database.into()),
            tls: Tls { mode: TlsMode::Off, ca: None, cert: None, key: None },
        })
        .unwrap()
    }

    pub async fn client(&self, database: &str) -> Client {
        connect(&self.options(database), "testing").await.unwrap()
    }

    /// Sets a setting in the running server.
    pub async fn set(&self, setting: &str, value: &str) {
        let client = self.client("postgres").await;
        client.batch_execute("SET synchronous_commit = local").await.unwrap();
        client.batch_execute(&format!("ALTER SYSTEM SET {setting} = '{value}'")).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        loop {
            let client = self.client("postgres").await;
            let sql = format!("SELECT current_setting('{setting}')");
            if client.query_one(&sql, &[]).await.unwrap().get::<_, String>(0) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
