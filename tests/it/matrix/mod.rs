//! Many pairs of types in one table: what the server's own ALTER makes of each value (`native`), what
//! osc's statements make of it (`ours`), and what the program makes of the table.
#![allow(unreachable_pub, reason = "a part of one test program, as the kit is")]

mod native;
mod ours;
pub mod types;
mod values;

use crate::cli_run::streams;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support;
use crate::support::server::{Kind, Server};
use native::{Native, Verdict};
use ours::{Column, Ours};
use types::Type;
use values::{NULL, Values};

/// Pairs in one table.
pub const TOGETHER: usize = 48;
/// Rows of the table: more than any type has values, so that each column has NULL too.
const ROWS: usize = 48;
/// Runs of osc with rows that it refuses, each without those that were named before.
const REFUSED_RUNS: usize = 3;

const LOOSE: &str = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
const STRICT: &str =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

/// How the pairs ended.
#[derive(Debug, Default)]
pub struct Tally {
    pub tried: usize,
    /// With the server's own values.
    pub equal: usize,
    /// Before the copy.
    pub refused: usize,
    /// Of the equal ones, those of which some rows are refused by the copy.
    pub rows_refused: usize,
    /// Values that were tried.
    pub values: usize,
    pub wrong: Vec<String>,
    /// Where the time went.
    native: Duration,
    ours: Duration,
    program: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tried, equal, refused, rows_refused, values, wrong, .. } = self;
        write!(
            f,
            "{tried} pairs, {values} values: {equal} equal ({rows_refused} of them with rows refused by \
             the copy), {refused} refused before it, {} wrong; native {:?}, ours {:?}, program {:?}",
            wrong.len(),
            self.native,
            self.ours,
            self.program,
        )
    }
}

/// The server, and each type's values in a table.
pub struct Matrix {
    server: &'static Server,
    database: String,
    conn: Conn,
    types: BTreeMap<&'static str, String>,
    runs: usize,
}

/// What is known of a pair when the program runs.
struct Tried {
    ours: Result<Column, String>,
    native: BTreeMap<u64, Verdict>,
}

impl Matrix {
    pub async fn new(kind: Kind) -> Self {
        let server = support::shared(kind);
        let database = support::database(server).await;
        let conn = session(server, &database).await;
        if kind == Kind::Mysql {
            // Where it is off, as it is with few cores, commits wait for a tenth of a second.
            server.exec("SET GLOBAL innodb_log_writer_threads = ON").await;
        }
        Self { server, database, conn, types: BTreeMap::new(), runs: 0 }
    }

    /// Tries some pairs, [`TOGETHER`] at most.
    pub async fn run(&mut self, pairs: &[(Type, Type)], tally: &mut Tally) {
        tally.tried += pairs.len();
        let reported = tally.wrong.len();
        let kind = self.server.kind();
        let columns: Vec<(usize, Type)> = pairs.iter().map(|(from, _)| *from).enumerate().collect();
        self.fill("t", &columns).await;
        let before = values::of_columns(&mut self.conn, "t", &columns, kind).await;
        let begun = Instant::now();
        let native = Native::new(&mut self.conn, pairs, kind).verdicts("t").await;
        tally.native += begun.elapsed();

        let begun = Instant::now();
        self.create("s", pairs.iter().map(|(_, to)| *to).enumerate()).await;
        let mut ours = Ours::new(self.server, &self.database, ["t", "s"], pairs).await;
        let mut tried = Vec::new();
        for (at, native) in native.into_iter().enumerate() {
            tried.push(Tried { ours: ours.column(at, &before[&at]).await, native });
        }
        drop(ours);
        tally.ours += begun.elapsed();
        for (at, (from, to)) in pairs.iter().enumerate() {
            let wrong = self.compare(pairs, at, &tried[at], &before[&at]).await;
            tally.values += tried[at].native.values().filter(|v| **v != null()).count();
            match &tried[at].ours {
                Err(_) => tally.refused += 1,
                Ok(column) => {
                    tally.equal += usize::from(wrong.is_empty());
                    tally.rows_refused += usize::from(!column.refused.is_empty());
                }
            }
            tally.wrong.extend(
                wrong.iter().map(|wrong| format!("— {} to {}: {wrong}", from.name, to.name)),
            );
        }
        let begun = Instant::now();
        self.program(pairs, &columns, &tried, tally).await;
        tally.program += begun.elapsed();
        println!("{tally}\n{}", tally.wrong[reported..].join("\n"));
    }

