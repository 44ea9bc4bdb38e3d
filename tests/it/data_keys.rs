//! Keys of every kind order the copy and name the rows that the stream brings.

use std::fmt::Write as _;

use crate::data::{Pair, ended};
use crate::support::server::Kind;
use futures_util::{StreamExt, stream};

/// Rows at the start. Their keys are made of the numbers 1 to [`ROWS`], others follow.
const ROWS: u32 = 300;

/// A table: its key's definition, and the key that a number makes.
struct Keyed {
    name: &'static str,
    /// Columns and the key over them.
    columns: &'static str,
    /// The names of the key's columns.
    names: &'static str,
    /// Their values for a number below 1000.
    values: fn(u32) -> String,
    /// More clauses of the change.
    clauses: &'static str,
}

const KEYS: &[Keyed] = &[
    Keyed {
        name: "composite with a descending part",
        columns: "a INT NOT NULL, b VARCHAR(20) NOT NULL, c SMALLINT NOT NULL, PRIMARY KEY (a, b DESC, c)",
        names: "a, b, c",
        values: |n| format!("{}, '{}', {}", n % 7, n / 7 % 9, n / 63),
        clauses: "",
    },
    Keyed {
        name: "descending numbers",
        columns: "a MEDIUMINT NOT NULL, b BIGINT UNSIGNED NOT NULL, PRIMARY KEY (a DESC, b)",
        names: "a, b",
        values: |n| format!("{}, {}", i64::from(n % 7) - 3, u64::MAX - u64::from(n)),
        clauses: "",
    },
    Keyed {
        name: "text that knows no case",
        columns: "k VARCHAR(40) COLLATE utf8mb4_unicode_ci PRIMARY KEY",
        names: "k",
        values: |n| {
            format!(
                "'{} {n}{}'",
                ["Straße", "ключ", "it''s \\\\", "😀é"][n as usize % 4],
                ["", " ", "A", "b"][n as usize / 4 % 4]
            )
        },
        clauses: "MODIFY k VARCHAR(60) COLLATE utf8mb4_unicode_ci",
    },
    Keyed {
        name: "text of character sets that the server warns of",
        columns: "a VARCHAR(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci, b CHAR(9) CHARACTER SET ucs2, c VARCHAR(9) CHARACTER SET macroman, PRIMARY KEY (a, b, c)",
        names: "a, b, c",
        values: |n| format!("'{}é{}', 'ж{}', 'å{n}'", ['x', 'Y'][(n % 2) as usize], n % 5, n % 3),
        clauses: "MODIFY v VARCHAR(60) CHARACTER SET utf8mb3",
    },
    Keyed {
        name: "char",
        columns: "k CHAR(12) CHARACTER SET latin1 PRIMARY KEY",
        names: "k",
        values: |n| format!("'é{n} '"),
        clauses: "",
    },
    Keyed {
        name: "gbk text",
        columns: "k VARCHAR(12) CHARACTER SET gbk PRIMARY KEY",
        names: "k",
        values: |n| format!("CONCAT(_gbk X'B05C', '{n}', _gbk X'815C')"),
        clauses: "",
    },
    Keyed {
        name: "varbinary with zeros and ones",
        columns: "k VARBINARY(12) PRIMARY KEY",
        names: "k",
        values: |n| match n % 4 {
            0 => format!("X'00{n:04X}'"),
            1 => format!("X'{n:04X}0000'"),
            2 => format!("X'FF{n:04X}FF00'"),
            _ => format!("X'{n:04X}'"),
        },
        clauses: "MODIFY k VARBINARY(40)",
    },
    Keyed {
        name: "binary that ends in zeros",
        columns: "k BINARY(8) PRIMARY KEY",
        names: "k",
        values: |n| {
            let end = ["", "00FF", "20", "FFFFFFFFFFFF"][n as usize % 4];
            format!("X'{n:04X}{end:0<12}'")
        },
        clauses: "",
    },
    Keyed {
        name: "decimal",
        columns: "k DECIMAL(30,10) PRIMARY KEY",
        names: "k",
        values: |n| {
            let sign = ["-", ""][n as usize % 2];
            format!("{sign}{}.{n:010}", u64::from(n / 3) * 99_999_999)
        },
        clauses: "MODIFY k DECIMAL(40,12)",
    },
    Keyed {
        name: "bit",
        columns: "k BIT(64) PRIMARY KEY",
        names: "k",
        values: |n| (u64::MAX / 1000 * u64::from(n)).to_string(),
        clauses: "",
    },
    Keyed {
        name: "enum and number",
        columns: "e ENUM('z','y','x','w') NOT NULL, s SET('q','p') NOT NULL, n INT NOT NULL, PRIMARY KEY (e, s, n)",
        names: "e, s, n",
        values: |n| format!("{}, {}, {}", n % 4 + 1, n / 4 % 4, n / 16),
        clauses: "",
    },
    Keyed {
        name: "date",
        columns: "k DATE PRIMARY KEY",
        names: "k",
        values: |n| match n {
            7 => "'0000-00-00'".into(),
            8 => "'2024-00-10'".into(),
            _ => format!("DATE'1999-12-31' + INTERVAL {n} DAY"),
        },
        clauses: "",
    },
    Keyed {
        name: "datetime",
        columns: "k DATETIME(6) PRIMARY KEY",
        names: "k",
        values: |n| {
            format!(
                "TIMESTAMP'1000-01-01 00:00:00' + INTERVAL {} MICROSECOND",
                u64::from(n) * 123_456_789_012
            )
        },
        clauses: "",
    },
    Keyed {
        name: "timestamp",
        columns: "k TIMESTAMP(3) NOT NULL DEFAULT '2020-01-01', PRIMARY KEY (k)",
        names: "k",
        values: |n| {
            format!(
                "TIMESTAMP'2024-03-30 20:00:00' + INTERVAL {} MICROSECOND",
                u64::from(n) * 100_001_000
            )
        },
        clauses: "",
    },
    Keyed {
        name: "time",
        columns: "k TIME(2) PRIMARY KEY",
        names: "k",
        values: |n| format!("SEC_TO_TIME({} * 10007.25)", i64::from(n) - 150),
        clauses: "",
    },
    Keyed {
        name: "negative numbers of three bytes",
        columns: "k MEDIUMINT PRIMARY KEY",
        names: "k",
        values: |n| (i64::from(n) * 16_000 - 8_000_000).to_string(),
        clauses: "MODIFY k INT",
    },
    Keyed {
        name: "unsigned beyond the signed",
        columns: "k BIGINT UNSIGNED PRIMARY KEY",
        names: "k",
        values: |n| (u64::MAX - u64::from(n) * 18_000_000_000_000_000).to_string(),
        clauses: "",
    },
    Keyed {
        name: "tiny and year",
        columns: "a TINYINT NOT NULL, b YEAR NOT NULL, c TINYINT UNSIGNED NOT NULL, PRIMARY KEY (a, b, c)",
        names: "a, b, c",
        values: |n| {
            format!("{}, {}, {}", i64::from(n % 5) * 50 - 100, 1901 + n / 5 % 20, 255 - n / 100)
        },
        clauses: "MODIFY a SMALLINT NOT NULL",
    },
    Keyed {
        name: "unique and no primary key",
        columns: "z INT NULL, k INT NOT NULL, UNIQUE KEY z (z), UNIQUE KEY k (k)",
        names: "k",
        values: |n| n.to_string(),
        clauses: "",
    },
    Keyed {
        name: "renamed and moved",
        columns: "b INT NOT NULL, a INT NOT NULL, PRIMARY KEY (a, b)",
        names: "a, b",
        values: |n| format!("{}, {}", n % 10, n / 10),
        clauses: "RENAME COLUMN a TO b, RENAME COLUMN b TO a, MODIFY w INT FIRST",
    },
];

