//! Every pair of PostgreSQL types, with edge values, against the server's own ALTER on a twin: the same
//! values; or a refusal before the copy; or rows that do not fit, by their keys, where the server refuses
//! them too. A sample by a seed that is printed; with `OSC_TYPE_MATRIX=values` all values that fit, with
//! `all` the whole, which takes hours.

use crate::cli_run::printed;
use crate::support;
use std::process::Output;
use std::time::Instant;

use crate::support::postgres::{Postgres, exec, rows};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

/// Columns of one table, which one run changes.
const BATCH: usize = 40;

/// What a sample takes of each kind.
const SAMPLE: [usize; 3] = [BATCH, 6, 6];

/// Types, and literals of them.
const TYPES: &[(&str, &[&str])] = &[
    ("smallint", &["0", "-32768", "32767", "1"]),
    ("int", &["0", "-2147483648", "2147483647", "1", "40000"]),
    ("bigint", &["0", "-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    ("numeric", &["0", "1.50", "-0.005", "NaN", "123456789012345678901234567890.5", "1e-20"]),
    ("numeric(6,2)", &["0", "1.50", "-0.01", "9999.99", "2.675"]),
    ("numeric(5,0)", &["0", "99999", "-1"]),
    ("real", &["0", "-0", "1.1", "19.99", "NaN", "Infinity", "3.4e38", "16777217", "1e-40"]),
    (
        "double precision",
        &["0", "-0", "1.1", "0.1", "NaN", "-Infinity", "1e300", "9007199254740993", "2.5", "3.5"],
    ),
    ("boolean", &["true", "false"]),
    (
        "text",
        &["", "a", "  b  ", "12", "1.5", "true", "2024-01-31", "é", "{1,2}", "'' \\", "abcdefghi"],
    ),
    ("varchar(5)", &["", "a", "ab   ", "12", "t", "é"]),
    ("varchar", &["", "long enough", "7 "]),
    ("char(5)", &["", "a", "ab", "12345"]),
    ("\"char\"", &["", "a", "1"]),
    ("name", &["", "a", "pg_class"]),
    ("bytea", &["", "\\x00ff", "abc"]),
    ("date", &["2024-02-29", "infinity", "4713-01-01 BC", "0044-03-15 BC", "5874897-12-31"]),
    ("time", &["00:00", "24:00", "12:34:56.789012", "23:59:59.999999"]),
    ("time(0)", &["00:00", "23:59:59"]),
    ("timetz", &["12:00+02", "00:00-15:59", "24:00+00"]),
    (
        "timestamp",
        &[
            "2024-02-29 23:59:59.999999",
            "infinity",
            "1900-01-01",
            "0001-01-01 BC",
            "2024-03-31 02:30",
        ],
    ),
    ("timestamp(0)", &["2024-02-29 23:59:59", "-infinity"]),
    ("timestamptz", &["2024-02-29 23:59:59.999999+00", "infinity", "1890-01-01 00:00+00"]),
    ("interval", &["0", "1 mon", "30 days", "-1 day 25:00:00.000001", "1 year 2 mons"]),
    ("interval day to second", &["0", "3 days 04:05:06"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", &["{}", "{\"a\": 1, \"a\": 2}", "1.0", "\"x\"", "null", "[1, 2]"]),
    ("jsonb", &["{}", "{\"b\": 1.00}", "1.0", "true", "null", "[]"]),
    ("bit(8)", &["00000000", "11111111", "10000001"]),
    ("bit varying(10)", &["", "1", "1010101010"]),
    ("inet", &["10.0.0.1", "10.0.0.1/8", "::1", "fe80::1/64"]),
    ("cidr", &["10.0.0.0/8", "::/0"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05", "08:00:2b:ff:fe:01:02:03"]),
    ("money", &["0", "-1.50", "92233720368547758.07"]),
    ("oid", &["0", "4294967295", "1259"]),
    ("int[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}"]),
    ("bigint[]", &["{}", "{9223372036854775807}"]),
    ("text[]", &["{}", "{a,NULL,\"b c\"}", "{1}"]),
    ("int4range", &["empty", "[1,5)", "(,)"]),
    ("numrange", &["empty", "[1.5,2.50]"]),
    ("point", &["(1,2)", "(0.1,-0)"]),
    ("box", &["(1,2),(0,0)"]),
    ("circle", &["<(1,2),3>"]),
    ("tsvector", &["", "'a':1 'b'"]),
    ("xml", &["<a/>", "text"]),
    ("mood", &["sad", "ok", "very happy"]),
    ("positive", &["1", "2147483647"]),
    ("pg_lsn", &["0/0", "16/B374D848"]),
    ("regtype", &["integer", "text"]),
];

/// One conversion, and the values by what the server does with them.
#[derive(Debug, Clone)]
struct Case {
    old: &'static str,
    new: &'static str,
    using: Option<&'static str>,
    fit: Vec<&'static str>,
    unfit: Vec<&'static str>,
    /// The server has no such conversion.
    refused: bool,
}

impl Case {
    fn clause(&self, column: &str) -> String {
        let using = self.using.map(|using| format!(" USING {}", using.replace("{c}", column)));
        let using = using.unwrap_or_default().replace("{t}", self.new);
        format!("ALTER COLUMN {column} TYPE {}{using}", self.new)
    }

    fn reported(&self) -> String {
        format!("{} → {}", self.old, self.clause("c"))
    }
}

fn literal(value: &str, of: &str) -> String {
    format!("CAST('{}' AS {of})", value.replace('\'', "''"))
}

fn osc(server: &Postgres, database: &str, clauses: &str) -> Output {
    let arguments = ["alter", "t", clauses, "--strategy", "copy", "--url", &server.url(database)];
    support::osc().args(arguments).output().unwrap()
}

/// What the server does with each value of a pair.
async fn judge(client: &Client, case: &mut Case, values: &[&'static str]) {
    let native = async |value: Option<&str>| {
        let insert =
            value.map(|value| format!("INSERT INTO judged VALUES ({});", literal(value, case.old)));
        let sql = format!(
            "BEGIN; CREATE TEMP TABLE judged (c {}); {} ALTER TABLE judged {}",
            case.old,
            insert.unwrap_or_default(),
            case.clause("c")
        );
        let done = client.batch_execute(&sql).await.is_ok();
        client.batch_execute("ROLLBACK").await.unwrap();
        done
    };
    if !native(None).await {
        case.refused = true;
        return;
    }
    let mut split = (Vec::new(), Vec::new());
    for value in values {
        if native(Some(value)).await { split.0.push(*value) } else { split.1.push(*value) }
    }
    (case.fit, case.unfit) = split;
}

/// All conversions, none of them judged.
fn conversions() -> Vec<(Case, &'static [&'static str])> {
    let mut all = Vec::new();
    for (old, values) in TYPES {
        for (new, _) in TYPES {
            for using in [None, Some("{c}::{t}"), Some("{c}::text::{t}")] {
                if old == new && using.is_none() {
                    continue;
                }
                let (fit, unfit) = (Vec::new(), Vec::new());
                all.push((Case { old, new, using, fit, unfit, refused: false }, *values));
            }
        }
    }
    all
}

/// A database with the types that are no server's own.
async fn database(server: &Postgres) -> String {
    let database = support::postgres_database(server).await;
    let types = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy'); \
                 CREATE DOMAIN positive AS int CHECK (VALUE > 0)";
    server.exec(&database, types).await;
    database
}

/// Columns `c0`, `c1` … with the values that fit, in `t` and in its twin.
async fn tables(client: &Client, cases: &[Case]) {
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(at, case)| format!("c{at} {}", case.old)).collect();
    exec(client, "DROP TABLE IF EXISTS t, t_osc_old, twin").await;
    exec(client, "DROP FUNCTION IF EXISTS t_osc_old_guard()").await;
    exec(client, &format!("CREATE TABLE t (id int PRIMARY KEY, {})", columns.join(", "))).await;
    let most = cases.iter().map(|case| case.fit.len()).max().unwrap_or(0);
    for row in 0..=most {
        let values: Vec<String> = cases
            .iter()
            .map(|case| {
                case.fit.get(row).map_or_else(|| "NULL".into(), |value| literal(value, case.old))
            })
            .collect();
        exec(client, &format!("INSERT INTO t VALUES ({row}, {})", values.join(", "))).await;
    }
    exec(client, "CREATE TABLE twin AS TABLE t").await;
}

/// The values that fit: those of the twin, or a refusal of the pair that names the column. One run for
/// many columns, and where that fails one for each.
async fn same_values(server: &Postgres, database: &str, cases: &[Case], wrong: &mut Vec<String>) {
    let client = server.client(database).await;
    tables(&client, cases).await;
    let clauses: Vec<String> =
        cases.iter().enumerate().map(|(at, case)| case.clause(&format!("c{at}"))).collect();
    let clauses = clauses.join(", ");
    let output = osc(server, database, &clauses);
    match output.status.code() {
        Some(0) => {
            exec(&client, &format!("ALTER TABLE twin {clauses}")).await;
            for (at, case) in cases.iter().enumerate() {
                let of = |table: &str| format!("SELECT c{at}::text FROM {table} ORDER BY id");
                let (ours, twin) =
                    (rows(&client, &of("t")).await, rows(&client, &of("twin")).await);
                if ours != twin {
                    wrong.push(format!("{}: {ours:?}, the server's {twin:?}", case.reported()));
                }
            }
        }
        Some(4) if cases.len() == 1 && printed(&output).contains("c0") => {}
        _ if cases.len() > 1 => {
            for case in cases {
                Box::pin(same_values(server, database, std::slice::from_ref(case), wrong)).await;
            }
        }
        _ => wrong.push(format!("{}: {}", cases[0].reported(), printed(&output))),
    }
}

/// A value that the server refuses is named by its row's key, or its pair is refused before.
async fn unfit_rows(server: &Postgres, database: &str, case: &Case, wrong: &mut Vec<String>) {
    let client = server.client(database).await;
    for value in &case.unfit {
        let one = Case { fit: vec![*value], ..case.clone() };
        tables(&client, &[one]).await;
        let output = osc(server, database, &case.clause("c0"));
        let text = printed(&output);
        let right = match output.status.code() {
            Some(1) => text.contains("id = 0"),
            Some(4) => text.contains("c0"),
            _ => false,
        };
        if !right {
            wrong.push(format!("{} of {value:?}: {text}", case.reported()));
        }
    }
}

/// What the server has no conversion for is refused, and nothing was begun.
async fn refused(server: &Postgres, database: &str, case: &Case, wrong: &mut Vec<String>) {
    let client = server.client(database).await;
    tables(&client, std::slice::from_ref(case)).await;
    let output = osc(server, database, &case.clause("c0"));
    let text = printed(&output);
    let runs = "SELECT count(*) FROM pg_class WHERE relname = 't_osc_new'";
    let left = rows(&client, runs).await;
    let named = text.contains("c0") || text.contains("USING") || text.contains("cast");
    if !matches!(output.status.code(), Some(1 | 4)) || left[0][0] != "0" || !named {
        wrong.push(format!("{}: {text}", case.reported()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_types_is_converted_as_the_server_converts_it() {
    let begun = Instant::now();
    let matrix = std::env::var("OSC_TYPE_MATRIX").unwrap_or_default();
    let seed = std::env::var("OSC_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("OSC_SEED={seed}");
    let server = support::shared_postgres();
    let database = database(server).await;
    let client = server.client(&database).await;
    let mut all = conversions();
    all.shuffle(&mut SmallRng::seed_from_u64(seed));
    let mut kinds: [Vec<Case>; 3] = Default::default();
    let most = match matrix.as_str() {
        "all" => [usize::MAX; 3],
        "values" => [usize::MAX, SAMPLE[1], SAMPLE[2]],
        _ => SAMPLE,
    };
    let mut judged = 0;
    for (mut case, values) in all {
        if kinds.iter().zip(most).all(|(kind, most)| kind.len() >= most) {
            break;
        }
        judge(&client, &mut case, values).await;
        judged += 1;
        let is = [!case.refused, !case.unfit.is_empty(), case.refused];
        for ((kind, most), is) in kinds.iter_mut().zip(most).zip(is) {
            if is && kind.len() < most {
                kind.push(case.clone());
            }
        }
    }
    if matrix != "all" {
        kinds[1].iter_mut().for_each(|case| case.unfit.truncate(1));
    }
    let [fit, unfit, none] = &kinds;
    let mut wrong = Vec::new();
    for (at, batch) in fit.chunks(BATCH).enumerate() {
        let before = wrong.len();
        same_values(server, &database, batch, &mut wrong).await;
        println!("{} of {}: {:?}", (at + 1) * BATCH, fit.len(), wrong.split_at(before).1);
    }
    for case in unfit {
        unfit_rows(server, &database, case, &mut wrong).await;
    }
    for case in none {
        refused(server, &database, case, &mut wrong).await;
    }
    let values: usize = fit.iter().map(|case| case.fit.len()).sum();
    let misfits: usize = unfit.iter().map(|case| case.unfit.len()).sum();
    println!(
        "{judged} conversions judged; tried: {} with {values} values, {misfits} values that do not fit, {} \
         that there are not; {:.0} s",
        fit.len(),
        none.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "OSC_SEED={seed}, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
