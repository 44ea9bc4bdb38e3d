//! Columns, keys and options after a change are those that the server itself would make.

use crate::data;
use crate::data::{Case, Pair, all, becomes_the_same, ended};
use crate::support::server::Kind;

/// A usual table; the cases differ in what becomes of it.
const USUAL: &str = "
CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b VARCHAR(40), c DECIMAL(10,2) DEFAULT 1.5, KEY k (b, a)) AUTO_INCREMENT=1000 COMMENT 'it''s';
INSERT INTO t VALUES (1, 10, 'one', 0.1), (2, 20, NULL, NULL), (7, -5, '', 99.99);
";

/// With a generated column of each kind.
const GENERATED: &str = "
CREATE TABLE t (id INT PRIMARY KEY, a INT, v INT AS (a + 1) VIRTUAL, s VARCHAR(30) AS (CONCAT('s', a)) STORED, KEY s (s));
INSERT INTO t (id, a) VALUES (1, 5), (2, NULL), (3, -7);
";

const fn usual(name: &'static str, clauses: &'static str) -> Case {
    Case { name, setup: USUAL, clauses }
}

const fn generated(name: &'static str, clauses: &'static str) -> Case {
    Case { name, setup: GENERATED, clauses }
}

const BOTH: &[Case] = &[
    usual("CHANGE renames", "CHANGE a renamed BIGINT NOT NULL, CHANGE COLUMN b `b 2` VARCHAR(60)"),
    usual("RENAME COLUMN renames", "RENAME COLUMN a TO renamed, RENAME COLUMN `c` TO d"),
    usual("only the case of a name changes", "CHANGE a A INT NOT NULL, RENAME COLUMN b TO B"),
    usual("two names are swapped", "RENAME COLUMN a TO c, RENAME COLUMN c TO a"),
    usual("two names are swapped by CHANGE", "CHANGE a c INT NOT NULL, CHANGE c a DECIMAL(10,2)"),
    usual("a name goes round", "RENAME COLUMN a TO b, RENAME COLUMN b TO c, RENAME COLUMN c TO a"),
    usual("the old name is added again", "RENAME COLUMN a TO was, ADD COLUMN a INT NOT NULL DEFAULT 3"),
    usual("a dropped column's name is added again", "DROP COLUMN a, ADD COLUMN a VARCHAR(9) DEFAULT 'new'"),
    usual("a dropped column's name is taken over", "DROP COLUMN a, RENAME COLUMN c TO a"),
    usual("the key column is renamed", "CHANGE id key_of_it BIGINT UNSIGNED NOT NULL AUTO_INCREMENT"),
    usual("columns move", "MODIFY c DECIMAL(10,2) FIRST, MODIFY a BIGINT NOT NULL AFTER b, ADD z INT AFTER id"),
    usual("a column is dropped", "DROP COLUMN b"),
    usual(
        "new columns NOT NULL and without default",
        "ADD i INT NOT NULL, ADD v VARCHAR(9) NOT NULL, ADD d DECIMAL(5,2) NOT NULL, ADD e ENUM('x','y') NOT NULL, \
         ADD s SET('x','y') NOT NULL, ADD bi BINARY(3) NOT NULL, ADD bt BIT(3) NOT NULL, ADD tx TEXT NOT NULL, \
         ADD y YEAR NOT NULL, ADD tm TIME NOT NULL, ADD f FLOAT NOT NULL, ADD bl BLOB NOT NULL",
    ),
    usual(
        "defaults that are constants and expressions",
        "ADD i INT DEFAULT 5, ADD v VARCHAR(40) NOT NULL DEFAULT 'it''s; \\\\ `x`', ADD x INT DEFAULT (3 * 4), \
         ADD tx VARCHAR(99) DEFAULT (CONCAT('a', 'b')) NOT NULL, ALTER COLUMN c SET DEFAULT 7, ALTER a SET DEFAULT 1",
    ),
    usual("a default on another column", "ADD twice INT DEFAULT (a * 2)"),
    usual("comments and options", "COMMENT 'new; \\'comment\\' ``', ROW_FORMAT=DYNAMIC, STATS_PERSISTENT=1, MODIFY a INT NOT NULL COMMENT 'c; -- x'"),
    usual("default character set only", "DEFAULT CHARACTER SET latin1"),
    usual("AUTO_INCREMENT is raised", "AUTO_INCREMENT = 5000, ADD n INT"),
    usual("the counter is carried over", "MODIFY a BIGINT NOT NULL"),
    usual("prefix and descending keys", "ADD KEY prefix (b(5)), ADD KEY descending (a DESC, b ASC), RENAME INDEX k TO `k 2`"),
    usual("a FULLTEXT key", "ADD FULLTEXT KEY ft (b), DROP INDEX k"),
    usual("a unique key", "ADD UNIQUE KEY u (a), ADD UNIQUE v (b(3), c)"),
    usual("checks", "ADD CONSTRAINT small CHECK (a < 1000), ADD CHECK (a > -100)"),
    usual("another primary key, the old one stays unique", "DROP PRIMARY KEY, ADD UNIQUE KEY (id), ADD PRIMARY KEY (a, id)"),
    usual("partitions by range", "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (2), PARTITION p1 VALUES LESS THAN MAXVALUE)"),
    generated("generated columns stay", "ADD n INT, MODIFY a BIGINT"),
    generated("generated columns come", "ADD w INT AS (a * 2) VIRTUAL, ADD x INT GENERATED ALWAYS AS (a * 3) STORED FIRST, ADD KEY (w)"),
    generated("generated columns go", "DROP COLUMN v, DROP COLUMN s"),
    generated("a stored column becomes plain", "MODIFY s VARCHAR(30)"),
    generated("a generated column is renamed", "CHANGE v w INT AS (a + 1) VIRTUAL"),
    generated("a stored column changes its expression", "MODIFY s VARCHAR(40) AS (CONCAT('t', a)) STORED"),
    Case {
        name: "a plain column becomes a stored one",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, p INT);
                INSERT INTO t VALUES (1, 5, 99), (2, NULL, NULL);
                ",
        clauses: "MODIFY p INT AS (a * 10) STORED",
    },
    Case {
        name: "a partitioned table",
        setup: "CREATE TABLE t (id INT, d DATE, v INT, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d)) (PARTITION a VALUES LESS THAN (2020), PARTITION b VALUES LESS THAN (2025));
                INSERT INTO t VALUES (1, '2019-01-01', 1), (1, '2024-12-31', 2), (2, '1000-01-01', 3);
                ",
        clauses: "MODIFY v BIGINT, ADD KEY (v)",
    },
    Case {
        name: "a table with other partitions",
        setup: "CREATE TABLE t (id INT, d DATE, v INT, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d)) (PARTITION a VALUES LESS THAN (2020), PARTITION b VALUES LESS THAN (2025));
                INSERT INTO t VALUES (1, '2019-01-01', 1), (1, '2024-12-31', 2), (2, '1000-01-01', 3);
                ",
        clauses: "PARTITION BY HASH (id) PARTITIONS 4",
    },
    Case {
        name: "partitions removed",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, v INT) PARTITION BY KEY (id) PARTITIONS 3;
                INSERT INTO t VALUES (1, 1), (2, 2), (9, 3);
                ",
        clauses: "REMOVE PARTITIONING",
    },
    Case {
        name: "checks go and stay",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, CONSTRAINT one CHECK (a > 0), CONSTRAINT two CHECK (b > 0), CHECK (a < 1000));
                INSERT INTO t VALUES (1, 1, 1), (2, 999, 5);
                ",
        clauses: "DROP CONSTRAINT one, ADD n INT",
    },
    Case {
        name: "columns and keys with strange names",
        setup: "CREATE TABLE t (`select` INT PRIMARY KEY, `a``b` INT, `with space` INT, `ключ` VARCHAR(20), `漢字` INT,
                `a234567890123456789012345678901234567890123456789012345678901234` INT, `it's \"q\"` INT, `1` INT,
                KEY `key``of it` (`a``b`), UNIQUE KEY `group` (`ключ`));
                INSERT INTO t VALUES (1, 2, 3, 'x', 5, 6, 7, 8), (2, NULL, NULL, 'y', NULL, NULL, NULL, NULL);
                ",
        clauses: "RENAME COLUMN `with space` TO `table`, CHANGE `a``b` `b``a` BIGINT, MODIFY `漢字` BIGINT, RENAME COLUMN `select` TO `from`, \
                  RENAME COLUMN `1` TO `b234567890123456789012345678901234567890123456789012345678901234`, ADD KEY `order by` (`漢字`)",
    },
    Case {
        name: "a key without a primary key",
        setup: "CREATE TABLE t (a INT NULL, b INT NOT NULL, c VARCHAR(9) NOT NULL, UNIQUE KEY no (a), UNIQUE KEY yes (b, c));
                INSERT INTO t VALUES (NULL, 1, 'x'), (NULL, 1, 'y'), (3, 2, 'x');
                ",
        clauses: "ADD n INT",
    },
    Case {
        name: "a primary key is added to a table with a unique key",
        setup: "CREATE TABLE t (a INT NOT NULL, b VARCHAR(9), UNIQUE KEY u (a));
                INSERT INTO t VALUES (-1, 'x'), (0, 'y'), (5, NULL);
                ",
        clauses: "ADD PRIMARY KEY (a), DROP INDEX u",
    },
    Case {
        name: "zero in a column that counts",
        setup: "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);
                INSERT INTO t VALUES (0, 1), (-3, 2), (5, 3);
                ",
        clauses: "ADD n INT",
    },
    Case {
        name: "an empty table",
        setup: "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT=77;
                ",
        clauses: "ADD n INT NOT NULL",
    },
];

