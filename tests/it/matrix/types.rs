//! Types of MySQL and MariaDB, each with values at its edges.

use crate::support::server::Kind;

/// A type and literals of values, of which those count that the server takes.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    /// As it stands after a column's name.
    pub name: &'static str,
    pub values: &'static [&'static str],
    /// Numbers, and dates and times: of these nothing may be lost without a word.
    pub exact: bool,
}

const WHOLE: &[&str] = &[
    "0",
    "1",
    "-1",
    "5",
    "65",
    "127",
    "-128",
    "255",
    "70",
    "101",
    "1231",
    "2024",
    "20240131",
    "235959",
    "2147483647",
    "-2147483648",
    "4294967295",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
];
const DECIMAL: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "-1.5",
    "0.1",
    "19.99",
    "2.50",
    "2024",
    "1234.56",
    "99999999.99",
    "12345678901234567890",
    "0.000000000000000000000000000001",
];
const REAL: &[&str] = &[
    "0",
    "1",
    "-1.5",
    "0.1",
    "19.99",
    "1.2345678",
    "16777217",
    "1e10",
    "2024",
    "3.5e20",
    "1e-20",
    "123456.789",
    "1e300",
    "9007199254740993",
    "-0.0",
    "0.1234567890123456",
];
const TEXT: &[&str] = &[
    "''",
    "'a'",
    "'b'",
    "'A'",
    "'abc '",
    "'1'",
    "'0'",
    "'-1'",
    "'1.5'",
    "'007'",
    "'1e2'",
    "'19.99'",
    "'12abc'",
    "' 5'",
    "'5 '",
    "'0000'",
    "'2024'",
    "'70'",
    "'2024-01-31'",
    "'2024-01-31 10:11:12'",
    "'2024-01-31 10:11:12.345678'",
    "'10:11:12'",
    "'-10:11:12.5'",
    "'20240131'",
    "'null'",
    "'{\"b\":1, \"a\":2}'",
    "'[1,2]'",
    "'\"x\"'",
    "'é'",
    "'😀'",
    "'b,a'",
    "'123e4567-e89b-12d3-a456-426655440000'",
    "'::1'",
    "'1.2.3.4'",
    "'9007199254740993'",
    "'18446744073709551615'",
    "'0.1234567890123456789'",
    "'0000-00-00'",
    "'2024-02-31'",
];
const BYTES: &[&str] = &[
    "X''",
    "X'61'",
    "X'6100'",
    "X'00'",
    "X'FF'",
    "X'31'",
    "X'61626320'",
    "'2024'",
    "'1.5'",
    "X'E9'",
    "X'C3A9'",
    "X'00000000000000000000000000000001'",
    "X'01020304'",
    "X'0000803F0000004000004040'",
    "'2024-01-31'",
    "'[1]'",
];
const DATES: &[&str] = &[
    "'2024-01-31'",
    "'0000-00-00'",
    "'2024-02-31'",
    "'2024-00-00'",
    "'9999-12-31'",
    "'2000-01-01'",
];
const MOMENTS: &[&str] = &[
    "'2024-01-31 00:00:00'",
    "'2024-07-31 10:11:12'",
    "'0000-00-00 00:00:00'",
    "'9999-12-31 23:59:59'",
    "'2038-01-19 03:14:07'",
    "'2024-01-31 10:11:12.345678'",
    "'2024-12-31 23:59:59.999999'",
];
const TIMES: &[&str] = &[
    "'00:00:00'",
    "'10:11:12'",
    "'-10:11:12'",
    "'838:59:59'",
    "'00:00:05'",
    "'10:11:12.345678'",
    "'-00:00:00.000001'",
];
const MEMBERS: &[&str] = &["'a'", "'b'", "'1'", "'7'", "'2024'", "'2024-01-31'", "'é'"];
const SETS: &[&str] = &["''", "'a'", "'a,b'", "'b,c,1'", "'1'"];
const JSON: &[&str] = &[
    "'{\"b\": 1, \"a\": [1, 2.50]}'",
    "'null'",
    "'1'",
    "'1.5'",
    "'\"x\"'",
    "'[]'",
    "'\"2024-01-31\"'",
    "'2024'",
];
const SHAPES: &[&str] = &[
    "ST_GeomFromText('POINT(1 2)')",
    "ST_GeomFromText('POINT(1.5 -2)', 4326)",
    "ST_GeomFromText('LINESTRING(0 0,1 1)')",
];

const fn exact(name: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, values, exact: true }
}

const fn text(name: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, values, exact: false }
}