    /// A table with the values of each column's type.
    async fn fill(&mut self, table: &str, columns: &[(usize, Type)]) {
        for (_, of) in columns {
            self.make_values(*of).await;
        }
        self.create(table, columns.iter().copied()).await;
        let ids: Vec<String> = (0..ROWS).map(|id| format!("({id})")).collect();
        self.sql(&format!("INSERT INTO {table} (id) VALUES {}", ids.join(", "))).await;
        for (at, of) in columns {
            let values = self.types[of.name].clone();
            let sql = format!("UPDATE {table} t JOIN {values} v ON v.id = t.id SET t.c{at} = v.c");
            self.sql(&sql).await;
        }
    }

    /// What the type does not take is not one of its values, and each counts once.
    async fn make_values(&mut self, of: Type) {
        if self.types.contains_key(of.name) {
            return;
        }
        let table = format!("v{}", self.types.len());
        self.sql(LOOSE).await;
        self.sql(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, c {})", of.name)).await;
        self.sql("START TRANSACTION").await;
        assert!(of.values.len() < ROWS, "{}", of.name);
        for (id, value) in of.values.iter().enumerate() {
            let _ =
                self.conn.query_drop(format!("INSERT INTO {table} VALUES ({id}, {value})")).await;
        }
        self.sql("COMMIT").await;
        let (plain, x) =
            ["`c`", "x.`c`"].map(|c| values::exactly(c, of, self.server.kind())).into();
        self.sql(&format!(
            "DELETE x FROM {table} x JOIN (SELECT MIN(id) AS least, {plain} AS v FROM {table} GROUP BY v) \
             y ON {x} <=> y.v AND x.id > y.least",
        ))
        .await;
        self.types.insert(of.name, table);
    }

    /// What of a pair is not as it should be.
    async fn compare(
        &mut self,
        pairs: &[(Type, Type)],
        at: usize,
        tried: &Tried,
        before: &Values,
    ) -> Vec<String> {
        let (from, to) = pairs[at];
        let mut wrong = Vec::new();
        let column = match &tried.ours {
            Ok(column) => column,
            Err(why) => {
                if !meaningless(tried, from, to, self.server.kind()) {
                    wrong.push(format!("refused, though it is lossless: {why}"));
                }
                return wrong;
            }
        };
        wrong.extend(column.failed.iter().cloned());
        // A year, and each date, is read from a number's digits, of which two are a year too.
        let dated =
            |of: Type| ["YEAR", "DATE", "TIME"].iter().any(|name| of.name.starts_with(name));
        let read = dated(to) && !dated(from) || to.name == "YEAR";
        let must_tell = from.exact && to.exact && !column.noted && !read;
        let label = to.name.starts_with("ENUM") || to.name.starts_with("SET");
        for (id, native) in &tried.native {
            let is = |ours: &String| {
                let unequal = column.unequal.contains(id);
                unequal.then(|| format!("is {ours}, which the comparison calls another"))
            };
            let problem = match (native, column.values.get(id)) {
                // Bytes that are no number the server takes for zero.
                (Verdict::Same(_), None) if to.name.starts_with("BIT") && !from.exact => None,
                // Of all bits, the server's text has 63.
                (_, Some(ours))
                    if to.name.starts_with("BIT") && values::alike(&before[id], from, ours, to) =>
                {
                    is(ours)
                }
                // The server knows no way there, though nothing is lost.
                (Verdict::Refused, Some(ours)) if values::alike(&before[id], from, ours, to) => {
                    None
                }
                (Verdict::Refused, Some(_)) => {
                    let takes = Native::new(&mut self.conn, pairs, self.server.kind())
                        .takes_row("t", at, *id)
                        .await;
                    (!takes)
                        .then(|| "is taken, and refused by the server".to_owned())
                        .or_else(|| Some("was misjudged by this test".to_owned()))
                }
                (Verdict::Refused, None) => None,
                // A number that is no member's name may be one's place: osc carries names.
                (Verdict::Same(native), None) if label && *native != before[id] => None,
                // A text is a date only if there is such a day.
                (Verdict::Same(_), None) if dated(to) && !dated(from) => None,
                (Verdict::Same(native), None) if native != NULL => {
                    Some(format!("is refused, and loses nothing as {native}"))
                }
                (_, None) => None,
                (
                    Verdict::Less(native) | Verdict::Same(native) | Verdict::OneWay(native),
                    Some(ours),
                ) if native != ours => Some(format!("is {ours}, and by the server {native}")),
                (Verdict::Less(_), Some(ours)) if must_tell => {
                    Some(format!("is {ours}: lost without a word"))
                }
                (_, Some(ours)) => is(ours),
            };
            wrong.extend(problem.map(|problem| format!("row {id} {problem}")));
        }
        wrong
    }