/// Types that MariaDB alone has. It orders a UUID by its last parts first, and only some of them.
const MARIADB_KEYS: &[Keyed] = &[
    Keyed {
        name: "uuid",
        columns: "k UUID PRIMARY KEY",
        names: "k",
        values: |n| {
            let spread = n.wrapping_mul(2_654_435_761);
            let (version, variant) = ([1, 4, 7, 0][n as usize % 4], [8, 0, 15][n as usize % 3]);
            let low = spread >> 20;
            format!(
                "'{spread:08x}-{n:04x}-{version}{low:03x}-{variant:x}{low:03x}-{:012x}'",
                1000 - n
            )
        },
        clauses: "",
    },
    Keyed {
        name: "inet6",
        columns: "k INET6 PRIMARY KEY",
        names: "k",
        values: |n| {
            let start = ["::", "ff00::", "2001:db8::", "::ffff:10.0."][n as usize % 4];
            match n % 4 {
                3 => format!("'{start}{}.{}'", n / 256, n % 256),
                _ => format!("'{start}{n:x}'"),
            }
        },
        clauses: "",
    },
    Keyed {
        name: "inet4",
        columns: "k INET4 PRIMARY KEY",
        names: "k",
        values: |n| format!("'{}.{}.0.32'", n % 256, n / 256),
        clauses: "",
    },
];

