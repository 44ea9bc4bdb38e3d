//! The servers of the race: one is started, gets the table, and gets it afresh for each run.

use std::str::FromStr;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::support::postgres::{self, Major, Postgres};
use crate::support::server::{self, Kind, Server};

/// The database that contenders work in. The table is kept as it was in another one.
pub const DATABASE: &str = "race";
const KEPT: &str = "kept";

/// Settings of a server that has a table larger than the tests' to work on.
const MYSQL: [&str; 2] = ["--innodb-buffer-pool-size=1G", "--max-connections=300"];
const POSTGRES: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "4GB"),
    ("min_wal_size", "1GB"),
    // As with segments of the usual size; the tests' are small.
    ("wal_buffers", "16MB"),
];

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Brand {
    /// The system's MariaDB.
    Mariadb,
    /// The newest MySQL.
    Mysql,
    /// The system's PostgreSQL.
    Postgres,
}

/// A running server, and the settings that were asked for.
pub struct Machine {
    server: Running,
    settings: Vec<Setting>,
}

enum Running {
    /// MySQL or MariaDB.
    Mysql(Server),
    /// PostgreSQL.
    Postgres(Postgres),
}

/// A setting of the server's.
#[derive(Debug, Clone)]
pub struct Setting {
    name: String,
    value: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected")?;
        Ok(Self { name: name.into(), value: value.into() })
    }
}

/// Where a session connects to.
#[derive(Clone)]
pub enum Address {
    /// MySQL or MariaDB.
    Mysql(String),
    /// PostgreSQL.
    Postgres(String),
}

/// A session of the application.
pub enum Session {
    /// On MySQL or MariaDB.
    Mysql(Conn),
    /// On PostgreSQL.
    Postgres(Client),
}

impl Session {
    /// Connects.
    pub async fn open(address: &Address) -> Result<Self, String> {
        match address {
            Address::Mysql(url) => {
                let session = Conn::new(server::opts(url)).await;
                session.map(Self::Mysql).map_err(|error| error.to_string())
            }
            Address::Postgres(url) => {
                let session = postgres::connect(url).await;
                session.map(Self::Postgres).map_err(|error| error.to_string())
            }
        }
    }

    /// Runs a statement; an error is the server's words.
    pub async fn run(&mut self, sql: &str) -> Result<(), String> {
        match self {
            Self::Mysql(session) => {
                session.query_drop(sql).await.map_err(|error| error.to_string())
            }
            Self::Postgres(session) => session.batch_execute(sql).await.map_err(|error| {
                error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
            }),
        }
    }
}

impl Machine {
    /// Starts a server.
    pub fn start(brand: Brand, settings: &[Setting]) -> Self {
        let mysql = |kind, log| {
            let further = settings.iter().map(|one| format!("--{}={}", one.name, one.value));
            let further: Vec<String> = further.collect();
            let further: Vec<&str> = further.iter().map(String::as_str).collect();
            Running::Mysql(Server::start_with(kind, &[&MYSQL[..], &[log], &further].concat()))
        };
        let server = match brand {
            Brand::Mariadb => mysql(Kind::Mariadb, "--innodb-log-file-size=1G"),
            Brand::Mysql => mysql(Kind::Mysql, "--innodb-redo-log-capacity=1G"),
            Brand::Postgres => {
                let further = settings.iter().map(|one| (one.name.as_str(), one.value.as_str()));
                let all: Vec<(&str, &str)> = POSTGRES.into_iter().chain(further).collect();
                Running::Postgres(Postgres::start_with(Major::SYSTEM, &all))
            }
        };
        Self { server, settings: settings.to_vec() }
    }

    /// What it is in MySQL's family; `None`: PostgreSQL.
    pub fn kind(&self) -> Option<Kind> {
        match &self.server {
            Running::Mysql(server) => Some(server.kind()),
            Running::Postgres(_) => None,
        }
    }

