//! The values of keys that the change stream gives are those that a SELECT gives, for every type,
//! row image and amount of metadata, on both servers.

use std::collections::BTreeSet;

use crate::streaming::{Field, column, read_to};
use crate::support::server::{Kind, Server};
use mysql_async::prelude::Queryable;
use osc::key::Key;
use osc::mysql::binlog;
use osc::mysql::catalog::key::{KeyColumns, KeyKind};

/// A type of key columns, its kind, and values to try.
struct Case {
    sql: String,
    kind: KeyKind,
    values: Vec<String>,
}

fn case(sql: impl Into<String>, kind: KeyKind, values: &[&str]) -> Case {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Case { sql: sql.into(), kind, values }
}

fn integers(cases: &mut Vec<Case>) {
    for (name, bytes) in
        [("TINYINT", 1), ("SMALLINT", 2), ("MEDIUMINT", 3), ("INT", 4), ("BIGINT", 8)]
    {
        let half = 1_u128 << (8 * bytes - 1);
        let (low, high, most) =
            (format!("-{half}"), (half - 1).to_string(), (2 * half - 1).to_string());
        let signed = KeyKind::Int { bytes, unsigned: false };
        let unsigned = KeyKind::Int { bytes, unsigned: true };
        cases.push(case(name, signed, &[&low, "-1", "0", "1", &high]));
        cases.push(case(format!("{name} UNSIGNED"), unsigned.clone(), &["0", "1", &high, &most]));
        cases.push(case(format!("{name}(5) ZEROFILL"), unsigned, &["0", "42", &most]));
    }
    let year = KeyKind::Int { bytes: 1, unsigned: true };
    cases.push(case("YEAR", year, &["0", "1901", "2024", "2155"]));
}

fn sets_and_bits(cases: &mut Vec<Case>) {
    cases.push(case("BIT(1)", KeyKind::Bit, &["b'0'", "b'1'"]));
    cases.push(case("BIT(17)", KeyKind::Bit, &["0", "1", "65536", "131071"]));
    cases.push(case(
        "BIT(64)",
        KeyKind::Bit,
        &["0", "9223372036854775808", "18446744073709551615"],
    ));
    let members =
        |count| (0..count).map(|member| format!("'m{member}'")).collect::<Vec<_>>().join(",");
    // 'no' is no member: index 0.
    cases.push(case("ENUM('a','b')", KeyKind::Enum, &["'a'", "'b'", "'no'"]));
    cases.push(case(format!("ENUM({})", members(300)), KeyKind::Enum, &["'m0'", "'m299'"]));
    cases.push(case("SET('a','b','c')", KeyKind::Set, &["''", "'a'", "'a,b,c'"]));
    let set = format!("SET({})", members(64));
    cases.push(case(set, KeyKind::Set, &["0", "1", "9223372036854775808", "18446744073709551615"]));
}

fn decimals(cases: &mut Vec<Case>) {
    let nines = "9".repeat(35) + "." + &"9".repeat(30);
    let negative = format!("-{nines}");
    let small = "0.".to_owned() + &"0".repeat(29) + "1";
    let decimal = KeyKind::Decimal;
    cases.push(case("DECIMAL(65,30)", decimal.clone(), &[&nines, &negative, "0", "-0.5", &small]));
    cases.push(case("DECIMAL(10,0)", decimal.clone(), &["0", "-1", "9999999999", "1234567890"]));
    cases.push(case("DECIMAL(5,5)", decimal.clone(), &["0.5", "-0.00001", "0.99999", "0"]));
    cases.push(case("DECIMAL(10,2) ZEROFILL", decimal.clone(), &["0", "0.05", "12.5"]));
    cases.push(case("DECIMAL(20,9) UNSIGNED", decimal, &["0", "10000000000.000000001"]));
}

