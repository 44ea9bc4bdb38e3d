//! Statements and what osc reads in them. Each that is marked as good for a server was given to
//! that server (`docs/use/methods.md`), so that the two agree.

use proptest::prelude::*;

use super::*;
use crate::mysql::name::TableName;

fn names(idents: &[Ident]) -> String {
    idents.iter().map(Ident::as_str).collect::<Vec<_>>().join(",")
}

fn name(ident: Option<&Ident>) -> &str {
    ident.map_or("-", Ident::as_str)
}

/// Name, definition, and what was seen in it.
fn column(column: &ColumnDef) -> String {
    let mut text = format!("{}:{}", column.name.as_str(), column.definition);
    for (seen, word) in [
        (column.unique, "unique"),
        (column.primary_key, "primary"),
        (column.not_null, "notnull"),
        (column.auto_increment, "auto"),
        (column.generated, "generated"),
        (column.check, "check"),
        (column.default, "default"),
    ] {
        if seen {
            text += &format!(" +{word}");
        }
    }
    for (label, value) in [("charset", &column.charset), ("collate", &column.collate)] {
        if let Some(value) = value {
            text += &format!(" {label}={value}");
        }
    }
    if let Some(references) = &column.references {
        text += &format!(" fk={}|{}", name(references.constraint.as_ref()), references.text);
    }
    match &column.place {
        None => {}
        Some(Place::First) => text += " first",
        Some(Place::After(other)) => text += &format!(" after={}", other.as_str()),
    }
    text
}

fn describe(kind: &ClauseKind) -> String {
    use ClauseKind as K;
    let condition = |seen: &bool| if *seen { " if" } else { "" };
    match kind {
        K::AddColumns { columns, if_not_exists } => {
            let columns: Vec<String> = columns.iter().map(column).collect();
            format!("add{} {}", condition(if_not_exists), columns.join(" & "))
        }
        K::DropColumn { name, if_exists } => {
            format!("drop{} {}", condition(if_exists), name.as_str())
        }
        K::ChangeColumn { from, to, if_exists } => {
            format!("change{} {}>{}", condition(if_exists), from.as_str(), column(to))
        }
        K::RenameColumn { from, to, if_exists } => {
            format!("rename{} {}>{}", condition(if_exists), from.as_str(), to.as_str())
        }
        K::ModifyColumn { column: definition, if_exists } => {
            format!("modify{} {}", condition(if_exists), column(definition))
        }
        K::AlterColumnDefault { name } => format!("default {}", name.as_str()),
        K::AddIndex { name: index, kind, columns } => {
            format!("index {} {kind:?} {}", name(index.as_ref()), names(columns))
        }
        K::DropIndex { name } => format!("dropindex {}", name.as_str()),
        K::RenameIndex { from, to } => format!("renameindex {}>{}", from.as_str(), to.as_str()),
        K::AlterIndexVisibility { name } => format!("visibility {}", name.as_str()),
        K::AddPrimaryKey { columns } => format!("primary {}", names(columns)),
        K::DropPrimaryKey => "dropprimary".into(),
        K::AddForeignKey { name: key, index, columns } => {
            let index = name(index.as_ref());
            format!("fk {} {index} {}", name(key.as_ref()), names(columns))
        }
        K::DropForeignKey { name, if_exists } => {
            format!("dropfk{} {}", condition(if_exists), name.as_str())
        }
        K::AddCheck { name: check } => format!("check {}", name(check.as_ref())),
        K::DropCheck { name } => format!("dropcheck {}", name.as_str()),
        K::DropConstraint { name } => format!("dropconstraint {}", name.as_str()),
        K::AlterCheck { name, action } => format!("altercheck {} {action}", name.as_str()),
        K::TableOption { name, value } => format!("{name}={value}"),
        K::ConvertCharset { charset, collate } => {
            let word = |value: &Option<String>| value.clone().unwrap_or("-".into());
            format!("convert {} {}", word(charset), word(collate))
        }
        K::PartitionMaintenance { verb } => format!("partition {verb}"),
        K::RenameTable { schema, name: table } => {
            format!("table {}.{}", name(schema.as_ref()), table.as_str())
        }
        K::Algorithm(value) => format!("algorithm {value}"),
        K::Lock(value) => format!("lock {value}"),
        plain => format!("{plain:?}").to_lowercase(),
    }
}

