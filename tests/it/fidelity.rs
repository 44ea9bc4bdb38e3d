//! Data comes through as the server's own ALTER would bring it, or the run stops and names the rows.

use crate::support;
use std::process::Output;

use crate::support::server::{Kind, Server};

fn alter(server: &Server, database: &str, clauses: &str) -> Output {
    support::osc()
        .args(["alter", "t", clauses, "--url", &server.url(database), "--strategy", "copy"])
        .args(["--chunk-size", "100"])
        .output()
        .unwrap()
}

/// Makes `t` and its twin with the same rows, changes one by osc and the other natively, and
/// compares every column's bytes.
async fn same_as_native(kind: Kind, table: &str, rows: &[&str], clauses: &str) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    for name in ["t", "t_native"] {
        server.exec_in(&database, &format!("CREATE TABLE {name} {table}")).await;
        for row in rows {
            let insert = format!("INSERT INTO {name} VALUES {row}");
            server
                .exec_in(&database, &format!("SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; {insert}"))
                .await;
        }
    }
    server
        .exec_in(
            &database,
            &format!(
                "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; \
                 ALTER TABLE t_native {clauses}, ALGORITHM=COPY"
            ),
        )
        .await;
    let output = alter(server, &database, clauses);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{} {clauses}: {printed}", kind.name());
    let columns = server
        .rows(&format!(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME = 't_native' ORDER BY ORDINAL_POSITION"
        ))
        .await;
    let list: Vec<String> = columns
        .iter()
        .map(|row| format!("COALESCE(HEX(CONCAT(`{}`)), 'NULL')", row[0].replace('`', "``")))
        .collect();
    let all = |name: &str| format!("SELECT {} FROM {database}.{name} ORDER BY 1", list.join(", "));
    let expected = server.rows(&all("t_native")).await;
    assert_eq!(server.rows(&all("t")).await, expected, "{} {clauses}", kind.name());
    assert!(!expected.is_empty());
}

