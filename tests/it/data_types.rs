//! Values come through a change as the server itself would carry them.

use crate::data::{Case, Pair, all, becomes_the_same, ended};
use crate::support;
use crate::support::server::Kind;
use mysql_async::prelude::Queryable;

/// On both servers.
const VALUES: &[Case] = &[
    Case {
        name: "zero and impossible dates",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, d DATE, dt DATETIME(3), ts TIMESTAMP NULL, y YEAR, tm TIME(6));
                INSERT INTO t VALUES
                (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', 0, '-838:59:59'),
                (2, '2024-00-10', '2024-00-10 01:02:03.456', '2024-03-31 03:30:00', 1901, '838:59:59'),
                (3, '2024-02-31', '2023-02-29 23:59:59.999', '1970-01-01 03:00:01', 2155, '-00:00:00.000001'),
                (4, NULL, NULL, NULL, NULL, NULL);
                ",
        clauses: "ADD COLUMN n INT NOT NULL DEFAULT 7 FIRST",
    },
    Case {
        name: "zero dates become wider dates",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, d DATE, dt DATETIME, ts TIMESTAMP NULL);
                INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'),
                (2, '2024-01-10', '2024-01-10 01:02:03', '2024-03-31 03:30:00');
                ",
        clauses: "MODIFY d DATETIME, MODIFY dt DATETIME(6), MODIFY ts TIMESTAMP(6) NULL",
    },
    Case {
        name: "unsigned maxima",
        setup: "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, a TINYINT UNSIGNED, b SMALLINT UNSIGNED,
                c MEDIUMINT UNSIGNED, d INT UNSIGNED, e BIGINT UNSIGNED, f BIGINT, z INT(8) UNSIGNED ZEROFILL);
                INSERT INTO t VALUES (18446744073709551615, 255, 65535, 16777215, 4294967295, 18446744073709551615, -9223372036854775808, 12),
                (9223372036854775808, 0, 0, 0, 0, 0, 9223372036854775807, 99999999);
                ",
        clauses: "MODIFY a INT UNSIGNED, MODIFY b MEDIUMINT UNSIGNED, MODIFY c BIGINT, MODIFY d BIGINT UNSIGNED, \
                  MODIFY e DECIMAL(20,0), MODIFY f VARCHAR(30), MODIFY z BIGINT(12) UNSIGNED ZEROFILL",
    },
    Case {
        name: "four-byte characters",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), c CHAR(5), x TEXT) CHARSET utf8mb4;
                INSERT INTO t VALUES (1, '😀🧨  ', '𝄞', REPEAT('🦀', 5000)), (2, 'a\\0b', ' ', ''), (3, '', '', 'é');
                ",
        clauses: "MODIFY v VARCHAR(300), MODIFY c VARCHAR(9), MODIFY x LONGTEXT, ADD FULLTEXT INDEX ft (x)",
    },
    Case {
        name: "latin1 converted to utf8mb4",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), c CHAR(5), x TEXT, e ENUM('a','b'), s SET('a','b'), b VARBINARY(9)) CHARSET latin1;
                INSERT INTO t VALUES (1, _latin1 X'E9DFFC8081', _latin1 X'E920', _latin1 X'FF', 1, 3, X'E9'), (2, 'plain ', '', '', 2, 0, '');
                ",
        clauses: "CONVERT TO CHARACTER SET utf8mb4",
    },
    Case {
        name: "latin1 modified to utf8mb4",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), c CHAR(5), e ENUM('é','ß')) CHARSET latin1;
                INSERT INTO t VALUES (1, _latin1 X'E9DFFC8081', _latin1 X'E920', 1), (2, 'plain ', '', 2);
                ",
        clauses: "MODIFY v VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, MODIFY c CHAR(9) CHARACTER SET utf8mb4, \
                  MODIFY e ENUM('ß','x','é') CHARACTER SET utf8mb4",
    },
    Case {
        name: "gbk converted to utf8mb4",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), x TEXT) CHARSET gbk;
                INSERT INTO t VALUES (1, _gbk X'B05CC4E3BAC3', _gbk X'815C'), (2, 'it''s \\\\', NULL);
                ",
        clauses: "CONVERT TO CHARACTER SET utf8mb4",
    },
    Case {
        name: "gbk modified to utf8mb4",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), k INT) CHARSET gbk;
                INSERT INTO t VALUES (1, _gbk X'B05CC4E3BAC3', 1), (2, 'it''s \\\\', NULL);
                ",
        clauses: "MODIFY v VARCHAR(20) CHARACTER SET utf8mb4",
    },
    Case {
        name: "text of character sets that do not go together",
        setup: "CREATE TABLE t (a VARCHAR(20) CHARACTER SET utf8mb3 PRIMARY KEY, b VARCHAR(20) CHARACTER SET ucs2,
                c TEXT CHARACTER SET utf16, d CHAR(9) CHARACTER SET latin1, e ENUM('ж','漢'), n INT);
                INSERT INTO t VALUES ('aé', '漢', '😀', 'ÿ', '漢', 7), ('', '', '', '', NULL, NULL);
                ",
        clauses: "MODIFY e VARCHAR(20) CHARACTER SET ucs2, MODIFY d VARCHAR(9) CHARACTER SET utf8mb3, MODIFY n BIGINT",
    },
    Case {
        name: "defaults that are no text",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, b BINARY(3) DEFAULT X'9EFF00', v VARBINARY(9) NOT NULL DEFAULT X'FF', n INT);
                INSERT INTO t (id, n) VALUES (1, 7), (2, NULL);
                ",
        clauses: "ADD COLUMN c VARBINARY(4) NOT NULL DEFAULT X'80FE', MODIFY n BIGINT",
    },
    Case {
        name: "enum and set reordered and extended",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a','b','c'), s SET('x','y','z'), n ENUM('1','2','3') NOT NULL);
                INSERT INTO t VALUES (1, 'a', 'x,z', '3'), (2, 'c', '', '1'), (3, NULL, NULL, '2'), (4, 'b', 'x,y,z', '2');
                ",
        clauses: "MODIFY e ENUM('new','c','b','a'), MODIFY s SET('w','z','y','x'), MODIFY n ENUM('3','2','1') NOT NULL",
    },
    Case {
        name: "enum and set become text and numbers",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('b','a'), s SET('x','y','z'), n ENUM('30','2'), m SET('x','y','z'));
                INSERT INTO t VALUES (1, 'a', 'x,z', '2', 'z'), (2, 'b', '', '30', 'x,y'), (3, NULL, NULL, NULL, NULL);
                ",
        clauses: "MODIFY e VARCHAR(5), MODIFY s TEXT, MODIFY n INT, MODIFY m BIGINT",
    },
    Case {
        name: "values that are none of the enum's",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a','b'), n INT);
                INSERT INTO t VALUES (1, 'wrong', 1), (2, 'b', 2);
                ",
        clauses: "MODIFY n BIGINT",
    },
    Case {
        name: "numbers of one kind become another",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, d DOUBLE, g FLOAT, h DOUBLE, y YEAR, z INT(5) ZEROFILL, x YEAR);
                INSERT INTO t VALUES (1, 0.5, 0.25, 7, -8, 2024, 7, 0), (2, -1.5, 1e10, 16777216, 9007199254740992, 0, 123456, 1999);
                ",
        clauses: "MODIFY f DECIMAL(20,5), MODIFY d DECIMAL(30,10), MODIFY g INT, MODIFY h BIGINT, MODIFY y INT, MODIFY z VARCHAR(20), MODIFY x VARCHAR(9)",
    },
    Case {
        name: "a timestamp in expressions",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, v VARCHAR(40) AS (CONCAT(n, 'x')) STORED, n INT);
                INSERT INTO t (id, ts, n) VALUES (1, '2024-07-01 01:00:00', 1), (2, NULL, 2);
                ",
        clauses: "ADD d DATE AS (DATE(ts)) VIRTUAL",
    },
    Case {
        name: "a timestamp in a check",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, n INT, CHECK (ts > '2024-07-01 00:00:00'));
                INSERT INTO t (id, ts, n) VALUES (1, '2024-07-01 01:00:00', 1), (2, NULL, 2);
                ",
        clauses: "MODIFY n BIGINT",
    },
    Case {
        name: "a default that is the time",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, n INT);
                INSERT INTO t VALUES (1, 1);
                ",
        // How far the session's clock is from UTC: the time itself would differ in both tables.
        clauses: "ADD zone INT DEFAULT (TIMESTAMPDIFF(HOUR, UTC_TIMESTAMP(), NOW()))",
    },
    Case {
        name: "a timestamp in a stored column and in a default",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, n INT, s DATETIME AS (ts) STORED);
                INSERT INTO t (id, ts, n) VALUES (1, '2024-07-01 01:00:00', 1), (2, NULL, 2);
                ",
        clauses: "ADD d VARCHAR(40) AS (CONCAT(ts, '')) STORED, ADD e DATE DEFAULT (DATE(ts))",
    },
    Case {
        name: "bits",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a BIT(1), b BIT(64), c BIT(12), d BIT(8));
                INSERT INTO t VALUES (1, b'1', 18446744073709551615, b'101010101010', 65), (2, b'0', 0, NULL, 0);
                ",
        clauses: "MODIFY a BIT(3), MODIFY c INT, MODIFY d BIGINT UNSIGNED, ADD x BIT(2) NOT NULL",
    },
    Case {
        name: "spatial",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, p POINT NOT NULL, g GEOMETRY, l LINESTRING);
                INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1.5 -2)', 4326), ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))'), ST_GeomFromText('LINESTRING(0 0,1 1)', 3857)),
                (2, ST_GeomFromText('POINT(0 0)'), NULL, NULL);
                ",
        clauses: "ADD n INT, MODIFY p GEOMETRY NOT NULL",
    },
    Case {
        name: "timestamp to datetime in the server's zone",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a TIMESTAMP NULL, b TIMESTAMP(6) NULL, c TIMESTAMP(3) NULL);
                INSERT INTO t VALUES (1, '2024-07-01 12:00:00', '2024-07-01 01:00:00.123456', '1970-01-01 03:00:01'),
                (2, '2024-01-01 00:00:00', '2038-01-19 06:14:07.999999', NULL);
                ",
        clauses: "MODIFY a DATETIME, MODIFY b DATETIME(6), MODIFY c DATETIME(6)",
    },
    Case {
        name: "datetime to timestamp in the server's zone",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a DATETIME, b DATETIME(6), c TIMESTAMP NULL);
                INSERT INTO t VALUES (1, '2024-07-01 12:00:00', '2024-07-01 01:00:00.123456', '2020-01-01 00:00:00'), (2, NULL, NULL, NULL);
                ",
        clauses: "MODIFY a TIMESTAMP NULL, MODIFY b TIMESTAMP(6) NULL",
    },
    Case {
        name: "timestamp to date, time and text, as the server's zone shows it",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a TIMESTAMP NULL, b TIMESTAMP NULL, c TIMESTAMP(3) NULL);
                INSERT INTO t VALUES (1, '2024-07-01 00:00:00', '2024-07-01 01:00:00', '2024-12-31 23:30:00.250');
                ",
        clauses: "MODIFY b VARCHAR(40), MODIFY c CHAR(40)",
    },
    Case {
        name: "text to timestamp, as the server's zone reads it",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(40), b BIGINT);
                INSERT INTO t VALUES (1, '2024-07-01 00:00:00', 20240701010000), (2, NULL, NULL);
                ",
        clauses: "MODIFY a TIMESTAMP NULL, MODIFY b TIMESTAMP NULL",
    },
    Case {
        name: "a timestamp in a generated column of text",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a DATETIME, n INT);
                INSERT INTO t VALUES (1, '2024-07-01 00:00:00', 1), (2, NULL, 2);
                ",
        clauses: "ADD g VARCHAR(40) AS (CONCAT(a, '')) STORED",
    },
    Case {
        name: "fractions are rounded",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a DATETIME(6), b TIME(6), c TIMESTAMP(6) NULL);
                INSERT INTO t VALUES (1, '2024-12-31 23:59:59.999999', '23:59:59.999999', '2024-12-31 23:59:59.500000'),
                (2, '2024-12-31 23:59:59.499999', '-01:00:00.5', '2024-12-31 23:59:59.499999');
                ",
        clauses: "MODIFY a DATETIME, MODIFY b TIME, MODIFY c TIMESTAMP(3) NULL",
    },
    Case {
        name: "floating point and decimals",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, d DOUBLE, x DECIMAL(65,30), g FLOAT, h DOUBLE, y DECIMAL(10,2));
                INSERT INTO t VALUES (1, 0.1, 0.1, '99999999999999999999999999999999999.999999999999999999999999999999', 16777217, 1e300, '-0.01'),
                (2, -3.4028234e38, 2.2250738585072014e-308, '-0.000000000000000000000000000001', 1e-38, -0.0, '99999999.99'),
                (3, 1.17549435e-38, 1.7976931348623157e308, 0, 3.1415927, 123456789.123456789, NULL);
                ",
        clauses: "ADD n INT, MODIFY g DOUBLE, MODIFY y DECIMAL(65,30)",
    },
    Case {
        name: "numbers become text and text becomes numbers",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, b DECIMAL(20,5), c DOUBLE, d FLOAT, e VARCHAR(30), f VARCHAR(30), g VARCHAR(30));
                INSERT INTO t VALUES (1, -5, '1.50000', 0.1, 0.1, '42', '-1.25', '1e10'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                (3, 2147483647, '-99999.99999', 1e100, 1e-20, '-0', '0', '0.1');
                ",
        clauses: "MODIFY a VARCHAR(20), MODIFY b VARCHAR(40), MODIFY c VARCHAR(40), MODIFY d VARCHAR(40), \
                  MODIFY e INT, MODIFY f DECIMAL(10,2), MODIFY g DOUBLE",
    },
    Case {
        name: "binary strings with zeros at their ends",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a BINARY(16), b VARBINARY(20), c BINARY(4), d BLOB);
                INSERT INTO t VALUES (1, X'01020000000000000000000000000000', X'00FF00', X'20', X'0000'), (2, X'', X'', X'00000000', X''),
                (3, REPEAT(X'FF', 16), REPEAT(X'20', 20), X'41422020', REPEAT(X'00', 300));
                ",
        clauses: "MODIFY b VARBINARY(200), MODIFY c BINARY(8), MODIFY d LONGBLOB, ADD n INT",
    },
    Case {
        name: "text and bytes into each other",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a VARBINARY(20), b VARCHAR(20), c BINARY(4), d CHAR(4)) CHARSET utf8mb4;
                INSERT INTO t VALUES (1, 'é😀 ', 'é😀 ', 'ab', 'cd'), (2, '', '', 'ab  ', '');
                ",
        clauses: "MODIFY a VARCHAR(20) CHARACTER SET utf8mb4, MODIFY b VARBINARY(80), MODIFY c VARCHAR(4), MODIFY d VARBINARY(16)",
    },
    Case {
        name: "blobs of more than a megabyte",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, x LONGTEXT);
                INSERT INTO t VALUES (1, REPEAT(X'00FF5C27', 700000), REPEAT('é''\\\\', 600000)), (2, '', NULL);
                ",
        clauses: "ADD n INT FIRST, MODIFY x LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    },
    Case {
        name: "char and varchar keep their spaces as the server does",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a CHAR(10), b VARCHAR(10), c TEXT);
                INSERT INTO t VALUES (1, 'a  ', 'b  ', 'c '), (2, ' a', '  ', '');
                ",
        clauses: "MODIFY a VARCHAR(12), MODIFY b CHAR(12), MODIFY c VARCHAR(50)",
    },
];

