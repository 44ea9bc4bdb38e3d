//! The twin-table torture's tables: `t`, which osc alters, and `t_twin`, which gets the same
//! writes in the same transactions and is altered by the server itself. In the end both must be
//! the same, row by row and byte by byte.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::server::{Kind, Server, rows};

/// Both tables, the altered one first.
pub const TABLES: [&str; 2] = ["t", "t_twin"];

/// The columns beside the key. `u` is unique.
const COLUMNS: [&str; 7] = ["u", "v", "n", "d", "j", "ts", "k"];

/// Rows that share a value of the column `k`.
const ROWS_A_GROUP: u64 = 20;

/// Differing rows that are printed.
const SHOWN: usize = 10;

/// The primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `id BIGINT AUTO_INCREMENT`.
    Int,
    /// `id VARCHAR` in the server's default collation, which does not tell case apart.
    Text,
    /// `a INT UNSIGNED, b VARCHAR`.
    Composite,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Int, Self::Text, Self::Composite];

    /// Its columns.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Int | Self::Text => &["id"],
            Self::Composite => &["a", "b"],
        }
    }

    fn definition(self) -> &'static str {
        match self {
            Self::Int => "id BIGINT NOT NULL AUTO_INCREMENT",
            Self::Text => "id VARCHAR(60) NOT NULL",
            Self::Composite => "a INT UNSIGNED NOT NULL, b VARCHAR(40) NOT NULL",
        }
    }

    /// The literals of key number `n`. `shout`: another spelling of the same key, where there is
    /// one.
    pub fn values(self, n: u64, shout: bool) -> Vec<String> {
        let spell = |text: String| literal(&if shout { text.to_uppercase() } else { text });
        let prefix = match n % 4 {
            0 => "key",
            1 => "clé",
            2 => "ключ",
            _ => "it's a \\ key",
        };
        match self {
            Self::Int => vec![n.to_string()],
            Self::Text => vec![spell(format!("{prefix} {n}"))],
            Self::Composite => vec![(n % 97).to_string(), spell(format!("{prefix} {n}"))],
        }
    }

    /// `id = 5`.
    pub fn condition(self, n: u64) -> String {
        self.pairs(n, false).join(" AND ")
    }

    /// `id = 5`, for SET.
    pub fn assignment(self, n: u64, shout: bool) -> String {
        self.pairs(n, shout).join(", ")
    }

    fn pairs(self, n: u64, shout: bool) -> Vec<String> {
        let pair = |(column, value)| format!("{column} = {value}");
        self.columns().iter().zip(self.values(n, shout)).map(pair).collect()
    }
}

/// The two tables.
#[derive(Debug, Clone)]
pub struct Twin {
    kind: Kind,
    opts: Opts,
    key: KeyKind,
    rows: u64,
    written: Vec<&'static str>,
    pub steady: bool,
}

impl Twin {
    /// Creates both tables in `database` with the same rows, numbered from 1.
    pub async fn create(server: &Server, database: &str, key: KeyKind, rows: u64) -> Self {
        let opts = server.opts(database);
        let twin =
            Self { kind: server.kind(), opts, key, rows, written: COLUMNS.to_vec(), steady: false };
        let mut conn = twin.conn().await;
        for table in TABLES {
            let create = format!(
                "CREATE TABLE {table} ({}, u BIGINT NULL, v VARCHAR(200) NULL, n INT NULL, \
                 d DECIMAL(20,6) NULL, j JSON NULL, ts TIMESTAMP(6) NULL, \
                 k INT NOT NULL DEFAULT 0, PRIMARY KEY ({}), UNIQUE KEY u (u), KEY k (k)) \
                 DEFAULT CHARSET=utf8mb4",
                key.definition(),
                key.columns().join(", ")
            );
            exec(&mut conn, &create).await;
        }
        let mut rng = SmallRng::seed_from_u64(rows);
        let numbers: Vec<u64> = (1..=rows).collect();
        for numbers in numbers.chunks(1000) {
            exec(&mut conn, &twin.insert("INSERT", "t", numbers, &mut rng)).await;
        }
        exec(&mut conn, "INSERT INTO t_twin SELECT * FROM t").await;
        exec(&mut conn, "ANALYZE TABLE t, t_twin").await;
        let _ = conn.disconnect().await;
        twin
    }

