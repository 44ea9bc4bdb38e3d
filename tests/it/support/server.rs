//! Private MySQL and MariaDB servers on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use rand::Rng;
use rustix::process::Signal;

use super::datadir::{Datadir, SCRIPT};
use super::kept::{self, Keep};
use super::process::{self, Process, Running};

/// Options of all test servers beyond the script's. The time zone differs from the usual ones, so
/// that mistakes with it show.
const OPTIONS: [&str; 2] = ["--max-connections=300", "--default-time-zone=+03:00"];

/// Tries of another port before a start is given up.
const PORTS_TRIED: usize = 5;

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
    running: Running,
}

impl Server {
    /// Starts a server: binary log in row format, GTIDs, time zone +03:00, `root` without a
    /// password. Takes about a second, and several the first time.
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// Starts a server with more options, which win over the usual ones.
    pub fn start_with(kind: Kind, options: &[&str]) -> Self {
        // It may be killed in the midst of writing a page.
        let all = OPTIONS.iter().chain(&["--innodb-doublewrite=ON"]).chain(options);
        let options: Vec<String> = all.map(|option| (*option).to_owned()).collect();
        let datadir = Datadir::new(kind.name());
        let (port, process) = on_a_port(kind.name(), |port| run(kind, &datadir, port, &options));
        Self { kind, port, options, running: Running::Own { process, datadir } }
    }