const MYSQL: &[Case] = &[
    Case {
        name: "an invisible unique key does not order the copy",
        setup: "CREATE TABLE t (f FLOAT NOT NULL, a INT NOT NULL, w VARCHAR(9) NOT NULL, n INT,
                UNIQUE KEY first (f), UNIQUE KEY u (a) INVISIBLE, UNIQUE KEY w (w));
                INSERT INTO t VALUES (1, 2, 'x', 3), (2, 1, 'y', NULL);
                ",
        clauses: "MODIFY n BIGINT",
    },
    Case {
        name: "invisible columns and keys",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, h INT INVISIBLE DEFAULT 4, KEY i (a) INVISIBLE);
                INSERT INTO t (id, a, h) VALUES (1, 2, 3);
                INSERT INTO t (id, a) VALUES (2, 2);
                ",
        clauses: "ADD n INT INVISIBLE DEFAULT 9, ALTER COLUMN a SET INVISIBLE, ALTER INDEX i VISIBLE, MODIFY h BIGINT INVISIBLE DEFAULT 4",
    },
    Case {
        name: "functional keys",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), KEY f ((a * 2)));
                INSERT INTO t VALUES (1, 2, 'X'), (2, NULL, NULL);
                ",
        clauses: "ADD UNIQUE KEY g ((LOWER(b))), ADD KEY h (a, (UPPER(b)) DESC)",
    },
    Case {
        name: "a spatial key and a column with an SRID",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, p POINT NOT NULL SRID 4326);
                INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1.5 -2)', 4326));
                ",
        clauses: "ADD SPATIAL INDEX (p), ADD n INT",
    },
    usual("text with a default", "ADD x TEXT DEFAULT ('abc'), ADD j JSON DEFAULT (JSON_ARRAY(1, 2)), ADD bl BLOB NOT NULL DEFAULT (X'00FF')"),
];