    /// Makes writers leave a column alone: one that the change under test drops or renames.
    pub fn sparing(mut self, column: &str) -> Self {
        self.written.retain(|written| *written != column);
        self
    }

    /// Makes writers leave the keys of rows as they are, and use none again.
    pub fn with_steady_keys(mut self) -> Self {
        self.steady = true;
        self
    }

    /// A session in the tables' database.
    pub async fn conn(&self) -> Conn {
        Conn::new(self.opts.clone()).await.unwrap_or_else(|error| panic!("connect: {error}"))
    }

    /// How to connect to the tables' database.
    pub fn opts(&self) -> Opts {
        self.opts.clone()
    }

    /// The key's kind.
    pub fn key(&self) -> KeyKind {
        self.key
    }

    /// How many rows there were at first.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many values the column `k` has.
    pub fn groups(&self) -> u64 {
        (self.rows / ROWS_A_GROUP).max(1)
    }

    /// A statement that inserts these rows: `verb` is INSERT or REPLACE.
    pub fn insert(&self, verb: &str, table: &str, numbers: &[u64], rng: &mut impl Rng) -> String {
        let columns = [self.key.columns(), &self.written].concat().join(", ");
        let mut sql = format!("{verb} INTO {table} ({columns}) VALUES ");
        for (at, &n) in numbers.iter().enumerate() {
            let mut values = self.key.values(n, false);
            values.extend(self.written.iter().map(|column| self.value(column, n, rng)));
            let _ = write!(sql, "{}({})", if at == 0 { "" } else { ", " }, values.join(", "));
        }
        sql
    }

    /// New values for some of the columns, never for `u`: `v = …, n = …`.
    pub fn assignments(&self, rng: &mut impl Rng) -> String {
        let plain: Vec<_> = self.written.iter().filter(|column| **column != "u").collect();
        let count = rng.random_range(1..=plain.len());
        let from = rng.random_range(0..=plain.len() - count);
        let pair = |column: &&&str| format!("{column} = {}", self.value(column, 0, rng));
        plain[from..from + count].iter().map(pair).collect::<Vec<_>>().join(", ")
    }

    /// A literal for a column of row `n`.
    fn value(&self, column: &str, n: u64, rng: &mut impl Rng) -> String {
        match column {
            // Free at the row's birth, unless it has been moved to another row since.
            "u" if n.is_multiple_of(2) => n.to_string(),
            "k" => rng.random_range(0..self.groups()).to_string(),
            "u" => "NULL".to_owned(),
            _ if rng.random_ratio(1, 20) => "NULL".to_owned(),
            "v" => literal(&text(rng)),
            "n" => rng.random::<i32>().to_string(),
            "d" => format!("{}.{:06}", rng.random::<i32>(), rng.random_range(0..1_000_000)),
            "j" => literal(
                &serde_json::json!({ (text(rng)): [rng.random::<i16>(), null, text(rng)] })
                    .to_string(),
            ),
            "ts" => format!(
                "'{}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}'",
                rng.random_range(1971..2038),
                rng.random_range(1..13),
                rng.random_range(1..29),
                rng.random_range(0..24),
                rng.random_range(0..60),
                rng.random_range(0..60),
                rng.random_range(0..1_000_000)
            ),
            _ => unreachable!("no column {column}"),
        }
    }

    /// Gives `t_twin` the change natively and requires it to be what osc made of `t`: the same
    /// definition (but for the order of indexes) and the same rows. Writers must have stopped.
    pub async fn assert_equal(&self, clauses: &str) {
        let mut conn = self.conn().await;
        let copying = match self.kind {
            Kind::Mariadb => "SET SESSION alter_algorithm = 'COPY'",
            Kind::Mysql => "SET SESSION old_alter_table = ON",
        };
        exec(&mut conn, copying).await;
        if !clauses.trim().is_empty() {
            exec(&mut conn, &format!("ALTER TABLE t_twin {clauses}")).await;
        }
        self.assert_same(&mut conn).await;
        let _ = conn.disconnect().await;
    }

