//! Twin databases: what happens to the first happens to the second. osc changes the table in the
//! first, the server itself (`ALGORITHM=COPY`) that in the second, and both must end the same.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use crate::cli_run::streams;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support;
use crate::support::server::{Kind, Server, rows};

/// Cases that run at a time.
const WIDTH: usize = 4;

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// One change: the table `t` as it is made and filled, and the clauses.
pub struct Case {
    pub name: &'static str,
    /// Statements, each ended by a semicolon at the end of its line.
    pub setup: &'static str,
    pub clauses: &'static str,
}

/// Runs all cases and tells of all that fail.
pub async fn all<'c, F>(cases: impl IntoIterator<Item = &'c Case>, check: impl Fn(&'c Case) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let wrong: Vec<String> = stream::iter(cases)
        .map(|case| {
            let done = check(case);
            async move { done.await.err().map(|why| format!("— {}: {why}", case.name)) }
        })
        .buffer_unordered(WIDTH)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The two databases and a session in each.
pub struct Pair {
    server: &'static Server,
    databases: [String; 2],
    sessions: [Conn; 2],
}

impl Pair {
    /// Makes both databases and runs `setup` in each. Whatever the types take is taken.
    pub async fn new(kind: Kind, setup: &str) -> Self {
        Self::on(support::shared(kind), setup).await
    }

    /// The same on a server of its own.
    pub async fn on(server: &'static Server, setup: &str) -> Self {
        let databases = [support::database(server).await, support::database(server).await];
        let sessions = [server.conn_db(&databases[0]).await, server.conn_db(&databases[1]).await];
        let mut pair = Self { server, databases, sessions };
        pair.both("SET NAMES utf8mb4").await;
        pair.both("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await;
        for statement in setup.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
            pair.both(statement.trim_end_matches(';')).await;
        }
        pair
    }

    /// The two databases, osc's first.
    pub fn databases(&self) -> &[String; 2] {
        &self.databases
    }

    /// Runs a statement in both databases.
    pub async fn both(&mut self, sql: &str) {
        for conn in &mut self.sessions {
            let shown = || sql.chars().take(300).collect::<String>();
            conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{}: {error}", shown()));
        }
    }

    /// Runs a statement in osc's database.
    pub async fn first(&mut self, sql: &str) {
        self.sessions[0].query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Where osc's database is.
    pub fn url(&self) -> String {
        self.server.url(&self.databases[0])
    }

    /// Runs statements in one of the databases, osc's being 0.
    pub async fn script(&mut self, database: usize, script: &str) {
        for sql in script.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
            let sql = sql.trim_end_matches(';');
            let done = self.sessions[database].query_drop(sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    /// `osc alter` by the cheapest method, to its end, which must be good.
    pub async fn alter_freely(&self, table: &str, clauses: &str) {
        let child = support::osc()
            .args(["alter", table, clauses, "--url", &self.server.url(&self.databases[0]), "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ended(&end(child).await, 0).unwrap();
    }

    /// What the server says against a statement in osc's database.
    pub async fn refused(&mut self, sql: &str) -> String {
        match self.sessions[0].query_drop(sql).await {
            Ok(()) => panic!("{sql} was taken"),
            Err(error) => error.to_string(),
        }
    }

    /// `osc revert TABLE`, to its end.
    pub async fn revert(&self, table: &str, more: &[&str]) -> Output {
        self.osc(&[&["revert", table, "--yes"], more].concat()).await
    }

    /// osc with these arguments, on its own database, to its end.
    pub async fn osc(&self, arguments: &[&str]) -> Output {
        let child = support::osc()
            .env("RUST_BACKTRACE", "0")
            .args(arguments)
            .args(["--url", &self.server.url(&self.databases[0])])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        end(child).await
    }

    /// `osc plan TABLE CLAUSES` in JSON.
    pub async fn plan(&self, table: &str, clauses: &str, strategy: &str) -> Output {
        self.osc(&["plan", table, clauses, "--strategy", strategy, "--json"]).await
    }

    /// The first column of a query in osc's database.
    pub async fn column(&mut self, sql: &str) -> Vec<String> {
        rows(&mut self.sessions[0], sql).await.into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// `osc alter TABLE CLAUSES`, begun.
    pub fn begin(&self, table: &str, clauses: &str, more: &[&str]) -> Child {
        support::osc()
            .env("RUST_BACKTRACE", "0")
            .args(["alter", table, clauses, "--url", &self.server.url(&self.databases[0])])
            .args(["--strategy", "copy", "--yes"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// `osc alter TABLE CLAUSES`, to its end.
    pub async fn alter(&self, table: &str, clauses: &str) -> Output {
        end(self.begin(table, clauses, &[])).await
    }

    /// A run that is copying slowly, or has done so, and will not swap before it is released.
    pub async fn held(&mut self, clauses: &str, rows_a_second: u32) -> Held {
        let control = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "control-{}-{}",
            std::process::id(),
            self.databases[0]
        ));
        let slow = format!("cut_over = \"hold\"\nmax_rows_per_second = {rows_a_second}\n");
        std::fs::write(&control, slow).unwrap();
        let file = control.to_str().unwrap();
        let mut child = self.begin(
            "t",
            clauses,
            &["--chunk-size", "50", "--threads", "2", "--control-file", file],
        );
        let begun = Instant::now();
        while !self.copied().await && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < LONG, "no row was copied");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Held { child, control }
    }

    /// Whether the shadow has rows.
    async fn copied(&mut self) -> bool {
        let some: Result<Option<u8>, _> =
            self.sessions[0].query_first("SELECT 1 FROM t_osc_new LIMIT 1").await;
        matches!(some, Ok(Some(1)))
    }

    /// Changes the second table by the server's own copy.
    pub async fn native(&mut self, table: &str, clauses: &str) -> Result<(), String> {
        let copying = match self.server.kind() {
            Kind::Mariadb => "SET SESSION alter_algorithm = 'COPY'",
            Kind::Mysql => "SET SESSION old_alter_table = ON",
        };
        let conn = &mut self.sessions[1];
        conn.query_drop(copying).await.unwrap();
        // As strict as osc is; a date that is there already is no mistake.
        let mode = "'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
        conn.query_drop(format!("SET SESSION sql_mode = {mode}")).await.unwrap();
        let alter = format!("ALTER TABLE {} {clauses}", quoted(table));
        conn.query_drop(alter).await.map_err(|error| format!("the server's own: {error}"))
    }

    /// Both tables have one definition, and the same rows byte by byte.
    pub async fn same(&mut self, table: &str) -> Result<(), String> {
        let mut shapes = Vec::new();
        let mut data = Vec::new();
        for conn in &mut self.sessions {
            let create = rows(conn, &format!("SHOW CREATE TABLE {}", quoted(table))).await;
            shapes.push(shape(&create[0][1]));
            data.push(dump(conn, table).await);
        }
        differ("definition", &shapes[0], &shapes[1])?;
        differ("row", &data[0], &data[1])
    }

    /// Nothing is there but the tables of the setup and osc's ledger.
    pub async fn nothing_left(&mut self) -> Result<(), String> {
        let tables = "SELECT TABLE_NAME FROM information_schema.TABLES \
                      WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'osc\\_%'";
        let mut names = Vec::new();
        for conn in &mut self.sessions {
            let mut found = rows(conn, tables).await.concat();
            found.sort();
            names.push(found);
        }
        differ("table", &names[0], &names[1])
    }
}

/// A run under way, see [`Pair::held`].
pub struct Held {
    child: Child,
    control: PathBuf,
}

impl Held {
    /// Lets it copy as fast as it can and swap, and waits for its end.
    pub async fn release(self) -> Output {
        std::fs::write(&self.control, "cut_over = \"now\"\n").unwrap();
        let output = end(self.child).await;
        let _ = std::fs::remove_file(&self.control);
        output
    }
}

async fn end(child: Child) -> Output {
    tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
}

/// What it printed, when the run did not end as wanted.
pub fn ended(output: &Output, code: i32) -> Result<(), String> {
    if output.status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("exit {:?} and not {code}: {}", output.status.code(), streams(output)))
}

/// All that a run wrote.
/// osc and the server make the same of the table.
pub async fn becomes_the_same(kind: Kind, case: &Case) -> Result<(), String> {
    let mut pair = Pair::new(kind, case.setup).await;
    ended(&pair.alter("t", case.clauses).await, 0)?;
    pair.native("t", case.clauses).await?;
    pair.same("t").await
}

pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn differ(what: &str, ours: &[String], native: &[String]) -> Result<(), String> {
    let mut text = String::new();
    for line in ours.iter().filter(|line| !native.contains(line)).take(3) {
        let _ = write!(text, "\n    {what} of osc only: {line}");
    }
    for line in native.iter().filter(|line| !ours.contains(line)).take(3) {
        let _ = write!(text, "\n    {what} of the server only: {line}");
    }
    if text.is_empty() && ours != native {
        text = format!("{what}s in another order: {ours:?} ≠ {native:?}");
    }
    if text.is_empty() { Ok(()) } else { Err(text) }
}

/// A definition's lines. Indexes may stand in another order, and MySQL gives checks new names.
fn shape(create: &str) -> Vec<String> {
    let mut lines: Vec<String> = create
        .lines()
        .map(|line| line.trim_end_matches(','))
        .map(|line| match line.split_once(" CHECK (") {
            Some((name, check)) if name.starts_with("  CONSTRAINT ") => format!("CHECK ({check}"),
            _ => line.to_owned(),
        })
        .collect();
    let columns = lines.iter().take_while(|l| l.starts_with("CREATE") || l.starts_with("  `"));
    let columns = columns.count();
    let end = lines.iter().position(|line| line.starts_with(')')).unwrap_or(lines.len());
    lines[columns..end].sort();
    lines
}

/// All rows, each column in an expression that tells its bytes, in the order of those bytes.
async fn dump(conn: &mut Conn, table: &str) -> Vec<String> {
    let columns = conn
        .exec::<(String, String), _, _>(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            (table,),
        )
        .await
        .unwrap();
    let expression = |(name, data_type): &(String, String)| {
        let name = quoted(name);
        let bytes = match data_type.as_str() {
            // The bytes of a number would be cut to what is shown of it.
            "float" | "double" => format!("CAST({name}+0e0 AS CHAR)"),
            // Numbers in JSON look alike in text, decimal or not: their sizes differ.
            "json" => format!("CONCAT(CAST({name} AS CHAR), ' in ', JSON_STORAGE_SIZE({name}))"),
            "point" | "geometry" | "linestring" | "polygon" | "vector" => format!("HEX({name})"),
            _ => format!("CAST({name} AS BINARY)"),
        };
        format!("IF(LENGTH({bytes}) > 2000, SHA2({bytes}, 256), HEX({bytes}))")
    };
    let list: Vec<String> = columns.iter().map(expression).collect();
    let select = format!("SELECT {} FROM {}", list.join(", "), quoted(table));
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines: Vec<String> = rows(conn, &select)
        .await
        .into_iter()
        .map(|row| {
            let pairs = names.iter().zip(row).map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}