const JSON_OF_MYSQL: &[Case] = &[
    Case {
        name: "json with decimals, dates and big numbers",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, j JSON);
                INSERT INTO t VALUES (1, JSON_OBJECT('d', CAST('1.10' AS DECIMAL(10,2)), 'f', 1.5e0, 'u', 18446744073709551615, 'n', -9223372036854775808)),
                (2, JSON_ARRAY(CAST('2024-01-02' AS DATE), CAST('2024-01-02 03:04:05.678' AS DATETIME(3)), CAST('10:00:00' AS TIME), TIMESTAMP'2024-01-02 03:04:05')),
                (3, JSON_OBJECT('b', CAST(X'00FF' AS BINARY), 'e', JSON_OBJECT(), 'é😀', '\"quoted\" \\\\ \\n')), (4, 'null'), (5, NULL), (6, '1.10'), (7, '100000000000000000000000');
                ",
        clauses: "ADD n INT, ADD d DECIMAL(10,2) AS (j->>'$.d') STORED, ADD INDEX functional ((CAST(j->>'$.u' AS CHAR(30))))",
    },
    Case {
        name: "json and text into each other",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, j JSON, x LONGTEXT);
                INSERT INTO t VALUES (1, '{\"b\": 1.10, \"a\": [1, null, \"é\"]}', '{\"b\": 1.10,  \"a\": 1, \"a\": 2}'), (2, NULL, NULL);
                ",
        clauses: "MODIFY j LONGTEXT, MODIFY x JSON",
    },
];