/// The run must stop with exit 1, say `what`, and leave nothing but the original as it was.
async fn stops(kind: Kind, table: &str, rows: &[&str], clauses: &str, what: &[&str]) {
    let server = support::shared(kind);
    let database = support::database(server).await;
    server.exec_in(&database, &format!("CREATE TABLE t {table}")).await;
    for row in rows {
        server.exec_in(&database, &format!("INSERT INTO t VALUES {row}")).await;
    }
    let before = server.rows(&format!("CHECKSUM TABLE {database}.t")).await;
    let output = alter(server, &database, clauses);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{} {clauses}: {printed}", kind.name());
    for what in what {
        assert!(printed.contains(what), "{} {clauses}: no {what:?} in {printed}", kind.name());
    }
    assert_eq!(server.rows(&format!("CHECKSUM TABLE {database}.t")).await, before);
    let left = server.rows(&format!("SHOW TABLES FROM {database} LIKE 't\\_osc\\_%'")).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn duplicates_for_a_new_unique_key_stop_the_run_and_are_named() {
    for kind in Kind::ALL {
        stops(
            kind,
            "(id INT PRIMARY KEY, a INT NULL)",
            &["(1, 7)", "(2, 8)", "(3, 7)", "(4, NULL)", "(5, NULL)"],
            "ADD UNIQUE KEY ua (a)",
            &["ua", "id = 1", "id = 3"],
        )
        .await;
    }
}

#[tokio::test]
async fn values_that_do_not_fit_stop_the_run_and_are_named() {
    let cases = [
        ("(id INT PRIMARY KEY, c VARCHAR(20))", "(2, 'much too long')", "MODIFY c VARCHAR(3)"),
        ("(id INT PRIMARY KEY, c INT)", "(2, 300)", "MODIFY c TINYINT"),
        ("(id INT PRIMARY KEY, c INT)", "(2, -1)", "MODIFY c INT UNSIGNED"),
        ("(id INT PRIMARY KEY, c INT)", "(2, NULL)", "MODIFY c INT NOT NULL"),
        ("(id INT PRIMARY KEY, c DECIMAL(10,4))", "(2, 1.2345)", "MODIFY c DECIMAL(10,2)"),
        ("(id INT PRIMARY KEY, c VARCHAR(20))", "(2, 'word')", "MODIFY c INT"),
        ("(id INT PRIMARY KEY, c VARCHAR(20))", "(2, '2024-02-31')", "MODIFY c DATE"),
    ];
    for kind in Kind::ALL {
        for (table, row, clauses) in cases {
            let fits = if clauses.ends_with("DATE") { "(1, '2024-01-01')" } else { "(1, 1)" };
            stops(kind, table, &[fits, row], clauses, &["existing rows do not fit"]).await;
        }
    }
}

#[tokio::test]
async fn numbers_of_every_width_come_through() {
    for kind in Kind::ALL {
        same_as_native(
            kind,
            "(id BIGINT UNSIGNED PRIMARY KEY, a TINYINT UNSIGNED, b MEDIUMINT, c BIGINT UNSIGNED, \
             d DECIMAL(65,30), e FLOAT, f DOUBLE, g BIT(1), h BIT(64), i YEAR)",
            &[
                "(18446744073709551615, 255, -8388608, 18446744073709551615, \
                 12345678901234567890123456789012345.123456789012345678901234567890, 0.1, 0.1, b'1', \
                 0xFFFFFFFFFFFFFFFF, 2155)",
                "(9223372036854775808, 0, 8388607, 0, -0.000000000000000000000000000001, -1e38, 1e-300, \
                 b'0', 0, 1901)",
                "(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
            ],
            "MODIFY a SMALLINT UNSIGNED, MODIFY b BIGINT, MODIFY e DOUBLE, ADD COLUMN z INT NOT NULL",
        )
        .await;
    }
}

#[tokio::test]
async fn zero_dates_and_time_zones_come_through_on_a_server_that_is_not_in_utc() {
    for kind in Kind::ALL {
        same_as_native(
            kind,
            "(id INT PRIMARY KEY, a DATE, b DATETIME(3), c TIMESTAMP NULL, d DATETIME, e TIME(2))",
            &[
                "(1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '2001-01-01 00:00:00', '-838:59:59')",
                "(2, '2024-02-31', '2024-12-31 23:59:59.999', '2024-03-10 02:30:00', '2024-07-01 12:00:00', '12:00:00.25')",
                "(3, NULL, NULL, NULL, '1999-12-31 23:59:59', NULL)",
            ],
            "MODIFY c DATETIME NULL, MODIFY d TIMESTAMP NULL, MODIFY b DATETIME(6)",
        )
        .await;
    }
}

#[tokio::test]
async fn text_of_every_character_set_comes_through() {
    for kind in Kind::ALL {
        same_as_native(
            kind,
            "(id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1, b VARCHAR(20) CHARACTER SET gbk, \
             c VARCHAR(20) CHARACTER SET utf8mb4, d CHAR(10) CHARACTER SET latin1, e VARBINARY(20), f TEXT)",
            &[
                "(1, _utf8mb4'caf\u{e9}', _utf8mb4'\u{6f22}\u{5b57}', '\u{1f600} x', 'ab  ', X'00FF00', 'long')",
                "(2, '', '', ' lead', '', '', NULL)",
                "(3, 'it''s \\\\', 'a\\'b', '', NULL, NULL, '')",
            ],
            "CONVERT TO CHARACTER SET utf8mb4",
        )
        .await;
    }
}

#[tokio::test]
async fn enums_sets_and_json_come_through() {
    for kind in Kind::ALL {
        same_as_native(
            kind,
            "(id INT PRIMARY KEY, a ENUM('x','y','z'), b SET('p','q','r'), c JSON)",
            &[
                "(1, 'z', 'p,r', '{\"n\": 1.10, \"big\": 12345678901234567890, \"s\": \"\u{1f600}\"}')",
                "(2, 'x', '', '[]')",
                "(3, NULL, NULL, NULL)",
            ],
            "MODIFY a ENUM('z','w','x','y'), MODIFY b SET('r','q','p','s')",
        )
        .await;
    }
}

#[tokio::test]
async fn spatial_values_and_generated_columns_come_through() {
    for kind in Kind::ALL {
        same_as_native(
            kind,
            "(id INT PRIMARY KEY, p POINT NOT NULL, n INT, v INT AS (n + 1) VIRTUAL, s INT AS (n * 2) STORED)",
            &["(1, ST_GeomFromText('POINT(1 2)'), 5, DEFAULT, DEFAULT)"],
            "MODIFY n BIGINT, ADD COLUMN w BIGINT AS (n + 10) STORED",
        )
        .await;
    }
}

#[tokio::test]
async fn renamed_columns_carry_their_data_in_every_spelling() {
    for kind in Kind::ALL {
        for clauses in [
            "RENAME COLUMN a TO x",
            "CHANGE a x BIGINT",
            "CHANGE a A INT",
            "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "CHANGE a x INT, ADD COLUMN a INT NOT NULL DEFAULT 9",
            "DROP COLUMN a, ADD COLUMN z INT FIRST",
            "MODIFY b INT FIRST, RENAME COLUMN id TO ident",
        ] {
            same_as_native(
                kind,
                "(id INT PRIMARY KEY, a INT, b INT)",
                &["(1, 10, 20)", "(2, 11, NULL)"],
                clauses,
            )
            .await;
        }
    }
}