    /// What the program does with the whole table: names each pair that it refuses, then rows, and
    /// carries the others over.
    async fn program(
        &mut self,
        pairs: &[(Type, Type)],
        columns: &[(usize, Type)],
        tried: &[Tried],
        tally: &mut Tally,
    ) {
        let kind = self.server.kind();
        let mut left: Vec<usize> = (0..pairs.len()).collect();
        let refused: Vec<usize> =
            left.iter().copied().filter(|at| tried[*at].ours.is_err()).collect();
        let named = |text: &str, at: usize| {
            // By osc, or by the server, to which osc gives the clauses.
            text.contains(&format!("column `c{at}`: ")) || text.contains(&format!(".`c{at}` ("))
        };
        while !left.is_empty() {
            let output = self.osc("t", pairs, &left).await;
            let text = streams(&output);
            if output.status.code() != Some(4) {
                break;
            }
            let (out, stay): (Vec<_>, Vec<_>) = left.iter().partition(|at| named(&text, **at));
            if out.is_empty() {
                tally.wrong.push(format!("— no pair is named: {text}"));
                return;
            }
            for at in &out {
                if !refused.contains(at) && !tried[*at].native.values().all(never) {
                    tally.wrong.push(format!("— {}: refused: {text}", name(pairs[*at])));
                }
            }
            left = stay;
            if !refused.iter().any(|at| left.contains(at)) {
                break;
            }
        }
        tally.wrong.extend(
            refused
                .iter()
                .filter(|at| left.contains(at))
                .map(|at| format!("— {}: not refused before the copy", name(pairs[*at]))),
        );
        left.retain(|at| !refused.contains(at));
        let unfit: BTreeSet<u64> = left
            .iter()
            .filter_map(|at| tried[*at].ours.as_ref().ok())
            .flat_map(|c| &c.refused)
            .copied()
            .collect();
        let mut named_rows = BTreeSet::new();
        for _ in 0..REFUSED_RUNS.min(unfit.len()) {
            let rest: Vec<(usize, Type)> =
                columns.iter().filter(|(at, _)| left.contains(at)).copied().collect();
            let before = values::of_columns(&mut self.conn, "t", &rest, kind).await;
            let output = self.osc("t", pairs, &left).await;
            let text = streams(&output);
            let after = values::of_columns(&mut self.conn, "t", &rest, kind).await;
            let id = row(&text).filter(|id| unfit.contains(id) && named_rows.insert(*id));
            let Some(id) = id.filter(|_| before == after && output.status.code() == Some(1)) else {
                let code = output.status.code();
                tally
                    .wrong
                    .push(format!("— no row that is refused alone is named: {code:?} {text}"));
                break;
            };
            self.sql(&format!("DELETE FROM t WHERE id = {id}")).await;
        }
        self.fill(
            "e",
            &columns.iter().filter(|(at, _)| left.contains(at)).copied().collect::<Vec<_>>(),
        )
        .await;
        for at in &left {
            if let Ok(column) = &tried[*at].ours
                && !column.refused.is_empty()
            {
                let ids = list(&column.refused);
                self.sql(&format!("UPDATE e SET c{at} = NULL WHERE id IN ({ids})")).await;
            }
        }
        self.carried(pairs, left, tried, tally).await;
    }