fn read(source: &str) -> String {
    match Clauses::parse(source) {
        Ok(clauses) => {
            let list: Vec<String> = clauses.clauses.iter().map(|c| describe(&c.kind)).collect();
            list.join("; ")
        }
        Err(error) => format!("error: {}", error.message),
    }
}

/// Source and reading; `|M|`, `|A|`, `|MA|`: good on MySQL 9.7, MariaDB 10.11, both.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("|MA|", "ADD n INT", "add n:INT"),
    (
        "|MA|",
        "add column n int(11) unsigned not null default 0 first",
        "add n:int(11) unsigned not null default 0 +notnull +default first",
    ),
    ("|MA|", "ADD\tCOLUMN\n`n`INT AFTER`a`", "add n:INT after=a"),
    (
        "|MA|",
        "ADD n DECIMAL(10,2) NULL DEFAULT NULL COMMENT 'a, b)'",
        "add n:DECIMAL(10,2) NULL DEFAULT NULL COMMENT 'a, b)' +default",
    ),
    (
        "|MA|",
        "ADD COLUMN (n INT, m ENUM('a,b','c)''d') DEFAULT 'a,b')",
        "add n:INT & m:ENUM('a,b','c)''d') DEFAULT 'a,b' +default",
    ),
    (
        "|MA|",
        "ADD (n INT, m VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin)",
        "add n:INT & m:VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin charset=latin1 collate=latin1_bin",
    ),
    (
        "|MA|",
        "ADD n INT UNIQUE, ADD m INT UNIQUE KEY",
        "add n:INT UNIQUE +unique; add m:INT UNIQUE KEY +unique",
    ),
    ("|MA|", "ADD n INT COMMENT 'UNIQUE PRIMARY KEY'", "add n:INT COMMENT 'UNIQUE PRIMARY KEY'"),
    (
        "|MA|",
        "ADD n INT GENERATED ALWAYS AS (a + (b * 2)) STORED",
        "add n:INT GENERATED ALWAYS AS (a + (b * 2)) STORED +generated",
    ),
    (
        "|MA|",
        "ADD n INT AS (a+1) VIRTUAL UNIQUE",
        "add n:INT AS (a+1) VIRTUAL UNIQUE +unique +generated",
    ),
    (
        "|MA|",
        "ADD n DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        "add n:DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6) +default",
    ),
    (
        "|MA|",
        "ADD n INT NULL REFERENCES parent (id) ON DELETE SET NULL",
        "add n:INT NULL fk=-|REFERENCES parent (id) ON DELETE SET NULL",
    ),
    (
        "|A|",
        "ADD n INT CONSTRAINT fkn REFERENCES parent(id) FIRST",
        "add n:INT fk=fkn|REFERENCES parent(id) first",
    ),
    ("|MA|", "ADD n INT CHECK (n > 0)", "add n:INT CHECK (n > 0) +check"),
    (
        "|M|",
        "ADD n INT CONSTRAINT ckn CHECK (n > 0) NOT ENFORCED",
        "add n:INT CONSTRAINT ckn CHECK (n > 0) NOT ENFORCED +check",
    ),
    ("|MA|", "ADD n INT DEFAULT (1 + (2))", "add n:INT DEFAULT (1 + (2)) +default"),
    ("|A|", "ADD COLUMN IF NOT EXISTS a INT", "add if a:INT"),
    ("|MA|", "ADD `select` INT, ADD `from``x` INT", "add select:INT; add from`x:INT"),
    ("|MA|", "ADD größe INT, ADD `列` INT AFTER größe", "add größe:INT; add 列:INT after=größe"),
    ("|MA|", "ADD 1a INT, ADD n$ INT", "add 1a:INT; add n$:INT"),
    ("|MA|", "ADD first INT, ADD after INT FIRST", "add first:INT; add after:INT first"),
    ("|MA|", "ADD x INT AFTER after", "add x:INT after=after"),
    (
        "|MA|",
        "ADD x INT AFTER first, MODIFY after INT AFTER x",
        "add x:INT after=first; modify after:INT after=x",
    ),
    (
        "|MA|",
        "ADD n DOUBLE PRECISION DEFAULT -1.5e3",
        "add n:DOUBLE PRECISION DEFAULT -1.5e3 +default",
    ),
    (
        "|MA|",
        "ADD n BIT(8) DEFAULT b'101', ADD m BINARY(2) DEFAULT x'0aFF'",
        "add n:BIT(8) DEFAULT b'101' +default; add m:BINARY(2) DEFAULT x'0aFF' +default",
    ),
    (
        "|MA|",
        "ADD n VARCHAR(9) DEFAULT \"it's \"\"so\"\"\"",
        "add n:VARCHAR(9) DEFAULT \"it's \"\"so\"\"\" +default",
    ),
    (
        "|MA|",
        r"ADD n VARCHAR(9) DEFAULT 'it\'s', ADD m INT",
        r"add n:VARCHAR(9) DEFAULT 'it\'s' +default; add m:INT",
    ),
    ("|MA|", "ADD n INT INVISIBLE", "add n:INT INVISIBLE"),
    ("|MA|", "DROP c", "drop c"),
    ("|MA|", "DROP COLUMN `c`", "drop c"),
    ("|A|", "DROP COLUMN IF EXISTS nope CASCADE", "drop if nope"),
    ("|MA|", "DROP c RESTRICT", "drop c"),
    ("|MA|", "CHANGE c cc VARCHAR(10)", "change c>cc:VARCHAR(10)"),
    (
        "|MA|",
        "CHANGE COLUMN c C VARCHAR(20) NOT NULL DEFAULT '' AFTER id",
        "change c>C:VARCHAR(20) NOT NULL DEFAULT '' +notnull +default after=id",
    ),
    ("|A|", "CHANGE COLUMN IF EXISTS c c2 TEXT", "change if c>c2:TEXT"),
    ("|MA|", "RENAME COLUMN c TO d2", "rename c>d2"),
    ("|MA|", "RENAME COLUMN v TO l1, RENAME COLUMN l1 TO v", "rename v>l1; rename l1>v"),
    ("|MA|", "MODIFY c VARCHAR(11)", "modify c:VARCHAR(11)"),
    (
        "|MA|",
        "MODIFY COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT FIRST",
        "modify id:BIGINT UNSIGNED NOT NULL AUTO_INCREMENT +notnull +auto first",
    ),
    (
        "|MA|",
        "MODIFY c VARCHAR(10) CHARSET utf8mb4 COLLATE 'utf8mb4_bin'",
        "modify c:VARCHAR(10) CHARSET utf8mb4 COLLATE 'utf8mb4_bin' charset=utf8mb4 collate=utf8mb4_bin",
    ),
    ("|A|", "MODIFY IF EXISTS c INT", "modify if c:INT"),
    ("|MA|", "ALTER b SET DEFAULT 7, ALTER COLUMN c DROP DEFAULT", "default b; default c"),
    ("|MA|", "ALTER COLUMN b SET DEFAULT (1 + 2)", "default b"),
    ("|M|", "ALTER COLUMN c SET INVISIBLE", "default c"),
];