    async fn assert_same(&self, conn: &mut Conn) {
        let mut shapes = Vec::new();
        for table in TABLES {
            let create = rows(conn, &format!("SHOW CREATE TABLE {table}")).await;
            shapes.push(shape(&create[0][1]));
        }
        assert_eq!(shapes[0], shapes[1], "the tables' definitions differ");

        let names = "SELECT COLUMN_NAME FROM information_schema.COLUMNS \
                     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'";
        let columns = rows(conn, names).await.concat();
        let key: Vec<String> =
            rows(conn, &format!("{names} AND COLUMN_KEY = 'PRI'")).await.concat();
        assert!(!key.is_empty(), "the comparison needs a primary key");

        let join: Vec<_> = key.iter().map(|c| format!("a.`{c}` = b.`{c}`")).collect();
        let name: Vec<_> = key.iter().map(|c| format!("'{c}=', a.`{c}`, ' '")).collect();
        let (join, name) = (join.join(" AND "), format!("CONCAT({})", name.join(", ")));
        let bytes = |side: &str, column: &String| format!("CAST({side}.`{column}` AS BINARY)");
        let same = |c: &String| format!("{} <=> {}", bytes("a", c), bytes("b", c));
        let all_same: Vec<_> = columns.iter().map(same).collect();
        let differences: Vec<_> = columns
            .iter()
            .map(|c| {
                let side = |side| format!("IFNULL(HEX({}), 'NULL')", bytes(side, c));
                let shown = format!("CONCAT(' {c}: ', {}, ' ≠ ', {})", side("a"), side("b"));
                format!("IF({}, '', {shown})", same(c))
            })
            .collect();

        let mut wrong = Vec::new();
        for (here, there) in [("t", "t_twin"), ("t_twin", "t")] {
            let missing = format!(
                "SELECT CONCAT({name}, 'is only in {here}') FROM {here} a \
                 LEFT JOIN {there} b ON {join} WHERE b.`{}` IS NULL LIMIT {SHOWN}",
                key[0]
            );
            wrong.extend(rows(conn, &missing).await.concat());
        }
        let differing = format!(
            "SELECT CONCAT({name}, {}) FROM t a JOIN t_twin b ON {join} \
             WHERE NOT ({}) LIMIT {SHOWN}",
            differences.join(", "),
            all_same.join(" AND ")
        );
        wrong.extend(rows(conn, &differing).await.concat());
        assert!(wrong.is_empty(), "t and t_twin differ:\n{}", wrong.join("\n"));
    }
}

/// A table's definition without what may differ: name, next AUTO_INCREMENT, order of indexes.
fn shape(create: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        create.replace("t_twin", "t").lines().map(|l| l.trim_end_matches(',').to_owned()).collect();
    let columns = lines.iter().take_while(|l| l.starts_with("CREATE") || l.starts_with("  `"));
    let columns = columns.count();
    let end = lines.iter().position(|line| line.starts_with(')')).unwrap_or(lines.len());
    lines[columns..end].sort();
    if let Some(options) = lines.get_mut(end)
        && let Some(start) = options.find(" AUTO_INCREMENT=")
    {
        let digits = start + " AUTO_INCREMENT=".len();
        let length = options[digits..].chars().take_while(char::is_ascii_digit).count();
        options.replace_range(start..digits + length, "");
    }
    lines
}

/// A text literal that no escaping rule can touch.
pub fn literal(text: &str) -> String {
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    format!("_utf8mb4 X'{hex}'")
}

/// Text with what breaks quoting, collations and character sets.
fn text(rng: &mut impl Rng) -> String {
    const LETTERS: [char; 20] = [
        'a', 'Z', '0', ' ', '\'', '"', '\\', '`', '%', '_', ';', '\n', '\0', 'ß', 'é', 'ж', 'İ',
        '漢', '😀', '\u{301}',
    ];
    let length = rng.random_range(0..40);
    (0..length).map(|_| LETTERS[rng.random_range(0..LETTERS.len())]).collect()
}

async fn exec(conn: &mut Conn, sql: &str) {
    let shown = || sql.chars().take(200).collect::<String>();
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{}: {error}", shown()));
}
