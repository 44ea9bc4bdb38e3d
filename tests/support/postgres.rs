//! Private PostgreSQL servers on the loopback interface.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::datadir::{Datadir, SCRIPT};
use super::process::Process;
use super::server::{PORTS_TRIED, free_port};

/// Settings of all test servers beyond the script's. The time zone differs from the usual ones, so
/// that mistakes with it show.
const SETTINGS: [(&str, &str); 2] = [("max_connections", "300"), ("timezone", "Asia/Kolkata")];

/// How long a standby may lag.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// A major version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Major(u32);

impl Major {
    /// The system's, which every test machine has.
    pub const SYSTEM: Self = Self(15);

    /// All that osc is tested with.
    const ALL: [Self; 5] = [Self(14), Self::SYSTEM, Self(16), Self(17), Self(18)];

    /// Those that are installed, and always the system's.
    pub fn installed() -> Vec<Self> {
        let there = |major: &Self| {
            let mut version = Command::new(SCRIPT);
            version.args(["version", &major.kind()]).stdout(Stdio::null()).stderr(Stdio::null());
            *major == Self::SYSTEM || version.status().is_ok_and(|status| status.success())
        };
        Self::ALL.into_iter().filter(there).collect()
    }

    /// 15, for example.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name, as the scripts take it.
    fn kind(self) -> String {
        format!("postgres{}", self.0)
    }
}

/// A running server; stopped and removed on drop.
pub struct Postgres {
    major: Major,
    port: u16,
    settings: Vec<String>,
    // Before the data directory, so that the process is gone when that is removed.
    process: Process,
    datadir: Datadir,
}

impl Postgres {
    /// Starts a server: logical WAL, superuser `postgres` without a password. Takes less than a
    /// second, and more the first time.
    pub fn start(major: Major) -> Self {
        Self::start_with(major, &[])
    }

    /// Starts a server with more settings, which win over the usual ones; `ALTER SYSTEM` cannot
    /// change them.
    pub fn start_with(major: Major, settings: &[(&str, &str)]) -> Self {
        Self::start_on(Datadir::new(&major.kind()), major, settings)
    }

    /// Starts a server that asks everybody for a password (SCRAM); `postgres` has "secret".
    pub fn start_with_passwords(major: Major) -> Self {
        let datadir = Datadir::new(&major.kind());
        let file = datadir.path().join("pg_hba_scram.conf");
        let file = file.to_str().expect("a UTF-8 name").to_owned();
        Self::start_on(datadir, major, &[("hba_file", &file)])
    }

