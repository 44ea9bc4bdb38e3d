//! Private MySQL and MariaDB servers on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use rand::Rng;

use super::datadir::{Datadir, SCRIPT};
use super::process::Process;

/// Options of all test servers beyond the script's. The time zone differs from the usual ones, so
/// that mistakes with it show.
const OPTIONS: [&str; 2] = ["--max-connections=300", "--default-time-zone=+03:00"];

/// Tries of another port before a start is given up.
pub(super) const PORTS_TRIED: usize = 5;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The system's MariaDB.
    Mariadb,
    /// The newest MySQL.
    Mysql,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mariadb, Self::Mysql];

    /// Its name, as the scripts take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        }
    }
}

/// A running server; stopped and removed on drop.
pub struct Server {
    kind: Kind,
    port: u16,
    options: Vec<String>,
    // Before the data directory, so that the process is gone when that is removed.
    process: Process,
    datadir: Datadir,
}

impl Server {
    /// Starts a server: binary log in row format, GTIDs, time zone +03:00, `root` without a
    /// password. Takes about a second, and several the first time.
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// Starts a server with more options, which win over the usual ones.
    pub fn start_with(kind: Kind, options: &[&str]) -> Self {
        let options: Vec<String> =
            OPTIONS.iter().chain(options).map(|option| (*option).to_owned()).collect();
        let datadir = Datadir::new(kind.name());
        let mut failure = String::new();
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            match run(kind, &datadir, port, &options) {
                Ok(process) => return Self { kind, port, options, process, datadir },
                Err(log) => failure = log,
            }
            if !failure.contains("already in use") && !failure.contains("running on port") {
                break;
            }
        }
        panic!("{} did not start:\n{failure}", kind.name());
    }

    /// Which server it is.
    pub fn kind(&self) -> Kind {
        self.kind
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
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Where to connect to, for the driver.
    pub fn opts(&self, database: &str) -> Opts {
        opts(&self.url(database)).into()
    }

    /// A session in no database.
    pub async fn conn(&self) -> Conn {
        self.conn_db("").await
    }

    /// A session in a database.
    pub async fn conn_db(&self, database: &str) -> Conn {
        Conn::new(self.opts(database))
            .await
            .unwrap_or_else(|error| panic!("connect to {}: {error}", self.url(database)))
    }

    /// Runs a statement in a session of its own.
    pub async fn exec(&self, sql: &str) {
        self.exec_in("", sql).await;
    }

    /// Runs a statement in a session of its own in a database.
    pub async fn exec_in(&self, database: &str, sql: &str) {
        let mut conn = self.conn_db(database).await;
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let _ = conn.disconnect().await;
    }

    /// A query's rows as text; NULL is `NULL`.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let mut conn = self.conn().await;
        let rows = rows(&mut conn, sql).await;
        let _ = conn.disconnect().await;
        rows
    }

    /// The one value that a query returns, as text.
    pub async fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        match rows.as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            _ => panic!("{sql}: one value expected, got {rows:?}"),
        }
    }

    /// Stops it in order and starts it again, on the same port and data.
    pub async fn restart(&mut self) {
        let mut conn = self.conn().await;
        // The server may hang up before it answers.
        let _ = conn.query_drop("SHUTDOWN").await;
        drop(conn);
        self.process.wait();
        self.run_again();
    }

    /// Kills it as a crash would and starts it again, on the same port and data.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.run_again();
    }

    /// Kills it as a crash would; it stays down until [`Server::kill_and_restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn run_again(&mut self) {
        self.process = run(self.kind, &self.datadir, self.port, &self.options)
            .unwrap_or_else(|log| panic!("{} did not start again:\n{log}", self.kind.name()));
    }

    /// A second server that replicates from this one by GTID and has caught up.
    pub async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// A replica with more options.
    pub async fn replica_with(&self, options: &[&str]) -> Self {
        let replica = Self::start_with(self.kind, options);
        let port = self.port;
        let (change, start) = match self.kind {
            Kind::Mariadb => (
                format!(
                    "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, \
                     MASTER_USER='root', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
                ),
                "START SLAVE",
            ),
            Kind::Mysql => (
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                     SOURCE_USER='root', SOURCE_CONNECT_RETRY=1, SOURCE_AUTO_POSITION=1, \
                     GET_SOURCE_PUBLIC_KEY=1"
                ),
                "START REPLICA",
            ),
        };
        replica.exec(&change).await;
        replica.exec(start).await;
        replica.catch_up(self).await;
        replica
    }

    /// Waits until this replica has applied all that `source` has committed so far, which shows
    /// that replication runs.
    pub async fn catch_up(&self, source: &Self) {
        // Something to wait for, even on a source where nothing happened yet.
        source.exec("DROP DATABASE IF EXISTS kit_heartbeat").await;
        let wait = match self.kind {
            Kind::Mariadb => {
                let position = source.value("SELECT @@gtid_binlog_pos").await;
                format!("SELECT MASTER_GTID_WAIT('{position}', 60)")
            }
            Kind::Mysql => {
                let executed = source.value("SELECT @@GLOBAL.gtid_executed").await;
                format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)")
            }
        };
        let outcome = self.value(&wait).await;
        assert_eq!(outcome, "0", "the replica did not catch up:\n{}", self.log());
    }
}

/// Options of a session at `url` over TCP.
pub fn opts(url: &str) -> OptsBuilder {
    let opts = Opts::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    OptsBuilder::from_opts(opts).prefer_socket(false)
}

/// A query's rows as text; NULL is `NULL`.
pub async fn rows(conn: &mut Conn, sql: &str) -> Vec<Vec<String>> {
    let rows: Vec<Row> = conn.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = |value: Value| match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true),
    };
    rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
}

/// Starts the process; an error is the end of its log.
fn run(kind: Kind, datadir: &Datadir, port: u16, options: &[String]) -> Result<Process, String> {
    let mut arguments = vec![
        "run".to_owned(),
        kind.name().to_owned(),
        datadir.path().to_str().expect("the build's folder has a UTF-8 name").to_owned(),
        port.to_string(),
        // As unique as the port is.
        format!("--server-id={port}"),
    ];
    arguments.extend_from_slice(options);
    Process::start(SCRIPT, &arguments, "ready for connections")
}

/// A port that nobody listens on, from below the range from which outgoing connections take
/// theirs, so that a server finds it free again after a restart.
pub(super) fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
