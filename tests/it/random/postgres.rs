//! Random tables of PostgreSQL.

use std::fmt::Write as _;
use std::process::Output;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::draw::{self, Values, date, time};
use super::undo::Undoing;
use super::{Failure, Made, Session, Site, TABLE};
use crate::support;
use crate::support::postgres::{connect, exec};
use crate::support::postgres_twin::{TABLES, differences, literal};

/// What tables of this program may use.
const TYPES: &str = "CREATE SCHEMA twin;
CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE public.mood AS ENUM ('sad', 'it''s', 'ok', 'very happy');
CREATE DOMAIN public.small AS integer CHECK (VALUE < 1000);";

const LETTERS: &str = "aAbBzZ09 _%'\\éßжЖİı漢😀\u{301}";
const MOODS: [&str; 4] = ["sad", "it''s", "ok", "very happy"];

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    SmallInt,
    Int,
    BigInt,
    Numeric(u32, u32),
    Double,
    Text(&'static str),
    VarChar(u32),
    Char(u32),
    Bytes,
    Date,
    Timestamp(u32),
    TimestampTz(u32),
    Time(u32),
    Interval,
    Uuid,
    Bool,
    Jsonb,
    Json,
    Inet,
    Ints,
    Mood,
    Small,
    Bits(u32),
    Range,
}

/// Their collations: the database's, bytes, ICU's, and one where what is equal need not be the same.
const COLLATIONS: [&str; 4] =
    ["", " COLLATE \"C\"", " COLLATE \"und-x-icu\"", " COLLATE public.ci"];

impl Type {
    fn any(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..8) {
            0 => Self::Double,
            1 => Self::Json,
            2 => Self::Jsonb,
            3 => Self::Ints,
            4 => Self::Range,
            _ => Self::for_key(rng),
        }
    }

    fn for_key(rng: &mut SmallRng) -> Self {
        let digits = rng.random_range(0..=6);
        match rng.random_range(0..18) {
            0 => Self::SmallInt,
            1 | 2 => Self::Int,
            3 => Self::BigInt,
            4 => Self::Numeric(rng.random_range(6..25), rng.random_range(0..4)),
            5..8 => Self::Text(COLLATIONS.choose(rng).unwrap()),
            8 => Self::VarChar(rng.random_range(1..50)),
            9 => Self::Char(rng.random_range(1..30)),
            10 => Self::Bytes,
            11 => Self::Date,
            12 if rng.random() => Self::Timestamp(digits),
            12 => Self::TimestampTz(digits),
            13 if rng.random() => Self::Time(digits),
            13 => Self::Interval,
            14 => Self::Uuid,
            15 => Self::Inet,
            16 if rng.random() => Self::Mood,
            16 => Self::Small,
            _ if rng.random() => Self::Bits(rng.random_range(1..40)),
            _ => Self::Bool,
        }
    }

    fn sql(self) -> String {
        match self {
            Self::SmallInt => "smallint".into(),
            Self::Int => "integer".into(),
            Self::BigInt => "bigint".into(),
            Self::Numeric(digits, scale) => format!("numeric({digits},{scale})"),
            Self::Double => "double precision".into(),
            Self::Text(collation) => format!("text{collation}"),
            Self::VarChar(length) => format!("varchar({length})"),
            Self::Char(length) => format!("char({length})"),
            Self::Bytes => "bytea".into(),
            Self::Date => "date".into(),
            Self::Timestamp(digits) => format!("timestamp({digits})"),
            Self::TimestampTz(digits) => format!("timestamptz({digits})"),
            Self::Time(digits) => format!("time({digits})"),
            Self::Interval => "interval".into(),
            Self::Uuid => "uuid".into(),
            Self::Bool => "boolean".into(),
            Self::Jsonb => "jsonb".into(),
            Self::Json => "json".into(),
            Self::Inet => "inet".into(),
            Self::Ints => "integer[]".into(),
            Self::Mood => "public.mood".into(),
            Self::Small => "public.small".into(),
            Self::Bits(bits) => format!("bit varying({bits})"),
            Self::Range => "int4range".into(),
        }
    }

    /// Whether it has an order and so can be indexed.
    fn takes_index(self) -> bool {
        !matches!(self, Self::Json)
    }

    fn computed(self, name: &str) -> Option<String> {
        match self {
            Self::SmallInt | Self::Int => {
                Some(format!("bigint GENERATED ALWAYS AS ({name} + 1::bigint) STORED"))
            }
            Self::VarChar(_) => Some(format!("text GENERATED ALWAYS AS ({name} || '-') STORED")),
            Self::Numeric(..) => Some(format!("numeric GENERATED ALWAYS AS ({name} * 2) STORED")),
            _ => None,
        }
    }

    /// A type that keeps what values mean, though perhaps not all of them fit.
    fn other(self, rng: &mut SmallRng) -> Self {
        let text = Self::Text(COLLATIONS.choose(rng).unwrap());
        let whole = [Self::SmallInt, Self::Int, Self::BigInt, Self::Numeric(20, 0), Self::Small];
        match self {
            Self::SmallInt | Self::Int | Self::BigInt | Self::Small => match rng.random_range(0..8)
            {
                0 => text,
                _ => *whole.choose(rng).unwrap(),
            },
            Self::Numeric(digits, scale) => match rng.random_range(0..4) {
                0 => text,
                1 => Self::Numeric(digits + 5, scale.saturating_sub(1)),
                _ => Self::Numeric(digits + 9, scale + 2),
            },
            Self::Text(_) | Self::VarChar(_) => match rng.random_range(0..6) {
                0 => Self::VarChar(rng.random_range(5..40)),
                1 => Self::Char(40),
                _ => text,
            },
            Self::Char(length) => Self::Char(length + 5),
            Self::Date => Self::Timestamp(rng.random_range(0..=6)),
            Self::Timestamp(_) => match rng.random_range(0..4) {
                0 => Self::Date,
                _ => Self::Timestamp(rng.random_range(0..=6)),
            },
            Self::TimestampTz(_) => Self::TimestampTz(rng.random_range(0..=6)),
            Self::Time(_) => Self::Time(rng.random_range(0..=6)),
            Self::Uuid | Self::Mood | Self::Bool => self,
            Self::Json => Self::Json,
            Self::Bits(bits) => Self::Bits(bits + 8),
            other => other,
        }
    }
}