    fn start_on(datadir: Datadir, major: Major, settings: &[(&str, &str)]) -> Self {
        let setting = |(name, value): &(&str, &str)| format!("--{name}={value}");
        let settings: Vec<String> = SETTINGS.iter().chain(settings).map(setting).collect();
        let mut failure = String::new();
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            match run(major, &datadir, port, &settings) {
                Ok(process) => return Self { major, port, settings, process, datadir },
                Err(log) => failure = log,
            }
            if !failure.contains("already in use") {
                break;
            }
        }
        panic!("PostgreSQL {} did not start:\n{failure}", major.0);
    }

    /// Its version.
    pub fn major(&self) -> Major {
        self.major
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Where to connect to, for the program.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// Where to connect to as another role; `user:password` is taken too.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A session in a database.
    pub async fn client(&self, database: &str) -> Client {
        let url = self.url(database);
        connect(&url).await.unwrap_or_else(|error| panic!("connect to {url}: {error:?}"))
    }

    /// Runs statements in a session of their own, as one transaction unless they say otherwise.
    pub async fn exec(&self, database: &str, sql: &str) {
        exec(&self.client(database).await, sql).await;
    }

    /// A query's rows as text; NULL is `NULL`.
    pub async fn rows(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        rows(&self.client(database).await, sql).await
    }

    /// The one value that a query returns, as text.
    pub async fn value(&self, database: &str, sql: &str) -> String {
        let rows = self.rows(database, sql).await;
        match rows.as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            _ => panic!("{sql}: one value expected, got {rows:?}"),
        }
    }

    /// Changes a setting for all sessions that do not have their own; `None` takes it back. Other
    /// than those that the server was started with.
    pub async fn set(&self, setting: &str, value: Option<&str>) {
        let loaded = "SELECT pg_conf_load_time()";
        let before = self.value("postgres", loaded).await;
        let sql = match value {
            Some(value) => format!("ALTER SYSTEM SET {setting} = '{value}'"),
            None => format!("ALTER SYSTEM RESET {setting}"),
        };
        self.exec("postgres", &sql).await;
        self.exec("postgres", "SELECT pg_reload_conf()").await;
        // A new session has what the server has read.
        while self.value("postgres", loaded).await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the sessions, those of WAL senders too, whose `application_name` is like this pattern,
    /// as an administrator might. Does nothing while the server is down.
    pub async fn cut(&self, application_name_like: &str) -> u64 {
        let Ok(client) = connect(&self.url("postgres")).await else { return 0 };
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name LIKE $1 AND pid <> pg_backend_pid()";
        client.execute(sql, &[&application_name_like]).await.unwrap_or(0)
    }

    /// Stops it in order, sessions cut, and starts it again, on the same port and data.
    pub fn restart(&mut self) {
        // A stop in order waits for those who read its WAL; some never do.
        if !self.process.end(Signal::INT) {
            self.kill();
        }
        self.run_again();
    }

    /// Ends it without a checkpoint, as a crash would, and starts it again, on the same port and
    /// data.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.run_again();
    }

    /// Ends it without a checkpoint; it stays down until [`Postgres::kill_and_restart`].
    pub fn kill(&mut self) {
        if !self.process.end(Signal::QUIT) {
            self.process.kill();
        }
    }

    fn run_again(&mut self) {
        self.process = run(self.major, &self.datadir, self.port, &self.settings)
            .unwrap_or_else(|log| panic!("PostgreSQL did not start again:\n{log}"));
    }

    /// A physical standby that streams from this server and has caught up. Its application name
    /// is `standby`.
    pub async fn standby(&self) -> Self {
        self.standby_with(&[]).await
    }

    /// A standby with more settings.
    pub async fn standby_with(&self, settings: &[(&str, &str)]) -> Self {
        let client = self.client("postgres").await;
        let (start, stop) = if self.major < Major(15) {
            ("pg_start_backup('kit', true, false)", "pg_stop_backup(false, false)")
        } else {
            ("pg_backup_start('kit', true)", "pg_backup_stop(false)")
        };
        exec(&client, &format!("SELECT {start}")).await;
        let datadir = Datadir::copy_of(&self.major.kind(), self.datadir.path());
        let label = rows(&client, &format!("SELECT labelfile FROM {stop}")).await;

        let path = datadir.path();
        for left in ["postmaster.pid", "postmaster.opts", "postgresql.auto.conf"] {
            let _ = fs::remove_file(path.join(left));
        }
        for slot in fs::read_dir(path.join("pg_replslot")).expect("a data directory").flatten() {
            let _ = fs::remove_dir_all(slot.path());
        }
        let owner = fs::metadata(path.join("PG_VERSION")).expect("a data directory");
        let signal = (String::from("standby.signal"), "");
        for (file, text) in [signal, ("backup_label".to_owned(), label[0][0].as_str())] {
            fs::write(path.join(&file), text).expect("write into the data directory");
            chown(path.join(&file), Some(owner.uid()), Some(owner.gid())).expect("give it away");
        }

        let primary =
            format!("host=127.0.0.1 port={} user=postgres application_name=standby", self.port);
        let settings = [&[("primary_conninfo", primary.as_str())], settings].concat();
        let standby = Self::start_on(datadir, self.major, &settings);
        standby.catch_up(self).await;
        standby
    }

    /// Waits until this standby has applied all that `primary` has written so far.
    pub async fn catch_up(&self, primary: &Self) {
        let position = primary.value("postgres", "SELECT pg_current_wal_lsn()").await;
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        let begun = Instant::now();
        while self.value("postgres", &reached).await != "t" {
            let log = self.log();
            assert!(begun.elapsed() < CATCH_UP_TIMEOUT, "the standby did not catch up:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its workers too are gone then, before the data directory is removed.
        self.process.end(Signal::QUIT);
    }
}

/// A session. Its connection works in a task of its own until the session is dropped.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs statements, as one transaction unless they say otherwise.
pub async fn exec(client: &Client, sql: &str) {
    let shown = || sql.chars().take(200).collect::<String>();
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", shown()));
}

/// A query's rows as text; NULL is `NULL`.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let answer = client.simple_query(sql).await;
    let messages = answer.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let texts = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(texts).collect()
}

/// Starts the process; an error is the end of its log.
fn run(major: Major, datadir: &Datadir, port: u16, settings: &[String]) -> Result<Process, String> {
    let path = datadir.path().to_str().expect("the folder has a UTF-8 name");
    let mut arguments = ["run", &major.kind(), path, &port.to_string()].map(str::to_owned).to_vec();
    arguments.extend_from_slice(settings);
    // A standby takes "read-only connections".
    Process::start(SCRIPT, &arguments, "ready to accept")
}
