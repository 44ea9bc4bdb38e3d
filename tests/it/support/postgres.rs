//! Private PostgreSQL servers on the loopback interface.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::datadir::{Datadir, SCRIPT};
use super::kept::{self, Keep};
use super::process::{self, Process, Running};
use super::server::on_a_port;

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
    running: Running,
}

impl Postgres {
    /// Starts a server: logical WAL, superuser `postgres` without a password. Takes less than a
    /// second, and more the first time.
    pub fn start(major: Major) -> Self {
        Self::start_with(major, &[])
    }

    /// A server of the system's version in which nothing is, of which nothing may be changed but what is in
    /// it: one that is kept, if any is.
    pub fn empty() -> Self {
        let major = Major::SYSTEM;
        let Some(kept) = kept::take(&major) else { return Self::start(major) };
        let settings = settings(&[]);
        Self { major, port: kept.port, settings, running: Running::Kept(kept) }
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
        let settings = self::settings(settings);
        let start = |port| run(major, &datadir, port, &settings);
        let (port, process) = on_a_port(&major.kind(), start);
        Self { major, port, settings, running: Running::Own { process, datadir } }
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
        self.running.id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.running.log()
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
        if !self.running.own().0.end(Signal::INT) {
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
        if !self.running.own().0.end(Signal::QUIT) {
            self.running.own().0.kill();
        }
    }

    fn run_again(&mut self) {
        let (process, datadir) = self.running.own();
        *process = run(self.major, datadir, self.port, &self.settings)
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
        let datadir = Datadir::copy_of(&self.major.kind(), self.running.data());
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
        if let Running::Own { process, .. } = &mut self.running {
            process.end(Signal::QUIT);
        }
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
    asked(client, sql).await.unwrap_or_else(|error| panic!("{error}"))
}

fn texts(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<String>> {
    let texts = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(texts).collect()
}

/// The usual settings and more, as arguments.
fn settings(more: &[(&str, &str)]) -> Vec<String> {
    let setting = |(name, value): &(&str, &str)| format!("--{name}={value}");
    SETTINGS.iter().chain(more).map(setting).collect()
}

/// Starts the process; an error is the end of its log.
fn run(major: Major, datadir: &Datadir, port: u16, settings: &[String]) -> Result<Process, String> {
    Process::start(SCRIPT, &arguments(major, datadir.path(), port, settings), READY)
}

/// What its log says when it is there; a standby takes "read-only connections".
const READY: &str = "ready to accept";

fn arguments(major: Major, data: &Path, port: u16, settings: &[String]) -> Vec<String> {
    let data = data.to_str().expect("the folder has a UTF-8 name");
    let mut arguments = ["run", &major.kind(), data, &port.to_string()].map(str::to_owned).to_vec();
    arguments.extend_from_slice(settings);
    arguments
}

impl Keep for Major {
    fn name(&self) -> String {
        self.kind()
    }

    fn signal(&self) -> Signal {
        Signal::QUIT
    }

    fn start(&self, data: &Path, log: &Path) -> (u16, u32) {
        Datadir::at(&self.kind(), data);
        on_a_port(&self.kind(), |port| {
            process::start_kept(&arguments(*self, data, port, &settings(&[])), log, READY)
        })
    }

    async fn end_sessions(&self, port: u16) -> Result<usize, String> {
        let client = session(port).await?;
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')";
        Ok(asked(&client, others).await?.len())
    }

    async fn clear(&self, port: u16) -> Result<(), String> {
        let client = session(port).await?;
        asked(&client, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            .await?;
        for sql in [
            "SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database \
             WHERE datname NOT IN ('postgres', 'template0', 'template1')",
            "SELECT format('DROP ROLE %I', rolname) FROM pg_roles \
             WHERE rolname <> 'postgres' AND rolname NOT LIKE 'pg\\_%'",
        ] {
            for row in asked(&client, sql).await? {
                asked(&client, &row[0]).await?;
            }
        }
        Ok(())
    }

    async fn facts(&self, port: u16) -> Result<String, String> {
        let client = session(port).await?;
        let mut facts = String::new();
        for sql in [
            "SELECT name, setting, pending_restart FROM pg_settings ORDER BY 1",
            "SELECT name, setting FROM pg_file_settings ORDER BY 1, 2",
            "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting",
            "SELECT * FROM pg_authid ORDER BY oid",
            "SELECT roleid, member FROM pg_auth_members ORDER BY 1, 2",
            "SELECT oid, datname, datacl, datistemplate, datallowconn FROM pg_database ORDER BY 1",
            "SELECT gid FROM pg_prepared_xacts",
            "SELECT slot_name FROM pg_replication_slots",
            "SELECT oid, spcname, spcacl FROM pg_tablespace ORDER BY 1",
            "SELECT parname, paracl FROM pg_parameter_acl",
            "SELECT oid, nspname, nspowner, nspacl FROM pg_namespace \
             WHERE nspname NOT LIKE 'pg\\_temp%' AND nspname NOT LIKE 'pg\\_toast\\_temp%' ORDER BY 1",
            "SELECT 'class', oid, relacl FROM pg_class WHERE oid >= 16384 OR relacl IS NOT NULL AND \
             relnamespace <> 'information_schema'::regnamespace ORDER BY 2",
            "SELECT 'function', oid FROM pg_proc WHERE oid >= 16384",
            "SELECT 'type', oid FROM pg_type WHERE oid >= 16384",
            "SELECT 'operator', oid FROM pg_operator WHERE oid >= 16384",
            "SELECT 'cast', oid FROM pg_cast WHERE oid >= 16384",
            "SELECT extname FROM pg_extension",
            "SELECT evtname FROM pg_event_trigger",
            "SELECT pubname FROM pg_publication",
            "SELECT subname FROM pg_subscription",
            "SELECT oid FROM pg_largeobject_metadata",
            "SELECT oid FROM pg_default_acl",
        ] {
            let rows = asked(&client, sql).await?;
            facts.extend(rows.iter().map(|row| format!("{row:?}\n")));
        }
        Ok(facts)
    }
}

async fn session(port: u16) -> Result<Client, String> {
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    connect(&url).await.map_err(|error| error.to_string())
}

async fn asked(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    match client.simple_query(sql).await {
        Ok(messages) => Ok(texts(messages)),
        Err(error) => Err(format!("{sql}: {error:?}")),
    }
}
