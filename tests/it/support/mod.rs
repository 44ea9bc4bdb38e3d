//! The test kit: real private servers, the twin-table torture, the built program.
//!
//! A server that is not installed fails the test that needs it; no test is skipped for it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of the kit")]

pub mod datadir;
pub mod kept;
pub mod postgres;
pub mod postgres_twin;
pub mod process;
pub mod proxy;
pub mod schema;
pub mod server;
pub mod twin;
pub mod writers;

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Postgres;
use server::{Kind, Server};

/// The same tests on MySQL and on MariaDB.
#[macro_export]
macro_rules! on_both_servers {
    ($($name:ident)+) => {
        on_servers! {
            { $($name)+ }
            mariadb: $crate::support::server::Kind::Mariadb;
            mysql: $crate::support::server::Kind::Mysql;
        }
    };
}

/// The same tests on several servers, each in a module of its name; what a test is given there.
#[macro_export]
macro_rules! on_servers {
    (@one $server:ident $given:expr; { $($name:ident)+ }) => {
        mod $server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($given).await;
            })+
        }
    };
    ($names:tt $($server:ident: $given:expr;)+) => {
        $(on_servers! { @one $server $given; $names })+
    };
}

/// The server of this kind that the tests of this process share. Tests that restart, break or
/// configure a server start their own.
pub fn shared(kind: Kind) -> &'static Server {
    static MARIADB: OnceLock<Server> = OnceLock::new();
    static MYSQL: OnceLock<Server> = OnceLock::new();
    let server = match kind {
        Kind::Mariadb => &MARIADB,
        Kind::Mysql => &MYSQL,
    };
    server.get_or_init(|| Server::empty(kind))
}

/// The PostgreSQL of the system's version that the tests of this process share.
pub fn shared_postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::empty)
}

/// Creates an empty database in PostgreSQL and returns its name, which no other test has.
pub async fn postgres_database(server: &Postgres) -> String {
    let name = unused_name();
    server.exec("postgres", &format!("CREATE DATABASE {name}")).await;
    name
}

/// Creates an empty database and returns its name, which no other test has.
pub async fn database(server: &Server) -> String {
    let name = unused_name();
    server.exec(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await;
    name
}

fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A number of the environment.
pub fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// The built program, with nothing of the caller's environment that would change what it does, but
/// for the rule that `tests/it/broken_rules.rs` has it break.
pub fn osc() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osc"));
    let ours = |name: &str| {
        let prefixed = ["OSC_", "MYSQL_", "PG"].iter().any(|prefix| name.starts_with(prefix));
        prefixed && name != "OSC_BROKEN_RULE" || name == "DATABASE_URL"
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(std::process::Stdio::null());
    command
}