    /// Its name, version and settings.
    pub fn name(&self, runtime: &Runtime) -> String {
        let (name, version) = match &self.server {
            Running::Mysql(server) => {
                let version = runtime.block_on(server.value("SELECT VERSION()"));
                (if server.kind() == Kind::Mysql { "MySQL" } else { "MariaDB" }, version)
            }
            Running::Postgres(server) => {
                ("PostgreSQL", runtime.block_on(server.value("postgres", "SHOW server_version")))
            }
        };
        let number = version.split(['-', ' ']).next().unwrap_or_default();
        let settings = self.settings.iter().map(|one| format!(", {} = {}", one.name, one.value));
        format!("{name} {number}{}", settings.collect::<String>())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        match &self.server {
            Running::Mysql(server) => server.pid(),
            Running::Postgres(server) => server.pid(),
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        match &self.server {
            Running::Mysql(server) => server.port(),
            Running::Postgres(server) => server.port(),
        }
    }

    /// Where the contenders' database is.
    pub fn url(&self) -> String {
        match &self.server {
            Running::Mysql(server) => server.url(DATABASE),
            Running::Postgres(server) => server.url(DATABASE),
        }
    }

    /// The same for the application.
    pub fn address(&self) -> Address {
        match &self.server {
            Running::Mysql(_) => Address::Mysql(self.url()),
            Running::Postgres(_) => Address::Postgres(self.url()),
        }
    }

    /// Makes the table that is kept: the usual benchmark table, about 200 bytes a row.
    pub fn load(&self, runtime: &Runtime, rows: u64) {
        match &self.server {
            Running::Mysql(server) => {
                let numbers = match server.kind() {
                    Kind::Mariadb => format!("SELECT seq AS n FROM seq_1_to_{rows}"),
                    Kind::Mysql => format!(
                        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r \
                         WHERE n < {rows}) SELECT n FROM r"
                    ),
                };
                let deep = match server.kind() {
                    Kind::Mariadb => String::new(),
                    Kind::Mysql => format!("SET SESSION cte_max_recursion_depth = {rows};"),
                };
                let sql = format!(
                    "SET sql_log_bin = 0; CREATE DATABASE {KEPT}; USE {KEPT}; CREATE TABLE t ( \
                         id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 0, \
                         c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT ''); {deep} \
                     INSERT INTO t (k, c, pad) SELECT CRC32(n) % 1000000, LEFT(REPEAT(SHA2(n, 256), 2), 120), \
                         LEFT(SHA2(n + 1, 256), 40) FROM ({numbers}) AS numbers"
                );
                runtime.block_on(server.exec(&sql));
            }
            Running::Postgres(server) => runtime.block_on(async {
                server.exec("postgres", &format!("CREATE DATABASE {KEPT}")).await;
                let sql = format!(
                    "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, \
                         k int NOT NULL DEFAULT 0, c char(120) NOT NULL DEFAULT '', \
                         pad char(60) NOT NULL DEFAULT ''); \
                     INSERT INTO t (k, c, pad) SELECT abs(hashint8(n)::bigint) % 1000000, \
                         left(repeat(md5(n::text), 4), 120), left(repeat(md5((n + 1)::text), 2), 40) \
                         FROM generate_series(1, {rows}) AS n; \
                     CREATE INDEX k_1 ON t (k)"
                );
                server.exec(KEPT, &sql).await;
                server.exec(KEPT, "CREATE EXTENSION IF NOT EXISTS pg_repack").await;
                server.exec(KEPT, "VACUUM ANALYZE t").await;
            }),
        }
    }

    /// Writes to so many rows of the contenders' table, spread over all of it: updates, and a deletion and an
    /// insertion among ten.
    pub fn touch(&self, runtime: &Runtime, rows: u64, touched: u64) {
        let step = (rows / touched.max(1)).max(1);
        let sql = [
            format!("UPDATE t SET k = k + 1, pad = 'touched' WHERE id % {step} = 0"),
            format!("DELETE FROM t WHERE id % {} = 0", step * 20),
            format!(
                "INSERT INTO t (k, c, pad) SELECT k, c, pad FROM t WHERE id % {} = {}",
                step * 20,
                step.min(7)
            ),
        ];
        runtime.block_on(async {
            let mut session = Session::open(&self.address()).await.expect("the server is up");
            for sql in sql {
                session.run(&sql).await.expect("the table is there");
            }
        });
    }

    /// Gives the contenders' database the table as it was, written out to disk, and nothing else.
    pub fn refresh(&self, runtime: &Runtime) {
        match &self.server {
            Running::Mysql(server) => {
                // With its index built after the rows, as it is in a table that has been rewritten.
                let sql = format!(
                    "SET sql_log_bin = 0; DROP DATABASE IF EXISTS {DATABASE}; \
                     CREATE DATABASE {DATABASE}; USE {DATABASE}; CREATE TABLE t LIKE {KEPT}.t; INSERT INTO t SELECT * FROM {KEPT}.t; \
                     ALTER TABLE t ADD INDEX k_1 (k); ANALYZE TABLE t; \
                     FLUSH TABLES t FOR EXPORT; UNLOCK TABLES"
                );
                runtime.block_on(server.exec(&sql));
                let purge = "FLUSH BINARY LOGS; DO SLEEP(1); PURGE BINARY LOGS BEFORE NOW()";
                runtime.block_on(server.exec(purge));
            }
            Running::Postgres(server) => runtime.block_on(async {
                let slots = format!(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                     WHERE database = '{DATABASE}'"
                );
                server.exec("postgres", &slots).await;
                let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
                server.exec("postgres", &drop).await;
                let create = format!("CREATE DATABASE {DATABASE} TEMPLATE {KEPT}");
                server.exec("postgres", &create).await;
                server.exec("postgres", "CHECKPOINT").await;
            }),
        }
    }
}