fn times(cases: &mut Vec<Case>) {
    let date = KeyKind::Date { fraction: 0 };
    let dates = ["'0000-00-00'", "'1000-01-01'", "'2024-02-29'", "'9999-12-31'"];
    cases.push(case("DATE", date, &dates));
    for fraction in 0..=6 {
        let most = format!(".{}", "9".repeat(usize::from(fraction)));
        let most = if fraction == 0 { "" } else { &most };
        let datetimes = [
            "'0000-00-00 00:00:00'",
            "'1000-01-01 00:00:00'",
            "'2024-02-29 12:34:56.010203'",
            &format!("'9999-12-31 23:59:59{most}'"),
        ];
        cases.push(case(format!("DATETIME({fraction})"), KeyKind::Date { fraction }, &datetimes));
        let timestamps = [
            "'0000-00-00 00:00:00'",
            "'1970-01-01 00:00:01'",
            "'2024-02-29 12:34:56.010203'",
            &format!("'2038-01-19 03:14:07{most}'"),
        ];
        let sql = format!("TIMESTAMP({fraction})");
        cases.push(case(sql, KeyKind::Timestamp { fraction }, &timestamps));
        let times = [
            "'-838:59:59'",
            "'-00:00:01.500001'",
            "'-00:00:00.999999'",
            "'00:00:00'",
            "'00:00:00.000009'",
            "'100:00:59.25'",
            &format!("'837:59:59{most}'"),
        ];
        cases.push(case(format!("TIME({fraction})"), KeyKind::Time { fraction }, &times));
    }
}

