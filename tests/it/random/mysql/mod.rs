//! Random tables of MySQL and MariaDB.

mod change;
mod types;

use std::fmt::Write as _;
use std::process::Output;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::Mutex;

use super::draw::{self, Values};
use super::undo::Undoing;
use super::{Failure, Made, Session, Site, TABLE};
use crate::data::{Pair, quoted};
use crate::support;
use crate::support::server::Kind;
use types::Type;

/// As strict as osc is.
const STRICT: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'";

/// No such table, no such database: the swap was seen.
const MISSING: [u16; 3] = [1146, 1049, 1051];

type Drawn = draw::Drawn<Type>;

/// A table as it was made up.
struct Table {
    columns: Vec<Drawn>,
    /// Names of the secondary indexes.
    indexes: Vec<String>,
}

/// The case of this seed.
pub fn random(kind: Kind, seed: u64) -> Made {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rng = &mut rng;
    let of = |in_key, rng: &mut SmallRng| match in_key {
        true => Type::for_key(kind, rng),
        false => Type::any(kind, rng),
    };
    let mut columns: Vec<Drawn> = draw::columns(quoted, of, rng);

    let mut body = Vec::new();
    for column in &columns {
        let mut definition = definition(column, rng);
        if column.in_key && rng.random_ratio(1, 8) {
            definition += " COMMENT 'it''s the key'";
        }
        body.push(definition);
    }
    if rng.random_ratio(1, 3) {
        let at = rng.random_range(0..columns.len());
        if let Some(expression) = columns[at].of.computed(&columns[at].name) {
            let kept = if rng.random() { "STORED" } else { "VIRTUAL" };
            body.push(format!("`computed` {expression} {kept}"));
            columns[at].read = true;
        }
    }
    columns.shuffle(rng);
    let key = draw::key(&columns, rng);
    let parts: Vec<String> = key
        .iter()
        .map(|&at| {
            let order = if rng.random_ratio(1, 4) { " DESC" } else { "" };
            format!("{}{order}", columns[at].name)
        })
        .collect();
    let head = if rng.random_ratio(1, 5) { "UNIQUE KEY `the key`" } else { "PRIMARY KEY" };
    body.push(format!("{head} ({})", parts.join(", ")));
    let mut table = Table { columns, indexes: Vec::new() };
    for number in 0..rng.random_range(0..3) {
        let name = quoted(&format!("index {number}"));
        body.push(change::index(&table, &name, rng));
        table.indexes.push(name);
    }
    let charset = ["utf8mb4", "latin1", "utf8mb3"][rng.random_range(0..3)];
    let create = format!("CREATE TABLE {TABLE} (\n  {}) CHARSET={charset}", body.join(",\n  "));
    let clauses = change::clauses(kind, &table, &key, rng);
    let columns = draw::written(table.columns);
    Made { create: vec![create], columns, key, clauses }
}

/// A column's definition as it stands in CREATE TABLE.
fn definition(column: &Drawn, rng: &mut SmallRng) -> String {
    let mut sql = format!("{} {}", column.name, column.of.sql());
    sql += if column.nullable { " NULL" } else { " NOT NULL" };
    if !column.in_key && column.of.takes_default() && rng.random_ratio(1, 3) {
        let _ = write!(sql, " DEFAULT {}", column.of.value(rng));
    }
    sql
}

/// Two databases of the shared server.
pub struct MySql {
    kind: Kind,
    databases: [String; 2],
    pair: Mutex<Pair>,
}

impl MySql {
    /// Makes both tables.
    pub async fn new(kind: Kind, made: &Made) -> Self {
        let setup: Vec<String> = made.create.iter().map(|sql| sql.replace(TABLE, "t")).collect();
        let pair = Pair::new(kind, &setup.join(";\n")).await;
        Self { kind, databases: pair.databases().clone(), pair: Mutex::new(pair) }
    }
}

impl Site for MySql {
    type Session = Conn;

    fn tables(&self) -> [String; 2] {
        self.databases.clone().map(|database| format!("{database}.t"))
    }

    async fn session(&self) -> Conn {
        let mut conn = support::shared(self.kind).conn().await;
        conn.query_drop("SET NAMES utf8mb4").await.unwrap();
        conn.query_drop(STRICT).await.unwrap();
        conn
    }

    fn url(&self) -> String {
        support::shared(self.kind).url(&self.databases[0])
    }

    async fn native(&self, clauses: &str) -> Result<(), String> {
        self.pair.lock().await.native("t", clauses).await
    }

    async fn same(&self) -> Result<(), String> {
        self.pair.lock().await.same("t").await
    }
}

impl Undoing for MySql {
    const SPOILING: &'static [&'static str] =
        &["NULL", "'ж'", "REPEAT('x', 300)", "'1'", "-1", "4000000000", "0.123456789"];

    async fn osc(&self, arguments: &[&str]) -> Output {
        self.pair.lock().await.osc(arguments).await
    }

    async fn columns(&self) -> Vec<(String, String)> {
        let sql = "SELECT CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '` ', COLUMN_TYPE, ' ', \
                   COALESCE(COLLATION_NAME, '')) FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'";
        let split = |text: String| {
            let (name, of) = text.rsplit_once("` ").expect("a name and a type");
            (format!("{name}`"), of.to_owned())
        };
        self.pair.lock().await.column(sql).await.into_iter().map(split).collect()
    }

    fn family(of: &str) -> String {
        let (of, collation) = of.rsplit_once(' ').expect("a type and a collation");
        let bare = of.split('(').next().unwrap_or_default().trim_end_matches(" unsigned");
        let bare = if bare.ends_with("int") { "int" } else { bare };
        format!("{bare} {} {collation}", of.contains("unsigned"))
    }

    fn spoiling(table: &str, column: &str, value: &str) -> String {
        format!("UPDATE {table} SET {column} = {value} ORDER BY RAND() LIMIT 1")
    }

    fn equating([ours, twin]: &[String; 2], column: &str, on: &str) -> String {
        format!("UPDATE {twin} b JOIN {ours} a ON {on} SET b.{column} = a.{column}")
    }
}

impl Session for Conn {
    async fn run(&mut self, sql: &str) -> Result<u64, Failure> {
        match self.query_drop(sql).await {
            Ok(()) => Ok(self.affected_rows()),
            Err(Error::Server(error)) if !MISSING.contains(&error.code) => Err(Failure::Refused),
            Err(error) => Err(Failure::Unexpected(error.to_string())),
        }
    }
}