    /// A server in which nothing is, of which nothing may be changed but what is in it: one that is kept,
    /// if any is.
    pub fn empty(kind: Kind) -> Self {
        let Some(kept) = kept::take(&kind) else { return Self::start(kind) };
        let options = OPTIONS.map(str::to_owned).to_vec();
        Self { kind, port: kept.port, options, running: Running::Kept(kept) }
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
        self.running.id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.running.log()
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

    /// An account of osc's own, with all rights; where to connect to as it.
    pub async fn as_osc(&self, database: &str) -> String {
        for sql in [
            "CREATE USER IF NOT EXISTS osc@'%' IDENTIFIED BY 'secret'",
            "GRANT ALL PRIVILEGES ON *.* TO osc@'%'",
        ] {
            self.exec(sql).await;
        }
        format!("mysql://osc:secret@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends the sessions of that account of which `condition` is true in the process list, as a proxy or an
    /// administrator might; how many there were. Does nothing while the server is down.
    pub async fn cut(&self, condition: &str) -> u64 {
        let Ok(mut conn) = Conn::new(self.opts("")).await else { return 0 };
        let sql = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'osc' AND {condition}"
        );
        let ids: Vec<u64> = conn.query(sql).await.unwrap_or_default();
        let mut cut = 0;
        for id in ids {
            cut += u64::from(conn.query_drop(format!("KILL {id}")).await.is_ok());
        }
        cut
    }

    /// Stops it in order and starts it again, on the same port and data.
    pub async fn restart(&mut self) {
        let mut conn = self.conn().await;
        // The server may hang up before it answers.
        let _ = conn.query_drop("SHUTDOWN").await;
        drop(conn);
        self.running.own().0.wait();
        self.run_again();
    }

    /// Kills it as a crash would and starts it again, on the same port and data.
    pub fn kill_and_restart(&mut self) {
        self.running.own().0.kill();
        self.run_again();
    }

    /// Kills it as a crash would; it stays down until [`Server::kill_and_restart`].
    pub fn kill(&mut self) {
        self.running.own().0.kill();
    }

    fn run_again(&mut self) {
        let (process, datadir) = self.running.own();
        *process = run(self.kind, datadir, self.port, &self.options)
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

fn text(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true),
    }
}

/// A query's rows as text; NULL is `NULL`.
pub async fn rows(conn: &mut Conn, sql: &str) -> Vec<Vec<String>> {
    asked(conn, sql).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Starts the process; an error is the end of its log.
fn run(kind: Kind, datadir: &Datadir, port: u16, options: &[String]) -> Result<Process, String> {
    Process::start(SCRIPT, &arguments(kind, datadir.path(), port, options), READY)
}

/// What its log says when it is there.
const READY: &str = "ready for connections";

fn arguments(kind: Kind, data: &Path, port: u16, options: &[String]) -> Vec<String> {
    let data = data.to_str().expect("the servers' folder has a UTF-8 name");
    // As unique as the port is.
    let id = format!("--server-id={port}");
    let mut arguments =
        ["run", kind.name(), data, &port.to_string(), &id].map(str::to_owned).to_vec();
    arguments.extend_from_slice(options);
    arguments
}

/// Databases and accounts that a new server has.
const SYSTEM: &str = "'mysql', 'sys', 'information_schema', 'performance_schema'";
const ACCOUNTS: &str =
    "'root', 'mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'PUBLIC'";

impl Keep for Kind {
    fn name(&self) -> String {
        (*self).name().to_owned()
    }

    fn signal(&self) -> Signal {
        Signal::KILL
    }

    fn start(&self, data: &Path, log: &Path) -> (u16, u32) {
        Datadir::at((*self).name(), data);
        let options = OPTIONS.map(str::to_owned);
        on_a_port((*self).name(), |port| {
            process::start_kept(&arguments(*self, data, port, &options), log, READY)
        })
    }

    async fn end_sessions(&self, port: u16) -> Result<usize, String> {
        let mut conn = session(port).await?;
        let others = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() \
                      AND USER NOT IN ('system user', 'event_scheduler')";
        let found = asked(&mut conn, others).await?;
        for row in &found {
            let _ = conn.query_drop(format!("KILL {}", row[0])).await;
        }
        let _ = conn.disconnect().await;
        Ok(found.len())
    }

    async fn clear(&self, port: u16) -> Result<(), String> {
        let mut conn = session(port).await?;
        let reset = match self {
            Self::Mysql => "RESET BINARY LOGS AND GTIDS",
            Self::Mariadb => "RESET MASTER",
        };
        let databases = format!(
            "SELECT CONCAT('DROP DATABASE `', REPLACE(SCHEMA_NAME, '`', '``'), '`') \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ({SYSTEM})"
        );
        let accounts = format!(
            "SELECT CONCAT('DROP USER ', QUOTE(user), '@', QUOTE(host)) FROM mysql.user \
             WHERE user NOT IN ({ACCOUNTS})"
        );
        conn.query_drop("SET foreign_key_checks = 0").await.map_err(in_words)?;
        for sql in [databases, accounts] {
            for row in asked(&mut conn, &sql).await? {
                conn.query_drop(&row[0]).await.map_err(in_words)?;
            }
        }
        conn.query_drop(reset).await.map_err(in_words)
    }

    async fn facts(&self, port: u16) -> Result<String, String> {
        let mut conn = session(port).await?;
        let (tables, replication) = match self {
            Self::Mysql => (
                "user, db, tables_priv, columns_priv, procs_priv, proxies_priv, role_edges, \
                 default_roles, global_grants, func, plugin, component, servers",
                "SELECT CHANNEL_NAME, HOST FROM performance_schema.replication_connection_configuration",
            ),
            Self::Mariadb => (
                "global_priv, db, tables_priv, columns_priv, procs_priv, proxies_priv, roles_mapping, \
                 func, plugin, servers, event, proc",
                "SHOW ALL SLAVES STATUS",
            ),
        };
        let tables = tables.split(", ").map(|name| format!("mysql.{name}")).collect::<Vec<_>>();
        let mut facts = String::new();
        for sql in [
            "SHOW GLOBAL VARIABLES WHERE Variable_name NOT LIKE 'gtid%' AND Variable_name <> 'timestamp'",
            &format!("CHECKSUM TABLE {}", tables.join(", ")),
            "SELECT PLUGIN_NAME, PLUGIN_STATUS FROM information_schema.PLUGINS",
            "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA",
            "XA RECOVER",
            replication,
        ] {
            let mut rows = asked(&mut conn, sql).await?;
            rows.sort();
            facts.extend(rows.iter().map(|row| format!("{row:?}\n")));
        }
        Ok(facts)
    }
}

async fn session(port: u16) -> Result<Conn, String> {
    let opts = opts(&format!("mysql://root@127.0.0.1:{port}/"));
    Conn::new(opts).await.map_err(in_words)
}

async fn asked(conn: &mut Conn, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let rows: Vec<Row> = conn.query(sql).await.map_err(|error| format!("{sql}: {error}"))?;
    Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
}

fn in_words(error: mysql_async::Error) -> String {
    error.to_string()
}

/// Starts a server on a port that is free, and on another one where another program took it meanwhile; an error is
/// the log.
pub(super) fn on_a_port<T>(
    name: &str,
    mut start: impl FnMut(u16) -> Result<T, String>,
) -> (u16, T) {
    let mut failure = String::new();
    for _ in 0..PORTS_TRIED {
        let port = free_port();
        match start(port) {
            Ok(started) => return (port, started),
            Err(log) => failure = log,
        }
        if !failure.contains("already in use") && !failure.contains("running on port") {
            break;
        }
    }
    panic!("{name} did not start:\n{failure}");
}

/// A port that no program listens on, from below the range from which outgoing connections take
/// theirs, so that a server finds it free again after a restart.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