fn strings(server: Kind, cases: &mut Vec<Case>) {
    for charset in
        ["utf8mb4", "utf8mb3", "latin1", "gbk", "sjis", "ucs2", "utf16", "utf32", "ascii"]
    {
        let kind = KeyKind::Text { charset: charset.into() };
        let values = ["''", "'a'", "'B '", "' c  '", "'~'", "'\u{20ac}'", "'\u{e9}\u{4e9c}'"];
        // What the character set does not have comes out as question marks, once.
        let values = if charset == "ascii" { &values[..5] } else { &values[..6] };
        for sql in ["CHAR(10)", "VARCHAR(10)", "VARCHAR(190)", "CHAR(190)"] {
            let sql = format!("{sql} CHARACTER SET {charset}");
            cases.push(case(sql, kind.clone(), values));
        }
    }
    let text = KeyKind::Text { charset: "utf8mb4".into() };
    let long = format!("'{}'", "\u{1f980}".repeat(255));
    cases.push(case("CHAR(255) CHARACTER SET utf8mb4", text.clone(), &["''", "'x'", &long]));
    cases.push(case("VARCHAR(255) CHARACTER SET utf8mb4", text, &["''", "'x'", &long]));
    let padded = |length| KeyKind::Binary { pad: Some(length) };
    let bytes = ["X''", "X'00'", "X'01000000'", "X'ff00ff00'", "X'20202020'"];
    cases.push(case("BINARY(4)", padded(4), &bytes[1..]));
    cases.push(case("BINARY(255)", padded(255), &bytes[1..]));
    let loose = KeyKind::Binary { pad: None };
    cases.push(case("VARBINARY(4)", loose.clone(), &bytes));
    cases.push(case("VARBINARY(300)", loose, &bytes));
    if server == Kind::Mariadb {
        let uuids = [
            "'00000000-0000-0000-0000-000000000000'",
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'123e4567-e89b-72d3-a456-426655440000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ];
        cases.push(case("UUID", KeyKind::Uuid, &uuids));
        cases.push(case(
            "INET6",
            padded(16),
            &["'::'", "'::1'", "'2001:db8::'", "'::ffff:1.2.3.0'"],
        ));
        cases.push(case("INET4", padded(4), &["'0.0.0.0'", "'1.2.3.0'", "'255.255.255.255'"]));
    }
}

async fn selected(field: &mut Field<'_>, table: &str, key: &KeyColumns) -> BTreeSet<Key> {
    let column = &key.0[0];
    let sql = format!("SELECT {} FROM {table}", column.select());
    let texts: Vec<String> = field.conn.query_map(sql, |row: (String,)| row.0).await.unwrap();
    texts.iter().map(|text| key.encode(&[column.value(text).unwrap()]).unwrap()).collect()
}

async fn keys_are_those_that_a_select_gives(kind: Kind) {
    let server = Server::start(kind);
    let mut field = Field::new(&server).await;
    let mut cases = Vec::new();
    integers(&mut cases);
    sets_and_bits(&mut cases);
    decimals(&mut cases);
    times(&mut cases);
    strings(kind, &mut cases);
    let metadata: &[&str] = match kind {
        Kind::Mariadb => &["NO_LOG", "MINIMAL", "FULL"],
        Kind::Mysql => &["MINIMAL", "FULL"],
    };
    for (at, case) in cases.iter().enumerate() {
        let create = format!(
            "CREATE TABLE t{at} (a VARCHAR(300) CHARACTER SET utf8mb4 DEFAULT 'x', \
             b DECIMAL(20,3), c JSON, d DATETIME(3), e BIT(9), f ENUM('p','q'), k {} NOT NULL, \
             g DOUBLE, h LONGBLOB, i TIME(1), j POINT, z INT UNSIGNED, PRIMARY KEY (k))",
            case.sql
        );
        field.run(&create).await;
    }
    let from = field.position().await;
    let mut expected = Vec::new();
    for metadata in metadata {
        field.run(&format!("SET GLOBAL binlog_row_metadata = '{metadata}'")).await;
        for image in ["FULL", "MINIMAL", "NOBLOB"] {
            field.run(&format!("SET SESSION binlog_row_image = '{image}'")).await;
            for (at, case) in cases.iter().enumerate() {
                for value in &case.values {
                    field
                        .run(&format!(
                            "INSERT IGNORE INTO t{at} (k, b, c, d, e, f, g, h, i, j, z) VALUES ({value}, \
                             -1.5, '{{\"a\": [1]}}', '2024-02-29 01:02:03.5', 5, 'q', 1.5, 'blob', \
                             '-01:02:03.4', POINT(1, 2), 7)"
                        ))
                        .await;
                }
                let key = KeyColumns(vec![column("k", 6, case.kind.clone())]);
                let keys = selected(&mut field, &format!("t{at}"), &key).await;
                // Some values are the same in types with few digits.
                assert!(keys.len() > 1, "{}", case.sql);
                field.run(&format!("UPDATE t{at} SET a = 'y', h = NULL, c = NULL, z = 8")).await;
                field.run(&format!("DELETE FROM t{at}")).await;
                expected.push((at, keys));
            }
        }
    }
    field.mark(1).await;
    for (at, case) in cases.iter().enumerate() {
        let key = KeyColumns(vec![column("k", 6, case.kind.clone())]);
        let config = field.config(&format!("t{at}"), key.clone()).await;
        let mut stream = binlog::open(&config, &from).await.unwrap();
        let seen = read_to(&mut stream, 1).await;
        assert_eq!(seen.foreign, Vec::<String>::new(), "{}", case.sql);
        let wanted: Vec<&BTreeSet<Key>> =
            expected.iter().filter(|(of, _)| *of == at).map(|(_, keys)| keys).collect();
        // Each row was inserted, updated and deleted once in each setting.
        assert_eq!(seen.keys.len(), 3 * wanted.iter().map(|keys| keys.len()).sum::<usize>());
        let mut rest = seen.keys.as_slice();
        for wanted in wanted {
            let (part, after) = rest.split_at(3 * wanted.len());
            rest = after;
            for step in part.chunks(wanted.len()) {
                let step: BTreeSet<Key> = step.iter().cloned().collect();
                let show = |keys: &BTreeSet<Key>| {
                    keys.iter().map(|one| key.describe(one)).collect::<Vec<_>>()
                };
                assert_eq!(show(&step), show(wanted), "{}", case.sql);
                assert_eq!(&step, wanted, "{}", case.sql);
            }
        }
    }
}

on_both_servers! {
    keys_are_those_that_a_select_gives
}