    /// Has osc change what it takes; where that fails, halves find the pair.
    async fn carried(
        &mut self,
        pairs: &[(Type, Type)],
        columns: Vec<usize>,
        tried: &[Tried],
        tally: &mut Tally,
    ) {
        let kind = self.server.kind();
        let mut waiting = vec![columns];
        while let Some(columns) = waiting.pop() {
            if columns.is_empty() {
                continue;
            }
            self.runs += 1;
            let table = format!("e{}", self.runs);
            let names: Vec<String> = columns.iter().map(|at| format!("c{at}")).collect();
            let names = names.join(", ");
            self.create(&table, columns.iter().map(|at| (*at, pairs[*at].0))).await;
            self.sql(&format!("INSERT INTO {table} SELECT id, {names} FROM e ORDER BY id")).await;
            let output = self.osc(&table, pairs, &columns).await;
            if output.status.code() == Some(0) {
                let types: Vec<(usize, Type)> =
                    columns.iter().map(|at| (*at, pairs[*at].1)).collect();
                for (at, now) in values::of_columns(&mut self.conn, &table, &types, kind).await {
                    let ours = tried[at].ours.as_ref().unwrap();
                    if let Some((id, value)) =
                        ours.values.iter().find(|(id, v)| now.get(id) != Some(v))
                    {
                        tally.wrong.push(format!(
                            "— {}: row {id} is {:?} in a run, and alone {value}",
                            name(pairs[at]),
                            now.get(id)
                        ));
                    }
                }
            } else if columns.len() > 1 {
                let (first, second) = columns.split_at(columns.len() / 2);
                waiting.extend([first.to_vec(), second.to_vec()]);
            } else {
                tally.wrong.push(format!("— {}: {}", name(pairs[columns[0]]), streams(&output)));
            }
        }
    }

    async fn create(&mut self, table: &str, columns: impl Iterator<Item = (usize, Type)>) {
        self.sql(LOOSE).await;
        self.sql(&format!("DROP TABLE IF EXISTS {table}")).await;
        self.sql(&create(table, columns)).await;
    }

    async fn sql(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn osc(&self, table: &str, pairs: &[(Type, Type)], columns: &[usize]) -> Output {
        let clauses: Vec<String> =
            columns.iter().map(|at| format!("MODIFY c{at} {}", pairs[*at].1.name)).collect();
        let child = support::osc()
            .env("RUST_BACKTRACE", "0")
            .args(["alter", table, &clauses.join(", "), "--url", &self.server.url(&self.database)])
            .args(["--strategy", "copy", "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
    }
}

fn name((from, to): (Type, Type)) -> String {
    format!("{} to {}", from.name, to.name)
}

fn null() -> Verdict {
    Verdict::Same(NULL.to_owned())
}

fn never(verdict: &Verdict) -> bool {
    *verdict == Verdict::Refused
}

/// Whether osc may refuse a pair before the copy: not where the server makes of each value one that
/// says the same, and there are more than one that say anything.
fn meaningless(tried: &Tried, from: Type, to: Type, kind: Kind) -> bool {
    let printed = tried.native.values().filter(|verdict| **verdict != null());
    let (same, other): (Vec<&Verdict>, Vec<&Verdict>) =
        printed.partition(|verdict| matches!(verdict, Verdict::Same(_)));
    // A number becomes a member by its place, and a floating-point number a time by its digits.
    let label = to.name.starts_with("ENUM") || to.name.starts_with("SET");
    let mariadb = kind == Kind::Mariadb && from.exact && label;
    let wide = to.name.contains("ucs2") && from.name.contains("BINARY");
    let shape = ["POINT", "GEOMETRY"].contains(&from.name);
    let bits = from.name.starts_with("BIT") && (label || to.name.starts_with("TIME"));
    !other.is_empty() || same.len() <= 1 || mariadb || bits || wide || shape
}

fn create(table: &str, columns: impl Iterator<Item = (usize, Type)>) -> String {
    let columns: Vec<String> = columns.map(|(at, of)| format!(", c{at} {}", of.name)).collect();
    format!("CREATE TABLE {table} (id INT PRIMARY KEY{})", columns.concat())
}

/// The first row that osc names.
fn row(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("id = ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn session(server: &Server, database: &str) -> Conn {
    let mut conn = server.conn_db(database).await;
    let copying = match server.kind() {
        Kind::Mariadb => "SET SESSION alter_algorithm = 'COPY'",
        Kind::Mysql => "SET SESSION old_alter_table = ON",
    };
    for sql in [copying, "SET SESSION max_error_count = 65535", "SET NAMES utf8mb4"] {
        conn.query_drop(sql).await.unwrap();
    }
    conn
}

fn list<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
    if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") }
}
