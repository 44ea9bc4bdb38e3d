//! Who takes part, and how each is called.

use std::process::Command;

use clap::ValueEnum;

use crate::machine::{DATABASE, Machine};
use crate::support::{self, server::Kind};

/// The change that all make. Both servers have to write every row anew for it.
const MYSQL: &str = "ADD COLUMN x INT NOT NULL DEFAULT 5, MODIFY k BIGINT NOT NULL DEFAULT 0";
const POSTGRES: &str = "ADD COLUMN x int NOT NULL DEFAULT 5, ALTER COLUMN k TYPE bigint";

/// One who changes the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// No change, for five seconds: what the application sees when nothing is changed.
    Idle,
    /// The server's own ALTER TABLE, which rewrites the table and keeps writers out.
    Server,
    /// osc, the verification included.
    Osc,
    /// osc revert, which puts what the log names, on MySQL and MariaDB.
    UndoByLog,
    /// osc revert, which compares both tables.
    UndoByComparing,
    /// osc, which watches the change and undoes it, since its health check fails from the beginning.
    Watch,
    /// pt-online-schema-change, on MySQL and MariaDB.
    PtOsc,
    /// pg_repack, on PostgreSQL: it rewrites the table, but changes nothing.
    PgRepack,
}

impl Contender {
    /// Those that can take part on a server.
    pub fn on(machine: &Machine, with_application: bool) -> Vec<Self> {
        let idle = with_application.then_some(Self::Idle);
        let peer = if machine.kind().is_some() { Self::PtOsc } else { Self::PgRepack };
        idle.into_iter().chain([Self::Server, Self::Osc, peer]).collect()
    }

    /// Those that undo a change, and those that they are measured by.
    pub fn of_an_undo(machine: &Machine) -> Vec<Self> {
        let by_log = machine.kind().map(|_| Self::UndoByLog);
        let all = [Self::Server, Self::Osc, Self::UndoByComparing, Self::Watch];
        all.into_iter().chain(by_log).collect()
    }

    /// Whether it undoes a change that must have been made.
    pub fn undoes(self) -> bool {
        matches!(self, Self::UndoByLog | Self::UndoByComparing)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Server => "server's own",
            Self::Osc => "osc",
            Self::UndoByLog => "osc revert, by the log",
            Self::UndoByComparing => "osc revert, by comparing",
            Self::Watch => "osc, watched and undone",
            Self::PtOsc => "pt-online-schema-change",
            Self::PgRepack => "pg_repack (no change)",
        }
    }

    /// Its name as that of a file.
    pub fn file(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does to the table `t`.
    pub fn command(self, machine: &Machine, further: &str) -> Command {
        let port = machine.port().to_string();
        let clauses = if machine.kind().is_some() { MYSQL } else { POSTGRES };
        match self {
            Self::Idle => with("sleep", &["5"]),
            Self::Server => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/server");
                let alter = format!("ALTER TABLE t {clauses}");
                match machine.kind() {
                    Some(kind) => {
                        let kind = if kind == Kind::Mysql { "mysql" } else { "mariadb" };
                        let alter = format!("{alter}, ALGORITHM=COPY");
                        with(script, &["client", kind, &port, DATABASE, "--execute", &alter])
                    }
                    None => {
                        let options = ["--set=ON_ERROR_STOP=1", "--command", &alter, DATABASE];
                        with(script, &[&["client", "postgres", &port], &options[..]].concat())
                    }
                }
            }
            Self::Osc => alter(machine, clauses, &[], further),
            Self::UndoByLog => osc(machine, &["revert", "t", "--verify", "touched"], further),
            Self::UndoByComparing => osc(machine, &["revert", "t", "--verify", "all"], further),
            Self::Watch => {
                let check = ["--watch", "10m", "--revert-if-query", "SELECT 1"];
                alter(machine, clauses, &check, further)
            }
            Self::PtOsc => {
                let place = format!("h=127.0.0.1,P={port},u=root,D={DATABASE},t=t");
                // Like osc, it keeps the old table.
                let options = ["--execute", "--no-drop-old-table", "--no-version-check"];
                let rest = ["--recursion-method=none", "--alter", clauses, &place];
                with("pt-online-schema-change", &[&options[..], &rest].concat())
            }
            Self::PgRepack => {
                let place = ["--host=127.0.0.1", "--port", &port, "--username=postgres"];
                let options = ["--dbname", DATABASE, "--table=t"];
                let program = format!("{}/pg_repack", postgres_programs());
                with(&program, &[&place[..], &options].concat())
            }
        }
    }
}

fn alter(machine: &Machine, clauses: &str, with: &[&str], further: &str) -> Command {
    osc(machine, &[&["alter", "t", clauses, "--strategy", "copy"], with].concat(), further)
}

fn osc(machine: &Machine, arguments: &[&str], further: &str) -> Command {
    let mut osc = support::osc();
    osc.args(arguments).args(["--json", "--url"]).arg(machine.url());
    osc.args(further.split_whitespace());
    osc
}

/// Where the system's PostgreSQL has its programs.
fn postgres_programs() -> String {
    let major = support::postgres::Major::SYSTEM.number();
    format!("/usr/lib/postgresql/{major}/bin")
}

fn with(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