impl Values for Type {
    fn value(&self, rng: &mut SmallRng) -> String {
        match self {
            Self::SmallInt => whole(16, rng),
            Self::Int => whole(32, rng),
            Self::BigInt => whole(64, rng),
            Self::Small => rng.random_range(-500..1000).to_string(),
            Self::Numeric(digits, scale) => format!("({})", draw::decimal(*digits, *scale, rng)),
            Self::Double => match rng.random_range(0..10) {
                0 => "'NaN'".to_owned(),
                1 => "'-0'".to_owned(),
                2 => "'-Infinity'".to_owned(),
                _ => format!("'{}'", rng.random::<f64>()),
            },
            Self::Text(_) => literal(&draw::text(LETTERS, 30, rng)),
            Self::VarChar(length) => literal(&draw::text(LETTERS, *length, rng)),
            Self::Char(length) => literal(draw::text(LETTERS, *length, rng).trim_end()),
            Self::Bytes => {
                let length = rng.random_range(0..30);
                format!("'\\x{}'", draw::hex(length, rng))
            }
            Self::Date => format!("'{}'", date(rng)),
            Self::Timestamp(digits) => format!("'{} {}'", date(rng), time(*digits, rng)),
            Self::TimestampTz(digits) => format!("'{} {}+02'", date(rng), time(*digits, rng)),
            Self::Time(digits) => format!("'{}'", time(*digits, rng)),
            Self::Interval => format!(
                "'{} mons {} days {} secs'",
                rng.random_range(-30..30),
                rng.random_range(-90..90),
                rng.random_range(-100_000..100_000)
            ),
            Self::Uuid => format!("'{:032x}'", rng.random::<u128>()),
            Self::Bool => rng.random::<bool>().to_string(),
            Self::Jsonb | Self::Json => literal(&format!(
                "{{\"ж\": [{}, null, 1.50], \"a\" :  \"{}\"}}",
                rng.random::<i16>(),
                ["é", "ß", "漢", "😀", "it's"].choose(rng).unwrap()
            )),
            Self::Inet => format!("'10.{}.0.0/{}'", rng.random::<u8>(), rng.random_range(16..=32)),
            Self::Ints => format!("'{{{},NULL,{}}}'", rng.random::<i8>(), rng.random::<i32>()),
            Self::Mood => format!("'{}'", MOODS.choose(rng).unwrap()),
            Self::Bits(bits) => format!("b'{}'", draw::bits(*bits, rng)),
            Self::Range => {
                let from = rng.random_range(-50..50);
                format!("'[{from},{})'", from + rng.random_range(0..50))
            }
        }
    }
}