const MARIADB: &[Case] = &[
    Case {
        name: "an ignored unique key does not order the copy",
        setup: "CREATE TABLE t (f FLOAT NOT NULL, a INT NOT NULL, w VARCHAR(9) NOT NULL, n INT,
                UNIQUE KEY first (f), UNIQUE KEY u (a) IGNORED, UNIQUE KEY w (w));
                INSERT INTO t VALUES (1, 2, 'x', 3), (2, 1, 'y', NULL);
                ",
        clauses: "MODIFY n BIGINT",
    },
    Case {
        name: "invisible columns and ignored keys",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, a INT, h INT INVISIBLE DEFAULT 4, KEY i (a) IGNORED);
                INSERT INTO t (id, a, h) VALUES (1, 2, 3);
                INSERT INTO t (id, a) VALUES (2, 2);
                ",
        clauses: "ADD n INT INVISIBLE DEFAULT 9, ALTER INDEX i NOT IGNORED, MODIFY h BIGINT INVISIBLE DEFAULT 4",
    },
    usual("text with a default", "ADD x TEXT DEFAULT 'abc', ADD bl BLOB NOT NULL DEFAULT 'x', ADD COLUMN IF NOT EXISTS a INT, DROP COLUMN IF EXISTS nope"),
    Case {
        name: "compressed columns",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, b BLOB COMPRESSED, u UUID, i INET6);
                INSERT INTO t VALUES (1, REPEAT('abc', 5000), '123e4567-e89b-12d3-a456-426655440000', '::1');
                ",
        clauses: "ADD n INT",
    },
    Case {
        name: "a long unique key",
        setup: "CREATE TABLE t (id INT PRIMARY KEY, b TEXT, UNIQUE KEY u (b));
                INSERT INTO t VALUES (1, REPEAT('abc', 5000)), (2, 'x'), (3, NULL);
                ",
        clauses: "ADD n INT",
    },
];

/// Names of tables that need quoting, or are as long as the server takes.
const TABLES: &[&str] = &[
    "select",
    "it's `quoted` \"here\"",
    "with space.and dot",
    "таблица_漢字",
    "a234567890123456789012345678901234567890123456789012345678901234",
    "b-%_\\",
];

async fn a_table_may_have_any_name(kind: Kind) {
    for name in TABLES {
        let quoted = data::quoted(name);
        let setup = format!(
            "CREATE TABLE {quoted} (id INT PRIMARY KEY, a INT);\nINSERT INTO {quoted} VALUES (1, 2)"
        );
        let mut pair = Pair::new(kind, &setup).await;
        let clauses = "MODIFY a BIGINT, ADD KEY (a)";
        ended(&pair.alter(&quoted, clauses).await, 0).unwrap();
        pair.native(name, clauses).await.unwrap();
        pair.same(name).await.unwrap();
    }
}

async fn the_same_columns_and_keys_are_made(kind: Kind) {
    let own = match kind {
        Kind::Mariadb => MARIADB,
        Kind::Mysql => MYSQL,
    };
    all(BOTH.iter().chain(own), |case| becomes_the_same(kind, case)).await;
}

on_both_servers! {
    the_same_columns_and_keys_are_made
    a_table_may_have_any_name
}
