CREATE TABLE parents (id int PRIMARY KEY, w bigint UNIQUE);
INSERT INTO parents SELECT seq, seq FROM (SELECT 1 AS seq UNION SELECT 2 UNION SELECT 3) s;
CREATE TABLE everything (
    id int unsigned NOT NULL AUTO_INCREMENT COMMENT 'the key',
    v int DEFAULT 5,
    parent int,
    other bigint,
    name varchar(40) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL DEFAULT 'no ''one''' COMMENT 'it''s a "name"\n with \\',
    txt text COLLATE utf8mb4_bin,
    raw varbinary(20) DEFAULT 'a\0b',
    price decimal(8, 2) unsigned zerofill DEFAULT 1.50,
    wide int(7) zerofill,
    choice enum('a', 'it''s', 'b,c') DEFAULT 'b,c',
    picks set('x', 'y') NOT NULL DEFAULT 'x,y',
    flags bit(3) DEFAULT b'101',
    day date DEFAULT '2024-02-29',
    made datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    stamp timestamp NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP,
    computed varchar(40) DEFAULT (concat('a', 'b')),
    doc json,
    twice int GENERATED ALWAYS AS (v * 2) STORED COMMENT 'stored',
    more int GENERATED ALWAYS AS (parent + 1) VIRTUAL,
    hidden int DEFAULT 3 INVISIBLE,
    /* my */ shape point NOT NULL SRID 4326,
    /* ma */ shape point REF_SYSTEM_ID = 4326 NOT NULL,
    /* my */ annotated int SECONDARY_ENGINE_ATTRIBUTE '{"b": 2}',
    /* my */ skipped int NOT SECONDARY,
    /* my */ place tinyint COLUMN_FORMAT DYNAMIC STORAGE MEMORY,
    /* ma */ packed text COMPRESSED,
    /* ma */ address inet6 DEFAULT '::1',
    PRIMARY KEY (id),
    UNIQUE KEY u (other) COMMENT 'unique',
    UNIQUE KEY many (name, v),
    KEY backwards (v DESC, name(5)) KEY_BLOCK_SIZE = 4 COMMENT 'MERGE_THRESHOLD=40',
    KEY of_raw (raw(7)) USING BTREE,
    KEY computed_key (twice, more),
    FULLTEXT KEY words (txt),
    SPATIAL KEY places (shape),
    /* my */ KEY functional ((v + 1), (lower(name)) DESC),
    /* my */ KEY members ((CAST(doc -> '$.a' AS unsigned ARRAY))),
    /* my */ KEY unseen (v) INVISIBLE,
    /* my */ FULLTEXT KEY grams (name) WITH PARSER ngram,
    /* my */ KEY noted (parent, v) SECONDARY_ENGINE_ATTRIBUTE '{"i": 1}',
    /* ma */ KEY unseen (v) IGNORED,
    CONSTRAINT positive CHECK (v > -100),
    /* my */ CONSTRAINT idle CHECK (v > 100) NOT ENFORCED,
    CHECK (other > -9),
    /* my */ CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE SET NULL,
    /* ma */ CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE NO ACTION ON UPDATE RESTRICT,
    CONSTRAINT to_other FOREIGN KEY (other) REFERENCES parents (w)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
    AUTO_INCREMENT = 1000 AVG_ROW_LENGTH = 77 CHECKSUM = 1 DELAY_KEY_WRITE = 1 MAX_ROWS = 100000 MIN_ROWS = 3
    PACK_KEYS = 1 STATS_PERSISTENT = 1 STATS_AUTO_RECALC = 0 STATS_SAMPLE_PAGES = 33
    ROW_FORMAT = DYNAMIC COMMENT = 'the table''s \\ "comment"'
    /* my */ SECONDARY_ENGINE_ATTRIBUTE = '{"t": 2}' AUTOEXTEND_SIZE = 4M
    /* ma */ TRANSACTIONAL = 1 PAGE_COMPRESSED = 1 PAGE_COMPRESSION_LEVEL = 5
;
INSERT INTO everything (v, parent, other, name, txt, doc, shape) VALUES
    (1, 1, 1, 'one', 'some words', '{"a": [1, 2]}', ST_GeomFromText('POINT(1 2)', 4326)),
    (2, 2, 2, 'two', 'more words', '{"a": [3]}', ST_GeomFromText('POINT(3 4)', 4326)),
    (3, NULL, NULL, 'three', NULL, NULL, ST_GeomFromText('POINT(5 6)', 4326));
CREATE TABLE children (id int PRIMARY KEY, of_u bigint, CONSTRAINT to_u FOREIGN KEY (of_u) REFERENCES everything (other) ON UPDATE CASCADE);
CREATE TRIGGER first BEFORE INSERT ON everything FOR EACH ROW SET NEW.hidden = 4;
CREATE TRIGGER second BEFORE INSERT ON everything FOR EACH ROW FOLLOWS first SET NEW.hidden = NEW.hidden + 1;
CREATE TRIGGER after_all AFTER DELETE ON everything FOR EACH ROW INSERT INTO parents VALUES (OLD.id, OLD.id);
CREATE VIEW reading AS SELECT id, name FROM everything WHERE v > 0 WITH CHECK OPTION;
CREATE TABLE parts (
    id int NOT NULL,
    at date NOT NULL DEFAULT '2024-01-01',
    v int,
    PRIMARY KEY (id, at),
    KEY v (v)
) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8 COMMENT = 'in parts'
    PARTITION BY RANGE (year(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (
        PARTITION early VALUES LESS THAN (2020) COMMENT = 'early' MAX_ROWS = 9 MIN_ROWS = 2,
        PARTITION late VALUES LESS THAN MAXVALUE COMMENT = 'late'
    );
INSERT INTO parts VALUES (1, '2019-01-01', 1), (2, '2024-01-01', 2);