const VECTORS: &[Case] = &[Case {
    name: "vectors",
    setup: "CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(3), n INT);
            INSERT INTO t VALUES (1, STRING_TO_VECTOR('[1,-2.5,1e10]'), 5), (2, NULL, NULL);
            ",
    clauses: "MODIFY n BIGINT",
}];

const JSON_OF_MARIADB: &[Case] = &[Case {
    name: "json is text and stays as it was written",
    setup: "CREATE TABLE t (id INT PRIMARY KEY, j JSON, x LONGTEXT);
            INSERT INTO t VALUES (1, '{\"b\":  1.10, \"a\": 1, \"a\": 100000000000000000000000}', '[1,  2.50]'), (2, NULL, NULL), (3, ' null ', '1.0');
            ",
    clauses: "ADD n INT, MODIFY x JSON",
}];

async fn values_come_through_as_the_server_carries_them(kind: Kind) {
    let own = match kind {
        Kind::Mariadb => [JSON_OF_MARIADB, &[]],
        Kind::Mysql => [JSON_OF_MYSQL, VECTORS],
    };
    all(VALUES.iter().chain(own.into_iter().flatten()), |case| becomes_the_same(kind, case)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_others_may_have_any_character() {
    for kind in Kind::ALL {
        let server = support::shared(kind);
        let mut other = server.conn().await;
        let id = other.id();
        let asleep = tokio::spawn(async move {
            let _ = other.query_drop("SELECT SLEEP(300), '🧨'").await;
        });
        let pair = Pair::new(kind, "CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
        let output = pair.alter("t", "MODIFY n BIGINT").await;
        server.exec(&format!("KILL {id}")).await;
        asleep.await.unwrap();
        ended(&output, 0).unwrap();
    }
}

on_both_servers! { values_come_through_as_the_server_carries_them }