fn whole(bits: u32, rng: &mut SmallRng) -> String {
    let most = (1_i128 << (bits - 1)) - 1;
    let number = match rng.random_range(0..12) {
        0 => -most - 1,
        1 => most,
        2..9 => rng.random_range(-500..=500),
        _ => rng.random_range(-most..=most),
    };
    format!("({number})")
}

type Drawn = draw::Drawn<Type>;

impl Drawn {
    /// Its type after a change. A key that another type would order otherwise is refused, so that
    /// is rare.
    fn becomes(&self, rng: &mut SmallRng) -> Type {
        let whole = [Type::SmallInt, Type::Int, Type::BigInt];
        match self.of {
            of if !self.in_key || rng.random_ratio(1, 10) => of.other(rng),
            of if whole.contains(&of) => *whole.choose(rng).unwrap(),
            Type::VarChar(length) => Type::VarChar(length + 10),
            Type::Text(_) => Type::VarChar(60),
            of => of,
        }
    }
}

/// The case of this seed.
pub fn random(seed: u64) -> Made {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rng = &mut rng;
    let of = |in_key, rng: &mut SmallRng| if in_key { Type::for_key(rng) } else { Type::any(rng) };
    let mut columns: Vec<Drawn> = draw::columns(quoted, of, rng);
    columns.shuffle(rng);
    let mut body: Vec<String> = columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " NOT NULL" };
            let mut sql = format!("{} {}{null}", column.name, column.of.sql());
            if !column.in_key && rng.random_ratio(1, 3) {
                let _ = write!(sql, " DEFAULT {}", column.of.value(rng));
            }
            sql
        })
        .collect();
    if rng.random_ratio(1, 3) {
        let at = rng.random_range(0..columns.len());
        if let Some(expression) = columns[at].of.computed(&columns[at].name) {
            body.push(format!("computed {expression}"));
            columns[at].read = true;
        }
    }
    let key = draw::key(&columns, rng);
    let parts: Vec<&str> = key.iter().map(|&at| columns[at].name.as_str()).collect();
    let no_primary = rng.random_ratio(1, 5);
    let head = if no_primary { "CONSTRAINT the_key UNIQUE" } else { "PRIMARY KEY" };
    body.push(format!("{head} ({})", parts.join(", ")));
    let mut create = vec![format!("CREATE TABLE {TABLE} (\n  {})", body.join(",\n  "))];
    if no_primary {
        create.push(format!("ALTER TABLE {TABLE} REPLICA IDENTITY USING INDEX the_key"));
    }
    for number in 0..rng.random_range(0..3) {
        if let Some(column) = columns.choose(rng).filter(|column| column.of.takes_index()) {
            let unique = if rng.random_ratio(1, 6) { "UNIQUE " } else { "" };
            let order = ["", " DESC", " NULLS FIRST"].choose(rng).unwrap();
            let name = quoted(&format!("index {number}"));
            create.push(format!("CREATE {unique}INDEX {name} ON {TABLE} ({}{order})", column.name));
        }
    }
    let clauses = clauses(&columns, rng);
    let columns = draw::written(columns);
    Made { create, columns, key, clauses }
}