const BOTH: &[Type] = &[
    exact("TINYINT", WHOLE),
    exact("SMALLINT UNSIGNED", WHOLE),
    exact("MEDIUMINT", WHOLE),
    exact("INT", WHOLE),
    exact("INT(8) ZEROFILL", WHOLE),
    exact("BIGINT", WHOLE),
    exact("BIGINT UNSIGNED", WHOLE),
    exact("DECIMAL(10,2)", DECIMAL),
    exact("DECIMAL(20,0)", DECIMAL),
    exact("DECIMAL(65,30)", DECIMAL),
    exact("DECIMAL(8,2) ZEROFILL", DECIMAL),
    exact("FLOAT", REAL),
    exact("FLOAT(9,2)", REAL),
    exact("DOUBLE", REAL),
    exact("DOUBLE(9,2)", REAL),
    exact("BIT(1)", &["0", "1"]),
    exact("BIT(8)", &["0", "1", "65", "70", "101", "255"]),
    exact("BIT(64)", &["0", "65", "2024", "24929", "18446744073709551615"]),
    exact("YEAR", &["0", "1901", "2001", "2024", "2155"]),
    exact("DATE", DATES),
    exact("DATETIME", MOMENTS),
    exact("DATETIME(6)", MOMENTS),
    exact("TIMESTAMP NULL", MOMENTS),
    exact("TIMESTAMP(3) NULL", MOMENTS),
    exact("TIME", TIMES),
    exact("TIME(6)", TIMES),
    text("CHAR(20)", TEXT),
    text("CHAR(40) CHARACTER SET latin1", TEXT),
    text("VARCHAR(5)", TEXT),
    text("VARCHAR(40)", TEXT),
    text("VARCHAR(40) CHARACTER SET latin1", TEXT),
    text("VARCHAR(40) CHARACTER SET ucs2", TEXT),
    text("VARCHAR(40) CHARACTER SET gbk", TEXT),
    text("TINYTEXT", TEXT),
    text("TEXT", TEXT),
    text("BINARY(3)", BYTES),
    text("BINARY(16)", BYTES),
    text("VARBINARY(40)", BYTES),
    text("TINYBLOB", BYTES),
    text("LONGBLOB", BYTES),
    text("ENUM('a','b','1','2024','2024-01-31','é')", MEMBERS),
    text("ENUM('b','A','7') CHARACTER SET latin1", MEMBERS),
    text("SET('a','b','c','1')", SETS),
    text("SET('1','c','b','a')", SETS),
    text("JSON", JSON),
    text("POINT", SHAPES),
    text("GEOMETRY", SHAPES),
];
const MYSQL: &[Type] = &[
    text("VECTOR(3)", &["STRING_TO_VECTOR('[1,2,3]')", "STRING_TO_VECTOR('[0,-1.5,1e10]')"]),
    text("VECTOR(5)", &["STRING_TO_VECTOR('[1,2,3,4,5]')", "STRING_TO_VECTOR('[1]')"]),
];
const MARIADB: &[Type] = &[
    text(
        "UUID",
        &[
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-1fff-8fff-ffffffffff00'",
        ],
    ),
    text("INET6", &["'::1'", "'2001:db8::ff00'", "'::ffff:1.2.3.4'"]),
    text("INET4", &["'1.2.3.4'", "'0.0.0.0'"]),
];

/// All types of a server.
pub fn all(kind: Kind) -> Vec<Type> {
    let more = if kind == Kind::Mysql { MYSQL } else { MARIADB };
    BOTH.iter().chain(more).copied().collect()
}

/// Pairs that once had other values, or were taken for a difference after the whole copy.
pub const KNOWN: &[(&str, &str)] = &[
    ("DOUBLE(9,2)", "VARCHAR(40)"),
    ("FLOAT", "VARBINARY(40)"),
    ("FLOAT", "BINARY(16)"),
    ("YEAR", "VARBINARY(40)"),
    ("YEAR", "BINARY(16)"),
    ("INT(8) ZEROFILL", "VARBINARY(40)"),
    ("INT(8) ZEROFILL", "BINARY(16)"),
    ("FLOAT", "CHAR(20)"),
    ("FLOAT", "LONGBLOB"),
    ("BIT(8)", "TEXT"),
    ("BIT(8)", "LONGBLOB"),
    ("TEXT", "BINARY(16)"),
    ("VARCHAR(5)", "BINARY(16)"),
    ("ENUM('a','b','1','2024','2024-01-31','é')", "BINARY(16)"),
    ("SET('a','b','c','1')", "BINARY(16)"),
    ("JSON", "BINARY(16)"),
    ("JSON", "CHAR(20)"),
    ("JSON", "VARBINARY(40)"),
    ("JSON", "LONGBLOB"),
    ("INT", "YEAR"),
    ("DECIMAL(10,2)", "YEAR"),
    ("DECIMAL(10,2)", "INT"),
    ("DOUBLE", "INT"),
    ("VARCHAR(40)", "INT"),
    ("DOUBLE", "FLOAT"),
    ("DECIMAL(65,30)", "FLOAT"),
    ("FLOAT", "DECIMAL(10,2)"),
    ("DATETIME", "DATE"),
    ("DATETIME(6)", "TIME"),
    ("TIME", "DATE"),
    ("INT", "JSON"),
    ("DOUBLE", "DOUBLE(9,2)"),
    ("VARCHAR(40)", "BIT(64)"),
    ("BIGINT", "DOUBLE"),
    ("VARCHAR(40)", "ENUM('a','b','1','2024','2024-01-31','é')"),
    ("VECTOR(3)", "VECTOR(5)"),
    ("VECTOR(3)", "LONGBLOB"),
    ("UUID", "CHAR(20)"),
    ("UUID", "BINARY(16)"),
];