const KEYS: &[(&str, &str, &str)] = &[
    ("|MA|", "ADD INDEX (b)", "index - Plain b"),
    ("|MA|", "ADD KEY i1 USING BTREE (b, c(5) DESC)", "index i1 Plain b,c"),
    (
        "|MA|",
        "ADD INDEX i1 (b) COMMENT 'x, y' USING BTREE, ADD INDEX i2(c)",
        "index i1 Plain b; index i2 Plain c",
    ),
    ("|A|", "ADD INDEX IF NOT EXISTS i1 (b)", "index i1 Plain b"),
    ("|MA|", "ADD UNIQUE (id, c)", "index - Unique id,c"),
    ("|MA|", "ADD UNIQUE KEY u1 (id, c)", "index u1 Unique id,c"),
    ("|MA|", "ADD CONSTRAINT u1 UNIQUE (id, c)", "index u1 Unique id,c"),
    ("|MA|", "ADD CONSTRAINT UNIQUE INDEX (id, c)", "index - Unique id,c"),
    ("|MA|", "ADD FULLTEXT KEY ft (s)", "index ft Fulltext s"),
    ("|MA|", "ADD FULLTEXT (s)", "index - Fulltext s"),
    ("|M|", "ADD INDEX f ((b + 1), c, (lower(c)))", "index f Plain c"),
    ("|M|", "ADD INDEX i1 (b) INVISIBLE", "index i1 Plain b"),
    ("|MA|", "DROP INDEX cc, DROP KEY `dd`", "dropindex cc; dropindex dd"),
    ("|A|", "DROP INDEX IF EXISTS nope", "dropindex nope"),
    ("|MA|", "RENAME INDEX cc TO c2, RENAME KEY dd TO d2", "renameindex cc>c2; renameindex dd>d2"),
    ("|M|", "ALTER INDEX cc INVISIBLE", "visibility cc"),
    ("|A|", "ALTER INDEX cc NOT IGNORED", "visibility cc"),
    ("|MA|", "DROP PRIMARY KEY, ADD PRIMARY KEY (id, b)", "dropprimary; primary id,b"),
    (
        "|MA|",
        "DROP INDEX `primary`, ADD CONSTRAINT pk PRIMARY KEY USING BTREE (id)",
        "dropprimary; primary id",
    ),
    ("|MA|", "ADD FOREIGN KEY (a) REFERENCES parent (id)", "fk - - a"),
    (
        "|MA|",
        "ADD CONSTRAINT f2 FOREIGN KEY fi (a) REFERENCES parent (id) ON UPDATE CASCADE ON DELETE CASCADE",
        "fk f2 fi a",
    ),
    ("|MA|", "ADD CONSTRAINT FOREIGN KEY (a) REFERENCES parent (id)", "fk - - a"),
    ("|MA|", "DROP FOREIGN KEY fk1", "dropfk fk1"),
    ("|A|", "DROP FOREIGN KEY IF EXISTS nope", "dropfk if nope"),
    ("|MA|", "ADD CHECK (b > 0), ADD CONSTRAINT c2 CHECK ((b) < 9)", "check -; check c2"),
    ("|MA|", "ADD CONSTRAINT CHECK (b > 0)", "check -"),
    ("|M|", "DROP CHECK ck", "dropcheck ck"),
    ("|MA|", "DROP CONSTRAINT ck", "dropconstraint ck"),
    ("|M|", "ALTER CHECK ck NOT ENFORCED", "altercheck ck NOT ENFORCED"),
    ("|M|", "ALTER CONSTRAINT ck ENFORCED", "altercheck ck ENFORCED"),
];