/// A key that the stream reports in UTC, while the sessions must read another column in the server's
/// zone.
const ZONED: Keyed = Keyed {
    name: "timestamp, while another becomes a datetime",
    columns: "k TIMESTAMP NOT NULL DEFAULT '2020-01-01', ts TIMESTAMP NULL DEFAULT '2024-01-01 01:00:00', PRIMARY KEY (k)",
    names: "k",
    values: |n| format!("TIMESTAMP'2024-03-30 20:00:00' + INTERVAL {n} MINUTE"),
    clauses: "MODIFY ts DATETIME NULL",
};

impl Keyed {
    fn setup(&self) -> String {
        let mut text = format!(
            "CREATE TABLE t ({}, v VARCHAR(30), w INT);\nINSERT INTO t ({}, v, w) VALUES ",
            self.columns, self.names
        );
        for n in 1..=ROWS {
            let separator = if n == 1 { "" } else { ", " };
            let _ = write!(text, "{separator}({}, 'row {n}', {n})", (self.values)(n));
        }
        text
    }

    /// `a = 1 AND b = 2`.
    fn is(&self, n: u32) -> String {
        format!("({}) = ({})", self.names, (self.values)(n))
    }

    /// `a = 1, b = 2`.
    fn set(&self, n: u32) -> String {
        let values = (self.values)(n);
        let parts: Vec<&str> = match self.names.matches(',').count() {
            0 => vec![&values],
            _ => values.split(", ").collect(),
        };
        let pairs = self.names.split(", ").zip(parts);
        pairs.map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    }
}

/// Inserts, updates, deletes and changes of keys, all over the table.
async fn write(pair: &mut Pair, keyed: &Keyed, round: u32) {
    let at = |step: u32| 1 + (round * 37 + step * 101) % ROWS;
    let new = ROWS + 1 + round * 3;
    pair.both(&format!("UPDATE t SET v = 'changed {round}' WHERE {}", keyed.is(at(1)))).await;
    pair.both(&format!("DELETE FROM t WHERE {}", keyed.is(at(2)))).await;
    let insert =
        |n| format!("INSERT INTO t ({}, v) VALUES ({}, 'new')", keyed.names, (keyed.values)(n));
    pair.both(&insert(new)).await;
    pair.both("START TRANSACTION").await;
    pair.both(&format!("UPDATE t SET {} WHERE {}", keyed.set(new + 1), keyed.is(at(3)))).await;
    pair.both(&format!("UPDATE t SET {}, w = -1 WHERE {}", keyed.set(at(2)), keyed.is(new))).await;
    pair.both("COMMIT").await;
}

async fn ends_the_same(kind: Kind, keyed: &Keyed) -> Result<(), String> {
    let mut pair = Pair::new(kind, &keyed.setup()).await;
    let more = if keyed.clauses.is_empty() { "" } else { ", " };
    let clauses = format!("ADD COLUMN added INT NOT NULL DEFAULT 7{more}{}", keyed.clauses);
    let held = pair.held(&clauses, 150).await;
    for round in 0..12 {
        write(&mut pair, keyed, round).await;
    }
    ended(&held.release().await, 0)?;
    pair.native("t", &clauses).await?;
    pair.same("t").await
}

async fn every_key_orders_the_copy_while_rows_change(kind: Kind) {
    let own = if kind == Kind::Mariadb { MARIADB_KEYS } else { &[] };
    let wrong: Vec<String> = stream::iter(KEYS.iter().chain(own))
        .map(async |keyed| {
            let done = ends_the_same(kind, keyed).await;
            done.err().map(|why| format!("— {}: {why}", keyed.name))
        })
        .buffer_unordered(4)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn a_key_that_cannot_be_told_in_the_servers_zone_is_refused(kind: Kind) {
    let mut pair = Pair::new(kind, &ZONED.setup()).await;
    ended(&pair.alter("t", ZONED.clauses).await, 4).unwrap();
    pair.same("t").await.unwrap();
    pair.nothing_left().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_that_are_converted_need_another_key() {
    for kind in Kind::ALL {
        a_key_that_cannot_be_told_in_the_servers_zone_is_refused(kind).await;
    }
}

on_both_servers! {
    every_key_orders_the_copy_while_rows_change
}