/// One to four clauses that do not touch the same column.
fn clauses(columns: &[Drawn], rng: &mut SmallRng) -> String {
    let mut columns = columns.to_vec();
    columns.shuffle(rng);
    let mut clauses = Vec::new();
    for number in 0..rng.random_range(1..=4) {
        let clause = match rng.random_range(0..16) {
            0..4 => {
                let of = Type::any(rng);
                let rest = match rng.random_range(0..3) {
                    0 => format!(" NOT NULL DEFAULT {}", of.value(rng)),
                    1 => format!(" DEFAULT {}", of.value(rng)),
                    _ => String::new(),
                };
                Some(format!("ADD COLUMN \"added {number}\" {}{rest}", of.sql()))
            }
            4 => columns
                .iter()
                .position(|column| !column.in_key && !column.read)
                .map(|at| format!("DROP COLUMN {}", columns.remove(at).name)),
            5..11 => columns.pop().map(|column| {
                let of = column.becomes(rng).sql();
                format!("ALTER COLUMN {} TYPE {of}", column.name)
            }),
            11 => columns.iter().position(|column| !column.in_key).map(|at| {
                let column = columns.remove(at);
                let what = if column.nullable { "SET" } else { "DROP" };
                format!("ALTER COLUMN {} {what} NOT NULL", column.name)
            }),
            12 => columns.pop().map(|column| {
                let value = column.of.value(rng);
                format!("ALTER COLUMN {} SET DEFAULT {value}", column.name)
            }),
            13 => columns.iter().position(|column| column.of.takes_index()).map(|at| {
                let column = columns.remove(at);
                format!("ADD CONSTRAINT \"only {number}\" UNIQUE ({})", column.name)
            }),
            14 => columns
                .pop()
                .map(|column| format!("ALTER COLUMN {} SET STATISTICS 77", column.name)),
            _ => Some("SET (fillfactor = 80)".to_owned()),
        };
        clauses.extend(clause);
    }
    clauses.join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A database of the shared server.
pub struct Postgres {
    database: String,
    client: Client,
}

impl Postgres {
    /// Makes both tables.
    pub async fn new(made: &Made) -> Self {
        let server = support::shared_postgres();
        let database = support::postgres_database(server).await;
        let client = server.client(&database).await;
        exec(&client, TYPES).await;
        for table in TABLES {
            for sql in &made.create {
                exec(&client, &sql.replace(TABLE, table)).await;
            }
        }
        Self { database, client }
    }
}

impl Site for Postgres {
    type Session = Client;

    fn tables(&self) -> [String; 2] {
        TABLES.map(str::to_owned)
    }

    async fn session(&self) -> Client {
        connect(&self.url()).await.unwrap()
    }

    fn url(&self) -> String {
        support::shared_postgres().url(&self.database)
    }

    async fn native(&self, clauses: &str) -> Result<(), String> {
        let altered = self.client.batch_execute(&format!("ALTER TABLE twin.t {clauses}")).await;
        altered.map_err(|error| format!("the server's own: {error:?}"))
    }

    async fn same(&self) -> Result<(), String> {
        let wrong = differences(&self.client).await;
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n    ")) }
    }
}

impl Undoing for Postgres {
    const SPOILING: &'static [&'static str] = &[
        "NULL",
        "'ж'",
        "repeat('x', 300)",
        "'1'",
        "-1",
        "4000000000",
        "0.123456789",
        "'2001-01-01 00:00:00.123456'",
    ];

    async fn osc(&self, arguments: &[&str]) -> Output {
        let mut command = support::osc();
        command.args(arguments).args(["--url", &self.url()]);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn columns(&self) -> Vec<(String, String)> {
        let sql = "SELECT attname, format_type(atttypid, atttypmod) || ' ' || attcollation \
                   FROM pg_attribute WHERE attrelid = 'public.t'::regclass AND attnum > 0 \
                   AND NOT attisdropped";
        let found = self.client.query(sql, &[]).await.unwrap();
        found.iter().map(|row| (quoted(row.get(0)), row.get(1))).collect()
    }

    fn family(of: &str) -> String {
        let (of, collation) = of.rsplit_once(' ').expect("a type and a collation");
        let bare = of.split('(').next().unwrap_or_default();
        let bare = match bare {
            "smallint" | "bigint" => "integer",
            "character varying" => "text",
            bare => bare,
        };
        format!("{bare} {} {collation}", of.contains("with time zone"))
    }

    fn spoiling(table: &str, column: &str, value: &str) -> String {
        format!(
            "UPDATE {table} SET {column} = {value} WHERE ctid = (SELECT ctid FROM {table} ORDER BY random() \
             LIMIT 1)"
        )
    }

    fn equating([ours, twin]: &[String; 2], column: &str, on: &str) -> String {
        format!("UPDATE {twin} b SET {column} = a.{column} FROM {ours} a WHERE {on}")
    }
}

impl Session for Client {
    async fn run(&mut self, sql: &str) -> Result<u64, Failure> {
        match self.simple_query(sql).await {
            Ok(messages) => Ok(messages
                .iter()
                .map(|message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => *rows,
                    _ => 0,
                })
                .sum()),
            Err(error) => match error.code() {
                Some(code) if *code != SqlState::UNDEFINED_TABLE => Err(Failure::Refused),
                _ => Err(Failure::Unexpected(format!("{error:?}"))),
            },
        }
    }
}