const TABLE: &[(&str, &str, &str)] = &[
    ("|MA|", "", "force"),
    ("|MA|", "FORCE", "force"),
    ("|MA|", "ENGINE=InnoDB", "ENGINE=InnoDB"),
    (
        "|MA|",
        "engine innodb comment 'a=b, c' auto_increment=7",
        "ENGINE=innodb; COMMENT='a=b, c'; AUTO_INCREMENT=7",
    ),
    ("|MA|", "COMMENT = 'x', ROW_FORMAT=DYNAMIC", "COMMENT='x'; ROW_FORMAT=DYNAMIC"),
    (
        "|MA|",
        "DEFAULT CHARSET=utf8mb4 DEFAULT COLLATE utf8mb4_bin",
        "CHARSET=utf8mb4; COLLATE=utf8mb4_bin",
    ),
    ("|MA|", "CHARACTER SET latin1", "CHARSET=latin1"),
    (
        "|A|",
        "PAGE_COMPRESSED=1 `page_compression_level`=3",
        "error: a comma is missing before this",
    ),
    (
        "|A|",
        "PAGE_COMPRESSED=1 PAGE_COMPRESSION_LEVEL=3",
        "PAGE_COMPRESSED=1; PAGE_COMPRESSION_LEVEL=3",
    ),
    ("|MA|", "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "convert utf8mb4 utf8mb4_bin"),
    ("|MA|", "CONVERT TO CHARSET 'latin1'", "convert latin1 -"),
    ("|MA|", "CONVERT TO CHARACTER SET DEFAULT", "convert - -"),
    ("|MA|", "ORDER BY b, c DESC", "orderby"),
    ("", "DROP FOREIGN KEY fk1 REMOVE PARTITIONING", "dropfk fk1; partitioning"),
    (
        "|M|",
        "DROP FOREIGN KEY fk1 PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        "dropfk fk1; partitioning",
    ),
    ("", "ADD PARTITION (PARTITION p2 VALUES LESS THAN (20))", "partition ADD"),
    ("", "DROP PARTITION p0, p1", "partition DROP"),
    ("", "EXCHANGE PARTITION p0 WITH TABLE t2", "partition EXCHANGE"),
    (
        "",
        "REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN (20))",
        "partition REORGANIZE",
    ),
    ("", "CONVERT TABLE t2 TO PARTITION p0 VALUES LESS THAN (3)", "partition CONVERT"),
    ("|MA|", "RENAME t9", "table -.t9"),
    ("|MA|", "RENAME TO t9", "table -.t9"),
    ("|MA|", "RENAME AS t9", "table -.t9"),
    ("|MA|", "RENAME = t9", "table -.t9"),
    ("|MA|", "rename `t 9`", "table -.t 9"),
    ("", "RENAME\nTO e0.t9", "table e0.t9"),
    ("|MA|", "DISABLE KEYS", "keys"),
    ("", "DISCARD TABLESPACE", "tablespace"),
    ("", "IMPORT TABLESPACE", "tablespace"),
    ("|A|", "ADD SYSTEM VERSIONING", "systemversioning"),
    ("", "DROP SYSTEM VERSIONING", "systemversioning"),
    ("", "ADD PERIOD FOR SYSTEM_TIME (a, b)", "period"),
    ("", "DROP PERIOD FOR SYSTEM_TIME", "period"),
    (
        "|MA|",
        "ALGORITHM=INPLACE, LOCK NONE, ALTER b DROP DEFAULT",
        "algorithm INPLACE; lock NONE; default b",
    ),
    ("|MA|", "ADD n INT, algorithm = copy", "add n:INT; algorithm COPY"),
    (
        "|M|",
        "ADD n INT AS (b) VIRTUAL, WITHOUT VALIDATION",
        "add n:INT AS (b) VIRTUAL +generated; validation",
    ),
    (
        "|MA|",
        "/* a, b */ ADD -- c, d\n n # e\n INT /*! NOT NULL */, /*!50000 DROP c */",
        "add n:INT NOT NULL +notnull; drop c",
    ),
    ("|MA|", "ADD n INT;", "add n:INT"),
    ("", "SECONDARY_LOAD", "unknown"),
];

#[test]
fn every_spelling_is_read() {
    for (_, source, expected) in [COLUMNS, KEYS, TABLE].concat() {
        assert_eq!(read(source), expected, "{source}");
    }
}

#[test]
fn mistakes_are_shown_and_not_guessed_at() {
    for (source, expected) in [
        ("ADD n INT,", "a clause is missing here"),
        ("ADD n INT,, DROP c", "a clause is missing here"),
        ("ADD n", "the column's type is missing here"),
        ("ADD 5 INT", "the column's name is missing here"),
        ("ADD COLUMN \"n\" INT", "the column's name is missing here"),
        ("ADD (n INT", "this parenthesis is not closed"),
        ("ADD n INT)", "nothing was opened here"),
        ("ADD n INT; DROP TABLE t", "only one statement can be given"),
        ("ADD n VARCHAR(5) DEFAULT 'x", "a quote is not closed"),
        ("DROP COLUMN c d", "this was not expected after DROP COLUMN c"),
        ("DROP c, ENGINE=InnoDB ADD n INT", "a comma is missing before this"),
        ("ADD (n INT, INDEX (n))", "osc reads only columns in such a list"),
        ("MODIFY b INT REFERENCES parent (id)", "MODIFY and CHANGE take no REFERENCES"),
        ("ADD CONSTRAINT x (a)", "PRIMARY KEY, UNIQUE, FOREIGN KEY or CHECK is missing here"),
        ("ADD FOREIGN KEY (a)", "REFERENCES is missing here"),
        ("CREATE TABLE t (a INT)", "this is no ALTER TABLE"),
        ("RENAME COLUMN a b", "TO is missing here"),
        ("CHANGE t.a b INT", "the column's name is missing here"),
    ] {
        assert_eq!(read(source), format!("error: {expected}"), "{source}");
    }
}

#[test]
fn the_head_of_a_whole_statement_names_the_table() {
    for (source, schema, table, ignore) in [
        ("ALTER TABLE t ADD n INT", None, "t", false),
        ("alter online table `s`.`t t` add n int", Some("s"), "t t", false),
        ("ALTER ONLINE IGNORE TABLE IF EXISTS s . t WAIT 5 ADD n INT", Some("s"), "t", true),
        ("ALTER IGNORE TABLE t NOWAIT ADD n INT;", None, "t", true),
        ("/* x */ ALTER /*! IGNORE */ TABLE `t``x`ADD n INT", None, "t`x", true),
    ] {
        let clauses = Clauses::parse(source).unwrap();
        assert_eq!(clauses.table, Some((schema.map(Ident::new), Ident::new(table))), "{source}");
        assert_eq!(clauses.ignore, ignore, "{source}");
        assert_eq!(describe(&clauses.clauses[0].kind).to_lowercase(), "add n:int", "{source}");
    }
    assert_eq!(Clauses::parse("ALTER COLUMN c SET DEFAULT 1").unwrap().table, None);
    assert_eq!(Clauses::parse("ALTER online SET DEFAULT 1").unwrap().table, None);
    assert_eq!(read("ALTER TABLE t"), "force");
}

#[test]
fn what_osc_is_not_for_is_refused_with_the_reason() {
    for (source, checks) in [
        ("ADD n INT, ENGINE=InnoDB, ALGORITHM=INPLACE PARTITION BY HASH (id)", ""),
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", "alter-ignore"),
        ("RENAME t2, ADD n INT", "rename-table"),
        ("DISCARD TABLESPACE", "tablespace"),
        ("EXCHANGE PARTITION p WITH TABLE t2", "partition-exchange"),
        ("TRUNCATE PARTITION p, q", "partition-maintenance"),
        ("ENGINE=MyISAM", "engine"),
        ("ENGINE='innodb'", ""),
        ("ORDER BY a, b", "order-by"),
        ("ADD SYSTEM VERSIONING", "system-versioning"),
        ("DROP PERIOD FOR SYSTEM_TIME", "system-versioning"),
        ("ENABLE KEYS", "keys"),
        ("FROBNICATE x, DISABLE KEYS", "unknown-clause keys"),
    ] {
        let found = Clauses::parse(source).unwrap().refusals();
        let found: Vec<&str> = found.iter().map(|finding| finding.check).collect();
        assert_eq!(found.join(" "), checks, "{source}");
    }
    let clauses = Clauses::parse("ADD n INT, LOCK = NONE").unwrap();
    assert_eq!(clauses.notes(), ["LOCK = NONE is left out: osc chooses the method (--strategy)"]);
}

#[test]
fn unique_keys_are_seen_wherever_they_are_added() {
    for (source, expected) in [
        ("ADD UNIQUE (a)", true),
        ("ADD n INT UNIQUE", true),
        ("ADD (m INT, n INT PRIMARY KEY)", true),
        ("CHANGE a b INT KEY", true),
        ("MODIFY a SERIAL", true),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (a)", true),
        ("ADD INDEX (a)", false),
        ("MODIFY a INT COMMENT 'UNIQUE'", false),
    ] {
        assert_eq!(Clauses::parse(source).unwrap().added_unique(), expected, "{source}");
    }
}

#[test]
fn a_table_option_can_be_asked_for() {
    let clauses = Clauses::parse("AUTO_INCREMENT=5 COMMENT 'x', auto_increment 7").unwrap();
    assert_eq!(clauses.option("AUTO_INCREMENT"), Some("7"));
    assert_eq!(clauses.option("ENGINE"), None);
}

#[test]
fn how_long_to_wait_is_no_clause_with_and_without_the_statements_head() {
    for source in ["ALTER TABLE t WAIT 5 ADD a INT", "WAIT 5 ADD a INT", "NOWAIT ADD a INT"] {
        let clauses = Clauses::parse(source).unwrap();
        assert_eq!(clauses.clauses.len(), 1, "{source}");
        assert!(!clauses.for_table(&TableName::new("s", "t")).contains("WAIT"), "{source}");
    }
    // Found by the test below.
    assert!(Clauses::parse("WAIT 5 DROP ADD ADD").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(source in ".{0,80}") {
        let _ = Clauses::parse(&source);
    }

    #[test]
    fn no_order_of_words_makes_the_parser_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "ADD", "DROP", "CHANGE", "MODIFY", "ALTER", "TABLE", "RENAME", "COLUMN", "INDEX",
                "KEY", "UNIQUE", "PRIMARY", "FOREIGN", "REFERENCES", "CONSTRAINT", "CHECK", "AS",
                "a", "`b c`", "INT", "(", ")", ",", "'x'", "5", "=", "DEFAULT", "FIRST", "AFTER",
                "PARTITION", "BY", "REMOVE", "PARTITIONING", "IF", "EXISTS", "NOT", "TO", "SET",
                "CHARSET", "COMMENT", "ALGORITHM", "/*!", "*/", ";", ".", "WAIT", "IGNORE",
            ]),
            0..14,
        ),
    ) {
        let source = words.join(" ");
        if let Ok(clauses) = Clauses::parse(&source) {
            let original = [Ident::new("a"), Ident::new("b c")];
            let _ = clauses.column_fates(&original);
            let table = crate::mysql::name::TableName::new("s", "t");
            let again = Clauses::parse(&clauses.for_table(&table));
            prop_assert!(again.is_ok(), "{}: {:?}", clauses.for_table(&table), again);
            let _ = (clauses.for_shadow(&table, ShadowNames::default()), clauses.refusals(), clauses.notes());
        }
    }
}
